//! Previews the effect of another table: the share of keys that would move, their live sessions,
//! the backends that would lose all keys, and the sessions that would end. Both tables are only
//! read, as a pick reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::base::names::{BackendId, RouteName, UpstreamName};
use crate::config::snapshot::{AdminState, OnRemoval, Policy};
use crate::core::routing::table::{Action, RoutingTable};
use crate::core::routing::upstream::{Member, Upstream};

/// Number of sample keys.
pub const SAMPLE: u16 = 10_000;

/// The sample keys: the texts `0` to `9999`. They are fixed, so that all gateways give the same
/// answer.
pub fn sample() -> impl Iterator<Item = String> {
    (0..SAMPLE).map(|number| number.to_string())
}

/// How the keys of one upstream move. Only of upstreams that are in both tables and differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Movement {
    /// Whose keys.
    pub upstream: UpstreamName,
    /// Which share of the sample would be placed elsewhere, in 0..=1; `None` where a key does not
    /// decide, by the one policy or the other.
    pub moved: Option<f64>,
    /// Members of either table, by id. Empty where keys do not decide.
    pub members: Vec<Share>,
}

/// Which share of the sample a backend holds, in 0..=1, and would hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Which.
    pub backend: BackendId,
    /// `None` if it is not a member yet.
    pub before: Option<f64>,
    /// `None` if it would be no member any more.
    pub after: Option<f64>,
}

/// A backend that would be left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Whose.
    pub upstream: UpstreamName,
    /// Which.
    pub backend: BackendId,
    /// What becomes of it.
    pub why: Why,
    /// Live on it now.
    pub sessions: u64,
}

/// What becomes of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its state would be `draining`.
    Draining,
    /// Its state would be `disabled`.
    Disabled,
    /// It would be no member any more.
    Removed,
    /// The backend of that id would be at another address.
    Readdressed,
}

/// Live sessions by their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// All that were looked at.
    pub live: usize,
    /// Those of them whose key decides where a new session would go.
    pub keyed: usize,
    /// Those of the keyed whose key would go elsewhere.
    pub moved: usize,
    /// Those that would end with their route.
    pub ended: usize,
}

/// What decides about a live session.
#[derive(Clone, Copy, Debug)]
pub struct SessionPlacement<'s> {
    /// The route that took it.
    pub route: &'s str,
    /// Its affinity key, if it has one.
    pub key: Option<&'s [u8]>,
}

/// Upstreams whose keys are sampled; each takes some milliseconds.
pub const MOVEMENTS_MAX: usize = 500;

/// How the keys of upstreams move, of at most [`MOVEMENTS_MAX`]; and how many more there are.
pub fn movements(
    before: &RoutingTable,
    after: &RoutingTable,
    now: Instant,
) -> (Vec<Movement>, usize) {
    let mut both = before.upstreams().filter_map(|old| {
        let new = after.upstream(old.name())?;
        (!Arc::ptr_eq(old, new)).then_some((old, new))
    });
    let sampled = both.by_ref().take(MOVEMENTS_MAX);
    let sampled = sampled.map(|(old, new)| movement(old, new, now)).collect();
    (sampled, both.count())
}

fn movement(before: &Upstream, after: &Upstream, now: Instant) -> Movement {
    let upstream = before.name().clone();
    if !(keys_decide(before) && keys_decide(after)) {
        return Movement {
            upstream,
            moved: None,
            members: Vec::new(),
        };
    }
    let mut moved = 0_u32;
    let mut held: BTreeMap<&BackendId, (u32, u32)> = BTreeMap::new();
    for key in sample() {
        let [old, new] = [before, after].map(|upstream| owner(upstream, key.as_bytes(), now));
        moved += u32::from(!same(old, new));
        if let Some(member) = old {
            held.entry(&member.id).or_default().0 += 1;
        }
        if let Some(member) = new {
            held.entry(&member.id).or_default().1 += 1;
        }
    }
    let share = |count: u32| f64::from(count) / f64::from(SAMPLE);
    let ids = before.members.iter().chain(&after.members);
    let ids: BTreeSet<_> = ids.map(|member| &member.id).collect();
    let members = ids.into_iter().map(|id| {
        let (old, new) = held.get(id).copied().unwrap_or_default();
        Share {
            backend: id.clone(),
            before: before.member(id).map(|_| share(old)),
            after: after.member(id).map(|_| share(new)),
        }
    });
    Movement {
        upstream,
        moved: Some(share(moved)),
        members: members.collect(),
    }
}

/// Backends that take sessions, or hold some, and would be left.
pub fn leaving(before: &RoutingTable, after: &RoutingTable) -> Vec<Leaving> {
    let mut found = Vec::new();
    for old in before.upstreams() {
        let new = after.upstream(old.name());
        if new.is_some_and(|new| Arc::ptr_eq(old, new)) {
            continue;
        }
        let member = |id| new.and_then(|new| new.member(id));
        found.extend(old.members.iter().filter_map(|one| {
            Some(Leaving {
                upstream: old.name().clone(),
                backend: one.id.clone(),
                why: leaves(one, member(&one.id))?,
                sessions: one.state.sessions(),
            })
        }));
    }
    found
}

fn leaves(old: &Member, new: Option<&Member>) -> Option<Why> {
    match new {
        None => Some(Why::Removed),
        Some(new) if new.address != old.address => Some(Why::Readdressed),
        Some(new) if new.admin_state() == old.admin_state() => None,
        Some(new) => match new.admin_state() {
            AdminState::Active => None,
            AdminState::Draining => Some(Why::Draining),
            AdminState::Disabled => Some(Why::Disabled),
        },
    }
}

/// Routes that would go and take their sessions with them.
pub fn ending<'t>(before: &'t RoutingTable, after: &RoutingTable) -> Vec<&'t RouteName> {
    let routes = before.routes().iter();
    let ending = routes.filter(|route| {
        route.config.on_removal == OnRemoval::Close && after.route(route.name()).is_none()
    });
    ending.map(|route| route.name()).collect()
}

/// The effect on live sessions. A session whose route is in one table only has no key that could
/// move.
pub fn sessions<'s>(
    before: &RoutingTable,
    after: &RoutingTable,
    live: impl IntoIterator<Item = SessionPlacement<'s>>,
    now: Instant,
) -> Sessions {
    let ending = ending(before, after);
    let mut found = Sessions::default();
    for session in live {
        found.live += 1;
        found.ended += usize::from(ending.iter().any(|name| name.as_str() == session.route));
        let Some(key) = session.key else { continue };
        let target = |table| forward(table, session.route).filter(|upstream| keys_decide(upstream));
        if let (Some(old), Some(new)) = (target(before), target(after)) {
            found.keyed += 1;
            let stays = Arc::ptr_eq(old, new) || same(owner(old, key, now), owner(new, key, now));
            found.moved += usize::from(!stays);
        }
    }
    found
}

fn forward<'t>(table: &'t RoutingTable, route: &str) -> Option<&'t Arc<Upstream>> {
    match table.action(table.route(&RouteName::from(route))?) {
        Action::Forward(upstream) => Some(upstream),
        Action::Redirect(_) | Action::Static(..) | Action::Function(..) => None,
    }
}

/// Whether the same key gets the same backend.
fn keys_decide(upstream: &Upstream) -> bool {
    match upstream.config.policy {
        Policy::ConsistentHash | Policy::Rendezvous | Policy::Maglev => true,
        Policy::LeastSessions | Policy::RoundRobin | Policy::RandomTwo => false,
    }
}

/// The member that would get this key now. For policies that place by key, nothing else is read and
/// nothing changes.
fn owner<'u>(upstream: &'u Upstream, key: &[u8], now: Instant) -> Option<&'u Member> {
    let index = upstream.pick(Some(key), &[], now, 0)?;
    Some(&upstream.members[index])
}

/// A backend is the same if its id and its address are.
fn same(one: Option<&Member>, other: Option<&Member>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.id == other.id && one.address == other.address,
        (None, None) => true,
        _ => false,
    }
}
