//! The one form of a request's host: lower case, without a trailing dot, an IPv6 address as RFC
//! 5952 writes it. What is not plainly a name or an address with an optional port is refused: a
//! backend could read another host in it.

use std::net::Ipv6Addr;

/// Longest name that DNS has.
const NAME_MAX: usize = 253;
/// Longest label of one.
const LABEL_MAX: usize = 63;

/// The canonical form of `host` with its port, as `Host` or a target's authority has it. An empty
/// text stays empty; an empty port is left out. `None` for anything else that is not a name or an
/// address: user information, percent-encoding, empty labels.
pub fn canonical(host: &str) -> Option<String> {
    if host.is_empty() {
        return Some(String::new());
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, ""),
    };
    let name = canonical_name(name)?;
    if port.is_empty() {
        return Some(name);
    }
    if port.len() > 5 || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let port: u16 = port.parse().ok()?;
    Some(format!("{name}:{port}"))
}

/// The canonical form of a name or address without a port.
pub fn canonical_name(name: &str) -> Option<String> {
    if let Some(inner) = name.strip_prefix('[') {
        let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_MAX
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    (name.len() <= NAME_MAX && name.split('.').all(label)).then(|| name.to_ascii_lowercase())
}

/// A canonical host without its port.
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

/// The host of a request without one (HTTP/1.0, or an empty `Host`), for routing and for
/// backends.
pub fn or_default(host: &str) -> &str {
    match host {
        "" => "localhost",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i13_a_host_has_one_form() {
        let check = |host: &str, expected: Option<&str>| {
            assert_eq!(canonical(host).as_deref(), expected, "{host}");
            if let Some(form) = expected {
                assert_eq!(canonical(form).as_deref(), expected, "{form}");
            }
        };
        check("", Some(""));
        check("Chat.Example.com", Some("chat.example.com"));
        check("chat.example.com.:8080", Some("chat.example.com:8080"));
        check("chat.example.com:", Some("chat.example.com"));
        check("chat.example.com:0080", Some("chat.example.com:80"));
        check("a_b.example", Some("a_b.example"));
        check("127.0.0.1:1", Some("127.0.0.1:1"));
        check("[0:0::1]:80", Some("[::1]:80"));
        check("[::FFFF:1.2.3.4]", Some("[::ffff:1.2.3.4]"));
        for bad in [
            "x@admin.example.com",
            "admin%2eexample.com",
            "a..b",
            ".a",
            "a..",
            ".",
            ":80",
            "a:b",
            "a:123456",
            "a:70000",
            "a:+80",
            "a b",
            "a,b",
            "a/b",
            "::1",
            "[::1",
            "[::1]x",
            "[fe80::1%25eth0]",
            "é.example",
            "a:80:80",
        ] {
            check(bad, None);
        }
        check(&"a".repeat(64), None);
        check(&format!("{}a", "a.".repeat(127)), None);
    }

    #[test]
    fn a_port_is_taken_off() {
        let check = |host: &str, name: &str| assert_eq!(without_port(host), name);
        check("a:80", "a");
        check("a", "a");
        check("[::1]:80", "[::1]");
        check("[::1]", "[::1]");
    }
}
