//! Who is to go, and when: the plan by which sessions leave a backend, a gateway, or a place that
//! is not theirs any more. It decides and does nothing: whoever has it brings the sessions and the
//! time, and ends what it names.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::names::{BackendId, UpstreamName};
use crate::base::session_id::SessionId;
use crate::config::model::Pace;
use crate::config::snapshot::{BackendState, Drain, Shutdown, Tempo};

/// Milliseconds of whoever has the plan, since some beginning of theirs.
pub type Millis = u64;

/// A step never makes up for more than this: a plan whose owner was held up does not send in one
/// burst what it missed.
const STEP_MAX: Millis = 1_000;
/// After the deadline, for the last ones that are still on the move.
const LAST_MOVES: Millis = 5_000;

/// How fast, and until when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// How fast.
    pub tempo: Tempo,
    /// By which share of its slot each is moved at random, in 0..=1.
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
    /// For one of several that share a shutdown: of `all` sessions it has `own`.
    pub fn of_shutdown(shutdown: &Shutdown, own: usize, all: usize) -> Self {
        let share = own as f64 / all.max(1) as f64;
        let tempo = match shutdown.per_second {
            // Who has none now may have one in a moment.
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

/// What an operator ordered of a backend, as it outlives the process that was told: it holds until
/// it is taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StandingOrder {
    /// Of the backend.
    pub upstream: UpstreamName,
    /// Which.
    pub backend: BackendId,
    /// What it shall be, whatever the configuration says.
    pub state: BackendState,
    /// How fast its sessions go, if that was said.
    pub tempo: Option<Tempo>,
    /// After this time the rest go at once, if that was said.
    pub deadline: Option<Duration>,
    /// Nobody is told to go.
    pub paused: bool,
}

/// A session that could go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub id: SessionId,
    /// Since its last byte.
    pub idle: Duration,
    /// It goes on elsewhere instead of ending.
    pub movable: bool,
    /// Its end or its move has begun.
    pub busy: bool,
}

/// The one who waited longest first: whoever is idle misses nothing.
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
    /// How many slots have begun since the plan did, the one under way as its fraction.
    slots: f64,
    /// How many sessions were named.
    named: u64,
    queue: VecDeque<Candidate>,
    /// Those that were named since the last survey but one, and whether they move.
    told: HashMap<SessionId, bool>,
    closed: usize,
    moved: usize,
    total: usize,
    surveyed: bool,
}

/// How far a plan is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Sessions that it has had to do with.
    pub total: usize,
    /// Not told yet.
    pub left: usize,
    /// Told, and closed.
    pub closed: usize,
    /// Told, and moved.
    pub moved: usize,
    /// Until the last one is told; `None` while paused.
    pub until_done: Option<Duration>,
    /// Nobody is told anything.
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
            told: HashMap::new(),
            closed: 0,
            moved: 0,
            total: 0,
            surveyed: false,
        }
    }

    /// Takes who is there now, in the order in which they are to go. Those who came are in, those
    /// who left are out, and who was told to move and did not is told again.
    pub fn survey(&mut self, candidates: &[Candidate]) {
        let mut underway = HashMap::new();
        self.queue.clear();
        for one in candidates {
            let told = self.told.remove(&one.id);
            if one.busy {
                underway.extend(told.map(|movable| (one.id, movable)));
                continue;
            }
            match told {
                Some(true) => self.moved = self.moved.saturating_sub(1),
                Some(false) => self.closed = self.closed.saturating_sub(1),
                None => {}
            }
            self.queue.push_back(*one);
        }
        self.told = underway;
        self.surveyed = true;
        self.total = self.total.max(self.moved + self.closed + self.queue.len());
    }

    /// Who is to go now.
    pub fn due(&mut self, now: Millis) -> Vec<Candidate> {
        self.advance(now);
        let mut due = Vec::new();
        while let Some(next) = self.queue.front() {
            if !self.is_over() && self.slots < self.named as f64 + self.place_in_slot() {
                break;
            }
            due.push(*next);
            self.queue.pop_front();
            self.named += 1;
        }
        for one in &due {
            self.told.insert(one.id, one.movable);
            *(if one.movable {
                &mut self.moved
            } else {
                &mut self.closed
            }) += 1;
        }
        if self.queue.is_empty() || self.is_over() {
            // Who comes later gets slots of their own.
            self.slots = self.named as f64;
        }
        due
    }

    /// Of `due`, which was named last, so many were told to move and so many to close. The others
    /// had left by themselves, or have a reason to stay: others may go in their slots.
    pub fn were_told(&mut self, due: &[Candidate], moving: usize, closing: usize) {
        let movable = due.iter().filter(|one| one.movable).count();
        self.moved = (self.moved + moving).saturating_sub(movable);
        self.closed = (self.closed + closing).saturating_sub(due.len() - movable);
        if !self.queue.is_empty() {
            self.slots += due.len().saturating_sub(moving + closing) as f64;
        }
    }

    /// Nobody is told anything until `resume`; neither does the deadline come nearer.
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

    /// There was a look at the sessions, and nobody is left to be told.
    pub fn is_done(&self) -> bool {
        self.surveyed && self.queue.is_empty() && self.told.is_empty()
    }

    /// The deadline is long over: who is still there is to be closed, moving or not.
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
