//! Chooses sessions to move home: those whose affinity key belongs to another backend, as few as
//! bring the load down to a target. Sessions that spilled over to another level of the upstream go
//! home first, whatever the load. It only chooses; `drain::Plan` sets the pace.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use crate::base::session_id::SessionId;

/// Bounds on the choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Younger sessions stay.
    pub age_min: Duration,
    /// Sessions move until each backend has at most this multiple of its fair share; 0 moves every
    /// key home.
    pub skew: f64,
    /// Sessions that cannot move are closed; else they stay.
    pub close: bool,
    /// How many go at most.
    pub limit: usize,
}

/// A member, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// 0 for one that takes no sessions now.
    pub weight: u32,
    /// Its level in the upstream; 0 is the first.
    pub level: usize,
}

/// A live session, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Its name.
    pub id: SessionId,
    /// The hash of its key.
    pub key: u64,
    /// Which member holds it.
    pub at: usize,
    /// Which member its key belongs to; `None` if it has no key.
    pub home: Option<usize>,
    /// Since its 101.
    pub age: Duration,
    /// Since its last byte.
    pub idle: Duration,
    /// It can go on elsewhere.
    pub movable: bool,
    /// Its end or its move has begun.
    pub busy: bool,
}

/// One session's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Who.
    pub id: SessionId,
    /// Since its last byte.
    pub idle: Duration,
    /// The member that holds it.
    pub from: usize,
    /// The member that its key belongs to.
    pub to: usize,
    /// It moves there; otherwise it is closed.
    pub movable: bool,
}

/// All sessions of a key at one member: they go together or not at all.
struct Group {
    home: usize,
    /// Idle time of the most recently active one.
    idle: Duration,
    sessions: Vec<Resident>,
    free: bool,
}

/// Chooses sessions, in order. The result is deterministic.
pub fn choose(places: &[Place], residents: &[Resident], rules: &Rules) -> Vec<Move> {
    let mut loads = vec![0_usize; places.len()];
    for one in residents {
        loads[one.at] += 1;
    }
    let mut groups = by_source(residents, rules);
    let mut moves = to_better_levels(places, &mut groups, &mut loads, rules.limit);
    let fair = fair_shares(places, &loads);
    let ratio = |load: usize, member: usize| load as f64 / fair[member].max(f64::MIN_POSITIVE);
    let mut sources: BinaryHeap<Source> = groups
        .keys()
        .map(|at| Source(ratio(loads[*at], *at), *at))
        .collect();
    while let Some(Source(_, from)) = sources.pop() {
        if moves.len() >= rules.limit {
            break;
        }
        if rules.skew > 0.0 && ratio(loads[from], from) <= rules.skew {
            continue;
        }
        let Some(group) = groups.get_mut(&from).and_then(VecDeque::pop_front) else {
            continue;
        };
        let (to, size) = (group.home, group.sessions.len());
        // Moving load must not overload another backend as much.
        let better = ratio(loads[to] + size, to) < ratio(loads[from], from);
        if (rules.skew == 0.0 || better) && moves.len() + size <= rules.limit {
            group.go(from, &mut loads, &mut moves);
        }
        sources.push(Source(ratio(loads[from], from), from));
    }
    moves
}

/// Takes the groups whose home is in a better level out of `groups`: they go home.
fn to_better_levels(
    places: &[Place],
    groups: &mut BTreeMap<usize, VecDeque<Group>>,
    loads: &mut [usize],
    limit: usize,
) -> Vec<Move> {
    let mut moves = Vec::new();
    for (from, groups) in groups {
        groups.retain(|group| {
            if places[group.home].level >= places[*from].level {
                return true;
            }
            if moves.len() + group.sessions.len() <= limit {
                group.go(*from, loads, &mut moves);
            }
            false
        });
    }
    moves
}

/// The sessions that each member would have if those of its level were spread by weight.
fn fair_shares(places: &[Place], loads: &[usize]) -> Vec<f64> {
    let mut levels = BTreeMap::<usize, (f64, f64)>::new();
    for (place, load) in places.iter().zip(loads) {
        let (sessions, weight) = levels.entry(place.level).or_default();
        *sessions += *load as f64;
        *weight += f64::from(place.weight);
    }
    let fair = places.iter().map(|place| {
        let (sessions, weight) = levels[&place.level];
        sessions * f64::from(place.weight) / weight
    });
    fair.collect()
}

impl Group {
    fn go(&self, from: usize, loads: &mut [usize], moves: &mut Vec<Move>) {
        loads[from] -= self.sessions.len();
        loads[self.home] += self.sessions.len();
        moves.extend(self.sessions.iter().map(|one| Move {
            id: one.id,
            idle: one.idle,
            from,
            to: self.home,
            movable: one.movable,
        }));
    }
}

/// The groups that may go, by the member that holds them, the idle ones first.
fn by_source(residents: &[Resident], rules: &Rules) -> BTreeMap<usize, VecDeque<Group>> {
    let mut groups = BTreeMap::<(usize, u64), Group>::new();
    for one in residents {
        let Some(home) = one.home.filter(|home| *home != one.at) else {
            continue;
        };
        let group = groups.entry((one.at, one.key)).or_insert_with(|| Group {
            home,
            idle: Duration::MAX,
            sessions: Vec::new(),
            free: true,
        });
        group.idle = group.idle.min(one.idle);
        group.free &= one.age >= rules.age_min && !one.busy && (one.movable || rules.close);
        group.sessions.push(*one);
    }
    let mut sources = BTreeMap::<usize, Vec<(u64, Group)>>::new();
    for ((at, key), group) in groups.into_iter().filter(|(_, group)| group.free) {
        sources.entry(at).or_default().push((key, group));
    }
    let sorted = |mut groups: Vec<(u64, Group)>| {
        groups.sort_by_key(|(key, group)| (std::cmp::Reverse(group.idle), *key));
        groups.into_iter().map(|(_, group)| group).collect()
    };
    sources
        .into_iter()
        .map(|(at, groups)| (at, sorted(groups)))
        .collect()
}

/// A member by how crowded it is.
#[derive(PartialEq)]
struct Source(f64, usize);

impl Eq for Source {}

impl Ord for Source {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(other.1.cmp(&self.1))
    }
}

impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests;
