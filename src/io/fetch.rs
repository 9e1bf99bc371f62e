//! One HTTP request of the gateway itself: to an issuer for its keys, or to a forward-auth service.
//! It uses a new connection, and everything is bounded.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::base::addr::{AddrError, BackendAddr, OwnAddresses};
use crate::config::snapshot::UpstreamTls;
use crate::io::net::dial::{DialError, DialOptions, dial};
use crate::io::tls::client::{ClientTls, ClientTlsError};

/// Bound on the head of an answer.
const HEAD_MAX: usize = 32 * 1024;

/// Where requests go; made once, since it reads the roots.
#[derive(Clone, Debug)]
pub struct Origin {
    address: BackendAddr,
    authority: HeaderValue,
    target: String,
    tls: Option<ClientTls>,
}

/// No answer, and why.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
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
    /// The connection ended, or HTTP was broken.
    #[error("the answer broke off")]
    Http(#[from] hyper::Error),
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

impl Origin {
    /// For this URL, whose server must prove its name by `ca` or the system's roots.
    ///
    /// # Errors
    /// When the URL is invalid, or the roots cannot be read.
    pub fn new(url: &str, ca: Option<PathBuf>) -> Result<Self, FetchError> {
        let wrong = || FetchError::Url;
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?;
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let authority = uri.authority().ok_or_else(wrong)?.as_str();
        let tls = UpstreamTls {
            ca,
            server_name: None,
        };
        Ok(Self {
            address: format!("{host}:{port}").parse()?,
            authority: HeaderValue::from_str(authority).map_err(|_| wrong())?,
            target: uri
                .path_and_query()
                .map_or("/", |target| target.as_str())
                .to_owned(),
            tls: secure.then(|| ClientTls::new(&tls)).transpose()?,
        })
    }

    /// Sends a request for the origin's path and reads the whole answer.
    ///
    /// # Errors
    /// When there is no answer within `limit`, or it is longer than `body_max`, or the origin is at
    /// one of the gateway's `own` addresses.
    pub async fn ask(
        &self,
        mut request: Request<Full<Bytes>>,
        limit: Duration,
        body_max: usize,
        own: &OwnAddresses,
    ) -> Result<Response<Bytes>, FetchError> {
        *request.uri_mut() = self.target.parse().map_err(|_| FetchError::Url)?;
        let fields = request.headers_mut();
        fields.insert(HOST, self.authority.clone());
        let agent = concat!("sessile/", env!("CARGO_PKG_VERSION"));
        fields
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(agent));
        let asked = self.exchange(request, limit, body_max, own);
        timeout(limit, asked)
            .await
            .map_err(|_| FetchError::TimedOut(limit))?
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
        body_max: usize,
        own: &OwnAddresses,
    ) -> Result<Response<Bytes>, FetchError> {
        let tls = match &self.tls {
            Some(tls) => Some(tls.to(&self.address)?),
            None => None,
        };
        let options = DialOptions {
            timeout: limit,
            keepalive: None,
            proxy_header: &[],
            tls: tls.as_ref(),
            own,
        };
        let carrier = dial(&self.address, options).await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_MAX)
            .handshake(TokioIo::new(carrier))
            .await?;
        let mut moves = JoinSet::new();
        // How the connection ends shows in the answer.
        moves.spawn(async move { drop(connection.await) });
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, body_max).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => FetchError::TooLarge(body_max),
            false => FetchError::Body,
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}
