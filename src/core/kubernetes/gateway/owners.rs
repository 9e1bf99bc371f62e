//! Which namespace a host belongs to: that of the oldest route for it. Another namespace has
//! neither that host nor, where it is a wildcard, one below it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::pattern::HostPattern;
use crate::core::kubernetes::gateway::hosts::Hosts;
use crate::core::kubernetes::gateway::report::Fault;

/// Hosts of routes so far, `None` for any host.
#[derive(Debug)]
pub(super) struct Owners {
    shared: bool,
    namespaces: HashMap<Option<HostPattern>, Arc<str>>,
}

impl Owners {
    /// If hosts are shared, they belong to all.
    pub(super) fn new(shared: bool) -> Self {
        Self {
            shared,
            namespaces: HashMap::new(),
        }
    }

    /// Leaves those of these hosts that belong to no other namespace; returns why one had to go.
    pub(super) fn restrict(&self, namespace: &str, hosts: &mut [Hosts]) -> Option<Fault> {
        let mut lost = None;
        for hosts in hosts {
            let mut may_have = |host: Option<&HostPattern>| {
                let owner = self.owner(host).filter(|owner| ***owner != *namespace);
                if let Some(owner) = owner {
                    lost.get_or_insert_with(|| (host.cloned(), Arc::clone(owner)));
                }
                owner.is_none()
            };
            hosts.any = hosts.any && may_have(None);
            hosts.names.retain(|host| may_have(Some(host)));
        }
        let (host, owner) = lost?;
        let host = host.map_or_else(|| "any host".to_owned(), |host| format!("host {host}"));
        let message = format!("{host} belongs to an older route of namespace {owner}");
        Some(Fault::new("HostnameConflict", message))
    }

    /// These hosts belong to this namespace from now on.
    pub(super) fn claim(&mut self, namespace: &Arc<str>, hosts: &[Hosts]) {
        if self.shared {
            return;
        }
        for hosts in hosts {
            let any = hosts.any.then_some(None);
            let all = any.into_iter().chain(hosts.names.iter().cloned().map(Some));
            for host in all {
                let owner = self.namespaces.entry(host);
                owner.or_insert_with(|| Arc::clone(namespace));
            }
        }
    }

    fn owner(&self, host: Option<&HostPattern>) -> Option<&Arc<str>> {
        if let Some(owner) = self.namespaces.get(&host.cloned()) {
            return Some(owner);
        }
        let (HostPattern::Exact(name) | HostPattern::Wildcard(name)) = host?;
        let mut rest = name.as_str();
        while let Some((_, parent)) = rest.split_once('.') {
            let wildcard = Some(HostPattern::Wildcard(parent.to_owned()));
            if let Some(owner) = self.namespaces.get(&wildcard) {
                return Some(owner);
            }
            rest = parent;
        }
        None
    }
}
