//! `trusted_proxies` of a listener: networks, and files with the networks of a CDN.

use ipnet::IpNet;

use crate::base::addr::{Networks, network};
use crate::config::model::{NetworksFile, TextOr};
use crate::config::validate::guard::networks_file;
use crate::config::validate::scope::Scope;

/// Networks of one listener; each request is compared with all of them.
const NETWORKS_MAX: usize = 1024;
/// The shortest prefixes in a file. No CDN has wider networks, and a broken download that trusts
/// everyone must not take effect.
const PREFIX_MIN: (u8, u8) = (8, 16);

pub(super) fn trusted(at: &Scope<'_>, model: &[TextOr<NetworksFile>]) -> Option<Networks> {
    let lists = at.each(model, |at, entry| match entry {
        TextOr::Text(text) => network(text)
            .map(|network| vec![network])
            .map_err(|fault| at.fault(fault.to_string()))
            .ok(),
        TextOr::Table(table) => file(at, table),
    })?;
    let networks = lists.concat();
    at.few(networks.len(), NETWORKS_MAX)?;
    Some(networks.into_iter().collect())
}

fn file(at: &Scope<'_>, table: &NetworksFile) -> Option<Vec<IpNet>> {
    let networks = networks_file(at, table)?;
    let at = at.key("file");
    if networks.is_empty() {
        at.fault_with(
            "the file holds no network, so no proxy would be trusted",
            "write one network on each line",
        );
        return None;
    }
    let wide = networks.iter().find(|network| {
        let least = match network {
            IpNet::V4(_) => PREFIX_MIN.0,
            IpNet::V6(_) => PREFIX_MIN.1,
        };
        network.prefix_len() < least
    });
    if let Some(wide) = wide {
        at.fault_with(
            format!(
                "the file holds a network of /{}, which is wider than any proxy's",
                wide.prefix_len()
            ),
            format!(
                "use /{} or longer for IPv4, /{} or longer for IPv6",
                PREFIX_MIN.0, PREFIX_MIN.1
            ),
        );
        return None;
    }
    Some(networks)
}
