//! New connections of the gateway's own client: address, dial, TLS. The pool calls this when no
//! idle connection is left.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tower::Service;

use crate::base::addr::{AddrError, BackendAddr, OwnAddresses};
use crate::base::clock;
use crate::io::carrier::Carrier;
use crate::io::net::dial::{DialError, DialOptions, dial};
use crate::io::net::socket::Tuning;
use crate::io::tls::client::{ClientTls, ClientTlsError};

/// No connection, and why.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not a usable URL. The message does not repeat it, since it may contain a secret.
    #[error("the URL cannot be asked")]
    Url,
    /// Not an address.
    #[error(transparent)]
    Address(#[from] AddrError),
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
}

/// Dials the host of a URL.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    /// Verifies servers of `https:` URLs; without it there are none.
    pub(super) tls: Option<ClientTls>,
    /// The gateway's own addresses, which are never dialled.
    pub(super) own: Arc<OwnAddresses>,
    /// Limit of name lookup, connection and TLS handshake together.
    pub(super) timeout: Duration,
}

/// The history of one connection, shared with the pool.
#[derive(Clone, Debug)]
pub(super) struct History(Arc<Past>);

#[derive(Debug)]
struct Past {
    since: Instant,
    answered: AtomicBool,
}

impl History {
    /// Records that a request on this connection was answered.
    pub(super) fn set_answered(&self) {
        self.0.answered.store(true, Ordering::Relaxed);
    }

    /// Whether a request on this connection has been answered.
    pub(super) fn has_answered(&self) -> bool {
        self.0.answered.load(Ordering::Relaxed)
    }

    /// The age of the connection.
    pub(super) fn age(&self) -> Duration {
        clock::now().duration_since(self.0.since)
    }

    /// The history of the connection that this describes.
    pub(super) fn of(connected: &Connected) -> Option<Self> {
        let mut extras = http::Extensions::new();
        connected.get_extras(&mut extras);
        extras.remove()
    }
}

impl Connection for Carrier {
    /// The pool calls this once for each new connection.
    fn connected(&self) -> Connected {
        Connected::new().extra(History(Arc::new(Past {
            since: clock::now(),
            answered: AtomicBool::new(false),
        })))
    }
}

impl Connector {
    async fn connect(self, to: Uri) -> Result<TokioIo<Carrier>, ConnectError> {
        let host = to.host().ok_or(ConnectError::Url)?;
        let (tls, port) = match to.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => {
                (Some(self.tls.as_ref().ok_or(ConnectError::Url)?), 443)
            }
            Some(scheme) if *scheme == Scheme::HTTP => (None, 80),
            _ => return Err(ConnectError::Url),
        };
        let port = to.port_u16().unwrap_or(port);
        let address: BackendAddr = format!("{host}:{port}").parse()?;
        let tls = tls.map(|tls| tls.to(&address)).transpose()?;
        let options = DialOptions {
            timeout: self.timeout,
            tuning: Tuning::Whole(None),
            proxy_header: &[],
            tls: tls.as_ref(),
            own: &self.own,
        };
        Ok(TokioIo::new(dial(&address, options).await?))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Carrier>;
    /// Shared, so that the pool's error can be taken apart by reference.
    type Error = Arc<ConnectError>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connect = self.clone().connect(to);
        Box::pin(async move { connect.await.map_err(Arc::new) })
    }
}
