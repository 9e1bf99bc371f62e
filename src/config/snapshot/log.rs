//! `[log]` and `[tracing]`.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::addr::BackendAddr;
use crate::base::secret::GuardedUrl;

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Directives such as `info` or `info,sessile::control=debug`.
    pub level: String,
    /// How log lines and records look.
    pub format: LogFormat,
    /// Where session records and request records go.
    pub access: Access,
}

/// Form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line, for machines.
    Json,
}

/// Where records go; nowhere by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// To standard output, beside the log (which goes to standard error).
    pub stdout: bool,
    /// Appended to a file.
    pub file: Option<AccessFile>,
    /// To a syslog server.
    pub syslog: Option<Syslog>,
}

impl Access {
    /// Appended to this file, which is never rotated.
    pub fn to_file(path: PathBuf) -> Self {
        let rotation = None;
        Self {
            file: Some(AccessFile { path, rotation }),
            ..Self::default()
        }
    }
}

/// A file that is opened again on SIGHUP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessFile {
    /// Where it is.
    pub path: PathBuf,
    /// When it is renamed and begun anew.
    pub rotation: Option<Rotation>,
}

/// When a file is renamed and begun anew; one of `size` and `age` is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Before it would be larger than this many bytes.
    pub size: Option<u64>,
    /// At the end of each such period since 1970.
    pub age: Option<Duration>,
    /// Rotated files that are kept, at least one.
    pub keep: u32,
}

/// A syslog server (RFC 5424).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// Where it is.
    pub address: SyslogAddress,
    /// The number of the facility, below 24.
    pub facility: u8,
}

/// Where a syslog server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A unix socket that takes datagrams.
    Unix(PathBuf),
    /// One datagram for each message (RFC 5426).
    Udp(BackendAddr),
    /// Messages with their length before them (RFC 6587).
    Tcp(BackendAddr),
}

/// `[tracing]`
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// A collector for OTLP over HTTP.
    pub endpoint: GuardedUrl,
    /// PEM roots; default the system's.
    pub ca: Option<PathBuf>,
    /// Share of handshakes that are recorded, 0 to 1.
    pub sample_ratio: f64,
}
