//! Accepting connections. The loop survives a lack of descriptors or memory: it reports the error
//! and pauses.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::Socket as RawSocket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::base::addr::ListenAddr;
use crate::base::backoff::Backoff;
use crate::io::net::listener::bound::Bound;
use crate::io::net::listener::socket_file::SocketFile;
use crate::io::net::socket::Detached;

/// Waits after a failed accept. While they last, clients wait in the backlog.
const WAITS: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));

impl Bound {
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

/// An accepted connection, not yet registered with a runtime.
#[derive(Debug)]
pub struct Incoming {
    /// Non-blocking, options set.
    pub socket: Detached,
    /// Who connected; `None` on unix sockets.
    pub peer: Option<SocketAddr>,
    /// This end, where the listener's address shows it; else the socket has to be asked.
    pub local: Option<SocketAddr>,
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
    pub(super) resume: Option<Instant>,
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

/// One accept; `WouldBlock` if the queue is empty. One system call does it all.
fn take(socket: &RawSocket, address: &ListenAddr) -> io::Result<Incoming> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (stream, peer) = acceptfrom_with(socket, flags)?;
    Ok(match address {
        ListenAddr::Tcp(bound) => Incoming {
            socket: Detached::Tcp(stream.into()),
            peer: peer.and_then(|peer| SocketAddr::try_from(peer).ok()),
            local: Some(*bound).filter(|bound| !bound.ip().is_unspecified()),
        },
        ListenAddr::Unix(_) => Incoming {
            socket: Detached::Unix(stream.into()),
            peer: None,
            local: None,
        },
    })
}

/// Whether an error of accept(2) concerns only the next connection in the queue, which is gone.
/// Linux passes network errors of the new socket on as accept's own.
pub(super) fn died_in_queue(error: &io::Error) -> bool {
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
