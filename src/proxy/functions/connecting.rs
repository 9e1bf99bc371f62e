//! What a function is asked when a session is to begin, and what it answers.

use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value};

use crate::base::group::GroupName;
use crate::io::ends::Called;

/// A request for a session, as functions may see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connecting<'c> {
    /// The fields that a backend would get.
    pub(crate) headers: &'c HeaderMap,
    /// The path and the query that a backend would get.
    pub(crate) target: &'c str,
    /// Names and values of the query.
    pub(crate) query: &'c [(String, String)],
    /// The principal's claims.
    pub(crate) claims: Option<&'c Map<String, Value>>,
    /// Subprotocols that the client offers.
    pub(crate) subprotocols: &'c [&'c str],
}

/// What the function answers.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The session may begin.
    Accepted(Box<Accepted>),
    /// The client gets this status.
    Refused(StatusCode),
}

/// What a function adds to a session.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    pub(crate) subprotocol: Option<HeaderValue>,
    pub(crate) groups: Vec<GroupName>,
    /// Further fields of the 101.
    pub(crate) fields: HeaderMap,
    /// What the client gets at once.
    pub(crate) first: Called,
}

impl Verdict {
    /// The session may begin.
    pub(super) fn accepted(accepted: Accepted) -> Self {
        Self::Accepted(Box::new(accepted))
    }

    /// The function answered with a status that is not one of 200 to 299. Clients get it if it is
    /// an error, else 502.
    pub(super) fn refused(status: u16) -> Self {
        let status = StatusCode::from_u16(status).ok();
        let status = status.filter(|one| one.is_client_error() || one.is_server_error());
        Self::Refused(status.unwrap_or(StatusCode::BAD_GATEWAY))
    }
}
