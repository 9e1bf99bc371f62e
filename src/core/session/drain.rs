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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sessions(range: std::ops::Range<u64>) -> Vec<Candidate> {
        let one = |n| Candidate {
            id: SessionId::new(n, 0),
            idle: Duration::from_millis(n),
            movable: n.is_multiple_of(2),
            busy: false,
        };
        range.map(one).collect()
    }

    fn profile(tempo: Tempo, jitter: f64) -> Profile {
        Profile {
            tempo,
            jitter,
            deadline: None,
        }
    }

    #[test]
    fn idle_ones_go_first() {
        let mut candidates = sessions(0..3);
        idle_first(&mut candidates);
        let order: Vec<_> = candidates.iter().map(|one| one.idle.as_millis()).collect();
        assert_eq!(order, [2, 1, 0]);
    }

    #[test]
    fn a_plan_goes_as_configured() {
        let configured = Drain {
            tempo: Tempo::Pace(Pace::each_second(7.0)),
            jitter: 0.25,
            deadline: Some(Duration::from_secs(90)),
            ..Drain::default()
        };
        let expected = Profile {
            tempo: Tempo::Pace(Pace::each_second(7.0)),
            jitter: 0.25,
            deadline: Some(Duration::from_secs(90)),
        };
        assert_eq!(Profile::from(&configured), expected);
    }

    #[test]
    fn chance_moves_each_within_its_slot_and_no_two_gateways_alike() {
        let moments = |jitter, seed| -> Vec<Millis> {
            let mut plan = Plan::new(
                profile(Tempo::Pace(Pace::each_second(1.0)), jitter),
                0,
                seed,
            );
            plan.survey(&sessions(0..20));
            let told = (0..20_000).filter(|now| !plan.due(*now).is_empty());
            told.collect()
        };
        assert_eq!(moments(0.0, 1), moments(0.0, 2));
        assert_ne!(moments(1.0, 1), moments(1.0, 2));
        for (slot, at) in (0..).zip(moments(1.0, 1)) {
            let slot = slot * 1_000;
            assert!((slot..=slot + 1_001).contains(&at), "{at} in {slot}");
        }
    }

    #[test]
    fn a_pause_holds_everything_back_and_what_follows_goes_on_from_there() {
        let mut plan = Plan::new(profile(Tempo::Within(Duration::from_secs(10)), 0.0), 0, 7);
        plan.survey(&sessions(0..100));
        let mut told = 0;
        for now in (0..=5_000).step_by(100) {
            told += plan.due(now).len();
        }
        plan.pause(5_000);
        assert_eq!(plan.due(600_000), []);
        assert_eq!(plan.progress().until_done, None);
        plan.resume(600_000);
        assert!((49..=51).contains(&told), "{told}");
        for now in (600_000..=604_900).step_by(100) {
            told += plan.due(now).len();
        }
        assert!((98..=99).contains(&told), "{told}");
        told += plan.due(605_000).len();
        assert_eq!((told, plan.progress().left), (100, 0));
    }

    #[test]
    fn at_the_deadline_the_rest_goes_and_later_nobody_is_spared() {
        let slow = Profile {
            deadline: Some(Duration::from_secs(10)),
            ..profile(Tempo::Pace(Pace::each_second(1.0)), 0.5)
        };
        let mut plan = Plan::new(slow, 0, 7);
        plan.survey(&sessions(0..100));
        let before: usize = (0..10).map(|second| plan.due(second * 1_000).len()).sum();
        assert!((8..=10).contains(&before), "{before}");
        let left = Duration::from_secs(1);
        assert_eq!(plan.progress().until_done, Some(left));
        assert_eq!(plan.due(10_000).len(), 100 - before);
        assert!(!plan.is_overdue());
        plan.due(15_000);
        assert!(plan.is_overdue());
    }

    #[test]
    fn who_was_told_to_move_and_did_not_is_told_again() {
        let mut plan = Plan::new(profile(Tempo::Within(Duration::from_secs(1)), 0.0), 0, 7);
        plan.survey(&sessions(0..2));
        assert_eq!(plan.due(1_000).len(), 2);
        let progress = plan.progress();
        assert_eq!((progress.moved, progress.closed), (1, 1));
        plan.survey(&[Candidate {
            busy: true,
            ..sessions(0..1)[0]
        }]);
        assert!(!plan.is_done(), "it is on its way");
        plan.survey(&sessions(0..1));
        assert_eq!(plan.progress().moved, 0);
        assert_eq!(plan.due(1_100).len(), 1, "and the time is over");
        plan.survey(&[]);
        assert!(plan.is_done());
        assert_eq!(plan.progress().total, 2);
    }

    #[test]
    fn who_was_named_and_not_told_is_not_counted_and_makes_room() {
        let mut plan = Plan::new(profile(Tempo::Pace(Pace::each_second(4.0)), 0.0), 0, 7);
        plan.survey(&sessions(0..20));
        let due = plan.due(1_000);
        assert_eq!(due.len(), 4, "two of them move");
        plan.were_told(&due, 1, 1);
        let progress = plan.progress();
        assert_eq!((progress.moved, progress.closed), (1, 1));
        assert_eq!(plan.due(1_000).len(), 2, "others go instead");
        let progress = plan.progress();
        assert_eq!((progress.moved, progress.closed), (2, 2));
    }

    #[test]
    fn a_shutdown_is_shared_by_what_each_has() {
        let shutdown = Shutdown {
            delay: Duration::ZERO,
            grace: Duration::from_secs(30),
            per_second: Some(100.0),
            jitter: 0.5,
        };
        let tempo = Profile::of_shutdown(&shutdown, 30, 120).tempo;
        assert_eq!(tempo, Tempo::Pace(Pace::each_second(25.0)));
    }

    proptest! {
        #[test]
        fn a_pace_is_kept_within_five_percent(
            pace in 0.2_f64..500.0,
            jitter in 0.0_f64..=1.0,
            seed in any::<u64>(),
            steps in prop::collection::vec(1_u64..900, 50..200),
        ) {
            let mut plan = Plan::new(profile(Tempo::Pace(Pace::each_second(pace)), jitter), 0, seed);
            plan.survey(&sessions(0..100_000));
            let (mut now, mut told) = (0, 0_usize);
            for step in steps {
                now += step;
                told += plan.due(now).len();
                let ideal = pace * now as f64 / 1_000.0;
                let off = (told as f64 - ideal).abs();
                prop_assert!(off <= ideal * 0.05 + 1.0, "{told} instead of {ideal} after {now} ms");
            }
        }

        #[test]
        fn a_time_is_kept_and_filled_evenly(
            count in 1_u64..3_000,
            seconds in 2_u64..600,
            jitter in 0.0_f64..=1.0,
            seed in any::<u64>(),
        ) {
            let within = Duration::from_secs(seconds);
            let mut plan = Plan::new(profile(Tempo::Within(within), jitter), 0, seed);
            plan.survey(&sessions(0..count));
            let mut told = 0_usize;
            for now in (0..=seconds * 1_000).step_by(100) {
                told += plan.due(now).len();
                let ideal = count as f64 * now as f64 / (seconds as f64 * 1_000.0);
                let off = (told as f64 - ideal).abs();
                prop_assert!(off <= ideal * 0.05 + 1.0, "{told} instead of {ideal} after {now} ms");
            }
            prop_assert_eq!(told as u64, count);
        }

        #[test]
        fn sessions_may_come_and_go_and_each_is_told_once(
            changes in prop::collection::vec((0_u64..40, 0_u64..40), 20),
            seed in any::<u64>(),
        ) {
            let within = Duration::from_secs(20);
            let mut plan = Plan::new(profile(Tempo::Within(within), 0.5), 0, seed);
            let mut there = sessions(0..200);
            let (mut next, mut told) = (200, std::collections::HashSet::new());
            for (second, (come, go)) in (0..).zip(changes) {
                there.extend(sessions(next..next + come));
                next += come;
                there.drain(..usize::try_from(go).unwrap().min(there.len()));
                plan.survey(&there);
                for tenth in 0..10 {
                    for one in plan.due(second * 1_000 + tenth * 100) {
                        prop_assert!(told.insert(one.id), "told twice");
                        there.retain(|other| other.id != one.id);
                    }
                }
            }
            plan.survey(&there);
            let rest = plan.due(20_000);
            prop_assert_eq!(rest.len(), there.len());
            prop_assert!(rest.len() < 60, "{} are left to the last moment", rest.len());
        }
    }
}
