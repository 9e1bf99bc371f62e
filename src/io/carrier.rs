//! The byte stream under either side of a session, with or without TLS. It moves bytes without
//! interpreting them.
//!
//! Two properties that the relay builds on: a read that does not fill the buffer clears the
//! socket's readiness, so that no second read is needed to learn that there is nothing more; and
//! with TLS a write may succeed before its bytes have left, so `poll_flush` has to follow.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::{ClientConfig, HandshakeKind};
use socket2::SockRef;
use tokio::io::AsyncWrite as _;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, client, server};
use zeroize::Zeroizing;

use crate::base::clock;
use crate::config::pem::Validity;
use crate::config::snapshot::TlsRecords;
use crate::core::relay::EventClient;
use crate::core::tls::UnsoundTls;
use crate::io::delegate::delegate_io;
use crate::io::ends::{EventStream, LocalEnd};
use crate::io::net::socket::{self, BACKEND_KEEPALIVE, Socket};
use crate::io::tls::challenges::ALPN_ACME;
use crate::io::tls::handshake;
use crate::io::tls::server::ServerTls;
use crate::io::tls::stream::TlsStream;

/// Bytes that a TLS stream takes from a writer before the reader at its far end has made room: one
/// full record. rustls' own default is four of them.
const TLS_UNSENT_MAX: usize = 16 * 1024;

/// A connection to a client or to a backend.
#[derive(Debug)]
pub enum Carrier {
    /// The bare socket.
    Plain(Socket),
    /// TLS by the record layer of `core::tls`.
    Tls(Box<TlsStream>),
    /// TLS by rustls alone that ends here: a client's connection.
    TlsServer(Box<server::TlsStream<Socket>>),
    /// TLS by rustls alone that begins here: a connection to a backend.
    TlsClient(Box<client::TlsStream<Socket>>),
    /// A client that takes server-sent events.
    Events(Box<EventStream<Self>>),
    /// The gateway itself, at a backend's place.
    Local(Box<LocalEnd>),
}

/// A TLS connection has no state that another process could continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPacked;

const _: () = assert!(
    size_of::<Carrier>() <= 48,
    "every session holds two carriers"
);

impl Carrier {
    /// Runs the TLS handshake with a client. The caller bounds the time.
    ///
    /// # Errors
    /// When the peer ends or breaks the handshake; the message is rustls' own.
    pub async fn accept_tls(socket: Socket, tls: &ServerTls) -> io::Result<Self> {
        let carrier = Self::handshake(socket, tls).await?;
        // rustls verifies no certificate again when a ticket resumes the session of its owner.
        let shown = carrier.peer_certificate().and_then(Validity::of);
        let expired = shown.is_some_and(|shown| shown.not_after < clock::wall());
        match expired {
            true => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the certificate of the resumed session has expired",
            )),
            false => Ok(carrier),
        }
    }

    async fn handshake(socket: Socket, tls: &ServerTls) -> io::Result<Self> {
        if tls.records() == TlsRecords::Gateway {
            let stream = handshake::accept(socket, tls).await?;
            return Ok(Self::Tls(Box::new(stream)));
        }
        let started = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
        let config = tls.choose(&started.client_hello());
        let stream = started
            .into_stream_with(config, |tls| tls.set_buffer_limit(Some(TLS_UNSENT_MAX)))
            .await?;
        Ok(Self::TlsServer(Box::new(stream)))
    }

    /// Runs the TLS handshake with a backend, which must prove that it is `name`. The caller bounds
    /// the time.
    ///
    /// # Errors
    /// When the peer ends or breaks the handshake, or is not `name`.
    pub async fn connect_tls(
        socket: Socket,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        if config.enable_secret_extraction {
            let stream = handshake::connect(socket, config, name).await?;
            return Ok(Self::Tls(Box::new(stream)));
        }
        let stream = TlsConnector::from(config)
            .connect_with(name, socket, |tls| {
                tls.set_buffer_limit(Some(TLS_UNSENT_MAX))
            })
            .await?;
        Ok(Self::TlsClient(Box::new(stream)))
    }

    /// Whether the bytes on the socket are TLS records.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Local(_) => false,
            Self::Tls(_) | Self::TlsServer(_) | Self::TlsClient(_) => true,
            Self::Events(events) => events.inner().is_tls(),
        }
    }

    /// The socket below all of it, if there is one.
    pub fn socket(&self) -> Option<&Socket> {
        Some(match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.socket(),
            Self::TlsServer(tls) => tls.get_ref().0,
            Self::TlsClient(tls) => tls.get_ref().0,
            Self::Events(events) => return events.inner().socket(),
            Self::Local(_) => return None,
        })
    }

    /// The same client, which takes server-sent events from now on, behind what is `unsent` of the
    /// response. One that acknowledges nothing for `silence` is gone.
    pub fn with_events(self, client: EventClient, unsent: Vec<u8>, silence: Duration) -> Self {
        if let Some(socket) = self.socket() {
            // Unix sockets have no such clients.
            let _ = SockRef::from(socket).set_tcp_user_timeout(Some(silence));
        }
        let mut events = EventStream::new(self, client, unsent);
        // The rest leaves with the next event.
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut events).poll_flush(&mut cx);
        Self::Events(Box::new(events))
    }

    /// Whether the client takes server-sent events.
    pub fn takes_events(&self) -> bool {
        matches!(self, Self::Events(_))
    }

    /// The bare socket, if there is nothing on it; otherwise the carrier back.
    ///
    /// # Errors
    /// The carrier itself, when it is TLS.
    pub fn into_plain(self) -> Result<Socket, Self> {
        match self {
            Self::Plain(socket) => Ok(socket),
            tls => Err(tls),
        }
    }

    /// Ends the connection by a reset: what is on its way is dropped, and the peer cannot take this
    /// for a proper end.
    pub fn abort(self) {
        // Without it the system ends the connection as any other.
        if let Some(socket) = self.socket() {
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    /// The descriptor, where reading and writing it is reading and writing the carrier.
    pub fn as_plain_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Plain(socket) => Some(socket.as_fd()),
            _ => None,
        }
    }

    /// The other end of the TCP connection; `None` for unix sockets.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.socket()?.peer_addr()
    }

    /// This end of the TCP connection; `None` for unix sockets.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket()?.local_addr()
    }

    /// The client's certificate (DER), if it presented one.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(tls) => tls.peer_certificate(),
            Self::TlsServer(tls) => {
                let chain = tls.get_ref().1.peer_certificates()?;
                chain.first().map(AsRef::as_ref)
            }
            _ => None,
        }
    }

    /// Whether the TLS handshake was the challenge of a certificate authority. Nothing follows it.
    pub fn is_challenge(&self) -> bool {
        let spoken = match self {
            Self::Tls(tls) => tls.alpn(),
            Self::TlsServer(tls) => tls.get_ref().1.alpn_protocol(),
            _ => None,
        };
        spoken == Some(ALPN_ACME)
    }

    /// Whether the TLS handshake resumed an earlier session; `None` without TLS.
    pub fn resumed(&self) -> Option<bool> {
        let kind = match self {
            Self::Plain(_) | Self::Events(_) | Self::Local(_) => return None,
            Self::Tls(tls) => return Some(tls.resumed()),
            Self::TlsServer(tls) => tls.get_ref().1.handshake_kind(),
            Self::TlsClient(tls) => tls.get_ref().1.handshake_kind(),
        };
        Some(kind == Some(HandshakeKind::Resumed))
    }

    /// The state of its TLS connection for another process, which is frozen until `thaw`; `None`
    /// without TLS.
    ///
    /// # Errors
    /// When the connection is broken, or its records are rustls'.
    pub fn pack(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, NotPacked> {
        match self {
            Self::Plain(_) => Ok(None),
            Self::Local(local) => {
                local.set_packed(true);
                Ok(None)
            }
            Self::Events(events) => events.inner_mut().pack(),
            Self::Tls(tls) => tls.pack().map(Some).ok_or(NotPacked),
            Self::TlsServer(_) | Self::TlsClient(_) => Err(NotPacked),
        }
    }

    /// No other process owns the connection.
    pub fn thaw(&mut self) {
        match self {
            Self::Tls(tls) => tls.thaw(),
            Self::Local(local) => local.set_packed(false),
            Self::Events(events) => events.inner_mut().thaw(),
            _ => {}
        }
    }

    /// The TLS connection that another process packed, on its socket.
    ///
    /// # Errors
    /// When no connection can be in this state.
    pub fn unpack(socket: Socket, packed: &[u8]) -> Result<Self, UnsoundTls> {
        Ok(Self::Tls(Box::new(TlsStream::unpack(socket, packed)?)))
    }

    /// Sets the options of a backend's socket that its dial put off ([`Tuning::Early`]).
    ///
    /// [`Tuning::Early`]: crate::io::net::socket::Tuning::Early
    pub fn tune_late(&self) {
        if let Some(Socket::Tcp(stream)) = self.socket() {
            // Fails only on a lost connection, which the next use reports.
            let _ = socket::tune_late(stream, Some(BACKEND_KEEPALIVE));
        }
    }

    /// A session begins: forgets what only the time before it needs.
    pub fn settle(&mut self) {
        match self {
            Self::Tls(tls) => tls.settle(),
            Self::Events(events) => events.inner_mut().settle(),
            _ => {}
        }
    }
}

impl From<Socket> for Carrier {
    fn from(socket: Socket) -> Self {
        Self::Plain(socket)
    }
}

delegate_io!(Carrier {
    Plain,
    Tls,
    TlsServer,
    TlsClient,
    Events,
    Local
});
