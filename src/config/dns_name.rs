//! Names in DNS under which an upstream's backends are found.

use std::fmt;
use std::str::FromStr;

/// Octets of a name (RFC 1035, section 2.3.4), without those for its own encoding.
const NAME_LEN_MAX: usize = 253;
/// Octets of a label (RFC 1035, section 2.3.4).
const LABEL_LEN_MAX: usize = 63;

/// A name to look up, in lower case: DNS compares names without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DnsName {
    /// Each of its addresses (A, AAAA) is a backend, at this port.
    Host {
        /// The name; one that ends with a dot is not completed by the search list.
        name: Box<str>,
        /// Of every address.
        port: u16,
    },
    /// Each of its services (SRV, RFC 2782) is a backend.
    Service {
        /// Such as `_ws._tcp.chat.example.com`.
        name: Box<str>,
    },
}

/// The text is not a name that can be looked up.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is neither a name with a port nor the name of a service")]
pub struct DnsNameError(String);

impl DnsName {
    /// How one is written.
    pub const HELP: &str = "write `chat.example.com:9000` for the addresses of a name, or \
                            `_ws._tcp.chat.example.com` for its services";

    /// What is looked up.
    pub fn name(&self) -> &str {
        match self {
            Self::Host { name, .. } | Self::Service { name } => name,
        }
    }
}

impl FromStr for DnsName {
    type Err = DnsNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = || DnsNameError(text.chars().take(NAME_LEN_MAX).collect());
        let lower = text.to_ascii_lowercase();
        let parsed = match lower.rsplit_once(':') {
            Some((name, port)) => {
                let port = port.parse().ok().filter(|port| *port != 0);
                // A name that ends in a number is an address (RFC 1123, section 2.1).
                let last = name.trim_end_matches('.').rsplit('.').next();
                let number = last.is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
                let good = is_name(name) && !number && !name.starts_with('_');
                good.then_some(port).flatten().map(|port| Self::Host {
                    name: name.into(),
                    port,
                })
            }
            None => {
                let mut labels = lower.trim_end_matches('.').split('.');
                let two = [labels.next(), labels.next()];
                let service = two.iter().all(|label| {
                    label.is_some_and(|label| label.len() > 1 && label.starts_with('_'))
                });
                let good = is_name(&lower) && service && labels.next().is_some();
                good.then(|| Self::Service {
                    name: lower.as_str().into(),
                })
            }
        };
        parsed.ok_or_else(fault)
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { name, port } => write!(f, "{name}:{port}"),
            Self::Service { name } => f.write_str(name),
        }
    }
}

/// Whether a text is a host name; labels may hold underscores, as those of services do.
pub fn is_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=LABEL_LEN_MAX).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= NAME_LEN_MAX && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_one_form() {
        let check = |text: &str, expected: &str| {
            let name: DnsName = text.parse().expect(text);
            assert_eq!(name.to_string(), expected);
            let service = matches!(name, DnsName::Service { .. });
            assert_eq!(service, expected.starts_with('_'), "{text}");
        };
        check("chat.example.com:9000", "chat.example.com:9000");
        check("CHAT.Example.com.:9000", "chat.example.com.:9000");
        check("chat:80", "chat:80");
        check("_WS._tcp.chat.example.com", "_ws._tcp.chat.example.com");
        check("_ws._tcp.chat", "_ws._tcp.chat");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("{}:80", ["a"; 128].join("."));
        let label = format!("{}.example.com:80", "a".repeat(64));
        for text in [
            "",
            ":",
            ".",
            "chat",
            "chat.example.com",
            "chat.example.com:0",
            "chat.example.com:70000",
            "chat.example.com:ws",
            "10.0.0.1:9000",
            "[::1]:9000",
            "::1",
            "chat..example.com:80",
            "-chat.example.com:80",
            "chat .example.com:80",
            "chat\r\n.example.com:80",
            "*.example.com:80",
            "_ws._tcp",
            "_ws._tcp.",
            "_._tcp.example.com",
            "_ws.tcp.example.com",
            "_ws._tcp.example.com:80",
            "bücher.example:80",
            &long,
            &label,
        ] {
            assert!(text.parse::<DnsName>().is_err(), "{text}");
        }
    }
}
