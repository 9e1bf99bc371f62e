//! Bodies of requests: JSON whatever its content type, since `curl -d` labels it as a form.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::admin::problem::Problem;

/// Limit on reading a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON object or a list.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await;
        let late = |_| {
            let detail = format!("the body did not come within {BODY_TIMEOUT:?}");
            Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
        };
        let bytes = bytes.map_err(late)?;
        let bytes = bytes.map_err(|error| Problem::new(error.status(), error.body_text()))?;
        let body = serde_json::from_slice(&bytes);
        let body = body.map_err(|error| Problem::bad_request(format!("body: {error}")))?;
        Ok(Self(body))
    }
}
