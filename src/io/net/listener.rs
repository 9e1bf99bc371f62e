//! Where connections come in: binding, and accepting without falling over when the system is out
//! of something. What happens to a connection, and counting it, is the caller's.

mod inherit;

use std::fs::{self, File, Metadata};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket as RawSocket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::base::addr::ListenAddr;
use crate::base::backoff::Backoff;
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
}

/// For a socket that only processes of the gateway's own speak on.
const PRIVATE: ListenOptions = ListenOptions {
    backlog: 8,
    keepalive: None,
};

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system said no: in use, not an address of this machine, not permitted, …
    #[error("cannot listen on {0}")]
    System(ListenAddr, #[source] io::Error),
    /// Another process answers on this unix socket.
    #[error("cannot listen on unix:{}: another process is listening there", .0.display())]
    Alive(PathBuf),
    /// The path holds something that is not ours to remove.
    #[error("cannot listen on unix:{}: there is a file that is no socket", .0.display())]
    NotASocket(PathBuf),
}

/// Binds every address of one listener, or none. What a predecessor left for it is not bound again.
///
/// `[::]` takes IPv4 clients too, unless `0.0.0.0` with the same port stands beside it.
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
            (None, ListenAddr::Unix(path)) => bind_unix(path, options, mode_of(owner)),
        })
        .collect()
}

/// Binds a unix socket that only this user reaches.
///
/// # Errors
/// When it cannot be listened on.
pub fn bind_private(path: &Path) -> Result<Bound, BindError> {
    bind_unix(path, PRIVATE, 0o600)
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

/// Permissions of a unix socket; the umask takes away more. Who may connect to the admin API is an
/// operator, so that nobody but this user and group ever may, whatever the umask.
const fn mode_of(owner: &Owner) -> u32 {
    match owner {
        Owner::Handover => 0o600,
        Owner::Admin => 0o660,
        Owner::Listener(_) => 0o666,
    }
}

fn bind_unix(path: &Path, options: ListenOptions, mode: u32) -> Result<Bound, BindError> {
    let refused = |error| BindError::System(ListenAddr::Unix(path.to_owned()), error);
    let at = SockAddr::unix(path).map_err(refused)?;
    if let Ok(found) = fs::symlink_metadata(path) {
        remove_stale(path, &at, &found)?;
    }
    let bound = || -> io::Result<Bound> {
        let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        // Linux gives the file the mode that the socket has, so that it never has another one,
        // whatever the umask.
        let socket = File::from(OwnedFd::from(socket));
        socket.set_permissions(fs::Permissions::from_mode(mode))?;
        let socket = RawSocket::from(OwnedFd::from(socket));
        socket.bind(&at)?;
        let file = SocketFile::of(path)?;
        socket.listen(backlog(options))?;
        Ok(Bound {
            socket,
            asked: ListenAddr::Unix(path.to_owned()),
            address: ListenAddr::Unix(path.to_owned()),
            file: Some(Arc::new(file)),
        })
    };
    bound().map_err(refused)
}

fn backlog(options: ListenOptions) -> i32 {
    i32::try_from(options.backlog).unwrap_or(i32::MAX)
}

/// Removes the socket file that a dead process left behind: nobody accepts on it.
fn remove_stale(path: &Path, at: &SockAddr, found: &Metadata) -> Result<(), BindError> {
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    let removed = || -> io::Result<bool> {
        let caller = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
        // Not blocking, since a live process with a full backlog would keep us waiting.
        caller.set_nonblocking(true)?;
        match caller.connect(at) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map(|()| true)
            }
            _ => Ok(false),
        }
    };
    match removed() {
        Ok(true) => Ok(()),
        Ok(false) => Err(BindError::Alive(path.to_owned())),
        Err(error) => Err(BindError::System(ListenAddr::Unix(path.to_owned()), error)),
    }
}

/// A unix socket's file, removed at the end unless another process has put its own in place, or
/// has been given the socket.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    given: AtomicBool,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            identity: identity(path)?,
            path: path.to_owned(),
            given: AtomicBool::new(false),
        })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = !self.given.load(Ordering::Relaxed);
        if ours && identity(&self.path).is_ok_and(|now| now == self.identity) {
            // Nobody is left to tell, and the next start copes with a stale file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A socket that listens: clients already queue, nobody accepts yet.
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
            file.given.store(false, Ordering::Relaxed);
        }
    }

    /// Another process has the socket now: its file is no longer ours to remove.
    pub fn give_away(&self) {
        if let Some(file) = &self.file {
            file.given.store(true, Ordering::Relaxed);
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

/// A connection that has just come in, on no runtime yet.
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
    /// What was lacking, as metrics say it.
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

/// One accept; `WouldBlock` when nobody waits.
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

/// Whether an error of accept(2) tells about the one connection that was next, which is gone, and
/// not about us. Linux passes network errors of the new socket on as accept's own.
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
