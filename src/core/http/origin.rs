//! Whether a page may open a session. A browser sends a user's cookies for any page that connects,
//! and the same-origin policy does not apply to WebSockets, so only `Origin` distinguishes a user's
//! own page from a foreign one (RFC 6455, section 10.2). Programs other than browsers can send any
//! `Origin`; this check does not concern them.

use http::HeaderMap;
use http::header::ORIGIN;

use crate::config::origin::{OriginPattern, OriginRule, WebOrigin, split_port};
use crate::config::pattern::HostPattern;

/// Longest origin that a message repeats.
const SHOWN_MAX: usize = 200;

/// Why a request for a session is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginFault {
    /// The route requires one.
    #[error("`origin` is missing, and this route asks for one")]
    Missing,
    /// More than one, or not text.
    #[error("`origin` is malformed")]
    Malformed,
    /// A page that may not.
    #[error("pages of `{0}` may not open sessions here")]
    Foreign(Box<str>),
}

/// Judges a request for a session. `host` is the host that it is for, as it came; `tls` whether it
/// came over TLS here, in which case a page that came without may not pass for the same origin.
///
/// # Errors
/// When the rule keeps it out.
pub fn check(
    rule: &OriginRule,
    headers: &HeaderMap,
    host: &str,
    tls: bool,
) -> Result<(), OriginFault> {
    let mut lines = headers.get_all(ORIGIN).into_iter();
    let Some(line) = lines.next() else {
        return if rule.required {
            Err(OriginFault::Missing)
        } else {
            Ok(())
        };
    };
    let Some(allowed) = &rule.allowed else {
        return Ok(());
    };
    if lines.next().is_some() {
        return Err(OriginFault::Malformed);
    }
    let text = line.to_str().map_err(|_| OriginFault::Malformed)?;
    let foreign = || OriginFault::Foreign(text.chars().take(SHOWN_MAX).collect());
    // `null`, which any sandboxed frame has, identifies no page.
    let origin = WebOrigin::parse(text).ok_or_else(foreign)?;
    let listed = allowed
        .iter()
        .any(|pattern| matches(pattern, &origin, host, tls));
    if listed { Ok(()) } else { Err(foreign()) }
}

fn matches(pattern: &OriginPattern, origin: &WebOrigin<'_>, host: &str, tls: bool) -> bool {
    match pattern {
        OriginPattern::Same => is_same(origin, host, tls),
        OriginPattern::Listed { scheme, host, port } => {
            origin.scheme.eq_ignore_ascii_case(scheme)
                && origin.port == *port
                && host_matches(host, origin.host)
        }
    }
}

fn host_matches(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Exact(name) => host.eq_ignore_ascii_case(name),
        HostPattern::Wildcard(name) => {
            let before = host.len().checked_sub(name.len() + 1);
            before.is_some_and(|before| {
                before > 0
                    && host.as_bytes()[before] == b'.'
                    && host.as_bytes()[before + 1..].eq_ignore_ascii_case(name.as_bytes())
            })
        }
    }
}

/// A port that `Host` leaves out is the one of the page's scheme: whether TLS ends here or before
/// the gateway, the browser left out the same.
fn is_same(origin: &WebOrigin<'_>, host: &str, tls: bool) -> bool {
    let secure = origin.scheme.eq_ignore_ascii_case("https");
    if !secure && (tls || !origin.scheme.eq_ignore_ascii_case("http")) {
        return false;
    }
    let default = if secure { 443 } else { 80 };
    split_port(host).is_some_and(|(name, port)| {
        name.eq_ignore_ascii_case(origin.host) && origin.port == Some(port.unwrap_or(default))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn rule(patterns: &[&str]) -> OriginRule {
        let parse = |text: &&str| text.parse().expect("a pattern");
        OriginRule {
            allowed: Some(patterns.iter().map(parse).collect()),
            required: false,
        }
    }

    fn headers(origins: &[&str]) -> HeaderMap {
        let line = |text: &&str| (ORIGIN, HeaderValue::from_str(text).expect("a value"));
        let mut headers = HeaderMap::new();
        for (name, value) in origins.iter().map(line) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn listed_origins_pass_and_others_do_not() {
        let check = |patterns: &[&str], origin: &str, expected: bool| {
            let passed = check(&rule(patterns), &headers(&[origin]), "edge", true).is_ok();
            assert_eq!(passed, expected, "{origin} by {patterns:?}");
        };
        let one = &["https://chat.example.com"];
        check(one, "https://chat.example.com", true);
        check(one, "HTTPS://Chat.Example.Com", true);
        check(one, "https://chat.example.com:443", true);
        for other in [
            "http://chat.example.com",
            "https://chat.example.com:8443",
            "https://chat.example.com.evil.example",
            "https://evil.example/https://chat.example.com",
            "https://chat.example.com@evil.example",
            "https://evil.example#chat.example.com",
            "https://xchat.example.com",
            "https://chat.example.com https://evil.example",
            "https://chat.example.com, https://evil.example",
            "chat.example.com",
            "null",
            "",
        ] {
            check(one, other, false);
        }
        let any_of = &["https://*.example.com"];
        check(any_of, "https://a.example.com", true);
        check(any_of, "https://a.b.example.com", true);
        check(any_of, "https://example.com", false);
        check(any_of, "https://.example.com", false);
        check(any_of, "https://evilexample.com", false);
        check(any_of, "https://a.example.com.evil.example", false);
        check(any_of, "http://a.example.com", false);
        check(
            &["https://a.com", "http://b.com:8080"],
            "http://b.com:8080",
            true,
        );
        check(&["capacitor://localhost"], "capacitor://localhost", true);
        check(&[], "https://a.com", false);
    }

    #[test]
    fn the_same_host_and_port_is_the_same_origin() {
        let check = |origin: &str, host: &str, tls: bool, expected: bool| {
            let passed = check(&rule(&["same"]), &headers(&[origin]), host, tls).is_ok();
            assert_eq!(passed, expected, "{origin} to {host}, tls {tls}");
        };
        check("https://a.com", "a.com", true, true);
        check("https://a.com", "A.com:443", true, true);
        check("https://a.com:8443", "a.com:8443", true, true);
        check("https://[::1]:8443", "[::1]:8443", true, true);
        check("https://a.com:8443", "a.com", true, false);
        check("https://a.com", "a.com:8443", true, false);
        check("https://b.com", "a.com", true, false);
        check("https://sub.a.com", "a.com", true, false);
        // Without TLS, an attacker on the path could have changed the page.
        check("http://a.com", "a.com", true, false);
        // TLS may end before the gateway.
        check("https://a.com", "a.com", false, true);
        check("http://a.com:80", "a.com", false, true);
        check("ftp://a.com", "a.com", false, false);
        check("null", "a.com", false, false);
        check("https://a.com", "", true, false);
    }

    #[test]
    fn a_missing_origin_is_no_browser_and_two_origins_are_refused() {
        let mut rule = rule(&["https://a.com"]);
        assert_eq!(check(&rule, &headers(&[]), "a.com", true), Ok(()));
        let both = headers(&["https://a.com", "https://a.com"]);
        assert_eq!(
            check(&rule, &both, "a.com", true),
            Err(OriginFault::Malformed)
        );
        rule.required = true;
        assert_eq!(
            check(&rule, &headers(&[]), "a.com", true),
            Err(OriginFault::Missing)
        );
        rule.allowed = None;
        assert_eq!(check(&rule, &headers(&["null"]), "a.com", true), Ok(()));
    }

    proptest! {
        /// Only the name itself or a name below it passes, with any text around it.
        #[test]
        fn no_text_around_a_name_makes_it_pass(before in "[ -~]{0,12}", after in "[ -~]{0,12}") {
            let text = format!("https://{before}example.com{after}");
            let rule = rule(&["https://example.com", "https://*.example.com"]);
            let passed = check(&rule, &headers(&[&text]), "x", true).is_ok();
            let label = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let below = before.is_empty() || (before.len() > 1 && before.ends_with('.'));
            let named = below && before.chars().all(label);
            let port = after.is_empty() || after.strip_prefix(':').is_some_and(|digits| {
                digits.parse() == Ok(443_u16) && digits.bytes().all(|b| b.is_ascii_digit())
            });
            prop_assert_eq!(passed, named && port, "{}", text);
        }
    }
}
