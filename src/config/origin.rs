//! Web pages that may open sessions. A route's `origins` and a browser's `Origin` (RFC 6454,
//! section 7) are parsed by the same code, so that they cannot drift apart. `core::http::origin`
//! decides on requests.

use std::fmt;
use std::str::FromStr;

use crate::config::pattern::HostPattern;

/// The origins that may open a session on a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginRule {
    /// Permitted pages. `None` permits all.
    pub allowed: Option<Vec<OriginPattern>>,
    /// Whether a request without `Origin`, which no browser sends, is refused too.
    pub required: bool,
}

impl OriginRule {
    /// Pages of the gateway's own host, and programs that are no browsers.
    pub fn same_origin() -> Self {
        Self {
            allowed: Some(vec![OriginPattern::Same]),
            required: false,
        }
    }
}

/// One entry of `origins`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// `same`: the host that the request itself is for.
    Same,
    /// Scheme, host and port; the host may begin with `*.`.
    Listed {
        /// Lower case, such as `https`.
        scheme: String,
        /// Exact, or any number of labels in front of a name.
        host: HostPattern,
        /// The scheme's own where it has one and none is written.
        port: Option<u16>,
    },
}

/// The text is no entry of `origins`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Nothing of the kind.
    #[error(
        "`{0}` is not an origin; write `https://chat.example.com`, `https://*.example.com`, \
         `same` or `*`, without a path"
    )]
    Form(String),
    /// Every sandboxed frame and every local file has it.
    #[error(
        "`null` is the origin of every sandboxed page, whichever site it is from, so it cannot be allowed"
    )]
    Null,
}

/// A page's origin as sent by browsers: scheme, host and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebOrigin<'o> {
    /// As written.
    pub scheme: &'o str,
    /// As written, an IPv6 address in brackets.
    pub host: &'o str,
    /// The scheme's own where none is written.
    pub port: Option<u16>,
}

impl<'o> WebOrigin<'o> {
    /// Reads `scheme://host[:port]` and nothing more; `null`, lists and what has a path are none.
    pub fn parse(text: &'o str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(letter) {
            return None;
        }
        let (host, port) = split_port(authority)?;
        let known = if scheme.eq_ignore_ascii_case("https") {
            Some(443)
        } else {
            scheme.eq_ignore_ascii_case("http").then_some(80)
        };
        Some(Self {
            scheme,
            host,
            port: port.or(known),
        })
    }
}

/// A host that is not empty, and its port if one is written.
pub fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok()?)
        }
        Some(_) => return None,
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let letter = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'-' | b'_')
            || (bracketed && matches!(byte, b':' | b'[' | b']'))
    };
    (!host.is_empty() && host.bytes().all(letter)).then_some((host, port))
}

impl FromStr for OriginPattern {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text == "same" {
            return Ok(Self::Same);
        }
        if text.eq_ignore_ascii_case("null") {
            return Err(OriginError::Null);
        }
        let wrong = || OriginError::Form(text.to_owned());
        let lower = text.to_ascii_lowercase();
        // `*` is not valid in a host, so the wildcard is removed first. The rest is parsed as an
        // origin that a browser sent.
        let (plain, wildcard) = match lower.split_once("://*.") {
            Some((scheme, rest)) => (format!("{scheme}://{rest}"), true),
            None => (lower, false),
        };
        let origin = WebOrigin::parse(&plain).ok_or_else(wrong)?;
        let host = if wildcard {
            format!("*.{}", origin.host)
        } else {
            origin.host.to_owned()
        };
        Ok(Self::Listed {
            scheme: origin.scheme.to_owned(),
            host: host.parse().map_err(|_| wrong())?,
            port: origin.port,
        })
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("same"),
            Self::Listed { scheme, host, port } => {
                write!(f, "{scheme}://{host}")?;
                match (scheme.as_str(), port) {
                    ("https", Some(443)) | ("http", Some(80)) | (_, None) => Ok(()),
                    (_, Some(port)) => write!(f, ":{port}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_and_written_alike() {
        for text in [
            "same",
            "https://chat.example.com",
            "https://*.example.com",
            "http://localhost:3000",
            "https://*.example.com:8443",
            "https://[::1]:8443",
            "chrome-extension://abcdefgh",
        ] {
            let pattern: OriginPattern = text.parse().expect(text);
            assert_eq!(pattern.to_string(), text);
        }
        let shortened = |text: &str| text.parse::<OriginPattern>().expect(text).to_string();
        assert_eq!(
            shortened("HTTPS://Chat.Example.com:443"),
            "https://chat.example.com"
        );
    }

    #[test]
    fn malformed_origins_are_reported() {
        for text in [
            "",
            "chat.example.com",
            "https://",
            "https://chat.example.com/",
            "https://chat.example.com/ws",
            "https://u@chat.example.com",
            "https://*",
            "https://*.*.com",
            "https://a.*.com",
            "https://a b.com",
            "https://a.com:port",
            "https://a.com:70000",
            "https://a.com:+80",
            "https://a.com:",
            "://a.com",
            "https://a.com https://b.com",
            "*.example.com",
        ] {
            let parsed = text.parse::<OriginPattern>();
            assert!(
                matches!(parsed, Err(OriginError::Form(_))),
                "{text}: {parsed:?}"
            );
        }
        assert_eq!("null".parse::<OriginPattern>(), Err(OriginError::Null));
    }
}
