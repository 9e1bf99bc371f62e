//! The table of refusals: status, label, detail, close code and retry time of each.

use http::StatusCode;

use crate::base::causes;
use crate::base::names::AuthenticatorName;
use crate::io::client::ClientError;
use crate::proxy::functions::error::CallError;
use crate::proxy::refusal::{Quota, Refusal};

/// Clients that are shed come back after a random time up to this, not all at once.
const RETRY_SHED_MAX: u64 = 8;
/// Longest `detail` of a record, in bytes.
const DETAIL_MAX: usize = 512;
/// Longest time while a gateway starts.
const RETRY_RAMP_MAX: u64 = 30;

impl Refusal {
    /// The status that the client sees.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Smuggling(_) | Self::BadTarget(_) | Self::BodyIncomplete => {
                StatusCode::BAD_REQUEST
            }
            Self::NoBrokerName(_) => StatusCode::BAD_REQUEST,
            Self::OnlySessions => StatusCode::UPGRADE_REQUIRED,
            Self::Upgrade(fault) => fault.status(),
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::Connect | Self::NotPost | Self::NotGet => StatusCode::METHOD_NOT_ALLOWED,
            Self::Origin(_) | Self::Address | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            // Not this client's fault.
            Self::Quota(Quota::SessionsOfRoute) | Self::Overloaded(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Quota(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::NoRoute | Self::NoSession | Self::NoFile => StatusCode::NOT_FOUND,
            Self::FunctionRefused(status) => *status,
            Self::Function(error) => match **error {
                CallError::Busy | CallError::NoFunction(_) => StatusCode::SERVICE_UNAVAILABLE,
                CallError::Client(ClientError::TimedOut(_)) => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            },
            Self::Precondition => StatusCode::PRECONDITION_FAILED,
            Self::FileUnreadable(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Stopping | Self::Ramp(_) | Self::NoBackend(_) | Self::NotVerified(_) => {
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
            Self::TimedOut | Self::BackendStalled | Self::NotCached => StatusCode::GATEWAY_TIMEOUT,
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
            Self::Unauthenticated { fault, .. } => fault.reason(),
            Self::Forbidden(_) => "forbidden",
            Self::NotVerified(_) => "not_verified",
            Self::NotPost => "not_post",
            Self::NotGet => "not_get",
            Self::NoFile => "no_file",
            Self::Precondition => "precondition",
            Self::FileUnreadable(_) => "file_unreadable",
            Self::NoSession => "no_session",
            Self::NoRoute => "no_route",
            Self::OnlySessions => "only_sessions",
            Self::NoBrokerName(_) => "no_broker_name",
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
            Self::FunctionRefused(_) => "function_refused",
            Self::Function(error) => match **error {
                CallError::Busy => "function_busy",
                CallError::Client(ClientError::TimedOut(_)) => "timed_out",
                _ => "function_failed",
            },
            Self::NotCached => "not_cached",
        }
    }

    /// The authenticator that rejected the credential.
    pub(crate) fn authenticator(&self) -> Option<&AuthenticatorName> {
        match self {
            Self::Unauthenticated { by, .. } => by.as_ref(),
            _ => None,
        }
    }

    /// The exact fault for the record: the fault of a credential, the condition that does not hold,
    /// or the error of a failed dial. Clients get less detail.
    pub(crate) fn detail(&self) -> Option<Box<str>> {
        let mut detail = match self {
            Self::Unauthenticated { fault, by, .. } => match by {
                Some(by) => format!("authenticator `{by}`: {fault}"),
                None => fault.to_string(),
            },
            Self::Forbidden(unmet) => unmet.to_string(),
            // Their texts add nothing to `reason`.
            Self::Connect
            | Self::Address
            | Self::Quota(_)
            | Self::Overloaded(_)
            | Self::Ramp(_)
            | Self::NotPost
            | Self::NotGet
            | Self::NoFile
            | Self::Precondition
            | Self::NoSession
            | Self::NoRoute
            | Self::OnlySessions
            | Self::Stopping
            | Self::UnaskedSwitch
            | Self::BodyIncomplete
            | Self::Unsent
            | Self::NotCached
            | Self::FunctionRefused(_)
            | Self::TimedOut => return None,
            other => causes::chain(other),
        };
        detail.truncate(detail.floor_char_boundary(DETAIL_MAX));
        Some(detail.into())
    }

    /// The close code for a client whose upgrade is accepted and closed at once.
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

    /// Whether further requests on this connection cannot be trusted, or must not follow.
    pub(crate) fn ends_connection(&self) -> bool {
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
    pub(crate) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Quota(quota) => {
                let wait = quota.retry_after();
                Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).map(|wait| wait.max(1))
            }
            Self::Overloaded(_) => Some(fastrand::u64(1..=RETRY_SHED_MAX)),
            // Spread over the rest of the ramp; otherwise the clients all come back together.
            Self::Ramp(left) => Some(fastrand::u64(1..=left.as_secs().clamp(1, RETRY_RAMP_MAX))),
            _ if self.status() == StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::auth::CredentialFault;
    use crate::proxy::verifiers::NotVerified;
    use crate::proxy::verifiers::conditions::Unmet;

    fn unauthenticated(by: Option<&str>) -> Refusal {
        Refusal::Unauthenticated {
            fault: CredentialFault::Expired {
                ago: Duration::from_secs(4),
            },
            by: by.map(Into::into),
            challenges: Vec::new(),
        }
    }

    #[track_caller]
    fn check(refusal: &Refusal, status: u16, reason: &str, close_code: u16) {
        assert_eq!(refusal.status().as_u16(), status);
        assert_eq!(refusal.reason(), reason);
        assert_eq!(refusal.close_code(), close_code);
    }

    #[test]
    fn forbidden_and_unauthenticated_are_distinguished() {
        check(&unauthenticated(None), 401, "credential_expired", 3000);
        let unmet = Unmet {
            asks: "the route asks for".to_owned(),
            condition: "claim:role == admin".to_owned(),
        };
        check(&Refusal::Forbidden(unmet), 403, "forbidden", 3003);
        check(&Refusal::Address, 403, "address", 3003);
    }

    #[test]
    fn a_lack_of_room_is_worth_another_try() {
        let wait = Duration::from_millis(1500);
        let quota = Refusal::Quota(Quota::HandshakesPerAddress(wait));
        check(&quota, 429, "handshakes_per_address", 1013);
        assert_eq!(quota.retry_after(), Some(2), "rounded up");
        let full = Refusal::Quota(Quota::SessionsOfRoute);
        check(&full, 503, "route_sessions_max", 1013);
        let ramp = Refusal::Ramp(Duration::from_secs(600));
        assert!(
            ramp.retry_after()
                .is_some_and(|wait| wait <= RETRY_RAMP_MAX)
        );
        assert_eq!(Refusal::NoRoute.retry_after(), None);
    }

    #[test]
    fn faults_of_backends_are_the_gateways_to_answer() {
        check(&Refusal::TimedOut, 504, "timed_out", 1013);
        check(&Refusal::Unsent, 502, "unsent", 1013);
        let none = Refusal::NoBackend("chat".to_owned());
        check(&none, 503, "no_backend", 1013);
        check(&Refusal::ClientStalled, 408, "client_stalled", 1008);
    }

    #[test]
    fn a_function_has_its_own_status_and_faults_of_its_own() {
        let own = Refusal::FunctionRefused(StatusCode::FORBIDDEN);
        check(&own, 403, "function_refused", 3003);
        let of = |error| Refusal::Function(Box::new(error));
        check(&of(CallError::Busy), 503, "function_busy", 1013);
        let gone = CallError::NoFunction("chat".into());
        check(&of(gone), 503, "function_failed", 1013);
        let late = CallError::Client(ClientError::TimedOut(Duration::from_secs(1)));
        check(&of(late), 504, "timed_out", 1013);
        let failed = of(CallError::Failed(StatusCode::INTERNAL_SERVER_ERROR));
        check(&failed, 502, "function_failed", 1013);
        assert!(failed.detail().is_some_and(|detail| detail.contains("500")));
    }

    #[test]
    fn files_have_refusals_of_their_own() {
        check(&Refusal::NotGet, 405, "not_get", 1008);
        check(&Refusal::NoFile, 404, "no_file", 1008);
        check(&Refusal::Precondition, 412, "precondition", 1008);
        let unreadable = Refusal::FileUnreadable(std::io::ErrorKind::Other.into());
        check(&unreadable, 500, "file_unreadable", 1008);
    }

    #[test]
    fn only_what_cannot_be_trusted_further_ends_the_connection() {
        assert!(Refusal::BadTarget("no").ends_connection());
        assert!(Refusal::Stopping.ends_connection());
        assert!(!Refusal::NoRoute.ends_connection());
        assert!(!unauthenticated(None).ends_connection());
    }

    #[test]
    fn the_record_gets_the_fault_and_the_client_does_not() {
        let refusal = unauthenticated(Some("users"));
        let detail = refusal.detail().expect("a fault");
        assert!(detail.starts_with("authenticator `users`: "), "{detail}");
        assert!(!refusal.to_string().contains("users"));
        assert_eq!(Refusal::NoRoute.detail(), None);
    }

    #[test]
    fn i8_the_detail_is_bounded_at_a_letter() {
        let name = "é".repeat(DETAIL_MAX);
        let refusal = Refusal::NotVerified(Box::new(NotVerified::NoKeys(name)));
        let detail = refusal.detail().expect("a fault");
        assert!(detail.len() <= DETAIL_MAX && detail.len() >= DETAIL_MAX - 2);
    }
}
