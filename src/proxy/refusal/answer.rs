//! A refusal as an HTTP response.

use http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Response, StatusCode};

use crate::core::http::problem::problem;
use crate::proxy::refusal::Refusal;
use crate::proxy::streams::body::Outgoing;

impl Refusal {
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
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                let allowed = match self {
                    Self::NotPost => "POST, OPTIONS",
                    Self::NotGet => "GET, HEAD",
                    _ => "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH",
                };
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::auth::CredentialFault;
    use crate::core::wire::handshake::UpgradeFault;

    fn answer(refusal: &Refusal) -> Response<Outgoing> {
        refusal.answer("request-1")
    }

    #[test]
    fn every_401_has_its_challenges() {
        let challenges = ["Bearer", "Basic realm=\"a\""].map(HeaderValue::from_static);
        let response = answer(&Refusal::Unauthenticated {
            fault: CredentialFault::Missing,
            by: None,
            challenges: challenges.to_vec(),
        });
        let fields = response.headers().get_all(WWW_AUTHENTICATE);
        assert_eq!(fields.iter().collect::<Vec<_>>(), challenges.each_ref());
    }

    #[test]
    fn the_answer_names_the_version_and_the_methods_that_are_allowed() {
        let version = answer(&Refusal::Upgrade(UpgradeFault::WebSocketVersion));
        assert_eq!(version.status(), StatusCode::UPGRADE_REQUIRED);
        assert_eq!(version.headers()[SEC_WEBSOCKET_VERSION], "13");
        assert!(answer(&Refusal::Connect).headers().contains_key(ALLOW));
        assert!(!answer(&Refusal::NoRoute).headers().contains_key(ALLOW));
    }

    #[test]
    fn the_connection_ends_and_retry_after_is_sent_according_to_the_table() {
        let stopping = answer(&Refusal::Stopping);
        assert_eq!(stopping.headers()[CONNECTION], "close");
        assert!(stopping.headers().contains_key(RETRY_AFTER));
        let no_route = answer(&Refusal::NoRoute);
        assert!(!no_route.headers().contains_key(CONNECTION));
        assert_eq!(no_route.headers()[CONTENT_TYPE], "application/problem+json");
    }
}
