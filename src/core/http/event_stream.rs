//! Requests for server-sent events (WHATWG HTML, "Server-sent events"), and the head of the
//! response.

use http::header::{
    ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// The media type.
pub const EVENT_STREAM: &str = "text/event-stream";
/// The id of the last event that a client got.
pub static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Some proxies collect responses unless they are told not to.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Whether a request asks for events: a `GET` without a body whose `Accept` names the type.
pub fn is_asked_for(method: &Method, headers: &HeaderMap) -> bool {
    let has_body = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    let lines = headers.get_all(ACCEPT).iter();
    let types = lines.filter_map(|line| line.to_str().ok());
    let mut types = types.flat_map(|line| line.split(','));
    *method == Method::GET
        && !has_body
        && types.any(|one| {
            let name = one.split(';').next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case(EVENT_STREAM)
        })
}

/// The id that a client goes on from.
pub fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(&LAST_EVENT_ID)?.to_str().ok()
}

/// Adds the fields of the response. Its end is the end of the connection.
pub fn set_fields(fields: &mut HeaderMap) {
    let fixed = [
        (CONTENT_TYPE, EVENT_STREAM),
        (CACHE_CONTROL, "no-store"),
        (X_ACCEL_BUFFERING, "no"),
        (CONNECTION, "close"),
    ];
    for (name, value) in fixed {
        fields.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_get_that_accepts_events_asks_for_them() {
        for (method, accept, body, asks) in [
            (Method::GET, "text/event-stream", false, true),
            (
                Method::GET,
                "text/html, Text/Event-Stream;q=0.9",
                false,
                true,
            ),
            (Method::GET, "*/*", false, false),
            (Method::GET, "text/event-stream-2", false, false),
            (Method::GET, "text/event-stream", true, false),
            (Method::HEAD, "text/event-stream", false, false),
            (Method::POST, "text/event-stream", false, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            if body {
                headers.insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
            }
            assert_eq!(
                is_asked_for(&method, &headers),
                asks,
                "{method} {accept} {body}"
            );
        }
    }
}
