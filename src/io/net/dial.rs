//! Connecting to a backend: look the name up, try its addresses, send the PROXY header, do TLS; all
//! within one time. Which backend, and what then, is decided elsewhere.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use crate::base::addr::{BackendAddr, OwnAddresses};
use crate::io::carrier::Carrier;
use crate::io::net::connect::connect_tcp;
use crate::io::net::names;
use crate::io::net::own;
use crate::io::net::socket::{self, Socket, Tuning};

/// Head start of each address of a name over the next (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// TLS to a backend.
#[derive(Clone, Debug)]
pub struct DialTls {
    /// Roots and ALPN.
    pub config: Arc<ClientConfig>,
    /// Who the backend must prove to be.
    pub name: ServerName<'static>,
}

/// How to dial.
#[derive(Clone, Copy, Debug)]
pub struct DialOptions<'a> {
    /// For everything, from the name's lookup to the end of the TLS handshake.
    pub timeout: Duration,
    /// The options of a TCP connection.
    pub tuning: Tuning,
    /// Bytes of a PROXY header, sent before anything else. Empty: none.
    pub proxy_header: &'a [u8],
    /// TLS, if the backend speaks it.
    pub tls: Option<&'a DialTls>,
    /// Addresses that are never dialled: the gateway's own.
    pub own: &'a OwnAddresses,
}

/// Why a connection failed. `to` is the backend as configured, with the address that its name
/// resolved to.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name cannot be looked up.
    #[error("{to}: no such name")]
    Name {
        /// The backend.
        to: Peer,
        /// The resolver's answer.
        source: io::Error,
    },
    /// Connection refused: no process listens there.
    #[error("{to} refused the connection")]
    Refused {
        /// The backend.
        to: Peer,
    },
    /// The time ran out.
    #[error("{to} timed out after {after:?} while {stage}")]
    TimedOut {
        /// The backend.
        to: Peer,
        /// The time that it had.
        after: Duration,
        /// What was going on.
        stage: Stage,
    },
    /// The gateway itself listens there.
    #[error("{to} is an address of this gateway itself")]
    Own {
        /// The backend.
        to: Peer,
    },
    /// The network or this machine made it impossible.
    #[error("cannot connect to {to}")]
    Connect {
        /// The backend.
        to: Peer,
        /// The system's reason.
        source: io::Error,
    },
    /// The connection ended before the PROXY header was sent.
    #[error("{to} did not take the PROXY header")]
    ProxyHeader {
        /// The backend.
        to: Peer,
        /// The system's reason.
        source: io::Error,
    },
    /// The backend does not speak TLS, or its certificate is not valid for its name.
    #[error("TLS handshake with {to} failed")]
    Tls {
        /// The backend.
        to: Peer,
        /// rustls' reason.
        source: io::Error,
    },
}

impl DialError {
    /// Whether this machine lacks a resource (descriptors, ports, memory), which is no failure of
    /// the backend.
    pub fn is_ours(&self) -> bool {
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        let (Self::Connect { source, .. } | Self::Name { source, .. }) = self else {
            return false;
        };
        matches!(
            source.kind(),
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory
        ) || matches!(source.raw_os_error(), Some(ENFILE | EMFILE))
    }
}

/// A backend, and the address tried last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// As the operator wrote it.
    pub backend: BackendAddr,
    /// What its name stood for; `None` where it has no name, or none was found.
    pub address: Option<SocketAddr>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.backend.fmt(f)?;
        match self.address {
            Some(address) => write!(f, " ({address})"),
            None => Ok(()),
        }
    }
}

/// What a dial is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its name is being resolved.
    LookingUp,
    /// No address has answered yet.
    Connecting,
    /// The TLS handshake is not over.
    Securing,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LookingUp => "looking up its name",
            Self::Connecting => "connecting",
            Self::Securing => "in the TLS handshake",
        })
    }
}

/// Connects to a backend.
///
/// All addresses of a name are tried in the resolver's order, families in turn, each with a head
/// start of 250 ms over the next, or less where they would not all be tried in time; the first to
/// answer is taken.
///
/// # Errors
/// What failed, of the address that was tried last.
pub async fn dial(to: &BackendAddr, options: DialOptions<'_>) -> Result<Carrier, DialError> {
    let mut stage = Stage::Connecting;
    match timeout(options.timeout, run(to, options, &mut stage)).await {
        Ok(result) => result,
        Err(_) => Err(DialError::TimedOut {
            to: peer(to, None),
            after: options.timeout,
            stage,
        }),
    }
}

async fn run(
    to: &BackendAddr,
    options: DialOptions<'_>,
    stage: &mut Stage,
) -> Result<Carrier, DialError> {
    let mut socket = connect(to, options, stage).await?;
    let reached = match to {
        BackendAddr::Host(..) => peer(to, socket.peer_addr()),
        _ => peer(to, None),
    };
    if let Socket::Tcp(stream) = &socket {
        // Fails only on a lost connection, which the next use reports.
        let _ = socket::tune(stream, options.tuning);
    }
    if !options.proxy_header.is_empty()
        && let Err(source) = socket.write_all(options.proxy_header).await
    {
        return Err(DialError::ProxyHeader {
            to: reached,
            source,
        });
    }
    match options.tls {
        None => Ok(socket.into()),
        Some(tls) => {
            *stage = Stage::Securing;
            let handshake = Carrier::connect_tls(socket, tls.config.clone(), tls.name.clone());
            // Boxed: it is large, and most backends do without TLS.
            let secured = Box::pin(handshake).await;
            secured.map_err(|source| DialError::Tls {
                to: reached,
                source,
            })
        }
    }
}

async fn connect(
    to: &BackendAddr,
    options: DialOptions<'_>,
    stage: &mut Stage,
) -> Result<Socket, DialError> {
    let own = options.own;
    match to {
        BackendAddr::Ip(address) if own::is_own(own, *address) => {
            Err(DialError::Own { to: peer(to, None) })
        }
        BackendAddr::Unix(path) if own::is_own_socket(own, path) => {
            Err(DialError::Own { to: peer(to, None) })
        }
        BackendAddr::Ip(address) => match connect_tcp(*address).await {
            Ok(stream) => Ok(Socket::Tcp(stream)),
            Err(error) => Err(failed(peer(to, None), error)),
        },
        BackendAddr::Unix(path) => match UnixStream::connect(path).await {
            Ok(stream) => Ok(Socket::Unix(stream)),
            Err(error) => Err(failed(peer(to, None), error)),
        },
        BackendAddr::Host(name, port) => {
            *stage = Stage::LookingUp;
            let found = match Box::pin(names::system().resolve(name, *port)).await {
                Ok(found) => in_turn(found.into_iter()),
                Err(source) => {
                    let to = peer(to, None);
                    return Err(DialError::Name { to, source });
                }
            };
            if let Some(address) = found.iter().find(|address| own::is_own(own, **address)) {
                let to = peer(to, Some(*address));
                return Err(DialError::Own { to });
            }
            *stage = Stage::Connecting;
            let parts = u32::try_from(found.len()).unwrap_or(u32::MAX);
            let stagger = STAGGER.min(options.timeout / parts.saturating_add(1));
            match Box::pin(race(&found, stagger)).await {
                Ok(stream) => Ok(Socket::Tcp(stream)),
                Err((address, error)) => Err(failed(peer(to, address), error)),
            }
        }
    }
}

fn peer(backend: &BackendAddr, address: Option<SocketAddr>) -> Peer {
    Peer {
        backend: backend.clone(),
        address,
    }
}

fn failed(to: Peer, source: io::Error) -> DialError {
    match source.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused { to },
        _ => DialError::Connect { to, source },
    }
}

/// Alternates the families, beginning with that of the first address (RFC 8305, section 4).
fn in_turn(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let all: Vec<_> = found.collect();
    let first_is_v6 = all.first().is_some_and(SocketAddr::is_ipv6);
    let (own, other): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut own, mut other) = (own.into_iter(), other.into_iter());
    let mut turns = Vec::new();
    loop {
        let before = turns.len();
        turns.extend(own.next());
        turns.extend(other.next());
        if turns.len() == before {
            return turns;
        }
    }
}

/// The first of `addresses` to accept a connection. The next attempt begins when the last one began
/// `stagger` ago, or as soon as one fails. The error is that of the attempt that failed last.
async fn race(
    addresses: &[SocketAddr],
    stagger: Duration,
) -> Result<TcpStream, (Option<SocketAddr>, io::Error)> {
    let attempt = |address: SocketAddr| async move {
        connect_tcp(address)
            .await
            .map_err(|error| (Some(address), error))
    };
    let mut waiting = addresses.iter().copied();
    let mut attempts = FuturesUnordered::new();
    let mut last = (None, io::Error::other("the name has no addresses"));
    loop {
        attempts.extend(waiting.next().map(attempt));
        let more = waiting.len() > 0;
        tokio::select! {
            done = attempts.next() => match done {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = error,
                None => return Err(last),
            },
            () = sleep(stagger), if more => {}
        }
    }
}

#[cfg(test)]
mod tests;
