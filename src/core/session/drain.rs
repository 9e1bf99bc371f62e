//! Plans for draining sessions from a backend or a gateway, and for rebalancing: which sessions go,
//! and when. A plan only decides. Its owner supplies the sessions and the time, and closes or moves
//! the sessions that the plan selects.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::names::{BackendId, UpstreamName};
use crate::base::session_id::SessionId;
use crate::config::model::Pace;
use crate::config::snapshot::{AdminState, Drain, Shutdown, Tempo};

/// Milliseconds on the clock of the plan's owner, since an arbitrary start.
pub type Millis = u64;

/// The longest time that one step can account for. After a delay of the owner, the missed sessions
/// do not go in one burst.
const STEP_MAX: Millis = 1_000;
/// Time after the deadline for sessions that are still moving.
const LAST_MOVES: Millis = 5_000;

/// How fast, and until when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// How fast.
    pub tempo: Tempo,
    /// The share of a slot by which the time of each session is randomized, in 0..=1.
    pub jitter: f64,
    /// After this time the rest go at once.
    pub deadline: Option<Duration>,
}

impl From<&Drain> for Profile {
    fn from(drain: &Drain) -> Self {
        Self {
            tempo: drain.tempo,
            jitter: drain.jitter,
            deadline: drain.deadline,
        }
    }
}

impl Profile {
    /// The profile of one worker in a shutdown. The worker has `own` of `all` sessions.
    pub fn of_shutdown(shutdown: &Shutdown, own: usize, all: usize) -> Self {
        let share = own as f64 / all.max(1) as f64;
        let tempo = match shutdown.per_second {
            // A worker without sessions may still get some.
            Some(pace) => Tempo::Pace(Pace::each_second((pace * share).max(pace * 0.01))),
            None => Tempo::Within(shutdown.grace),
        };
        Self {
            tempo,
            jitter: shutdown.jitter,
            deadline: Some(shutdown.grace),
        }
    }
}

/// An operator's order for the state of a backend. It outlives the process and holds until it is
/// withdrawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendOrder {
    /// Of the backend.
    pub upstream: UpstreamName,
    /// Which.
    pub backend: BackendId,
    /// The ordered state, which overrides the configuration.
    pub state: AdminState,
    /// The pace of the drain, if the order has one.
    pub tempo: Option<Tempo>,
    /// The remaining sessions go at once after this time, if the order has a deadline.
    pub deadline: Option<Duration>,
    /// Whether the drain is paused.
    pub paused: bool,
    /// Who gave the order; a process of an older version does not know that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<Arc<str>>,
}

/// A session that could go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub id: SessionId,
    /// Since its last byte.
    pub idle: Duration,
    /// Whether it moves to another backend instead of being closed.
    pub movable: bool,
    /// Its end or its move has begun.
    pub busy: bool,
}

/// Sorts candidates by idle time, longest first: closing an idle session interrupts no traffic.
pub fn idle_first(candidates: &mut [Candidate]) {
    candidates.sort_by_key(|one| (std::cmp::Reverse(one.idle), one.id));
}

/// A plan under way.
#[derive(Clone, Debug)]
pub struct Plan {
    profile: Profile,
    /// Of the random moves within slots.
    seed: u64,
    /// When it was asked last.
    clock: Millis,
    /// How long it has run, pauses left out.
    run: Millis,
    /// When, in `run`, the profile began to hold.
    since: Millis,
    paused: bool,
    /// Slots elapsed since the start of the plan, including the fraction of the current slot.
    slots: f64,
    /// How many sessions were named.
    named: u64,
    queue: VecDeque<Candidate>,
    /// Sessions selected since the last survey, and those that were still ending or moving then.
    /// The value is whether the session moves.
    ordered: HashMap<SessionId, bool>,
    closed: usize,
    moved: usize,
    total: usize,
    surveyed: bool,
}

/// How far a plan is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// All sessions that the plan has covered so far.
    pub total: usize,
    /// Sessions that are still queued.
    pub left: usize,
    /// Sessions selected to be closed.
    pub closed: usize,
    /// Sessions selected to be moved.
    pub moved: usize,
    /// Estimated time until the last session is selected; `None` while paused.
    pub until_done: Option<Duration>,
    /// Whether the plan is paused.
    pub paused: bool,
}

impl Plan {
    /// A plan that begins at `now`. `seed` is random: gateways that drain the same backend must not
    /// do so in step.
    pub fn new(profile: Profile, now: Millis, seed: u64) -> Self {
        Self {
            profile,
            seed,
            clock: now,
            run: 0,
            since: 0,
            paused: false,
            slots: 0.0,
            named: 0,
            queue: VecDeque::new(),
            ordered: HashMap::new(),
            closed: 0,
            moved: 0,
            total: 0,
            surveyed: false,
        }
    }

    /// Replaces the queue with the current sessions, in the order in which they are to go. A
    /// session that was selected before but neither ends nor moves is queued again.
    pub fn survey(&mut self, candidates: &[Candidate]) {
        let mut underway = HashMap::new();
        self.queue.clear();
        for one in candidates {
            let ordered = self.ordered.remove(&one.id);
            if one.busy {
                underway.extend(ordered.map(|movable| (one.id, movable)));
                continue;
            }
            match ordered {
                Some(true) => self.moved = self.moved.saturating_sub(1),
                Some(false) => self.closed = self.closed.saturating_sub(1),
                None => {}
            }
            self.queue.push_back(*one);
        }
        self.ordered = underway;
        self.surveyed = true;
        self.total = self.total.max(self.moved + self.closed + self.queue.len());
    }

    /// Returns the sessions that are to go now.
    pub fn due(&mut self, now: Millis) -> Vec<Candidate> {
        self.due_at_most(now, usize::MAX)
    }

    /// The same, but `most` of them; further ones are due at the next call.
    pub fn due_at_most(&mut self, now: Millis, most: usize) -> Vec<Candidate> {
        self.advance(now);
        let mut due = Vec::new();
        while let Some(next) = self.queue.front().filter(|_| due.len() < most) {
            if !self.is_over() && self.slots < self.named as f64 + self.place_in_slot() {
                break;
            }
            due.push(*next);
            self.queue.pop_front();
            self.named += 1;
        }
        for one in &due {
            self.ordered.insert(one.id, one.movable);
            *(if one.movable {
                &mut self.moved
            } else {
                &mut self.closed
            }) += 1;
        }
        if self.queue.is_empty() || self.is_over() {
            // Sessions that arrive later get slots of their own.
            self.slots = self.named as f64;
        }
        due
    }

    /// Corrects the counts for `due`, the result of the last call of [`Self::due`]: `moving`
    /// sessions are moved and `closing` are closed. The remaining sessions had already ended or
    /// must stay; their slots become available again.
    pub fn were_told(&mut self, due: &[Candidate], moving: usize, closing: usize) {
        let movable = due.iter().filter(|one| one.movable).count();
        self.moved = (self.moved + moving).saturating_sub(movable);
        self.closed = (self.closed + closing).saturating_sub(due.len() - movable);
        if !self.queue.is_empty() {
            self.slots += due.len().saturating_sub(moving + closing) as f64;
        }
    }

    /// Pauses the plan until `resume`. The pause does not count towards the deadline.
    pub fn pause(&mut self, now: Millis) {
        self.advance(now);
        self.paused = true;
    }

    /// Goes on where it was paused.
    pub fn resume(&mut self, now: Millis) {
        self.advance(now);
        self.paused = false;
    }

    /// Goes on at another pace; times count from now.
    pub fn set_profile(&mut self, profile: Profile, now: Millis) {
        self.advance(now);
        self.profile = profile;
        self.since = self.run;
    }

    /// How fast it goes.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let left = self.queue.len();
        let seconds = match self.profile.tempo {
            _ if left == 0 => 0.0,
            Tempo::Pace(pace) => (left as f64 / pace.per_second()).min(self.until_deadline()),
            Tempo::Within(time) => self
                .remaining(time)
                .as_secs_f64()
                .min(self.until_deadline()),
        };
        Progress {
            total: self.total,
            left,
            closed: self.closed,
            moved: self.moved,
            until_done: (!self.paused).then(|| Duration::from_secs_f64(seconds.min(1e9))),
            paused: self.paused,
        }
    }

    /// Whether a survey has been made and no session is queued, ending or moving.
    pub fn is_done(&self) -> bool {
        self.surveyed && self.queue.is_empty() && self.ordered.is_empty()
    }

    /// Whether the deadline has passed by so much that all remaining sessions must be closed,
    /// including those that are moving.
    pub fn is_overdue(&self) -> bool {
        let deadline = self.profile.deadline.map(millis);
        deadline.is_some_and(|deadline| self.run - self.since >= deadline + LAST_MOVES)
    }

    fn is_over(&self) -> bool {
        let within = match self.profile.tempo {
            Tempo::Within(time) => Some(time),
            Tempo::Pace(_) => None,
        };
        let times = [within, self.profile.deadline].into_iter().flatten();
        !self.paused && times.map(millis).any(|time| self.run - self.since >= time)
    }

    fn until_deadline(&self) -> f64 {
        let deadline = self.profile.deadline;
        deadline.map_or(f64::INFINITY, |time| self.remaining(time).as_secs_f64())
    }

    fn remaining(&self, time: Duration) -> Duration {
        time.saturating_sub(Duration::from_millis(self.run - self.since))
    }

    fn advance(&mut self, now: Millis) {
        let passed = now.saturating_sub(self.clock);
        self.clock = self.clock.max(now);
        if self.paused || passed == 0 {
            return;
        }
        let seconds = passed.min(STEP_MAX) as f64 / 1_000.0;
        let ahead = self.slots - self.named as f64;
        self.slots += match self.profile.tempo {
            Tempo::Pace(pace) => pace.per_second() * seconds,
            Tempo::Within(time) => {
                let left = (self.queue.len() as f64 - ahead).max(0.0);
                let remaining = self.remaining(time).as_secs_f64();
                left * (seconds / remaining.max(seconds))
            }
        };
        self.run += passed;
    }

    /// Where in its slot the next session goes, in 0..=1.
    fn place_in_slot(&self) -> f64 {
        let random = mixed(self.seed ^ self.named) as f64 / 2_f64.powi(64);
        0.5 + self.profile.jitter * (random - 0.5)
    }
}

fn millis(time: Duration) -> Millis {
    Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX)
}

/// SplitMix64.
fn mixed(n: u64) -> u64 {
    let z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
