//! Loop detection: a backend that is, directly or not, the gateway itself. Every request to a
//! backend lists the gateways that it passed in `Sessile-Gateway`; a request that returns is
//! refused. Each process draws a random name, so that two gateways with one configuration in a row
//! are no loop, and the name reveals nothing about a machine.

use std::fmt::Write as _;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use crate::base::header_list::items;

/// The gateways that a request came through, the last one at the end.
pub static SESSILE_GATEWAY: HeaderName = HeaderName::from_static("sessile-gateway");

/// Maximum gateways in a row; with more, the loop may contain a proxy that removes the names.
const GATEWAYS_MAX: usize = 16;

/// Whether the request came through the gateway `instance` already, or through too many.
pub fn is_loop(headers: &HeaderMap, instance: u64) -> bool {
    let mut gateways = names(headers);
    let passed = gateways.by_ref().take(GATEWAYS_MAX);
    passed.filter(|name| *name == instance).count() > 0 || gateways.next().is_some()
}

/// The value for a backend: that of the request, followed by `instance`. Anything else than names
/// of gateways is dropped.
pub fn gateways(headers: &HeaderMap, instance: u64) -> HeaderValue {
    let mut list = String::with_capacity(16);
    for name in names(headers).take(GATEWAYS_MAX) {
        write!(list, "{name:016x}, ").expect("a String takes everything");
    }
    write!(list, "{instance:016x}").expect("a String takes everything");
    HeaderValue::try_from(list).expect("hexadecimal digits and commas")
}

/// Marks a request of the gateway's own that it makes for the request with the headers `cause`.
pub fn mark(headers: &mut HeaderMap, cause: &HeaderMap, instance: u64) {
    headers.insert(&SESSILE_GATEWAY, gateways(cause, instance));
}

fn names(headers: &HeaderMap) -> impl Iterator<Item = u64> {
    let names = items(headers, &SESSILE_GATEWAY);
    let names = names.filter(|name| name.len() == 16);
    names.filter_map(|name| u64::from_str_radix(name, 16).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let lines = lines.iter().map(|line| {
            let value = HeaderValue::from_str(line).expect("a value");
            (SESSILE_GATEWAY.clone(), value)
        });
        let mut headers = HeaderMap::new();
        lines.for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    #[test]
    fn i12_a_request_that_comes_back_is_a_loop() {
        let (one, two) = (0x1111_u64, 0xfedc_ba98_7654_3210_u64);
        let first = gateways(&HeaderMap::new(), one);
        let first = headers(&[first.to_str().expect("text")]);
        assert!(is_loop(&first, one) && !is_loop(&first, two));
        let second = gateways(&first, two);
        assert_eq!(second, "0000000000001111, fedcba9876543210");
        let second = headers(&[second.to_str().expect("text")]);
        assert!(is_loop(&second, one) && is_loop(&second, two) && !is_loop(&second, 3));
        // On lines of their own.
        let lines = headers(&["x", "", "0000000000001111"]);
        assert!(is_loop(&lines, one) && !is_loop(&lines, two));
    }

    #[test]
    fn i8_what_clients_send_as_gateways_is_bounded_and_cleaned() {
        let junk = headers(&["<script>, 11, 0000000000000001, zzzzzzzzzzzzzzzz"]);
        assert_eq!(gateways(&junk, 2), "0000000000000001, 0000000000000002");
        assert!(!is_loop(&junk, 2));
        let many = vec!["00000000000000ff"; GATEWAYS_MAX];
        assert!(!is_loop(&headers(&many), 2));
        let many = vec!["00000000000000ff"; GATEWAYS_MAX + 1];
        assert!(is_loop(&headers(&many), 2));
    }
}
