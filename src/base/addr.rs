//! Addresses by role: where the gateway listens, where a backend is, which networks are trusted.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

/// An address to listen on: `0.0.0.0:8080`, `[::]:8080` or `unix:/run/sessile.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// A TCP address; the system chooses a free port for port 0.
    Tcp(SocketAddr),
    /// A unix socket's path.
    Unix(PathBuf),
}

impl ListenAddr {
    /// Whether only this machine reaches it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

/// Addresses at which this gateway itself listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses(Vec<ListenAddr>);

impl OwnAddresses {
    /// These are the gateway's own.
    pub const fn new(listeners: Vec<ListenAddr>) -> Self {
        Self(listeners)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &ListenAddr> {
        self.0.iter()
    }

    /// Whether `backend` is one of them, judging by the address as written. Each dial checks
    /// resolved names and this machine's addresses (`io::net::own`).
    pub fn shows_in(&self, backend: &BackendAddr) -> bool {
        self.iter().any(|own| own.shows_in(backend))
    }
}

impl ListenAddr {
    fn shows_in(&self, backend: &BackendAddr) -> bool {
        match (self, backend) {
            (Self::Tcp(own), BackendAddr::Ip(to)) => {
                let (own_ip, ip) = (unmapped(own.ip()), unmapped(to.ip()));
                let local = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
                // One of them is a wildcard address, or both are loopback.
                let covers = own_ip.is_unspecified() || ip.is_unspecified();
                own.port() == to.port() && (own_ip == ip || covers && local(own_ip) && local(ip))
            }
            (Self::Tcp(own), BackendAddr::Host(name, port)) => {
                let here = matches!(name.trim_end_matches('.'), "localhost" | "ip6-localhost")
                    || name.trim_end_matches('.').ends_with(".localhost");
                let local = own.ip().is_loopback() || own.ip().is_unspecified();
                own.port() == *port && here && local
            }
            (Self::Unix(own), BackendAddr::Unix(path)) => own == path,
            _ => false,
        }
    }
}

/// Where a backend is: `10.0.0.1:9000`, `chat-1.internal:9000` or `unix:/run/chat.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BackendAddr {
    /// An IP address and port.
    Ip(SocketAddr),
    /// A name that is looked up at each dial, and a port.
    Host(String, u16),
    /// A unix socket's path.
    Unix(PathBuf),
}

impl BackendAddr {
    /// The default for the `Host` header and the TLS server name.
    pub fn host(&self) -> String {
        match self {
            Self::Ip(address) => address.ip().to_string(),
            Self::Host(name, _) => name.clone(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// The text is not an address of the expected kind; the message has an example of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddrError {
    /// Not an address to listen on.
    #[error(
        "`{0}` is not an address to listen on; write `0.0.0.0:8080`, `[::]:8080` or `unix:/path/to.sock`"
    )]
    Listen(String),
    /// Not a backend's address.
    #[error(
        "`{0}` is not a backend's address; write `10.0.0.1:9000`, `name:9000`, `[::1]:9000` or `unix:/path/to.sock`"
    )]
    Backend(String),
    /// Not a network.
    #[error("`{0}` is not a network; write `10.0.0.0/8`, `fd00::/8` or a single address")]
    Network(String),
}

impl FromStr for ListenAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        match text.strip_prefix("unix:") {
            Some(path) => socket_path(path)
                .map(Self::Unix)
                .ok_or_else(|| AddrError::Listen(text.to_owned())),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| AddrError::Listen(text.to_owned())),
        }
    }
}

impl FromStr for BackendAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        let wrong = || AddrError::Backend(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(Self::Unix).ok_or_else(wrong);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 {
                Err(wrong())
            } else {
                Ok(Self::Ip(address))
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        // A name of digits and dots alone is a mistyped IPv4 address, not a name.
        let numeric = host.chars().all(|c| c.is_ascii_digit() || c == '.');
        if host.is_empty() || port == 0 || numeric || !host.chars().all(letters) {
            return Err(wrong());
        }
        Ok(Self::Host(host.to_ascii_lowercase(), port))
    }
}

/// The path of a unix socket. A NUL is in none: in front it would name a socket of Linux's abstract
/// namespace, which no permissions guard and no path finds.
fn socket_path(path: &str) -> Option<PathBuf> {
    (!path.is_empty() && !path.contains('\0')).then(|| path.into())
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for BackendAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Host(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for ListenAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for BackendAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Trusted networks, such as load balancers in front of the gateway. They are few, so the search is
/// linear.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether `address` lies in one of them. An IPv4 address inside IPv6 counts as the IPv4
    /// address that it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = unmapped(address);
        self.0.iter().any(|network| network.contains(&address))
    }

    /// No networks.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the network that `text` names; a single address is a network of one.
    ///
    /// # Errors
    /// When the text is neither a network nor an address.
    pub fn add(&mut self, text: &str) -> Result<(), AddrError> {
        self.0.push(network(text)?);
        Ok(())
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

/// The network that `text` names, in the form in which addresses are compared: one of IPv4
/// addresses inside IPv6 (`::ffff:192.0.2.0/120`) is the IPv4 network.
///
/// # Errors
/// When the text is neither a network nor an address.
pub fn network(text: &str) -> Result<IpNet, AddrError> {
    let network = text.parse::<IpNet>().ok();
    let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = network.or_else(single);
    let network = network.ok_or_else(|| AddrError::Network(text.to_owned()))?;
    let mapped = network.prefix_len().checked_sub(96);
    Ok(match (unmapped(network.network()), mapped) {
        (v4 @ IpAddr::V4(_), Some(length)) if network.addr().is_ipv6() => {
            IpNet::new(v4, length).expect("at most 32 of 128 bits are left")
        }
        _ => network.trunc(),
    })
}

/// An IPv4 address that an IPv6 socket shows as `::ffff:a.b.c.d` is the IPv4 address.
pub fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// The sixteen bytes of an address in one form for both families: for hashing and PROXY headers.
pub fn sixteen_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => Ipv6Addr::octets(&v6),
    }
}

#[cfg(test)]
mod tests;
