//! Which names in DNS are looked up when, and which backends their answers make. An answer that is
//! late, empty or an error removes no backend (I5): the last good one holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::names::UpstreamName;
use crate::config::dns_name::DnsName;
use crate::core::discovery::members::members;

mod answer;
mod members;

pub use answer::{Answer, Records, Service};
pub use members::{Found, MEMBERS_MAX, Members};

/// Names that are looked up; further ones are not.
pub const NAMES_MAX: usize = 4096;

/// The bounds of a lookup's time to live.
#[derive(Clone, Copy, Debug)]
pub struct TtlBounds {
    /// At least; also the first wait after a failure.
    pub min: Duration,
    /// At most; also the longest wait after failures.
    pub max: Duration,
}

/// How a name stands, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameStatus {
    /// Upstreams that have it.
    pub upstreams: Vec<UpstreamName>,
    /// Backends of its last good answer; `None` if there was none.
    pub members: Option<usize>,
    /// When that came.
    pub answered: Option<Instant>,
    /// Why the last lookup failed, if it did.
    pub fault: Option<Arc<str>>,
}

/// All names.
#[derive(Debug)]
pub struct Names {
    bounds: TtlBounds,
    names: BTreeMap<DnsName, Name>,
    upstreams: BTreeMap<UpstreamName, Vec<DnsName>>,
}

#[derive(Debug, Default)]
struct Name {
    /// When it is looked up next; `None` while it is.
    due: Option<Instant>,
    /// Failed lookups in a row.
    failures: u32,
    members: Option<Members>,
    answered: Option<Instant>,
    fault: Option<Arc<str>>,
}

impl Names {
    /// No names yet.
    pub const fn new(bounds: TtlBounds) -> Self {
        Self {
            bounds,
            names: BTreeMap::new(),
            upstreams: BTreeMap::new(),
        }
    }

    /// Follows these names from now on. New ones are due at once. Returns the upstreams whose names
    /// differ from before.
    pub fn follow(
        &mut self,
        wanted: BTreeMap<UpstreamName, Vec<DnsName>>,
        now: Instant,
    ) -> Vec<UpstreamName> {
        let before = std::mem::replace(&mut self.upstreams, wanted);
        let all: BTreeSet<_> = self.upstreams.values().flatten().cloned().collect();
        self.names.retain(|name, _| all.contains(name));
        for name in all {
            if self.names.len() >= NAMES_MAX {
                break;
            }
            self.names.entry(name).or_insert_with(|| Name {
                due: Some(now),
                ..Name::default()
            });
        }
        let either = before.keys().chain(self.upstreams.keys());
        let either: BTreeSet<_> = either.cloned().collect();
        let differs = |name: &UpstreamName| before.get(name) != self.upstreams.get(name);
        either.into_iter().filter(differs).collect()
    }

    /// Names to look up now, `max` at most; each is under way until it is
    /// [`answered`](Self::answered).
    pub fn due(&mut self, now: Instant, max: usize) -> Vec<DnsName> {
        let due = self.names.iter_mut();
        let due = due.filter(|(_, name)| name.due.is_some_and(|due| due <= now));
        due.take(max)
            .map(|(key, name)| {
                name.due = None;
                key.clone()
            })
            .collect()
    }

    /// When the next name is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.names.values().filter_map(|name| name.due).min()
    }

    /// Takes the outcome of a lookup. `jitter` is from 0 to 1, so that gateways that started
    /// together do not ask together. Returns the upstreams whose backends may have changed.
    pub fn answered(
        &mut self,
        name: &DnsName,
        outcome: Result<Answer, String>,
        (now, jitter): (Instant, f64),
    ) -> Vec<UpstreamName> {
        let TtlBounds { min, max } = self.bounds;
        // It is not followed any more.
        let Some(known) = self.names.get_mut(name) else {
            return Vec::new();
        };
        match outcome {
            Ok(answer) => {
                let members = members(name, &answer.records, known.members.as_ref());
                known.due = Some(now + answer.ttl.clamp(min, max));
                (known.failures, known.fault) = (0, None);
                known.answered = Some(now);
                let changed = known.members.as_ref() != Some(&members);
                known.members = Some(members);
                match changed {
                    true => self.of(name),
                    false => Vec::new(),
                }
            }
            Err(fault) => {
                let wait = min.saturating_mul(1 << known.failures.min(16)).min(max);
                known.due = Some(now + wait.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0));
                known.failures = known.failures.saturating_add(1);
                known.fault = Some(fault.into());
                Vec::new()
            }
        }
    }

    fn of(&self, name: &DnsName) -> Vec<UpstreamName> {
        let all = self.upstreams.iter();
        let with = all.filter(|(_, names)| names.contains(name));
        with.map(|(upstream, _)| upstream.clone()).collect()
    }

    /// The backends of an upstream by the last good answers, and whether each of its names has had
    /// one: otherwise those of the others are unknown, not gone.
    pub fn members(&self, upstream: &UpstreamName) -> (Members, bool) {
        let names = self.upstreams.get(upstream).into_iter().flatten();
        let (mut members, mut complete) = (Members::new(), true);
        for name in names {
            let found = self.names.get(name).and_then(|name| name.members.as_ref());
            complete &= found.is_some();
            for (id, found) in found.into_iter().flatten() {
                members.entry(id.clone()).or_insert_with(|| found.clone());
            }
        }
        (members, complete)
    }

    /// Whether this upstream has a name to follow.
    pub fn has(&self, upstream: &str) -> bool {
        self.upstreams.contains_key(upstream)
    }

    /// Whether the last lookup of a name had no answer.
    pub fn is_failing(&self, name: &DnsName) -> bool {
        let name = self.names.get(name);
        name.is_some_and(|name| name.fault.is_some())
    }

    /// Whether every name has been looked up once.
    pub fn all_asked(&self) -> bool {
        let asked = |name: &Name| name.answered.is_some() || name.fault.is_some();
        self.names.values().all(asked)
    }

    /// How each name stands, for display.
    pub fn statuses(&self) -> BTreeMap<DnsName, NameStatus> {
        let mut all: BTreeMap<_, _> = self
            .names
            .iter()
            .map(|(key, name)| {
                let status = NameStatus {
                    upstreams: Vec::new(),
                    members: name.members.as_ref().map(BTreeMap::len),
                    answered: name.answered,
                    fault: name.fault.clone(),
                };
                (key.clone(), status)
            })
            .collect();
        for (upstream, names) in &self.upstreams {
            for name in names {
                if let Some(status) = all.get_mut(name) {
                    status.upstreams.push(upstream.clone());
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;
