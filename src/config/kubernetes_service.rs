//! A port of a Service of Kubernetes whose pods are the members of an upstream.

use std::fmt;
use std::str::FromStr;

/// Letters of a label (RFC 1123).
const LABEL_LEN_MAX: usize = 63;
/// Letters of a port's name (RFC 6335).
const PORT_NAME_LEN_MAX: usize = 15;

/// A port of a Service, such as `shop/chat:http` or `shop/chat:80`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesService {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its port.
    pub port: ServicePort,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServicePort {
    /// By its name.
    Name(Box<str>),
    /// By its number, which is the Service's and not the pods'.
    Number(u16),
}

/// Why a text is no such port.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no port of a Service")]
pub struct KubernetesServiceError(String);

impl KubernetesService {
    /// How one is written.
    pub const HELP: &str = "write `namespace/service:port` with the name or the number of a port \
                            of the Service, such as `shop/chat:http`";
}

impl FromStr for KubernetesService {
    type Err = KubernetesServiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = || KubernetesServiceError(text.chars().take(2 * LABEL_LEN_MAX).collect());
        let (namespace, rest) = text.split_once('/').ok_or_else(fault)?;
        let (name, port) = rest.split_once(':').ok_or_else(fault)?;
        if !is_label(namespace) || !is_label(name) {
            return Err(fault());
        }
        let number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match number {
            true => {
                let number = port.parse().ok().filter(|number| *number != 0);
                ServicePort::Number(number.ok_or_else(fault)?)
            }
            false if is_label(port) && port.len() <= PORT_NAME_LEN_MAX => {
                ServicePort::Name(port.into())
            }
            false => return Err(fault()),
        };
        Ok(Self {
            namespace: namespace.into(),
            name: name.into(),
            port,
        })
    }
}

impl fmt::Display for KubernetesService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace, name, ..
        } = self;
        match &self.port {
            ServicePort::Name(port) => write!(f, "{namespace}/{name}:{port}"),
            ServicePort::Number(port) => write!(f, "{namespace}/{name}:{port}"),
        }
    }
}

/// Whether a text is a label of RFC 1123, as names of namespaces and Services are.
pub fn is_label(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LABEL_LEN_MAX).contains(&text.len())
        && text.bytes().all(letter)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_services_are_read_in_one_form() {
        let check = |text: &str, expected: &str| {
            let service: KubernetesService = text.parse().expect(text);
            assert_eq!(service.to_string(), expected);
        };
        check("shop/chat:http", "shop/chat:http");
        check("shop/chat-2:8080", "shop/chat-2:8080");
        check("shop/chat:080", "shop/chat:80");
        check("default/ws:ws-1", "default/ws:ws-1");
    }

    #[test]
    fn what_is_no_port_of_a_service_is_refused() {
        let long = format!("{}/chat:80", "a".repeat(64));
        for text in [
            "",
            "chat",
            "chat:80",
            "shop/chat",
            "shop/chat:",
            "shop/chat:0",
            "shop/chat:70000",
            "shop/chat:a-name-that-is-too-long",
            "Shop/chat:80",
            "shop/chat/x:80",
            "../secrets:80",
            "shop/..:80",
            "shop/-chat:80",
            "shop/chat?watch=1:80",
            "shop/chat:80:80",
            &long,
        ] {
            assert!(text.parse::<KubernetesService>().is_err(), "{text}");
        }
    }
}
