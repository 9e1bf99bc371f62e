//! The levels of an upstream: its members by preference, the lowest priority number first, and
//! within a priority those of the node's own zone. Each level has a balancer of its own. A key
//! belongs to the first level, unless that passes it on:
//!
//! 1. The first member of the level's order that is not draining is the key's own there. If it is
//!    well, the level keeps the key. If not, the level passes on a part of such keys, by their hash
//!    (`LevelHealth::passes_on`); the others walk on within the level.
//! 2. Where no member of a level may take the session (full, tried, in slow start), the next level
//!    is asked.
//! 3. Where no level takes it, those that passed it on are asked again, in order.
//!
//! Policies without keys draw the member of step 1 at random, by weight. An upstream without zones
//! and priorities has one level, which does what its balancer does.

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::base::names::BackendId;
use crate::config::snapshot::Policy;
use crate::core::balance::members::{Members, Passed, Standing};
use crate::core::balance::order::mixed;
use crate::core::balance::{Balancer, Candidate, Found, HOPELESS, Turn, gate};

/// Sets of levels are bits.
const LEVELS_MAX: usize = 32;
/// Takes the part of a key that decides whether it is passed on apart from its place on a ring.
const SPILL: u64 = 0x5b11_1a9e;
/// The same for the member that is drawn where keys do not decide.
const DRAW: u64 = 0x0d2a_3b00;
/// Draws that may meet members that are taken out.
const DRAWS: u64 = 8;

/// How a member is preferred; the lower is tried first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preference {
    /// As configured; 0 is first.
    pub priority: u8,
    /// It is not in the node's zone.
    pub elsewhere: bool,
}

/// A member as it is configured.
pub type Placed = (BackendId, u32, Preference);

/// The levels.
#[derive(Debug)]
pub struct Levels {
    /// At least one, by preference.
    levels: Vec<Level>,
    /// The level of each member, in the order of the members.
    of: Box<[u8]>,
}

#[derive(Debug)]
struct Level {
    preference: Preference,
    /// The places of its members among all, ascending.
    members: Box<[u32]>,
    balancer: Balancer,
    /// At each place the weights up to it.
    sums: Box<[u64]>,
}

/// A walk over levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LevelWalk {
    /// In the order tried; the last one is chosen, unless none is eligible.
    pub steps: Vec<Candidate>,
    /// The levels that passed the key on, as bits.
    pub passed_on: u32,
}

impl Levels {
    /// `members` are sorted by id, ids distinct, weights at least 1. Of more than [`LEVELS_MAX`]
    /// preferences, the last ones share a level.
    pub fn new(policy: Policy, bounded_load: Option<f64>, members: &[Placed]) -> Self {
        let mut preferences: Vec<_> = members
            .iter()
            .map(|(_, _, preference)| *preference)
            .collect();
        preferences.sort_unstable();
        preferences.dedup();
        preferences.truncate(LEVELS_MAX);
        if preferences.is_empty() {
            preferences.push(Preference::default());
        }
        let last = preferences.len() - 1;
        let level_of = |preference: &Preference| {
            let place = preferences.binary_search(preference);
            u8::try_from(place.unwrap_or(last)).expect("there are 32 at most")
        };
        let of: Box<[u8]> = members.iter().map(|(.., one)| level_of(one)).collect();
        let levels = preferences.iter().zip(0_u8..).map(|(preference, level)| {
            let places = (0_u32..).zip(&of).filter(|(_, of)| **of == level);
            let places: Box<[u32]> = places.map(|(place, _)| place).collect();
            let own = places.iter().map(|place| &members[*place as usize]);
            let own: Vec<_> = own.map(|(id, weight, _)| (id.clone(), *weight)).collect();
            let sums = own.iter().scan(0, |sum, (_, weight)| {
                *sum += u64::from(*weight);
                Some(*sum)
            });
            Level {
                preference: *preference,
                sums: sums.collect(),
                balancer: Balancer::new(policy, bounded_load, &own),
                members: places,
            }
        });
        Self {
            levels: levels.collect(),
            of,
        }
    }

    /// How many there are; at least one.
    pub fn count(&self) -> usize {
        self.levels.len()
    }

    /// The level of a member.
    pub fn of(&self, member: usize) -> usize {
        self.of[member].into()
    }

    /// What the members of a level have in common.
    pub fn preference(&self, level: usize) -> Preference {
        self.levels[level].preference
    }

    /// The members of a level, ascending.
    pub fn members(&self, level: usize) -> impl Iterator<Item = usize> {
        self.levels[level]
            .members
            .iter()
            .map(|place| *place as usize)
    }

    /// Whether keys decide.
    pub fn is_keyed(&self) -> bool {
        self.levels[0].balancer.is_keyed()
    }

    /// The member that gets the session; `None` if none is eligible. `random` must be drawn for
    /// each request. Calls `note` for each member that is passed over on the way.
    pub fn pick_noting(
        &self,
        key: Option<&[u8]>,
        members: &impl Members,
        random: u64,
        mut note: impl FnMut(usize, Passed),
    ) -> Option<usize> {
        let mut see = |step: Candidate| {
            if let Err(passed) = step.verdict {
                note(step.index, passed);
            }
        };
        let request = Request {
            key,
            random,
            turn: Turn::Take,
        };
        self.decide(request, members, &mut see).0
    }

    /// The walk that a pick would do now for the same arguments.
    pub fn walk(&self, key: Option<&[u8]>, members: &impl Members, random: u64) -> LevelWalk {
        let mut steps = Vec::new();
        let request = Request {
            key,
            random,
            turn: Turn::Peek,
        };
        let (_, passed_on) = self.decide(request, members, &mut |step| steps.push(step));
        LevelWalk { steps, passed_on }
    }

    /// The member that owns a key now, regardless of its sessions; `None` if the policy does not
    /// place by key, or no member is eligible.
    pub fn owner(&self, key: &[u8], members: &impl Members) -> Option<usize> {
        let point = xxh3_64(key);
        let mut passed_on = SmallVec::<[&Level; 4]>::new();
        for (place, level) in self.levels.iter().enumerate() {
            let subset = level.of(members);
            let active = |index: usize| subset.standing(index) != Standing::Out;
            if self.levels.len() > 1
                && let Some(own) = level.balancer.first_of(point, active)
                && subset.standing(own) == Standing::Unwell
                && is_passed_on(point, place, members)
            {
                passed_on.push(level);
            } else if let Some(index) = level.balancer.owner(key, &subset) {
                return Some(level.whole(index));
            }
        }
        passed_on.into_iter().find_map(|level| {
            let index = level.balancer.owner(key, &level.of(members))?;
            Some(level.whole(index))
        })
    }

    /// Which share of the keys (or of the sessions, where keys do not decide) each member holds
    /// while all are eligible, in 0..=1: members beyond the first level hold none.
    pub fn shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.of.len()];
        let first = &self.levels[0];
        for (place, share) in first.members.iter().zip(first.balancer.shares()) {
            shares[*place as usize] = share;
        }
        shares
    }

    /// The member, and which levels passed the key on.
    fn decide(
        &self,
        request: Request<'_>,
        members: &impl Members,
        see: &mut impl FnMut(Candidate),
    ) -> (Option<usize>, u32) {
        let mut waking = None;
        let mut passed_on = 0_u32;
        for (place, level) in self.levels.iter().enumerate() {
            let place = (self.levels.len() > 1).then_some(place);
            match level.decide(request, members, place, see) {
                Outcome::Taken(index) => return (Some(index), passed_on),
                Outcome::Waking(index) => waking = waking.or(Some(index)),
                Outcome::PassedOn => passed_on |= 1 << place.unwrap_or(0),
                Outcome::None => {}
            }
        }
        for (place, level) in self.levels.iter().enumerate() {
            if passed_on & 1 << place == 0 {
                continue;
            }
            match level.decide(request, members, None, see) {
                Outcome::Taken(index) => return (Some(index), passed_on),
                Outcome::Waking(index) => waking = waking.or(Some(index)),
                Outcome::PassedOn | Outcome::None => {}
            }
        }
        if let Some(index) = waking {
            let verdict = Ok(());
            see(Candidate { index, verdict });
        }
        (waking, passed_on)
    }
}

/// What is asked.
#[derive(Clone, Copy)]
struct Request<'r> {
    key: Option<&'r [u8]>,
    random: u64,
    turn: Turn,
}

impl Request<'_> {
    fn point(&self) -> u64 {
        self.key.map_or(self.random, xxh3_64)
    }
}

/// What became of a request in a level, by the places of members among all.
enum Outcome {
    Taken(usize),
    /// All that may take it are in slow start.
    Waking(usize),
    PassedOn,
    None,
}

impl Level {
    /// Its members as its balancer knows them.
    fn of<'m, M: Members>(&'m self, members: &'m M) -> Subset<'m, M> {
        Subset {
            all: members,
            places: &self.members,
        }
    }

    /// The place among all members.
    fn whole(&self, index: usize) -> usize {
        self.members[index] as usize
    }

    /// `place` is that of the level, if it may pass the key on.
    fn decide(
        &self,
        request: Request<'_>,
        members: &impl Members,
        place: Option<usize>,
        see: &mut impl FnMut(Candidate),
    ) -> Outcome {
        let subset = self.of(members);
        let goes_on = |place: usize| is_passed_on(request.point(), place, members);
        let mut judged = place;
        if let Some(place) = place
            && !self.balancer.is_keyed()
        {
            judged = None;
            let drawn = self.draw(request.random, &subset);
            let unwell = drawn.filter(|one| subset.standing(*one) == Standing::Unwell);
            if let Some(index) = unwell.filter(|_| goes_on(place)) {
                let verdict = subset.verdict(index);
                if verdict.is_err() {
                    let index = self.whole(index);
                    see(Candidate { index, verdict });
                }
                return Outcome::PassedOn;
            }
        }
        let Request { key, random, turn } = request;
        let (mut steps, mut passed_on) = (0, false);
        let found = self.balancer.decide(key, &subset, random, turn, |step| {
            see(Candidate {
                index: self.whole(step.index),
                ..step
            });
            steps += 1;
            if let Some(place) = judged {
                let standing = subset.standing(step.index);
                // The first that is active is the key's own.
                judged = judged.filter(|_| standing == Standing::Out);
                passed_on = standing == Standing::Unwell && goes_on(place);
            }
            let any = || (0..subset.len()).any(|index| subset.verdict(index).is_ok());
            !passed_on && (steps != HOPELESS || turn == Turn::Peek || any())
        });
        match found {
            _ if passed_on => Outcome::PassedOn,
            Found::Taken(index) => Outcome::Taken(self.whole(index)),
            Found::Waking(index) => Outcome::Waking(self.whole(index)),
            Found::None => Outcome::None,
        }
    }

    /// A member that is not taken out, by weight.
    fn draw(&self, random: u64, members: &impl Members) -> Option<usize> {
        let total = *self.sums.last()?;
        let active = |index: &usize| members.standing(*index) != Standing::Out;
        let mut drawn = (0..DRAWS).map(|n| {
            // Scales 0..2^64 to 0..total.
            let number = mixed(random ^ DRAW, n);
            let at = ((u128::from(number) * u128::from(total)) >> 64) as u64;
            self.sums.partition_point(|sum| *sum <= at)
        });
        drawn
            .find(active)
            .or_else(|| (0..members.len()).find(active))
    }
}

/// Whether the key at `point`, whose own member in this level is not well, goes on.
fn is_passed_on(point: u64, level: usize, members: &impl Members) -> bool {
    // Each level decides by a number of its own.
    gate(mixed(point, SPILL + level as u64)) < members.passes_on(level)
}

/// Some of all members.
struct Subset<'m, M> {
    all: &'m M,
    places: &'m [u32],
}

impl<M: Members> Members for Subset<'_, M> {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn sessions(&self, index: usize) -> u64 {
        self.all.sessions(self.places[index] as usize)
    }

    fn verdict(&self, index: usize) -> Result<(), Passed> {
        self.all.verdict(self.places[index] as usize)
    }

    fn awake(&self, index: usize) -> f64 {
        self.all.awake(self.places[index] as usize)
    }

    fn standing(&self, index: usize) -> Standing {
        self.all.standing(self.places[index] as usize)
    }
}

#[cfg(test)]
mod tests;
