//! The outcome of a request.

use http::Response;

use crate::proxy::refusal::over_websocket::CloseFrame;
use crate::proxy::request::passing::Passing;
use crate::proxy::request::record::Report;
use crate::proxy::session::begin::GrantedSession;
use crate::proxy::streams::body::Outgoing;

/// A response to a client.
pub(crate) type Reply = Response<Outgoing<Passing>>;

/// The outcome of a request: a response, and what follows it on the stream if that is a 101.
pub(crate) struct Answer {
    pub(crate) response: Reply,
    pub(crate) then: Option<AfterSwitch>,
}

/// What follows a 101.
pub(crate) enum AfterSwitch {
    /// A session, and the record of its request, should the 101 not leave.
    Session(Box<(GrantedSession, Report)>),
    /// A close frame: the request is refused in a way that scripts in browsers can read.
    CloseFrame(CloseFrame),
}

impl From<Reply> for Answer {
    fn from(response: Reply) -> Self {
        Self {
            response,
            then: None,
        }
    }
}
