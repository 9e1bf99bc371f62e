//! The backends that the records of a name make.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::config::dns_name::DnsName;
use crate::core::discovery::answer::{Records, Service};

/// Backends of one name; further ones are left out.
pub const MEMBERS_MAX: usize = 1024;
/// The greatest weight of a backend.
pub(super) const WEIGHT_MAX: u32 = 1000;
/// The greatest priority of a backend; further ones share it.
const PRIORITY_MAX: u8 = 15;

/// A backend that DNS names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub address: SocketAddr,
    /// From 1 to 1000.
    pub weight: u32,
    /// 0 is first.
    pub priority: u8,
}

/// The backends of an upstream, by id: `10.0.0.1:9000` of an address, `chat-1.example.com:9000` of
/// a service, whose place on the ring stays when its address changes.
pub type Members = BTreeMap<String, Found>;

/// What the records of a name make; addresses that it had before are kept where there is a choice,
/// or no answer about them.
pub(super) fn members(name: &DnsName, records: &Records, before: Option<&Members>) -> Members {
    let mut members = Members::new();
    match (name, records) {
        (DnsName::Host { port, .. }, Records::Addresses { v4, v6 }) => {
            let known = |is_v4: bool| {
                let before = before.into_iter().flat_map(BTreeMap::values);
                let ips = before.map(|found| found.address.ip());
                ips.filter(move |ip| ip.is_ipv4() == is_v4)
            };
            let v4 = v4.clone().unwrap_or_else(|| known(true).collect());
            let v6 = v6.clone().unwrap_or_else(|| known(false).collect());
            for ip in v4.into_iter().chain(v6).take(MEMBERS_MAX) {
                let address = SocketAddr::new(ip, *port);
                let found = Found {
                    address,
                    weight: 1,
                    priority: 0,
                };
                members.insert(address.to_string(), found);
            }
        }
        (DnsName::Service { .. }, Records::Services(services)) => {
            services_found(services, before, &mut members);
        }
        // An answer has the kind that was asked for.
        _ => {}
    }
    members
}

/// Services of all priorities, which are counted up from the lowest. A target without an address
/// stays where it was.
fn services_found(services: &[Service], before: Option<&Members>, members: &mut Members) {
    let known = |id: &str| before.and_then(|before| before.get(id));
    let mut all: Vec<_> = services.iter().filter(|one| one.port != 0).collect();
    all.sort_unstable();
    let mut heaviest: BTreeMap<u16, u16> = BTreeMap::new();
    for one in &all {
        let most = heaviest.entry(one.priority).or_default();
        *most = one.weight.max(*most);
    }
    // The lowest is 0. Sorted, so that the place is found by a search.
    let priorities: Vec<_> = heaviest.keys().copied().collect();
    let rank = |priority: u16| {
        let rank = priorities.partition_point(|one| *one < priority);
        u8::try_from(rank).map_or(PRIORITY_MAX, |rank| rank.min(PRIORITY_MAX))
    };
    for service in all.into_iter().take(MEMBERS_MAX) {
        let id = format!("{}:{}", service.target, service.port);
        let before = known(&id).map(|found| found.address);
        let still = before.filter(|address| {
            service.addresses.is_empty() || service.addresses.contains(&address.ip())
        });
        let first = service.addresses.first();
        let address = still.or_else(|| first.map(|ip| SocketAddr::new(*ip, service.port)));
        if let Some(address) = address {
            let found = Found {
                address,
                weight: weight(service.weight, heaviest[&service.priority]),
                priority: rank(service.priority),
            };
            members.insert(id, found);
        }
    }
}

/// A weight of a record, 0 to 65,535, as one of a backend. Shares are kept unless a weight exceeds
/// [`WEIGHT_MAX`]; 0 is the smallest share (RFC 2782).
pub(super) fn weight(weight: u16, heaviest: u16) -> u32 {
    let (weight, heaviest) = (u32::from(weight), u32::from(heaviest));
    let scaled = match heaviest <= WEIGHT_MAX {
        true => weight,
        false => weight * WEIGHT_MAX / heaviest,
    };
    scaled.clamp(1, WEIGHT_MAX)
}
