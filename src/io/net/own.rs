//! Whether an address is one of this gateway's own. A backend there would be a loop, or would give
//! strangers access from loopback, which the admin API trusts.

use std::fs::metadata;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::base::addr::{ListenAddr, OwnAddresses, unmapped};

/// Whether a connection to `address` would be accepted by a listener of `own`.
pub fn is_own(own: &OwnAddresses, address: SocketAddr) -> bool {
    let mut listeners = own.iter();
    listeners.any(|listener| match listener {
        ListenAddr::Tcp(listener) => {
            listener.port() == address.port() && accepts(listener.ip(), address.ip())
        }
        ListenAddr::Unix(_) => false,
    })
}

/// Whether a listener of `own` accepts at this path, under any of its names.
pub fn is_own_socket(own: &OwnAddresses, path: &Path) -> bool {
    let identity = |path: &Path| metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let mut listeners = own.iter().filter_map(|listener| match listener {
        ListenAddr::Unix(known) => Some(known),
        ListenAddr::Tcp(_) => None,
    });
    listeners.any(|known| {
        let same = || identity(path).is_some_and(|found| identity(known) == Some(found));
        known == path || same()
    })
}

fn accepts(listener: IpAddr, address: IpAddr) -> bool {
    // Linux takes the unspecified address for the loopback one.
    let address = match unmapped(address) {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    match unmapped(listener) {
        listener if !listener.is_unspecified() => listener == address,
        // A socket on `[::]` accepts IPv4 too.
        IpAddr::V4(_) if address.is_ipv6() => false,
        _ => is_of_this_machine(address),
    }
}

/// Whether the system would deliver to itself. The routing table decides: packets to an own address
/// have that address as their source. Nothing is sent.
fn is_of_this_machine(address: IpAddr) -> bool {
    if address.is_loopback() {
        return true;
    }
    let from: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = || {
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect((address, 9))?;
        socket.local_addr()
    };
    source().is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    use std::fs::hard_link;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn own(listeners: &[&str]) -> OwnAddresses {
        let listeners = listeners.iter().map(|text| text.parse().expect(text));
        OwnAddresses::new(listeners.collect::<Vec<_>>())
    }

    #[test]
    fn i12_every_spelling_of_an_own_address_is_one() {
        let check = |listener: &str, address: &str, expected: bool| {
            let found = is_own(&own(&[listener]), address.parse().expect(address));
            assert_eq!(found, expected, "{address} at {listener}");
        };
        check("127.0.0.1:80", "127.0.0.1:80", true);
        check("127.0.0.1:80", "[::ffff:127.0.0.1]:80", true);
        check("127.0.0.1:80", "0.0.0.0:80", true);
        check("127.0.0.1:80", "127.0.0.2:80", false);
        check("127.0.0.1:80", "127.0.0.1:81", false);
        check("[::1]:80", "[::1]:80", true);
        check("[::1]:80", "[::]:80", true);
        check("[::1]:80", "127.0.0.1:80", false);
        for listener in ["0.0.0.0:80", "[::]:80"] {
            check(listener, "127.0.0.1:80", true);
            check(listener, "127.0.0.2:80", true);
            check(listener, "[::ffff:127.1.2.3]:80", true);
            check(listener, "0.0.0.0:80", true);
            check(listener, "192.0.2.1:80", false);
            check(listener, "127.0.0.1:81", false);
        }
        check("[::]:80", "[::1]:80", true);
        check("[::]:80", "[2001:db8::1]:80", false);
    }

    #[test]
    fn i12_the_addresses_of_this_machines_interfaces_are_its_own() {
        // The address that the system would send from, if it has another one than loopback.
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let routed = socket.connect("192.0.2.1:9").is_ok();
        let source = socket.local_addr().expect("an address").ip();
        if routed {
            assert!(is_own(&own(&["0.0.0.0:80"]), (source, 80).into()));
        }
        assert!(is_of_this_machine(Ipv4Addr::new(127, 9, 9, 9).into()));
        assert!(!is_of_this_machine(Ipv4Addr::new(192, 0, 2, 1).into()));
    }

    #[test]
    fn i12_a_socket_is_known_under_every_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let _listener = UnixListener::bind(path("admin.sock")).expect("a socket");
        let _other = UnixListener::bind(path("other.sock")).expect("a socket");
        hard_link(path("admin.sock"), path("hard")).expect("a link");
        std::os::unix::fs::symlink(path("admin.sock"), path("soft")).expect("a link");
        let own = OwnAddresses::new(vec![ListenAddr::Unix(path("admin.sock"))]);
        let dotted = directory.path().join("./admin.sock");
        for name in [path("admin.sock"), path("hard"), path("soft"), dotted] {
            assert!(is_own_socket(&own, &name), "{}", name.display());
        }
        assert!(!is_own_socket(&own, &path("other.sock")));
        assert!(!is_own_socket(&own, &path("none")));
    }
}
