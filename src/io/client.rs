//! HTTP requests of the gateway itself: to forward-auth services, to issuers for their keys, to
//! certificate authorities. One [`Client`] is one pool of connections, verified by one set of
//! roots. Everything about an exchange is bounded. Redirects are not followed.
//!
//! A connection is kept for the next request if the exchange ended well and neither side announced
//! its end (`Connection: close`, HTTP/1.0, a body without a length). Every other one is closed.

mod by_name;
mod connector;
mod stream;

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, connect::capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::base::addr::OwnAddresses;
use crate::config::snapshot::UpstreamTls;
use crate::io::client::connector::{Connector, History};
use crate::io::tls::client::ClientTls;

pub use crate::io::client::by_name::ClientsByName;
pub use crate::io::client::connector::ConnectError;
pub use crate::io::client::stream::Parts;

/// Bound on the head of an answer.
const HEAD_MAX: usize = 32 * 1024;
/// What connections a client keeps.
const KEPT: Kept = Kept {
    idle_max: 8,
    // Sooner than most servers close theirs.
    idle_time: Duration::from_secs(15),
    age_max: Duration::from_secs(300),
};

type Pool = legacy::Client<Connector, Full<Bytes>>;

/// A pool of connections that one set of roots verifies. A clone shares the pool.
///
/// Its connections belong to the runtime that makes the requests, so each worker has its own
/// clients: a connection never depends on another thread.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool,
    /// Never reuses a connection.
    fresh: Pool,
    age_max: Duration,
}

/// Bounds on the connections that a client keeps.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// Idle connections to one authority.
    idle_max: usize,
    /// How long a connection may be idle.
    idle_time: Duration,
    /// Age at which a connection takes no further request, so that a changed name or address of the
    /// server is found.
    age_max: Duration,
}

/// Limits of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeLimits {
    /// From the request to the end of the answer.
    pub time: Duration,
    /// Bytes of the answer's body.
    pub body: usize,
}

/// No answer, and why.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error(transparent)]
    Connect(Arc<ConnectError>),
    /// The connection ended, or HTTP was broken.
    #[error("the connection ended before the response was complete")]
    Http(#[source] HttpFault),
    /// The time ran out.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// Too long an answer.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
    /// A body that breaks off.
    #[error("the answer's body broke off")]
    Body,
    /// Headers that are none.
    #[error("the request cannot be written")]
    Request(#[from] http::Error),
}

impl From<ConnectError> for ClientError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(Arc::new(error))
    }
}

/// What ended an exchange, with hyper's reason.
#[derive(Debug)]
pub struct HttpFault(legacy::Error);

impl fmt::Display for HttpFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.source() {
            Some(reason) => fmt::Display::fmt(reason, f),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl Error for HttpFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source().and_then(Error::source)
    }
}

/// A URL that a client can ask.
///
/// # Errors
/// When it is not an absolute `http:` or `https:` URL.
pub fn url(text: &str) -> Result<Uri, ClientError> {
    let uri: Uri = text.parse().map_err(|_| ConnectError::Url)?;
    let known = [Scheme::HTTP, Scheme::HTTPS];
    match uri.scheme().is_some_and(|scheme| known.contains(scheme)) && uri.host().is_some() {
        true => Ok(uri),
        false => Err(ConnectError::Url.into()),
    }
}

/// TLS to a server that the roots of the file `ca` verify, or those of the system; `None` unless
/// `secure`. Roots are files, which are read on another thread.
///
/// # Errors
/// When they cannot be read.
pub async fn server_tls(
    secure: bool,
    ca: Option<PathBuf>,
) -> Result<Option<ClientTls>, ClientError> {
    let tls = UpstreamTls {
        ca,
        server_name: None,
    };
    let made = spawn_blocking(move || secure.then(|| ClientTls::new(&tls)).transpose()).await;
    let made = made.expect("reading roots does not panic");
    Ok(made.map_err(ConnectError::from)?)
}

impl Client {
    /// A client whose `https:` servers `tls` verifies, and that never connects to one of the
    /// gateway's `own` addresses. A connection has to be made within `connect`.
    pub fn new(tls: Option<ClientTls>, own: OwnAddresses, connect: Duration) -> Self {
        let connector = Connector {
            tls,
            own: Arc::new(own),
            timeout: connect,
        };
        Self::keeping(KEPT, connector)
    }

    fn keeping(kept: Kept, connector: Connector) -> Self {
        let builder = |idle_max| {
            let mut builder = legacy::Client::builder(TokioExecutor::new());
            builder
                // Without the timer an idle connection stays until a request finds it too old.
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(kept.idle_time)
                .pool_max_idle_per_host(idle_max)
                .http1_max_buf_size(HEAD_MAX);
            builder
        };
        Self {
            pool: builder(kept.idle_max).build(connector.clone()),
            fresh: builder(0).build(connector),
            age_max: kept.age_max,
        }
    }

    /// Sends a request for an absolute URL and reads the whole answer.
    ///
    /// A GET or HEAD is sent a second time, on a new connection, if the server closed a kept
    /// connection instead of answering. Every request is sent again if no byte of it was written.
    ///
    /// # Errors
    /// When there is no answer within the limits.
    pub async fn ask(
        &self,
        mut request: Request<Full<Bytes>>,
        limits: ExchangeLimits,
    ) -> Result<Response<Bytes>, ClientError> {
        let agent = concat!("sessile/", env!("CARGO_PKG_VERSION"));
        let agent = HeaderValue::from_static(agent);
        request.headers_mut().entry(USER_AGENT).or_insert(agent);
        let exchange = self.exchange(request, limits.body);
        let exchange = timeout(limits.time, exchange).await;
        exchange.map_err(|_| ClientError::TimedOut(limits.time))?
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        body_max: usize,
    ) -> Result<Response<Bytes>, ClientError> {
        let repeatable = matches!(*request.method(), Method::GET | Method::HEAD);
        let again = repeatable.then(|| request.clone());
        let answer = match (self.send(&self.pool, request).await, again) {
            (Err(error), Some(again)) if ended_while_idle(&error) => {
                self.send(&self.fresh, again).await
            }
            (answer, _) => answer,
        };
        let (head, body) = answer.map_err(reason)?.into_parts();
        let body = Limited::new(body, body_max).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => ClientError::TooLarge(body_max),
            false => ClientError::Body,
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    /// Sends a request over a connection of the pool, and retires the connection if it is old.
    async fn send(
        &self,
        pool: &Pool,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, legacy::Error> {
        let connection = capture_connection(&mut request);
        let answer = pool.request(request).await?;
        if let Some(connected) = &*connection.connection_metadata()
            && let Some(history) = History::of(connected)
        {
            history.set_answered();
            if history.age() >= self.age_max {
                connected.poison();
            }
        }
        Ok(answer)
    }
}

/// Whether a kept connection ended before any answer: the server closed it while the request was on
/// its way.
fn ended_while_idle(error: &legacy::Error) -> bool {
    let history = error.connect_info().and_then(History::of);
    let reason = error.source();
    let Some(reason) = reason.and_then(|reason| reason.downcast_ref::<hyper::Error>()) else {
        return false;
    };
    let broken = reason
        .source()
        .is_some_and(<dyn Error>::is::<std::io::Error>);
    let ended = broken || reason.is_incomplete_message() || reason.is_closed();
    ended && history.is_some_and(|history| history.has_answered())
}

fn reason(error: legacy::Error) -> ClientError {
    let connect = error.source();
    let connect = connect.and_then(|reason| reason.downcast_ref::<Arc<ConnectError>>());
    match connect {
        Some(connect) => ClientError::Connect(Arc::clone(connect)),
        None => ClientError::Http(HttpFault(error)),
    }
}

#[cfg(test)]
mod tests;
