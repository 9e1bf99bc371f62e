//! What records of DNS say: addresses of a host, services with their targets.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{RData, Record};

use crate::config::dns_name::is_name;
use crate::core::discovery::{Answer, Records, Service};

/// The addresses of one family, and how long they hold; why there are none, if they are not known.
pub(super) type Family = Result<(BTreeSet<IpAddr>, Option<u32>), String>;

/// What the two families of a host come to.
pub(super) fn addresses(name: &str, v4: Family, v6: Family) -> Result<Answer, String> {
    let ttls = [&v4, &v6].map(|family| family.as_ref().ok().and_then(|(_, ttl)| *ttl));
    let ttl = ttls.into_iter().flatten().min().unwrap_or(0);
    let fault = [&v4, &v6].into_iter().find_map(|one| one.as_ref().err());
    let fault = fault.cloned();
    let [v4, v6] = [v4, v6].map(|family| family.ok().map(|(ips, _)| ips));
    let empty = [&v4, &v6]
        .iter()
        .all(|family| family.as_ref().is_none_or(BTreeSet::is_empty));
    if empty {
        return Err(fault.unwrap_or_else(|| format!("`{name}` has no addresses")));
    }
    Ok(Answer {
        records: Records::Addresses { v4, v6 },
        ttl: Duration::from_secs(ttl.into()),
    })
}

/// Every address.
pub(super) fn all(records: &Records) -> BTreeSet<IpAddr> {
    match records {
        Records::Addresses { v4, v6 } => {
            [v4, v6].into_iter().flatten().flatten().copied().collect()
        }
        Records::Services(_) => BTreeSet::new(),
    }
}

/// A service of a record; none if its target is the root, which says that there is none (RFC 2782),
/// or no host name.
pub(super) fn service(record: &Record) -> Option<Service> {
    let RData::SRV(srv) = &record.data else {
        return None;
    };
    let SRV {
        priority,
        weight,
        port,
        target,
        ..
    } = srv;
    let target = target.to_ascii().to_ascii_lowercase();
    let target = target.trim_end_matches('.');
    is_name(target).then(|| Service {
        priority: *priority,
        weight: *weight,
        target: target.to_owned(),
        port: *port,
        addresses: BTreeSet::new(),
    })
}
