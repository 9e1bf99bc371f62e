//! Bodies of requests: JSON whatever its content type, since `curl -d` labels it as a form.

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use crate::admin::extract::read_body;
use crate::admin::problem::Problem;

/// A JSON object or a list.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = read_body(request, state).await?;
        let body = serde_json::from_slice(&bytes);
        let body = body.map_err(|error| Problem::bad_request(format!("body: {error}")))?;
        Ok(Self(body))
    }
}

/// A JSON object, or no body at all.
#[derive(Debug)]
pub(super) struct OptionalBody<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = read_body(request, state).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(T::default()));
        }
        let body = serde_json::from_slice(&bytes);
        let body = body.map_err(|error| Problem::bad_request(format!("body: {error}")))?;
        Ok(Self(body))
    }
}
