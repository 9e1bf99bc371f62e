//! Listening sockets: binding, and accepting with a back-off when the system lacks resources. The
//! caller handles and counts connections.

mod inherit;
mod path;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::base::addr::ListenAddr;
use crate::base::backoff::Backoff;
use crate::io::net::listener::path::SocketFile;
use crate::io::net::socket::{self, Detached};

pub use inherit::{Inheritance, Left, Owner};

/// Waits after a failed accept. While they last, clients wait in the backlog.
const WAITS: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));

/// How a listener's sockets behave.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Connections that the system queues before they are accepted; it has a bound of its own
    /// (`net.core.somaxconn`).
    pub backlog: u32,
    /// TCP keepalive time of accepted connections; `None` is off.
    pub keepalive: Option<Duration>,
    /// Permission bits of a unix socket's file. To connect, a process needs the write bit.
    pub mode: u32,
}

/// For the hand-over socket: only processes of the same user connect.
const PRIVATE: ListenOptions = ListenOptions {
    backlog: 8,
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
    #[error("cannot listen on unix:{}: another process is listening there", .0.display())]
    Alive(PathBuf),
    /// The path holds something that is not ours to remove.
    #[error("cannot listen on unix:{}: there is a file that is no socket", .0.display())]
    NotASocket(PathBuf),
}

/// Binds every address of one listener, or none. Sockets inherited from a predecessor are not bound
/// again.
///
/// `[::]` takes IPv4 clients too, unless `0.0.0.0` with the same port is listed too.
///
/// # Errors
/// That of the first address that cannot be listened on.
pub fn bind_all(
    listen: &[ListenAddr],
    options: ListenOptions,
    owner: &Owner,
    inheritance: &mut Inheritance,
) -> Result<Vec<Bound>, BindError> {
    let takes_v4 = |port: u16| {
        listen.iter().any(|other| match other {
            ListenAddr::Tcp(other) => {
                other.is_ipv4() && other.ip().is_unspecified() && other.port() == port && port != 0
            }
            ListenAddr::Unix(_) => false,
        })
    };
    listen
        .iter()
        .map(|listen| match (inheritance.take(owner, listen), listen) {
            (Some(left), _) => left.enter_upon(options),
            (None, ListenAddr::Tcp(address)) => {
                bind_tcp(*address, takes_v4(address.port()), options)
            }
            (None, ListenAddr::Unix(path)) => path::bind(path, options),
        })
        .collect()
}

/// Binds a unix socket that only this user reaches.
///
/// # Errors
/// When it cannot be listened on.
pub fn bind_private(path: &Path) -> Result<Bound, BindError> {
    path::bind(path, PRIVATE)
}

fn bind_tcp(
    address: SocketAddr,
    only_v6: bool,
    options: ListenOptions,
) -> Result<Bound, BindError> {
    let bound = || -> io::Result<Bound> {
        let domain = Domain::for_address(address);
        let socket = RawSocket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        // A restarted gateway must not wait for its old connections to leave TIME_WAIT.
        socket.set_reuse_address(true)?;
        // Accepted connections inherit these, which saves a handful of calls on each.
        socket::tune(&socket, options.keepalive)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog(options))?;
        let real = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Bound {
            socket,
            asked: ListenAddr::Tcp(address),
            address: ListenAddr::Tcp(real),
            file: None,
        })
    };
    bound().map_err(|error| BindError::System(ListenAddr::Tcp(address), error))
}

fn backlog(options: ListenOptions) -> i32 {
    i32::try_from(options.backlog).unwrap_or(i32::MAX)
}

/// A listening socket: clients queue, but are not accepted yet.
#[derive(Debug)]
pub struct Bound {
    socket: RawSocket,
    /// As configured.
    asked: ListenAddr,
    address: ListenAddr,
    file: Option<Arc<SocketFile>>,
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

    /// Begins to watch the socket on the runtime of the calling thread.
    ///
    /// # Errors
    /// When the system cannot watch one more descriptor.
    ///
    /// # Panics
    /// Outside a runtime.
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for types that may lie about their descriptor; \
                  RawSocket does not, and tokio's own listeners would register each connection here"
    )]
    pub fn start(self) -> io::Result<Acceptor> {
        let socket = AsyncFd::with_interest(self.socket, Interest::READABLE)?;
        Ok(Acceptor {
            socket,
            address: self.address,
            waits: WAITS,
            resume: None,
            _file: self.file,
        })
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// An accepted connection, not yet registered with a runtime.
#[derive(Debug)]
pub struct Incoming {
    /// Non-blocking, options set.
    pub socket: Detached,
    /// Who connected; `None` on unix sockets.
    pub peer: Option<SocketAddr>,
}

/// The system cannot give us a connection now; the next call of `accept` waits first.
#[derive(Debug, thiserror::Error)]
#[error("cannot accept connections on {address} now, pausing for {} ms", pause.as_millis())]
pub struct AcceptError {
    /// The listener's address.
    pub address: ListenAddr,
    /// How long the next call waits.
    pub pause: Duration,
    /// Out of descriptors, most often.
    pub source: io::Error,
}

impl AcceptError {
    /// The missing resource, as labelled in metrics.
    pub fn kind(&self) -> &'static str {
        // EMFILE and ENFILE; ENOMEM and ENOBUFS. The numbers are Linux's.
        match self.source.raw_os_error() {
            Some(23 | 24) => "too_many_files",
            Some(12 | 105) => "no_memory",
            _ => "other",
        }
    }
}

/// Accepts connections, for ever.
#[derive(Debug)]
pub struct Acceptor {
    socket: AsyncFd<RawSocket>,
    address: ListenAddr,
    waits: Backoff,
    resume: Option<Instant>,
    _file: Option<Arc<SocketFile>>,
}

impl Acceptor {
    /// Where it listens.
    pub fn address(&self) -> &ListenAddr {
        &self.address
    }

    /// The next connection. Those that died in the queue are passed over in silence. Dropping the
    /// future loses no connection.
    ///
    /// # Errors
    /// When the system lacks descriptors or memory. Report it and call again: the call waits 10 ms
    /// to 1 s, longer each time, so that a full process does not spin.
    pub async fn accept(&mut self) -> Result<Incoming, AcceptError> {
        if let Some(resume) = self.resume {
            tokio::time::sleep_until(resume).await;
            self.resume = None;
        }
        loop {
            let accepted = self
                .socket
                .async_io(Interest::READABLE, |socket| take(socket, &self.address))
                .await;
            match accepted {
                Ok(incoming) => {
                    self.waits.reset();
                    return Ok(incoming);
                }
                Err(error) if died_in_queue(&error) => {}
                Err(source) => {
                    let pause = self.waits.next(fastrand::f64());
                    self.resume = Some(Instant::now() + pause);
                    return Err(AcceptError {
                        address: self.address.clone(),
                        pause,
                        source,
                    });
                }
            }
        }
    }
}

/// One accept; `WouldBlock` if the queue is empty.
fn take(socket: &RawSocket, address: &ListenAddr) -> io::Result<Incoming> {
    let (stream, peer) = socket.accept()?;
    stream.set_nonblocking(true)?;
    Ok(match address {
        ListenAddr::Tcp(_) => Incoming {
            socket: Detached::Tcp(stream.into()),
            peer: peer.as_socket(),
        },
        ListenAddr::Unix(_) => Incoming {
            socket: Detached::Unix(stream.into()),
            peer: None,
        },
    })
}

/// Whether an error of accept(2) concerns only the next connection in the queue, which is gone.
/// Linux passes network errors of the new socket on as accept's own.
fn died_in_queue(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::HostUnreachable
            | Kind::Interrupted
            | Kind::NetworkDown
            | Kind::NetworkUnreachable
            | Kind::TimedOut
    )
}

#[cfg(test)]
mod tests;
