//! The list of gateways for clients that choose one themselves.

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};

use crate::proxy::request::admitted::Admitted;
use crate::proxy::stages::answer::Reply;
use crate::proxy::streams::body::Outgoing;

/// Where it is asked for.
const PATH: &str = "/.well-known/sessile";

/// The list, if this request asks for it at a listener that has it. Pages of all origins may read
/// it: it holds nothing that belongs to a user.
pub(crate) fn respond(admitted: &Admitted<'_>) -> Option<Reply> {
    let received = admitted.received;
    let head = &admitted.head;
    let asks = matches!(head.method, Method::GET | Method::HEAD) && head.uri.path() == PATH;
    if !asks || !received.connection.listener().config.discovery {
        return None;
    }
    let list = received.connection.worker.live().gateway_list();
    let mut report = received.report(None, None, None);
    report.status = StatusCode::OK.as_u16();
    report.finish();
    let mut response = Response::new(Outgoing::own(list));
    let fields = response.headers_mut();
    let field = HeaderValue::from_static;
    fields.insert(CONTENT_TYPE, field("application/json"));
    fields.insert(CACHE_CONTROL, field("max-age=2"));
    fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, field("*"));
    Some(response)
}
