//! How requests are read: axum's extractors, with our own words when something is wrong.

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

/// For a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The query's parameters; one that the resource does not know is an error, since a filter that is
/// misspelt would show, or close, too much.
#[derive(Debug)]
pub(super) struct Parameters<T>(pub(super) T);

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

/// A body of JSON, whatever its content type says: `curl -d` calls it a form. Web pages that do so
/// too are kept out by `guard`.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await;
        let late = |_| {
            let detail = format!("the body did not come within {BODY_TIMEOUT:?}");
            Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
        };
        let bytes = bytes.map_err(late)?;
        let bytes = bytes.map_err(|error| Problem::new(error.status(), error.body_text()))?;
        match serde_json::from_slice(&bytes) {
            Ok(body) => Ok(Self(body)),
            Err(error) => Err(Problem::bad_request(format!("body: {error}"))),
        }
    }
}

/// Where a request came from; `None` on a unix socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) Option<IpAddr>);

/// Who sent a request, as the guard found.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) role: Role,
    /// The subject of the client's certificate, else `token`, `read_token` or `local`.
    pub(super) name: Arc<str>,
    /// `None` on a unix socket.
    pub(super) peer: Option<IpAddr>,
}

impl Caller {
    /// The caller that the guard left with the request; who may only look, if it left none.
    pub(super) fn of(extensions: &Extensions) -> Self {
        let unknown = Self {
            role: Role::Read,
            name: "nobody".into(),
            peer: None,
        };
        extensions.get().cloned().unwrap_or(unknown)
    }

    /// Whether the request was sent on this machine.
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
