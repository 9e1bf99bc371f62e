//! The request target: brought to its canonical form before any stage looks at it, so that all of
//! them, the backend and the record have the same one.

use http::header::HOST;
use http::request::Parts;

use crate::base::path::{CanonicalPath, PathFault};
use crate::core::http::query;
use crate::core::routing::RoutingTable;
use crate::proxy::pipeline::Exchange;
use crate::proxy::refusal::Refusal;

impl Exchange {
    /// The request's path in its canonical form.
    ///
    /// # Errors
    /// When it has none.
    pub(crate) fn path(&self) -> Result<&CanonicalPath, Refusal> {
        self.path.as_ref().map_err(|fault| match fault {
            // `OPTIONS *` is a request, for which there is no route.
            PathFault::NotAbsolute => Refusal::NoRoute,
            fault => Refusal::BadTarget(fault.as_str()),
        })
    }

    /// Puts the path that was judged in place of the one that came, for all that follows.
    ///
    /// # Errors
    /// When the target grows too long by that: each byte that must be encoded becomes three.
    pub(crate) fn set_path(&self, head: &mut Parts, path: &str) -> Result<(), Refusal> {
        if head.uri.path() == path && head.uri.authority().is_none() {
            return Ok(());
        }
        let target = with_query(path, head.uri.query());
        let too_long = Refusal::BadTarget("the request target is too long when it is encoded");
        head.uri = target.parse().map_err(|_| too_long)?;
        self.shown
            .replace(redacted(&target, &self.generation.table));
        Ok(())
    }

    /// Path and query as records show them.
    pub(crate) fn target(&self) -> Box<str> {
        self.shown.borrow().clone()
    }
}

pub(crate) fn with_query(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// A target with secrets cut out (I11).
pub(crate) fn redacted(target: &str, table: &RoutingTable) -> Box<str> {
    query::redact_query(target, table.secret_parameters()).into()
}

/// The host that a request is for: its target's if that is absolute (RFC 9112, section 3.2.2),
/// else its `Host`. The request guard has checked its form.
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
