//! Extensions in the answers of several backends of one session.
//!
//! A session that reconnects has one client and several backends. With permessage-deflate (RFC
//! 7692) each end may refer to earlier data, so a later backend must not receive references to data
//! that only an earlier one has:
//! - From the client: `client_no_context_takeover` forbids such references. A server may add it on
//!   its own (section 7.1.1.2), so the gateway adds it to the answer for the client. A backend that
//!   did not send it keeps a window that is never referred to, which is harmless.
//! - To the client: a new backend's compressor begins with an empty window, and data without
//!   references to older data decompresses correctly after any older window.
//! - All other parameters (the sizes of the windows, `server_no_context_takeover`) must be the same
//!   in every answer.

use http::header::SEC_WEBSOCKET_EXTENSIONS;
use http::{HeaderMap, HeaderValue};

use crate::base::header_list::line_items;

const DEFLATE: &str = "permessage-deflate";
const FRESH: &str = "client_no_context_takeover";

/// The terms of an answer, alike for answers that are alike to the client: parameters in any order,
/// `client_no_context_takeover` given or not.
pub fn terms<'h>(lines: impl IntoIterator<Item = &'h HeaderValue>) -> String {
    let items = lines.into_iter().flat_map(line_items);
    let items = items.map(|item| {
        let mut parts = item.split(';').map(|part| {
            let part = part.to_ascii_lowercase();
            part.split('=')
                .map(str::trim)
                .collect::<Vec<_>>()
                .join("=")
                .replace('"', "")
        });
        let name = parts.next().unwrap_or_default();
        let mut parameters: Vec<_> = parts.filter(|part| part != FRESH).collect();
        parameters.sort_unstable();
        parameters.insert(0, name);
        parameters.join(";")
    });
    items.collect::<Vec<_>>().join(",")
}

/// Requires of the client, in the answer that it gets, that nothing which it compresses refers to
/// an earlier message.
pub fn forbid_client_context(answer: &mut HeaderMap) {
    let lines: Vec<_> = answer
        .get_all(SEC_WEBSOCKET_EXTENSIONS)
        .iter()
        .cloned()
        .collect();
    answer.remove(SEC_WEBSOCKET_EXTENSIONS);
    for line in lines {
        let items: Vec<_> = line_items(&line).map(without_context).collect();
        let changed = HeaderValue::try_from(items.join(", "));
        answer.append(SEC_WEBSOCKET_EXTENSIONS, changed.unwrap_or(line));
    }
}

fn without_context(item: &str) -> String {
    let mut parts = item.split(';').map(str::trim);
    let deflate = parts.next() == Some(DEFLATE);
    if deflate && !parts.any(|part| part == FRESH) {
        format!("{item}; {FRESH}")
    } else {
        item.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        terms([&HeaderValue::try_from(text).expect("a value")])
    }

    #[test]
    fn answers_that_are_alike_to_the_client_have_the_same_terms() {
        let alike = |one: &str, other: &str| assert_eq!(of(one), of(other), "{one} and {other}");
        alike(
            "permessage-deflate",
            "permessage-deflate; client_no_context_takeover",
        );
        alike(
            "permessage-deflate; server_max_window_bits=10; server_no_context_takeover",
            "permessage-deflate;server_no_context_takeover ; server_max_window_bits = \"10\"",
        );
        let unlike = |one: &str, other: &str| assert_ne!(of(one), of(other), "{one} and {other}");
        unlike("", "permessage-deflate");
        unlike(
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover",
        );
        unlike(
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_max_window_bits=11",
        );
        unlike(
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits=10",
        );
        assert_eq!(terms([]), of(""));
    }

    #[test]
    fn clients_must_not_keep_their_compression_context() {
        let check = |from: &'static str, to: &str| {
            let mut answer = HeaderMap::new();
            answer.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(from));
            forbid_client_context(&mut answer);
            assert_eq!(answer[SEC_WEBSOCKET_EXTENSIONS], to);
            assert_eq!(answer.len(), 1);
        };
        check(
            "permessage-deflate; server_max_window_bits=12",
            "permessage-deflate; server_max_window_bits=12; client_no_context_takeover",
        );
        check(
            "permessage-deflate; client_no_context_takeover",
            "permessage-deflate; client_no_context_takeover",
        );
        check("x-other", "x-other");
        let mut none = HeaderMap::new();
        forbid_client_context(&mut none);
        assert!(none.is_empty());
    }
}
