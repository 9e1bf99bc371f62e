//! What matching looks at, and the two readings of it that are easy to get wrong: which name a
//! `Host` means, and which paths are refused because a backend could read them as other paths.

use std::fmt;

use http::{HeaderMap, Method};
use smallvec::SmallVec;

/// The parts of a request that choose a route, borrowed from where the server holds them.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// As it came.
    pub method: &'r Method,
    /// As it came, with or without a port, in any case; empty if the client named none.
    pub host: &'r str,
    /// As it came: nothing is decoded or normalised.
    pub path: &'r str,
    /// What follows the `?`, not decoded.
    pub query: Option<&'r str>,
    /// As they came.
    pub headers: &'r HeaderMap,
    /// Whether it is a valid upgrade to WebSocket; only then are subprotocols an offer.
    pub websocket: bool,
    /// Whether it came over TLS.
    pub tls: bool,
}

/// Values of a route's path parameters as they stand in the request, in the order of the path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters<'t, 'r>(SmallVec<[(&'t str, &'r str); 4]>);

impl<'t, 'r> Parameters<'t, 'r> {
    /// The value of the parameter `name`, not decoded.
    pub fn get(&self, name: &str) -> Option<&'r str> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }

    /// Names and values, in the order of the path.
    pub fn iter(&self) -> impl Iterator<Item = (&'t str, &'r str)> {
        self.0.iter().copied()
    }
}

impl<'t, 'r> FromIterator<(&'t str, &'r str)> for Parameters<'t, 'r> {
    fn from_iter<I: IntoIterator<Item = (&'t str, &'r str)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// Longest name that DNS has.
const NAME_MAX: usize = 253;

/// A request's host as patterns are written: lower case, no port, no trailing dot.
#[derive(Clone, Copy)]
pub(super) struct HostName {
    bytes: [u8; NAME_MAX],
    len: usize,
}

impl HostName {
    /// `None` for what no pattern can match: nothing, too long a name, an empty label.
    pub(super) fn new(host: &str) -> Option<Self> {
        let name = without_port(host);
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() || name.len() > NAME_MAX {
            return None;
        }
        if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
            return None;
        }
        let mut bytes = [0; NAME_MAX];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes.make_ascii_lowercase();
        Some(Self {
            bytes,
            len: name.len(),
        })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// What stands behind each dot, longest first.
    pub(super) fn suffixes(&self) -> impl Iterator<Item = &[u8]> {
        let bytes = self.as_bytes();
        let dots = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        dots.map(|(dot, _)| &bytes[dot + 1..])
    }
}

/// `name:80` is `name`, `[::1]:80` is `[::1]`; an IPv6 address without brackets has no port.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && (name.ends_with(']') || !name.contains(':')) =>
        {
            name
        }
        _ => host,
    }
}

/// Why a path matches no route, whatever the routes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// It does not begin with `/`: the `*` of OPTIONS, say.
    NotAbsolute,
    /// A segment is `.` or `..`, plain, encoded, or in a form that some server takes for one.
    DotSegment,
    /// A letter or digit is percent-encoded, which hides a path from whoever compares bytes.
    NeedlessEncoding,
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "the path does not begin with `/`",
            Self::DotSegment => "the path has a `.` or `..` segment",
            Self::NeedlessEncoding => "the path has a percent-encoded letter or digit",
        })
    }
}

/// Finds what would let one path pass for another behind the gateway. Browsers and client libraries
/// resolve dot segments before they send, and none encodes letters or digits, so an honest request
/// does not meet this. Segments are cut where any server is known to cut them: at `/`, `\` and
/// their encoded forms, and a segment's dots end at `;` (path parameters of Java servers).
pub fn path_fault(path: &str) -> Option<PathFault> {
    if !path.starts_with('/') {
        return Some(PathFault::NotAbsolute);
    }
    if !path.bytes().any(|byte| matches!(byte, b'.' | b'%')) {
        return None;
    }
    // Dots of the segment so far, `None` once there is something else in it.
    let mut dots = Some(0);
    let mut ended = false;
    let mut left = path.as_bytes();
    while let [first, rest @ ..] = left {
        let decoded = (*first == b'%').then(|| decode(rest)).flatten();
        left = if decoded.is_some() { &rest[2..] } else { rest };
        match decoded.unwrap_or(*first) {
            b'/' | b'\\' if matches!(dots, Some(1 | 2)) => return Some(PathFault::DotSegment),
            b'/' | b'\\' => (dots, ended) = (Some(0), false),
            byte if decoded.is_some() && byte.is_ascii_alphanumeric() => {
                return Some(PathFault::NeedlessEncoding);
            }
            b';' => ended = true,
            _ if ended => {}
            b'.' => dots = dots.map(|dots| dots + 1),
            _ => dots = None,
        }
    }
    matches!(dots, Some(1 | 2)).then_some(PathFault::DotSegment)
}

/// The byte that two hexadecimal digits at the start of `text` mean.
fn decode(text: &[u8]) -> Option<u8> {
    let digit = |place: usize| char::from(*text.get(place)?).to_digit(16);
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_port_case_and_trailing_dot() {
        let check = |host: &str, name: Option<&str>| {
            let found = HostName::new(host);
            let found = found.as_ref().map(HostName::as_bytes);
            assert_eq!(found, name.map(str::as_bytes), "{host}");
        };
        check("Chat.Example.com", Some("chat.example.com"));
        check("chat.example.com:8080", Some("chat.example.com"));
        check("chat.example.com.:8080", Some("chat.example.com"));
        check("chat.example.com:", Some("chat.example.com"));
        check("[::1]:80", Some("[::1]"));
        check("[::1]", Some("[::1]"));
        check("[::1]x:80", Some("[::1]x:80"));
        check("a:b:80", Some("a:b:80"));
        check("", None);
        check(":80", None);
        check(".", None);
        check(".example.com", None);
        check("a..example.com", None);
        check("example.com..", None);
        check(&"a".repeat(254), None);
    }

    #[test]
    fn suffixes_come_longest_first() {
        let name = HostName::new("a.b.c").expect("a name");
        let suffixes: Vec<_> = name.suffixes().collect();
        assert_eq!(suffixes, [b"b.c".as_slice(), b"c"]);
    }

    #[test]
    fn paths_that_could_pass_for_others_are_found() {
        use PathFault::*;
        let check = |path: &str, fault| assert_eq!(path_fault(path), fault, "{path}");
        for honest in [
            "/",
            "/ws",
            "/a//b",
            "/.well-known/x",
            "/a.b/..c/...",
            "/%C3%A9/%20",
            "/100%",
            "/%zz",
            "/a/%2F",
            "/a;v=1/b",
            "/a;../b",
            "/x%3B..",
            "/a%2",
            "/%",
            "/a/;/b",
        ] {
            check(honest, None);
        }
        for dots in [
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/%2e",
            "/a/%2E%2e/b",
            "/a/.%2e",
            "/a/..%2fb",
            "/a%2f..",
            "/a\\..\\b",
            "/a/..%5Cb",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a/.%3bx/b",
            "/a/.;/",
        ] {
            check(dots, Some(DotSegment));
        }
        check("*", Some(NotAbsolute));
        check("", Some(NotAbsolute));
        check("/%61dmin", Some(NeedlessEncoding));
        check("/a%37", Some(NeedlessEncoding));
    }
}
