//! Everything that the gateway itself answers before a 101 or instead of a backend, so that it is
//! answered, recorded and counted alike.

mod answer;
pub(crate) mod over_websocket;
mod quota;
mod table;

use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::base::names::AuthenticatorName;
use crate::config::broker_name::FillFault;
use crate::core::auth::CredentialFault;
use crate::core::http::framing::FramingFault;
use crate::core::http::origin::OriginFault;
use crate::core::limits::Scarce;
use crate::core::wire::handshake::{AnswerFault, UpgradeFault};
use crate::core::wire::request_guard::Smuggling;
use crate::proxy::backend::candidates::Exhausted;
use crate::proxy::backend::dial::NotReached;
use crate::proxy::functions::error::CallError;
use crate::proxy::verifiers::NotVerified;
use crate::proxy::verifiers::conditions::Unmet;

pub(crate) use crate::proxy::refusal::quota::Quota;

/// Why a request got no backend's answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The framing can be read in two ways.
    #[error("malformed request: {0}")]
    Smuggling(Smuggling),
    /// No usable target.
    #[error("{0}")]
    BadTarget(&'static str),
    /// Not a valid handshake.
    #[error("{0}")]
    Upgrade(UpgradeFault),
    /// It came through this gateway already, or through too many.
    #[error("the request goes round in a loop")]
    Loop,
    /// CONNECT.
    #[error("this gateway opens no tunnels")]
    Connect,
    /// A page of an origin that may not open sessions here.
    #[error("{0}")]
    Origin(OriginFault),
    /// An address that may not use the route.
    #[error("clients of this address may not use this route")]
    Address,
    /// The client is over a quota.
    #[error("too many: {}", .0.words())]
    Quota(Quota),
    /// The node has no room.
    #[error("{0}")]
    Overloaded(Scarce),
    /// The gateway just started and admits sessions slowly, for this time still.
    #[error("the gateway has just started and lets sessions in slowly")]
    Ramp(Duration),
    /// No valid credential.
    #[error("{}", .fault.answer())]
    Unauthenticated {
        /// What is wrong; it is not sent to clients.
        fault: CredentialFault,
        /// The authenticator that rejected the credential.
        by: Option<AuthenticatorName>,
        /// What would be accepted.
        challenges: Vec<HeaderValue>,
    },
    /// A valid credential without the right to do this.
    #[error("the credential does not allow this")]
    Forbidden(#[source] Unmet),
    /// The credential could not be verified either way.
    #[error("the client cannot be identified at the moment")]
    NotVerified(#[source] Box<NotVerified>),
    /// Not a POST, at one of the gateway's own paths.
    #[error("this path takes a POST")]
    NotPost,
    /// Neither a GET nor a HEAD, on a route that serves files.
    #[error("this route serves files, by GET and HEAD")]
    NotGet,
    /// No file of this name.
    #[error("there is no such file")]
    NoFile,
    /// A precondition of the request does not hold.
    #[error("the file is another one than the request wants")]
    Precondition,
    /// The directory of a route cannot be read.
    #[error("the file cannot be read")]
    FileUnreadable(#[source] std::io::Error),
    /// No session to renew.
    #[error("there is no such live session of yours on this gateway")]
    NoSession,
    /// No route takes it.
    #[error("no route matches this request")]
    NoRoute,
    /// An ordinary request for a route without a backend.
    #[error("this route takes WebSockets only")]
    OnlySessions,
    /// The request's values make no name at the broker.
    #[error("the request's values make no valid name at the broker")]
    NoBrokerName(#[source] FillFault),
    /// The gateway is being stopped.
    #[error("the gateway is stopping")]
    Stopping,
    /// No member of the upstream is eligible.
    #[error("no backend of upstream `{0}` takes new sessions now")]
    NoBackend(String),
    /// No candidate within the budget was reached.
    #[error("no backend could be reached")]
    Unreachable(#[source] NotReached),
    /// The backend ended or broke the exchange.
    #[error("the backend ended the connection without an answer")]
    BackendBroke(#[source] hyper::Error),
    /// An answer that HTTP/1 does not allow, or beyond the upstream's limits.
    #[error("the backend's answer cannot be read")]
    AnswerMalformed(#[source] hyper::Error),
    /// An answer whose end is ambiguous.
    #[error("the backend's answer is not passed on: {0}")]
    AnswerFraming(FramingFault),
    /// An invalid 101 (I9).
    #[error("the backend's 101 is not valid: {0}")]
    InvalidAnswer(AnswerFault),
    /// A 101 to an ordinary request.
    #[error("the backend switched protocols unasked")]
    UnaskedSwitch,
    /// The client's body broke off.
    #[error("the request's body is not complete")]
    BodyIncomplete,
    /// The client's body did not come in time.
    #[error("the request's body did not come in time")]
    ClientStalled,
    /// The backend stopped reading the request's body.
    #[error("the backend does not take the request's body")]
    BackendStalled,
    /// A fresh connection took nothing.
    #[error("the backend ended the connection before the request")]
    Unsent,
    /// The request wants no answer but one from memory, and there is none.
    #[error("no response to this is in memory")]
    NotCached,
    /// The function of the route lets no session begin.
    #[error("the function refuses the session")]
    FunctionRefused(StatusCode),
    /// There is no answer of the function of the route.
    #[error("the function of this route cannot be asked at the moment")]
    Function(#[source] Box<CallError>),
    /// The backend took too long.
    #[error("the backend did not answer in time")]
    TimedOut,
}

impl Refusal {
    /// A backend's connection failed before its answer had a head.
    pub(crate) fn of_backend(error: hyper::Error) -> Self {
        if error.is_parse() {
            Self::AnswerMalformed(error)
        } else {
            Self::BackendBroke(error)
        }
    }

    /// A rewrite made a target that is not valid.
    pub(crate) fn of_rewrite(_: http::Error) -> Self {
        Self::BadTarget("the rewritten target is no path")
    }
}

impl From<Exhausted> for Refusal {
    fn from(exhausted: Exhausted) -> Self {
        match exhausted {
            Exhausted::TimedOut => Self::TimedOut,
            Exhausted::Unreachable(error) => Self::Unreachable(error),
            Exhausted::NoneEligible(upstream) => Self::NoBackend(upstream),
        }
    }
}
