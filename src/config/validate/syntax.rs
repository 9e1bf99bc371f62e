//! Texts that HTTP gives a form: tokens, targets, hosts.

use crate::config::pattern::HostPattern;

/// RFC 9110, section 5.6.2: what header names, cookie names and subprotocols are made of.
pub(super) fn is_token(text: &str) -> bool {
    let other = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || other(byte))
}

/// Whether `text` is valid in a request line: a path, possibly with a query.
pub(super) fn is_target(text: &str) -> bool {
    text.starts_with('/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// Whether `text` is a host, maybe with a port.
pub(super) fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    matches!(name.parse(), Ok(HostPattern::Exact(_)))
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_targets_and_tokens_are_distinguished_from_other_texts() {
        let check = |is: fn(&str) -> bool, good: &[&str], bad: &[&str]| {
            assert!(good.iter().all(|text| is(text)), "{good:?}");
            assert!(!bad.iter().any(|text| is(text)), "{bad:?}");
        };
        check(
            is_host,
            &[
                "a",
                "a.example.com:8443",
                "127.0.0.1:1",
                "[::1]",
                "[::1]:80",
            ],
            &[
                "", ":80", "a:", "a:0", "a:b", "a:70000", "u@a", "http://a", "a/b", "*.a", "a b",
            ],
        );
        check(
            is_target,
            &["/", "/a?b=c", "/%20"],
            &["", "a", "/a b", "/a#b", "/ü", "/a\n"],
        );
        check(
            is_token,
            &["chat.v2", "x-a", "!#$"],
            &["", "a b", "a;b", "a,b", "ü"],
        );
    }
}
