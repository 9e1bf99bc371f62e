//! Errors as problem details (RFC 9457).

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The body of a problem, as `openapi.json` describes it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct ProblemView {
    /// The status in words.
    title: String,
    status: u16,
    /// What is wrong, for people.
    detail: String,
    /// Such as `diagnostics`, the faults of a configuration.
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// An answer that is an error.
#[derive(Debug, PartialEq)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    more: Map<String, Value>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            more: Map::new(),
        }
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, in words.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// Adds a member of this name (RFC 9457, section 3.2).
    pub(crate) fn with(mut self, name: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.more.insert(name.to_owned(), value);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = self.more;
        // The type is left out: that means `about:blank`, whose title is the status phrase.
        body.insert("title".to_owned(), json!(self.status.canonical_reason()));
        body.insert("status".to_owned(), json!(self.status.as_u16()));
        body.insert("detail".to_owned(), json!(self.detail));
        let kind = [(CONTENT_TYPE, "application/problem+json")];
        let body = Value::Object(body).to_string();
        if self.status == StatusCode::UNAUTHORIZED {
            // A 401 names the accepted scheme (RFC 9110, section 11.6.1).
            return (self.status, kind, [(WWW_AUTHENTICATE, "Bearer")], body).into_response();
        }
        (self.status, kind, body).into_response()
    }
}
