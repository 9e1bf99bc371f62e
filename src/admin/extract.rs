//! Extractors of requests: axum's, with error messages of the gateway.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, StatusCode};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::admin::problem::Problem;
use crate::admin::role::Role;
use crate::base::addr::unmapped;

/// Limit on reading a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The query's parameters. An unknown parameter is an error, since a misspelt filter would list, or
/// close, too much.
#[derive(Debug)]
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(error) => Err(Problem::bad_request(format!(
                "query: {}",
                error.body_text()
            ))),
        }
    }
}

/// A JSON body, whatever its content type: `curl -d` labels it as a form. `guard` refuses web pages
/// that do the same.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = read_body(request, state).await?;
        // serde also reads a list as the fields of a struct, in their order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(Problem::bad_request("body: it is a JSON object"));
        }
        match serde_json::from_slice(&bytes) {
            Ok(body) => Ok(Self(body)),
            Err(error) => Err(Problem::bad_request(format!("body: {error}"))),
        }
    }
}

/// The whole body of a request, within its time.
pub(crate) async fn read_body<S: Send + Sync>(
    request: Request,
    state: &S,
) -> Result<Bytes, Problem> {
    let bytes = timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await;
    let late = |_| {
        let detail = format!("the body did not come within {BODY_TIMEOUT:?}");
        Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
    };
    let bytes = bytes.map_err(late)?;
    bytes.map_err(|error| Problem::new(error.status(), error.body_text()))
}

/// The client's address; `None` on a unix socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) Option<IpAddr>);

/// The client of a request, as identified by the guard.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) role: Role,
    /// The subject of the client's certificate, else `token`, `read_token` or `local`.
    pub(super) name: Arc<str>,
    /// `None` on a unix socket.
    pub(super) peer: Option<IpAddr>,
}

impl Caller {
    /// The caller that the guard attached to the request; without one, a caller with role `Read`.
    pub(super) fn of(extensions: &Extensions) -> Self {
        let unknown = Self {
            role: Role::Read,
            name: "nobody".into(),
            peer: None,
        };
        extensions.get().cloned().unwrap_or(unknown)
    }

    /// Whether the request comes from this machine.
    pub(super) fn is_local(&self) -> bool {
        self.peer.is_none_or(|peer| unmapped(peer).is_loopback())
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}
