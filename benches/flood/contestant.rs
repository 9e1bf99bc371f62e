//! The programs that are flooded.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use crate::process::{Process, Stop, free_address};

/// A program that stands between clients and backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    Haproxy,
    Nginx,
    Sessile,
}

/// One at work. Ends with this value.
pub(crate) struct Running {
    /// Its processes.
    pub(crate) process: Process,
    /// Where it takes clients.
    pub(crate) address: SocketAddr,
    _files: TempDir,
}

impl Contestant {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 3] = [Self::Haproxy, Self::Nginx, Self::Sessile];

    /// As in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Sessile => "Sessile",
        }
    }

    /// Starts it in front of `backend` and waits until it listens.
    pub(crate) fn start(self, backend: SocketAddr, limited: bool) -> Result<Running> {
        let files = tempfile::tempdir()?;
        let address = free_address()?;
        let fill = |template: &str| {
            let lines = template
                .lines()
                .filter(|line| limited || !line.contains("# limited"));
            lines
                .collect::<Vec<_>>()
                .join("\n")
                .replace("@DIR@", &files.path().display().to_string())
                .replace("@ADDRESS@", &address.to_string())
                .replace("@BACKEND@", &backend.to_string())
                + "\n"
        };
        let config = files.path().join("config");
        let (text, program, arguments): (_, _, &[&str]) = match self {
            Self::Haproxy => (include_str!("haproxy.cfg"), "haproxy", &["-db", "-f"]),
            Self::Nginx => (include_str!("nginx.conf"), "nginx", &["-c"]),
            Self::Sessile => (
                include_str!("gateway.toml"),
                env!("CARGO_BIN_EXE_sessile"),
                &["run", "--config"],
            ),
        };
        fs::write(&config, fill(text))?;
        let mut command = Command::new(program);
        command.args(arguments).arg(&config);
        Ok(Running {
            process: Process::start(self.name(), command, Stop::Ask, &[address])?,
            address,
            _files: files,
        })
    }
}
