//! The outcome of a handshake, for its trace.

use crate::base::names::BackendId;
use crate::proxy::request::record::{CLIENT_CLOSED_REQUEST, CLIENT_GONE};

/// The outcome of a handshake.
pub(crate) struct TraceEnd<'e> {
    /// Of the answer.
    pub(crate) status: u16,
    /// The backend that granted the session.
    pub(crate) backend: Option<&'e BackendId>,
    /// Why it was refused.
    pub(crate) refusal: Option<&'static str>,
}

impl TraceEnd<'_> {
    /// The client left before the answer.
    pub(crate) const ABANDONED: Self = Self {
        status: CLIENT_CLOSED_REQUEST,
        backend: None,
        refusal: Some(CLIENT_GONE),
    };
}
