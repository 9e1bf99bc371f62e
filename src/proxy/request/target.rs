//! The target and the host of a request.

use http::header::HOST;
use http::request::Parts;

use crate::core::http::query;
use crate::core::routing::RoutingTable;

/// A path and a query as one target.
pub(crate) fn with_query(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// A target with secrets cut out (I11).
pub(crate) fn redacted(target: &str, table: &RoutingTable) -> Box<str> {
    query::redact_target(target, table.secret_parameters()).into()
}

/// The host that a request is for: its target's if that is absolute (RFC 9112, section 3.2.2), else
/// its `Host`. The request guard has checked its form.
pub(crate) fn host(head: &Parts) -> &str {
    match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head
            .headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default(),
    }
}
