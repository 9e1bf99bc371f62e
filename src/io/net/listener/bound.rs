//! A socket that listens and that nothing accepts from yet.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket as RawSocket;

use crate::base::addr::ListenAddr;
use crate::io::net::listener::socket_file::SocketFile;

/// How a listener's sockets behave.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Connections that the system queues before they are accepted; it has a bound of its own
    /// (`net.core.somaxconn`).
    pub backlog: u32,
    /// Whether other processes of the same user may listen on the same TCP address (SO_REUSEPORT).
    /// The system then spreads new connections over all of them.
    pub reuse_port: bool,
    /// TCP keepalive time of accepted connections; `None` is off.
    pub keepalive: Option<Duration>,
    /// Permission bits of a unix socket's file. To connect, a process needs the write bit.
    pub mode: u32,
}

/// For the hand-over socket: only processes of the same user connect.
pub(super) const PRIVATE: ListenOptions = ListenOptions {
    backlog: 8,
    reuse_port: false,
    keepalive: None,
    mode: 0o600,
};

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refused: in use, not an address of this machine, not permitted, …
    #[error("cannot listen on {0}")]
    System(ListenAddr, #[source] io::Error),
    /// Another process answers on this unix socket.
    #[error("cannot listen on unix:{}: another process listens there", .0.display())]
    Alive(PathBuf),
    /// The path holds something that is not ours to remove.
    #[error("cannot listen on unix:{}: the file there is not a socket", .0.display())]
    NotASocket(PathBuf),
}

pub(super) fn backlog(options: ListenOptions) -> i32 {
    i32::try_from(options.backlog).unwrap_or(i32::MAX)
}

/// A listening socket: clients queue, but are not accepted yet.
#[derive(Debug)]
pub struct Bound {
    pub(super) socket: RawSocket,
    /// As configured.
    pub(super) asked: ListenAddr,
    pub(super) address: ListenAddr,
    pub(super) file: Option<Arc<SocketFile>>,
}

impl Bound {
    /// What was to be listened on, as configured: port 0 is still 0.
    pub fn asked(&self) -> &ListenAddr {
        &self.asked
    }

    /// A second handle to the same socket and its one queue of clients.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn share(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            asked: self.asked.clone(),
            address: self.address.clone(),
            file: self.file.clone(),
        })
    }

    /// This process has the socket for good, and removes its file in the end.
    pub fn keep_file(&self) {
        if let Some(file) = &self.file {
            file.keep(true);
        }
    }

    /// Another process has the socket now: its file is no longer ours to remove.
    pub fn give_away(&self) {
        if let Some(file) = &self.file {
            file.keep(false);
        }
    }

    /// Where it really listens: port 0 has become the port that the system chose.
    pub fn address(&self) -> &ListenAddr {
        &self.address
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
