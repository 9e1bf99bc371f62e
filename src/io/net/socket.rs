//! A connected socket of either family, and its options. `Socket` belongs to the runtime that it
//! was made on; `Detached` belongs to none, and may move between threads (and later processes).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use crate::io::delegate::delegate_io;

/// Between keepalive probes, once the idle time has passed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Unanswered keepalive probes after which the system gives a connection up.
const KEEPALIVE_RETRIES: u32 = 3;

/// Keepalive time towards backends, which finds a half-open connection even if nothing is sent.
pub const BACKEND_KEEPALIVE: Duration = Duration::from_secs(60);

/// Bytes that the system keeps for a peer beyond those under way to it. Without it the system takes
/// megabytes for a peer that does not read.
pub const UNSENT_MAX: u32 = 128 * 1024;

/// A connected socket on this thread's runtime.
#[derive(Debug)]
pub enum Socket {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A unix stream socket.
    Unix(UnixStream),
}

impl Socket {
    /// The peer's address; `None` for unix sockets, whose clients have no address.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// This end; `None` for unix sockets.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Takes the socket off this thread's runtime.
    ///
    /// # Errors
    /// When the system does not let go of it; the socket is then closed.
    pub fn detach(self) -> io::Result<Detached> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(Detached::Tcp),
            Self::Unix(stream) => stream.into_std().map(Detached::Unix),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

delegate_io!(Socket { Tcp, Unix });

/// A connected, non-blocking socket that belongs to no runtime yet.
#[derive(Debug)]
pub enum Detached {
    /// TCP over IPv4 or IPv6.
    Tcp(std::net::TcpStream),
    /// A unix stream socket.
    Unix(StdUnixStream),
}

impl Detached {
    /// Settles the socket on the runtime of the calling thread.
    ///
    /// # Errors
    /// When the system cannot watch one more descriptor.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn attach(self) -> io::Result<Socket> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Socket::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Socket::Unix),
        }
    }
}

/// Which options a connection gets when it is made.
#[derive(Clone, Copy, Debug)]
pub enum Tuning {
    /// All of them, with this keepalive time; `None` is off.
    Whole(Option<Duration>),
    /// Those that its first messages need. The rest follows with [`tune_late`].
    Early,
}

/// Sets what every TCP connection here has: small messages leave at once (`TCP_NODELAY`), little
/// waits in the system for a peer that does not read (`TCP_NOTSENT_LOWAT`), and a peer that
/// vanished is noticed `keepalive` plus 30 s after its last sign of life.
///
/// # Errors
/// The system's own.
pub fn tune(socket: &impl AsFd, tuning: Tuning) -> io::Result<()> {
    SockRef::from(socket).set_tcp_nodelay(true)?;
    match tuning {
        Tuning::Whole(keepalive) => tune_late(socket, keepalive),
        Tuning::Early => Ok(()),
    }
}

/// Sets what [`Tuning::Early`] leaves out. These options act on a connection that is silent for a
/// minute or has much to send, so that a young connection is the same without them.
///
/// # Errors
/// The system's own.
pub fn tune_late(socket: &impl AsFd, keepalive: Option<Duration>) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    if let Some(time) = keepalive {
        let parameters = TcpKeepalive::new()
            .with_time(time)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        socket.set_tcp_keepalive(&parameters)?;
    }
    Ok(())
}
