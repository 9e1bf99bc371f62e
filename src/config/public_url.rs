//! The URL of a gateway for clients: scheme, host, maybe a port and nothing else.

use std::fmt;
use std::str::FromStr;

use http::Uri;

use crate::base::host;
use crate::config::pattern::HostPattern;

/// Bytes of such a URL.
const LEN_MAX: usize = 255;

/// `wss://edge-1.example.com`, `ws://edge-1.example.com:8080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    secure: bool,
    /// In canonical form.
    host: String,
    port: Option<u16>,
}

/// The text is no such URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not the URL of a gateway")]
pub struct NotPublicUrl;

impl PublicUrl {
    /// What would be right.
    pub const HELP: &'static str =
        "write scheme, host and maybe a port: `wss://edge-1.example.com` or `ws://10.0.0.5:8080`";

    /// Whether the host is one of these.
    pub fn is_of(&self, hosts: &[HostPattern]) -> bool {
        hosts.iter().any(|pattern| match pattern {
            HostPattern::Exact(name) => *name == self.host,
            HostPattern::Wildcard(rest) => {
                let front = self.host.strip_suffix(rest.as_str());
                front.is_some_and(|front| front.len() > 1 && front.ends_with('.'))
            }
        })
    }
}

impl FromStr for PublicUrl {
    type Err = NotPublicUrl;

    fn from_str(text: &str) -> Result<Self, NotPublicUrl> {
        let fits = text.len() <= LEN_MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        let url: Uri = Some(text)
            .filter(|_| fits)
            .and_then(|text| text.parse().ok())
            .ok_or(NotPublicUrl)?;
        let secure = match url.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            _ => return Err(NotPublicUrl),
        };
        let authority = url.authority().ok_or(NotPublicUrl)?;
        let bare = url.path_and_query().is_none_or(|path| path.as_str() == "/");
        let port = authority.port_u16();
        let written = authority.as_str().len();
        let known =
            authority.host().len() + authority.port().map_or(0, |port| port.as_str().len() + 1);
        // Neither a user, nor a port that is none.
        if !bare || text.ends_with('/') || written != known || port == Some(0) {
            return Err(NotPublicUrl);
        }
        let host = host::canonical_name(authority.host()).ok_or(NotPublicUrl)?;
        Ok(Self { secure, host, port })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}", self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_scheme_host_and_port() {
        let check = |text: &str, expected: Option<&str>| {
            let found = text.parse::<PublicUrl>().ok();
            let found = found.map(|url| url.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("wss://edge-1.example.com", Some("wss://edge-1.example.com"));
        check(
            "wss://EDGE-1.Example.com.",
            Some("wss://edge-1.example.com"),
        );
        check("ws://10.0.0.5:8080", Some("ws://10.0.0.5:8080"));
        check("ws://[::1]:8080", Some("ws://[::1]:8080"));
        for wrong in [
            "",
            "edge-1.example.com",
            "https://edge-1.example.com",
            "wss://",
            "wss://edge/",
            "wss://edge/ws",
            "wss://edge?x",
            "wss://user@edge",
            "wss://edge:0",
            "wss://edge:",
            "wss://edge:99999",
            "wss://ed ge",
            "wss://edge\n",
            "javascript:alert(1)",
        ] {
            check(wrong, None);
        }
        check(&format!("wss://{}.example.com", "a".repeat(300)), None);
    }

    #[test]
    fn hosts_are_matched_as_those_of_routes() {
        let url: PublicUrl = "wss://edge-1.example.com:8443".parse().expect("a URL");
        let of = |pattern: &str| url.is_of(&[pattern.parse().expect("a pattern")]);
        assert!(of("edge-1.example.com") && of("*.example.com") && of("*.com"));
        assert!(!of("example.com") && !of("edge-2.example.com") && !of("*.edge-1.example.com"));
        assert!(!url.is_of(&[]));
    }
}
