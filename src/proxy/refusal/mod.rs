//! Everything that the gateway itself answers before a 101 or instead of a backend: one table from
//! what went wrong to status, label and text, so that it is answered, recorded and counted alike.

pub(crate) mod over_websocket;

use std::error::Error;
use std::time::Duration;

use http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Response, StatusCode};

use crate::base::names::AuthenticatorName;
use crate::core::auth::CredentialFault;
use crate::core::http::framing::FramingFault;
use crate::core::http::origin::OriginFault;
use crate::core::http::problem::problem;
use crate::core::limits::Scarce;
use crate::core::wire::handshake::{AnswerFault, UpgradeFault};
use crate::core::wire::request_guard::Smuggling;
use crate::proxy::backend::candidates::NotReached;
use crate::proxy::stages::authenticate::{NotJudged, Unmet};
use crate::proxy::streams::body::Outgoing;

/// Why a request got no backend's answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The bytes can be read in two ways.
    #[error("malformed request: {0}")]
    Smuggling(Smuggling),
    /// No usable target.
    #[error("{0}")]
    BadTarget(&'static str),
    /// A handshake that is none.
    #[error("{0}")]
    Upgrade(UpgradeFault),
    /// It came through this gateway already, or through too many.
    #[error("the request goes round in a loop")]
    Loop,
    /// A tunnel was asked for.
    #[error("this gateway opens no tunnels")]
    Connect,
    /// A page that may not open sessions here.
    #[error("{0}")]
    Origin(OriginFault),
    /// An address that may not use the route.
    #[error("clients of this address may not use this route")]
    Address,
    /// The client has had, or has, as much as it may.
    #[error("too many: {}", .0.words())]
    Quota(Quota),
    /// The node has no room.
    #[error("{0}")]
    Overloaded(Scarce),
    /// The gateway just started and lets sessions in slowly; for so long still.
    #[error("the gateway has just started and lets sessions in slowly")]
    Ramp(Duration),
    /// Nobody who may be let in.
    #[error("{}", .fault.answer())]
    Unauthenticated {
        /// What is wrong; clients are not told.
        fault: CredentialFault,
        /// The authenticator that judged the credential.
        by: Option<AuthenticatorName>,
        /// What would be accepted.
        challenges: Vec<HeaderValue>,
    },
    /// Somebody who may not do this.
    #[error("the credential does not allow this")]
    Forbidden(#[source] Unmet),
    /// What would say who it is does not answer.
    #[error("who this is cannot be found out at the moment")]
    NotJudged(#[source] Box<NotJudged>),
    /// A path of the gateway's own, asked in another way.
    #[error("this path takes a POST")]
    NotPost,
    /// Nothing to renew.
    #[error("there is no such live session of yours on this gateway")]
    NoSession,
    /// No route takes it.
    #[error("no route takes this request")]
    NoRoute,
    /// The gateway is being stopped.
    #[error("the gateway is stopping")]
    Stopping,
    /// Nobody is eligible.
    #[error("no backend of upstream `{0}` takes new sessions now")]
    NoBackend(String),
    /// Every candidate that the budget allowed was dialled in vain.
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
    /// A 101 that is not one (I9).
    #[error("the backend's 101 is not valid: {0}")]
    InvalidAnswer(AnswerFault),
    /// A 101 that nobody asked for.
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
    /// The backend took too long.
    #[error("the backend did not answer in time")]
    TimedOut,
}

/// Which quota, and when there is room again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quota {
    /// `handshakes_per_address`
    HandshakesPerAddress(Duration),
    /// `sessions_per_address`
    SessionsPerAddress,
    /// `handshakes_per_principal`
    HandshakesPerPrincipal(Duration),
    /// `sessions_per_principal`
    SessionsPerPrincipal,
    /// `sessions_max` of the route.
    SessionsOfRoute,
    /// Passwords that are being verified.
    PasswordsPerAddress,
}

/// For a client that has to give something up before it may have more.
const RETRY_QUOTA: Duration = Duration::from_secs(10);
/// For those who are shed, each another time, so that they do not all come back at once.
const RETRY_SHED_MAX: u64 = 8;
/// Longest `detail` of a record, in bytes.
const DETAIL_MAX: usize = 512;
/// Nobody is sent away for longer while a gateway starts.
const RETRY_RAMP_MAX: u64 = 30;

impl Quota {
    fn words(self) -> &'static str {
        match self {
            Self::HandshakesPerAddress(_) => "handshakes from this address",
            Self::SessionsPerAddress => "sessions of this address",
            Self::HandshakesPerPrincipal(_) => "handshakes of this user",
            Self::SessionsPerPrincipal => "sessions of this user",
            Self::SessionsOfRoute => "sessions of this route",
            Self::PasswordsPerAddress => "passwords from this address at once",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::HandshakesPerAddress(_) => "handshakes_per_address",
            Self::SessionsPerAddress => "sessions_per_address",
            Self::HandshakesPerPrincipal(_) => "handshakes_per_principal",
            Self::SessionsPerPrincipal => "sessions_per_principal",
            Self::SessionsOfRoute => "route_sessions_max",
            Self::PasswordsPerAddress => "passwords_per_address",
        }
    }

    fn retry_after(self) -> Duration {
        match self {
            Self::HandshakesPerAddress(wait) | Self::HandshakesPerPrincipal(wait) => wait,
            Self::PasswordsPerAddress => Duration::from_secs(2),
            Self::SessionsPerAddress | Self::SessionsPerPrincipal | Self::SessionsOfRoute => {
                RETRY_QUOTA
            }
        }
    }
}

/// The texts of an error and of what caused it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
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

    /// The status that the client sees.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Smuggling(_) | Self::BadTarget(_) | Self::BodyIncomplete => {
                StatusCode::BAD_REQUEST
            }
            Self::Upgrade(fault) => fault.status(),
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::Connect | Self::NotPost => StatusCode::METHOD_NOT_ALLOWED,
            Self::Origin(_) | Self::Address | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            // What is short here is not this client's doing.
            Self::Quota(Quota::SessionsOfRoute) | Self::Overloaded(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Quota(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::NoRoute | Self::NoSession => StatusCode::NOT_FOUND,
            Self::Stopping | Self::Ramp(_) | Self::NoBackend(_) | Self::NotJudged(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Unreachable(_)
            | Self::BackendBroke(_)
            | Self::AnswerMalformed(_)
            | Self::AnswerFraming(_)
            | Self::InvalidAnswer(_)
            | Self::Unsent
            | Self::UnaskedSwitch => StatusCode::BAD_GATEWAY,
            Self::ClientStalled => StatusCode::REQUEST_TIMEOUT,
            Self::TimedOut | Self::BackendStalled => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The label in metrics and records.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Smuggling(_) => "smuggling",
            Self::BadTarget(_) => "bad_target",
            Self::Upgrade(_) => "bad_upgrade",
            Self::Loop => "loop",
            Self::Connect => "connect",
            Self::Origin(_) => "origin",
            Self::Address => "address",
            Self::Quota(quota) => quota.reason(),
            Self::Overloaded(scarce) => scarce.as_str(),
            Self::Unauthenticated { .. } => "unauthenticated",
            Self::Forbidden(_) => "forbidden",
            Self::NotJudged(_) => "not_judged",
            Self::NotPost => "not_post",
            Self::NoSession => "no_session",
            Self::NoRoute => "no_route",
            Self::Stopping => "stopping",
            Self::Ramp(_) => "admission_ramp",
            Self::NoBackend(_) => "no_backend",
            Self::Unreachable(_) => "unreachable",
            Self::BackendBroke(_) => "backend_broke",
            Self::AnswerMalformed(_) | Self::AnswerFraming(_) => "bad_answer",
            Self::InvalidAnswer(_) => "invalid_answer",
            Self::UnaskedSwitch => "unasked_switch",
            Self::Unsent => "unsent",
            Self::BodyIncomplete => "body_incomplete",
            Self::ClientStalled => "client_stalled",
            Self::BackendStalled => "backend_stalled",
            Self::TimedOut => "timed_out",
        }
    }

    /// What exactly was wrong, for the record: the fault of a credential, the rule that does not
    /// hold, the error behind a failed dial. Clients are told less.
    pub(crate) fn detail(&self) -> Option<Box<str>> {
        let mut detail = match self {
            Self::Unauthenticated { fault, by, .. } => match by {
                Some(by) => format!("authenticator `{by}`: {fault}"),
                None => fault.to_string(),
            },
            Self::Forbidden(unmet) => unmet.to_string(),
            // Their texts say no more than `reason` does.
            Self::Connect
            | Self::Address
            | Self::Quota(_)
            | Self::Overloaded(_)
            | Self::Ramp(_)
            | Self::NotPost
            | Self::NoSession
            | Self::NoRoute
            | Self::Stopping
            | Self::UnaskedSwitch
            | Self::BodyIncomplete
            | Self::Unsent
            | Self::TimedOut => return None,
            other => chain(other),
        };
        detail.truncate(detail.floor_char_boundary(DETAIL_MAX));
        Some(detail.into())
    }

    /// The close code for a client whose upgrade is accepted to tell it this.
    pub(crate) fn close_code(&self) -> u16 {
        match self.status() {
            StatusCode::UNAUTHORIZED => 3000,
            StatusCode::FORBIDDEN => 3003,
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
            | StatusCode::BAD_GATEWAY => 1013,
            _ => 1008,
        }
    }

    /// Whether what follows on this connection can no longer be trusted, or must not follow.
    fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::Smuggling(_)
                | Self::BadTarget(_)
                | Self::Upgrade(_)
                | Self::BodyIncomplete
                | Self::ClientStalled
                | Self::BackendStalled
                | Self::Quota(_)
                | Self::Overloaded(_)
                | Self::Stopping
        )
    }

    /// Seconds until it may be worth another try; none where that is not known.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Quota(quota) => {
                let wait = quota.retry_after();
                Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).map(|wait| wait.max(1))
            }
            Self::Overloaded(_) => Some(fastrand::u64(1..=RETRY_SHED_MAX)),
            // Spread over what is left of the ramp, or the crowd just comes again together.
            Self::Ramp(left) => Some(fastrand::u64(1..=left.as_secs().clamp(1, RETRY_RAMP_MAX))),
            _ if self.status() == StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => None,
        }
    }

    /// The answer: problem+json (RFC 9457), which names the request so that it can be found in the
    /// records.
    pub(crate) fn answer<W>(&self, request_id: &str) -> Response<Outgoing<W>> {
        let status = self.status();
        let title = status.canonical_reason().unwrap_or("refused");
        let text = problem(status, title, &self.to_string(), request_id);
        let mut response = Response::new(Outgoing::own(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, json);
        if self.ends_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Self::Unauthenticated { challenges, .. } = self {
            for challenge in challenges {
                headers.append(WWW_AUTHENTICATE, challenge.clone());
            }
        }
        match status {
            StatusCode::UPGRADE_REQUIRED => {
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                let allowed = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH";
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            _ => {}
        }
        response
    }
}
