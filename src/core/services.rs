//! Which services of a registry the upstreams name, and what the registry answered last about each.
//! An answer that is late, empty or an error removes no member (I5): the last good one holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::base::names::UpstreamName;

/// Members of one service; further ones are left out.
pub const MEMBERS_MAX: usize = 1024;

/// Members by id, each the text of its document.
pub type Members = BTreeMap<String, Arc<str>>;

/// A good answer about a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// At least one, or the answer is no good one.
    pub members: Members,
    /// Instances that cannot be members: without a usable address or id, or too many.
    pub left_out: usize,
}

/// How a service stands, for display.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Upstreams that name it.
    pub upstreams: Vec<UpstreamName>,
    /// Members of its last good answer; `None` if there was none.
    pub members: Option<usize>,
    /// Instances of that answer that cannot be members.
    pub left_out: usize,
    /// When that came.
    pub answered: Option<Instant>,
    /// Why the last question was in vain, if it was.
    pub fault: Option<Arc<str>>,
}

/// All services that upstreams name in one registry. `K` is how it names one.
#[derive(Debug)]
pub struct Services<K> {
    /// At most so many are followed.
    max: usize,
    services: BTreeMap<K, Service>,
    upstreams: BTreeMap<UpstreamName, K>,
}

#[derive(Debug, Default)]
struct Service {
    found: Option<Found>,
    answered: Option<Instant>,
    fault: Option<Arc<str>>,
}

impl<K: Clone + Ord> Services<K> {
    /// None yet; at most `max` of them will be followed.
    pub const fn new(max: usize) -> Self {
        Self {
            max,
            services: BTreeMap::new(),
            upstreams: BTreeMap::new(),
        }
    }

    /// Follows what these upstreams name from now on. Returns the upstreams that name another
    /// service than before, or none any more.
    pub fn follow(&mut self, wanted: BTreeMap<UpstreamName, K>) -> BTreeSet<UpstreamName> {
        let before = std::mem::replace(&mut self.upstreams, wanted);
        let all: BTreeSet<_> = self.upstreams.values().cloned().collect();
        self.services.retain(|service, _| all.contains(service));
        for service in all {
            if self.services.len() < self.max {
                self.services.entry(service).or_default();
            }
        }
        let either = before.keys().chain(self.upstreams.keys());
        let differs = |name: &&UpstreamName| before.get(*name) != self.upstreams.get(*name);
        either.filter(differs).cloned().collect()
    }

    /// What to ask for.
    pub fn followed(&self) -> impl Iterator<Item = &K> {
        self.services.keys()
    }

    /// Takes what came of a question. An answer without a member counts as none, with this reason.
    /// Returns the upstreams whose members may have changed.
    pub fn answered(
        &mut self,
        service: &K,
        outcome: Result<Found, String>,
        now: Instant,
    ) -> BTreeSet<UpstreamName> {
        // It is not followed any more.
        let Some(known) = self.services.get_mut(service) else {
            return BTreeSet::new();
        };
        let outcome = outcome.and_then(|found| match (found.members.is_empty(), found.left_out) {
            (false, _) => Ok(found),
            (true, 0) => Err("it has no instance that is ready".to_owned()),
            (true, count) => Err(format!("none of its {count} instances can be a backend")),
        });
        let found = match outcome {
            Ok(found) => found,
            Err(fault) => {
                known.fault = Some(fault.into());
                return BTreeSet::new();
            }
        };
        (known.fault, known.answered) = (None, Some(now));
        let before = known.found.replace(found);
        let same = before.map(|found| found.members)
            == known.found.as_ref().map(|found| found.members.clone());
        if same {
            return BTreeSet::new();
        }
        let naming = self.upstreams.iter();
        let naming = naming.filter(|(_, named)| *named == service);
        naming.map(|(upstream, _)| upstream.clone()).collect()
    }

    /// Members of an upstream by the last good answer about its service; `None` if there was none
    /// yet, so that it is not known what is gone.
    pub fn members(&self, upstream: &UpstreamName) -> Option<&Members> {
        let service = self.services.get(self.upstreams.get(upstream)?)?;
        service.found.as_ref().map(|found| &found.members)
    }

    /// Whether this upstream names a service.
    pub fn has(&self, upstream: &str) -> bool {
        self.upstreams.contains_key(upstream)
    }

    /// Whether the last question about a service was in vain.
    pub fn is_failing(&self, service: &K) -> bool {
        self.fault(service).is_some()
    }

    /// Why the last question about a service was in vain, if it was.
    pub fn fault(&self, service: &K) -> Option<&str> {
        self.services.get(service)?.fault.as_deref()
    }

    /// Whether every service has been asked for once.
    pub fn all_asked(&self) -> bool {
        let asked = |one: &Service| one.answered.is_some() || one.fault.is_some();
        self.services.values().all(asked)
    }
}

impl<K: Clone + Ord + ToString> Services<K> {
    /// How each service stands, for display. Those that are too many have that as their fault.
    pub fn statuses(&self) -> BTreeMap<String, ServiceStatus> {
        let mut all: BTreeMap<_, ServiceStatus> = BTreeMap::new();
        for (upstream, key) in &self.upstreams {
            let status = all.entry(key.to_string()).or_default();
            status.upstreams.push(upstream.clone());
            match self.services.get(key) {
                Some(service) => {
                    let found = service.found.as_ref();
                    status.members = found.map(|found| found.members.len());
                    status.left_out = found.map_or(0, |found| found.left_out);
                    status.answered = service.answered;
                    status.fault.clone_from(&service.fault);
                }
                None => {
                    let max = self.max;
                    status.fault = Some(format!("only {max} services are followed").into());
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;
