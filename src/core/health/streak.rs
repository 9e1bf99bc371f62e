//! Failures that a client can provoke: a path that answers 500 to it, a connection that the backend
//! ends, an invalid 101, an answer that does not come. They indicate a fault of the backend only if
//! several clients have them, and more clients than sessions granted meanwhile. The state per
//! client is bounded.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

/// Distinct clients that are kept. This many granted sessions within [`WINDOW`] outweigh any
/// failures.
pub const CLIENTS_MAX: usize = 8;
/// An older streak is discarded.
const WINDOW: Duration = Duration::from_secs(30);
/// Bytes of an address that name a network: /24 and /48 count as one client each. A /48 is
/// available to everyone for free.
const NETWORK_BYTES: (usize, usize) = (3, 6);

/// The client of an outcome: a network of addresses, and a principal if there is one. Two clients
/// are distinct only if both differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    network: u32,
    /// The principal's, else the network's.
    identity: u32,
}

impl Witness {
    /// The client of a session, as its record has it: an address, mostly with a port, or no address
    /// at all on unix sockets.
    pub fn of_record(client: &str, principal: Option<&str>) -> Self {
        let with_port = client.parse::<SocketAddr>().map(|client| client.ip());
        let address = with_port.or_else(|_| client.parse());
        address.map_or_else(|_| Self::default(), |address| Self::new(address, principal))
    }

    /// A client at this address. Equal hashes make two clients one, which ejects less.
    pub fn new(address: IpAddr, principal: Option<&str>) -> Self {
        let network = low_half(match address.to_canonical() {
            IpAddr::V4(v4) => xxh3_64(&v4.octets()[..NETWORK_BYTES.0]),
            IpAddr::V6(v6) => xxh3_64(&v6.octets()[..NETWORK_BYTES.1]),
        });
        let identity = principal.map(|subject| low_half(xxh3_64(subject.as_bytes())));
        Self {
            network,
            identity: identity.unwrap_or(network),
        }
    }
}

const fn low_half(hash: u64) -> u32 {
    (hash & 0xffff_ffff) as u32
}

/// How a backend did meanwhile, as far as the caller counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meanwhile {
    /// Sessions granted since the backend was first seen.
    pub established: u64,
    /// Those of them that were lost at once.
    pub lost_early: u64,
}

/// Failures without a success between them.
#[derive(Clone, Debug, Default)]
pub struct Streak {
    since: Option<Instant>,
    failures: u32,
    networks: Distinct,
    identities: Distinct,
    before: Meanwhile,
}

/// A set of a few hashes; further ones are not counted.
#[derive(Clone, Debug, Default)]
struct Distinct {
    seen: [u32; CLIENTS_MAX],
    count: usize,
}

impl Distinct {
    fn add(&mut self, one: u32) {
        let known = self.seen[..self.count].contains(&one);
        if !known && self.count < CLIENTS_MAX {
            self.seen[self.count] = one;
            self.count += 1;
        }
    }
}

impl Streak {
    /// Adds a failure.
    pub fn add(&mut self, witness: Witness, meanwhile: Meanwhile, now: Instant) {
        let old = |since: Instant| now.saturating_duration_since(since) > WINDOW;
        if self.since.is_none_or(old) {
            *self = Self {
                since: Some(now),
                before: meanwhile,
                ..Self::default()
            };
        }
        self.failures = self.failures.saturating_add(1);
        self.networks.add(witness.network);
        self.identities.add(witness.identity);
    }

    /// Failures in it.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Clients that met them, [`CLIENTS_MAX`] at most.
    pub fn clients(&self) -> usize {
        self.networks.count.min(self.identities.count)
    }

    /// Sessions that were granted since it began and were not lost at once.
    pub const fn good(&self, meanwhile: Meanwhile) -> u64 {
        let granted = meanwhile
            .established
            .saturating_sub(self.before.established);
        let lost = meanwhile.lost_early.saturating_sub(self.before.lost_early);
        granted.saturating_sub(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_of_a_record_is_the_client_of_its_request() {
        let check = |record: &str, address: &str| {
            let found = Witness::of_record(record, None);
            let address = address.parse().expect("an address");
            assert_eq!(found, Witness::new(address, None), "{record}");
            assert_ne!(found, Witness::default(), "{record}");
        };
        check("203.0.113.7:4711", "203.0.113.7");
        check("203.0.113.7", "203.0.113.7");
        check("[2001:db8::1]:4711", "2001:db8::1");
        check("[::ffff:203.0.113.7]:4711", "203.0.113.7");
        check("2001:db8::1", "2001:db8::1");
        assert_eq!(Witness::of_record("unix", None), Witness::default());
    }

    #[test]
    fn i12_what_one_customer_of_a_provider_has_is_one_client() {
        let client = |text: &str| Witness::new(text.parse().expect(text), None);
        assert_eq!(client("2001:db8:1::1"), client("2001:db8:1:ffff::9"));
        assert_ne!(client("2001:db8:1::1"), client("2001:db8:2::1"));
        assert_eq!(client("192.0.2.1"), client("192.0.2.255"));
        assert_ne!(client("192.0.2.1"), client("192.0.3.1"));
    }
}
