//! The answer to a certificate authority that verifies a name over HTTP (RFC 8555, section 8.3).
//! For names whose certificates the gateway orders, it alone answers: a tenant whose route answered
//! in its place would get a certificate for the name.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};

use crate::base::host::without_port;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::admitted::Admitted;
use crate::proxy::stages::answer::Reply;
use crate::proxy::streams::body::Outgoing;

/// Below this the authority asks.
const PREFIX: &str = "/.well-known/acme-challenge/";

/// The answer, if this is such a request for such a name. Authorities ask without TLS.
pub(crate) fn respond(admitted: &Admitted<'_>) -> Option<Result<Reply, Refusal>> {
    let received = admitted.received;
    let token = admitted.head.uri.path().strip_prefix(PREFIX)?;
    let challenges = &received.connection.worker.shared.challenges;
    let name = without_port(&received.host);
    if received.connection.tls || !challenges.owns(name) {
        return None;
    }
    let known = challenges.over_http(name, token);
    let known = known.filter(|_| matches!(admitted.head.method, Method::GET | Method::HEAD));
    let Some(text) = known else {
        return Some(Err(Refusal::NoRoute));
    };
    let mut report = received.report(None, None, None);
    report.status = StatusCode::OK.as_u16();
    report.finish();
    let mut response = Response::new(Outgoing::own(text));
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Some(Ok(response))
}
