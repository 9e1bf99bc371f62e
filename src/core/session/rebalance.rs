//! Chooses sessions to move home: those whose affinity key belongs to another backend, as few as
//! bring the load down to a target. It only chooses; `drain::Plan` sets the pace.

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

/// Chooses sessions, in order. `weights` are those of the members, 0 for one that takes no sessions
/// now. The result is deterministic.
pub fn choose(weights: &[u32], residents: &[Resident], rules: &Rules) -> Vec<Move> {
    let mut loads = vec![0_usize; weights.len()];
    for one in residents {
        loads[one.at] += 1;
    }
    let total_weight: f64 = weights.iter().copied().map(f64::from).sum();
    let fair = |member: usize| residents.len() as f64 * f64::from(weights[member]) / total_weight;
    let ratio = |load: usize, member: usize| load as f64 / fair(member).max(f64::MIN_POSITIVE);
    let mut groups = by_source(residents, rules);
    let mut sources: BinaryHeap<Source> = groups
        .keys()
        .map(|at| Source(ratio(loads[*at], *at), *at))
        .collect();
    let mut moves = Vec::new();
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
            loads[from] -= size;
            loads[to] += size;
            moves.extend(group.sessions.iter().map(|one| Move {
                id: one.id,
                idle: one.idle,
                from,
                to,
                movable: one.movable,
            }));
        }
        sources.push(Source(ratio(loads[from], from), from));
    }
    moves
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
