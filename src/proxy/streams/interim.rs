//! Interim responses of backends (102, 103 and future ones; RFC 9110, section 15.2), which the
//! client gets before the response itself. 100 is the gateway's own, since it answers `Expect`; 101
//! is never interim.

use http::{HeaderMap, Request, StatusCode};
use hyper::ext::on_informational;
use tokio::sync::mpsc;

use crate::core::http::headers;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

/// Responses of one exchange that wait; further ones are dropped.
const WAITING_MAX: usize = 16;
/// Bytes of one of them; a larger one is dropped.
const BYTES_MAX: usize = 16 * 1024;

/// Subscribes to the interim responses to `request`, encoded for the client.
pub(crate) fn listen<B>(request: &mut Request<B>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    on_informational(request, move |response| {
        let encoded = encode(response.status(), response.headers());
        if let Some(bytes) = encoded {
            // Interim responses are optional; a flood of them is cut.
            let _ = sender.try_send(bytes);
        }
    });
    receiver
}

fn encode(status: StatusCode, fields: &HeaderMap) -> Option<Vec<u8>> {
    if status == StatusCode::CONTINUE {
        return None;
    }
    let mut fields = fields.clone();
    headers::strip_hop_by_hop(&mut fields);
    fields.remove(CONTENT_LENGTH);
    fields.remove(TRANSFER_ENCODING);
    let reason = status.canonical_reason().unwrap_or("Interim");
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &fields {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    (bytes.len() <= BYTES_MAX).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_belongs_to_the_hop_or_is_ours_is_left_out() {
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("link", "</a>"),
            ("link", "</b>"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("content-length", "5"),
        ] {
            fields.append(name, HeaderValue::from_static(value));
        }
        let hints = encode(StatusCode::EARLY_HINTS, &fields).expect("it is short");
        let expected = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&hints), expected);
        assert_eq!(encode(StatusCode::CONTINUE, &fields), None);
    }

    #[test]
    fn i8_an_interim_response_is_bounded() {
        let mut fields = HeaderMap::new();
        let long = "x".repeat(BYTES_MAX);
        fields.insert("link", HeaderValue::from_str(&long).expect("a value"));
        assert_eq!(encode(StatusCode::EARLY_HINTS, &fields), None);
    }
}
