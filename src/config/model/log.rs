//! `[log]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::value::{LongForm, Size, TextOr, Time};

/// What is written where.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`, also by module:
    /// `info,sessile::control=debug`.
    pub level: String,
    /// How log lines and records look.
    pub format: LogFormat,
    /// Where session records and request records go: `"off"`, `"stdout"`, `"syslog"` (the socket
    /// `/dev/log`), or a table of one or several outputs, each with a queue of its own.
    pub access: TextOr<Access>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
            access: TextOr::Text("stdout".to_owned()),
        }
    }
}

/// Form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line, for machines.
    Json,
}

/// Outputs of records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Standard output, beside the others.
    pub stdout: bool,
    /// A file's path. It is appended to, and opened again on SIGHUP.
    pub file: Option<String>,
    /// When the file is renamed to `….1` and begun anew.
    pub rotate: Option<Rotate>,
    /// Messages of RFC 5424 to `"unix:/dev/log"`, `"udp:HOST:PORT"` or `"tcp:HOST:PORT"`.
    pub syslog: Option<String>,
    /// The facility of those messages: `local0`, `user` and so on. Default: `daemon`. Their
    /// severity is `info`.
    pub facility: Option<String>,
}

impl LongForm for Access {
    const EXPECTED: &'static str = "\"off\", \"stdout\", \"syslog\" or { file = \"…\" }";
}

/// Rotation of a file of records; at least one of `size` and `age` is required.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rotate {
    /// Before the file would be larger: `"100 MiB"`.
    pub size: Option<Size>,
    /// At the end of each such period, counted from midnight UTC: `"1d"`.
    pub age: Option<Time>,
    /// Rotated files that are kept: `….1` is the newest.
    pub keep: u32,
}

impl Default for Rotate {
    fn default() -> Self {
        Self {
            size: None,
            age: None,
            keep: 7,
        }
    }
}
