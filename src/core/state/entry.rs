//! One key: what this gateway has of it, who asks, and what is to be written.

use std::time::{Duration, Instant};

use crate::core::state::document::{Document, is_backend};
use crate::core::state::key::{KeyKind, StateKey};

/// How long a value with shares is kept; it is written again in a third of that.
pub(super) const KEPT: Duration = Duration::from_secs(60 * 60);
/// Longest rest after a change. A change that took longer met a store that hung, which says nothing
/// about the next one, and is followed by none.
const REST_MAX: Duration = Duration::from_millis(100);
/// Other gateways that a rest leaves time for.
const RIVALS_MAX: u32 = 4;

/// What is asked of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// One more session, if the fleet has fewer than `max`.
    Session {
        /// How many the fleet may have.
        max: usize,
    },
    /// The backend of the key. If it has none, or the one that is useless, `backend` becomes it.
    Backend {
        /// The backend that this gateway would choose.
        backend: Box<str>,
        /// One that this gateway cannot use.
        useless: Option<Box<str>>,
    },
    /// The backend of the key, if it has one.
    Look,
}

/// What follows from what is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The session is counted.
    Granted,
    /// The fleet is at its limit.
    Full,
    /// The key has this backend.
    Backend(Box<str>),
    /// The key has this backend, or none.
    Kept(Option<Box<str>>),
    /// So many in the present period, which ends after so long.
    Counted(u64, Duration),
}

/// Identifies a value that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// There was none.
    #[default]
    Absent,
    /// The store numbers its values.
    Number(u64),
    /// The value itself.
    Bytes(Box<[u8]>),
}

/// A value as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// What it means; what no gateway wrote means nothing, and is overwritten.
    pub document: Document,
    /// Which one it is.
    pub version: Version,
}

/// A decision about sessions that the store itself makes: it sets the share of one process, and
/// grants further sessions up to the limit. No other gateway can come between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    /// Where.
    pub key: StateKey,
    /// Whose share.
    pub process: u64,
    /// Its live sessions.
    pub own: u32,
    /// How many more it asks for.
    pub asked: u32,
    /// How many the fleet may have.
    pub max: usize,
    /// Processes whose shares are taken out.
    pub dead: Vec<u64>,
    /// Whether the value is written even if it is the same.
    pub renews: bool,
    /// How long a value with shares is kept.
    pub kept: Duration,
}

/// What an attempt writes, and what it means if it succeeds.
pub(super) struct Attempt<W> {
    pub(super) document: Document,
    sent: Instant,
    asks: Vec<(Ask, W, Verdict)>,
    granted: u32,
    /// It moves the key.
    moves: bool,
}

/// A key of which this gateway has something, or asks.
pub(super) struct Entry<W> {
    kind: KeyKind,
    /// Live sessions of this gateway.
    pub(super) own: u32,
    /// The share that may be in the store.
    written: u32,
    pub(super) stored: Stored,
    /// In which life of the store `stored` was read.
    epoch: u32,
    waiting: Vec<(Ask, W)>,
    pub(super) attempt: Option<Attempt<W>>,
    /// Where the last session of a sticky key began.
    backend: Option<Box<str>>,
    /// The key moves there, whatever the store holds.
    moves: bool,
    /// How long a backend is kept without sessions.
    keep: Duration,
    /// It is in the queue of what is due.
    pub(super) queued: bool,
    /// It was changed just now, and leaves the next change to other gateways.
    pub(super) rests: bool,
    written_at: Option<Instant>,
}

impl<W> Entry<W> {
    pub(super) fn new(kind: KeyKind) -> Self {
        Self {
            kind,
            own: 0,
            written: 0,
            stored: Stored::default(),
            epoch: 0,
            waiting: Vec::new(),
            attempt: None,
            backend: None,
            moves: false,
            keep: Duration::ZERO,
            queued: false,
            rests: false,
            written_at: None,
        }
    }

    pub(super) fn ask(&mut self, ask: Ask, waiter: W) {
        self.waiting.push((ask, waiter));
    }

    /// One more session.
    pub(super) fn hold(&mut self) {
        self.own = self.own.saturating_add(1);
    }

    /// One more session of a sticky key, on this backend. If it `moves`, so does the key.
    pub(super) fn stick(&mut self, backend: &str, moves: bool) {
        if (moves || self.own == 0) && is_backend(backend) {
            self.backend = Some(backend.into());
            self.moves |= moves;
        }
        self.hold();
    }

    /// One session less.
    pub(super) fn release(&mut self, connected: bool) {
        self.own = self.own.saturating_sub(1);
        // A move that nothing can write now ends with its session.
        self.moves &= connected || self.own > 0;
    }

    pub(super) fn keep(&mut self, keep: Duration) {
        self.keep = keep;
    }

    /// What the store should hold of this gateway. Of a sticky key it is enough that there is one.
    fn share(&self, own: u32) -> u32 {
        match self.kind {
            KeyKind::Stick => own.min(1),
            _ => own,
        }
    }

    /// Whether the store does not hold what it should.
    pub(super) fn is_due(&self, epoch: u32) -> bool {
        let stale = self.epoch != epoch && (self.own > 0 || self.written > 0);
        let differs = self.share(self.own) != self.written;
        !self.waiting.is_empty() || self.moves || differs || stale
    }

    /// Whether its value would soon be thrown away.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        let age = self.written_at.map(|at| now.saturating_duration_since(at));
        self.own > 0 && age.is_none_or(|age| age > KEPT / 3)
    }

    /// Whether nothing is left to remember.
    pub(super) fn is_over(&self) -> bool {
        let idle = self.waiting.is_empty() && self.attempt.is_none();
        idle && !self.moves && self.own == 0 && self.written == 0
    }

    /// What was read in an earlier life of the store means nothing now.
    fn enter(&mut self, epoch: u32) {
        if self.epoch != epoch {
            self.stored = Stored::default();
            self.epoch = epoch;
        }
    }

    /// Sends the store what it needs to decide. All sessions that are asked for under one limit go
    /// at once.
    pub(super) fn begin_merge(
        &mut self,
        (key, process): (StateKey, u64),
        epoch: u32,
        alive: impl Fn(u64) -> bool,
        now: Instant,
    ) -> Merge {
        self.enter(epoch);
        let max_of = |ask: &Ask| match ask {
            Ask::Session { max } => Some(*max),
            _ => None,
        };
        let max = self.waiting.first().and_then(|(ask, _)| max_of(ask));
        let alike = self.waiting.iter();
        let alike = alike.take_while(|(ask, _)| max_of(ask) == max).count();
        let asks = self.waiting.drain(..alike);
        let asks = asks.map(|(ask, waiter)| (ask, waiter, Verdict::Full));
        let asks: Vec<_> = asks.collect();
        let asked = max.map_or(0, |_| u32::try_from(asks.len()).unwrap_or(u32::MAX));
        self.written = self.written.max(self.own.saturating_add(asked));
        let renews = self.is_old(now);
        self.attempt = Some(Attempt {
            document: Document::default(),
            sent: now,
            asks,
            granted: 0,
            moves: false,
        });
        let dead = self.stored.document.processes();
        let dead = dead.filter(|one| *one != process && !alive(*one));
        Merge {
            key,
            process,
            own: self.own,
            asked,
            max: max.unwrap_or(0),
            dead: dead.collect(),
            renews,
            kept: KEPT,
        }
    }

    /// The store has granted so many of what the attempt asked for, and this is there now. What was
    /// refused only because of dead processes is asked again without them.
    pub(super) fn merged(
        &mut self,
        process: u64,
        (granted, stored): (u32, Stored),
        alive: impl Fn(u64) -> bool,
        now: Instant,
    ) -> Vec<(W, Verdict)> {
        let Some(attempt) = &mut self.attempt else {
            return Vec::new();
        };
        let asked = attempt.asks.len();
        let granted = asked.min(granted as usize);
        attempt.granted = granted as u32;
        for (_, _, verdict) in &mut attempt.asks[..granted] {
            *verdict = Verdict::Granted;
        }
        let is_dead = |one: u64| one != process && !alive(one);
        if granted < asked && stored.document.processes().any(is_dead) {
            let again = attempt.asks.drain(granted..);
            let again = again.map(|(ask, waiter, _)| (ask, waiter));
            self.waiting.splice(0..0, again);
        }
        attempt.document = stored.document.clone();
        self.succeeded(process, now, stored)
    }

    /// Decides what to write, from what was read last.
    pub(super) fn begin(
        &mut self,
        process: u64,
        epoch: u32,
        alive: impl Fn(u64) -> bool,
        now: Instant,
    ) {
        self.enter(epoch);
        let mut document = self.stored.document.clone();
        let was_shared = !document.is_unshared();
        document.retain(|one| one == process || alive(one));
        document.set_share(process, 0);
        let others = document.total();
        // All sessions that kept the backend ended with their gateways.
        if was_shared && others == 0 && self.own == 0 && self.keep.is_zero() {
            document.backend = None;
        }
        let moves = std::mem::take(&mut self.moves);
        if moves || (self.own > 0 && document.backend.is_none()) {
            document.backend.clone_from(&self.backend);
        }
        let mut granted = 0;
        let mut asks = Vec::new();
        for (ask, waiter) in std::mem::take(&mut self.waiting) {
            let verdict = match &ask {
                Ask::Session { max } => {
                    let live = others + u64::from(self.own) + u64::from(granted);
                    match live < *max as u64 {
                        true => {
                            granted += 1;
                            Verdict::Granted
                        }
                        false => Verdict::Full,
                    }
                }
                Ask::Backend { backend, useless } => {
                    let known = document.backend.take();
                    let known = known.filter(|known| useless.as_ref() != Some(known));
                    let backend = known.unwrap_or_else(|| backend.clone());
                    document.backend = Some(backend.clone());
                    Verdict::Backend(backend)
                }
                Ask::Look => Verdict::Kept(document.backend.clone()),
            };
            asks.push((ask, waiter, verdict));
        }
        document.set_share(process, self.share(self.own.saturating_add(granted)));
        self.written = self.written.max(document.share(process));
        self.attempt = Some(Attempt {
            document,
            sent: now,
            asks,
            granted,
            moves,
        });
    }

    /// How long the value of the present attempt is kept; zero: it is taken away.
    pub(super) fn kept(&self, lease: Duration) -> Duration {
        let Some(attempt) = &self.attempt else {
            return Duration::ZERO;
        };
        let claimed = attempt.asks.iter();
        // A look takes nothing away from a claim.
        let mut claimed = claimed.filter(|(ask, ..)| !matches!(ask, Ask::Session { .. }));
        match (attempt.document.is_unshared(), &attempt.document.backend) {
            (false, _) => KEPT.max(self.keep),
            (true, None) => Duration::ZERO,
            // Its session is about to begin.
            (true, Some(_)) if claimed.next().is_some() => lease.max(self.keep),
            (true, Some(_)) => self.keep,
        }
    }

    /// Whether the value is to be written even if it is the same, since it would be thrown away.
    pub(super) fn renews(&self, now: Instant) -> bool {
        let claims = |(ask, ..): &(Ask, W, Verdict)| matches!(ask, Ask::Backend { .. });
        let attempt = self.attempt.as_ref();
        let claimed = attempt.is_some_and(|attempt| attempt.asks.iter().any(claims));
        self.is_old(now) || (claimed && !self.keep.is_zero())
    }

    /// How long the key leaves the next change to others, once the present attempt has changed the
    /// value to this one. The gateway that changed a value knows the new one before all others, so
    /// that without a rest it would change it again and again, and all others would fail.
    pub(super) fn rest(&self, process: u64, stored: &Stored, now: Instant) -> Option<Duration> {
        let attempt = self.attempt.as_ref()?;
        let round_trip = now.saturating_duration_since(attempt.sent);
        let changed = stored.version != self.stored.version && round_trip <= REST_MAX;
        let others = stored.document.processes().filter(|one| *one != process);
        let rivals = u32::try_from(others.count()).unwrap_or(u32::MAX);
        let rest = round_trip.saturating_mul(rivals.clamp(1, RIVALS_MAX));
        changed.then(|| rest.min(REST_MAX))
    }

    /// The attempt was written, and this is what the store holds now.
    pub(super) fn succeeded(
        &mut self,
        process: u64,
        now: Instant,
        stored: Stored,
    ) -> Vec<(W, Verdict)> {
        let Some(attempt) = self.attempt.take() else {
            return Vec::new();
        };
        self.written = attempt.document.share(process);
        self.stored = stored;
        self.written_at = Some(now);
        self.own = self.own.saturating_add(attempt.granted);
        let asks = attempt.asks.into_iter();
        asks.map(|(_, waiter, verdict)| (waiter, verdict)).collect()
    }

    /// Another gateway was faster: who asked goes on waiting.
    pub(super) fn failed(&mut self, process: u64, stored: Stored) {
        self.written = stored.document.share(process);
        self.stored = stored;
        if let Some(attempt) = self.attempt.take() {
            self.moves |= attempt.moves;
            let asks = attempt.asks.into_iter();
            let again = asks.map(|(ask, waiter, _)| (ask, waiter));
            self.waiting.splice(0..0, again);
        }
    }

    /// The store refuses this key. It is asked again when there is something else to write.
    pub(super) fn refused(&mut self, now: Instant) -> Vec<W> {
        let waiters = self.lost();
        self.moves = false;
        self.written = self.share(self.own);
        self.written_at = Some(now);
        waiters
    }

    /// The store is gone, and may have taken the attempt or not.
    pub(super) fn lost(&mut self) -> Vec<W> {
        let attempt = self.attempt.take();
        self.moves |= attempt.as_ref().is_some_and(|one| one.moves);
        self.moves &= self.own > 0;
        let asked = attempt.into_iter().flat_map(|attempt| attempt.asks);
        let asked: Vec<_> = asked.map(|(_, waiter, _)| waiter).collect();
        let waiting = std::mem::take(&mut self.waiting);
        let waiting = waiting.into_iter().map(|(_, waiter)| waiter);
        self.queued = false;
        self.rests = false;
        asked.into_iter().chain(waiting).collect()
    }
}
