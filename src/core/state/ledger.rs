//! What this gateway has of all keys, and what goes to the store next.
//!
//! Each key has at most one attempt under way, which answers everything that was asked until it was
//! sent. So a crowd at one key costs a few round trips, not one each, and a gateway never competes
//! with itself. A store that merges decides about sessions itself. With one that can only swap, a
//! gateway that has changed a value leaves the next change to the others.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::core::state::document::Document;
use crate::core::state::entry::{Ask, Entry, Merge, Stored, Verdict, Version};
use crate::core::state::key::{KeyKind, StateKey};

/// Questions that wait at the same time; further ones are not asked.
const WAITING_MAX: usize = 16 * 1024;
/// Keys that are looked at when a session begins or ends, so that those that are over go as fast as
/// they come.
const KEYS_PER_CHANGE: usize = 2;
/// Other processes that are remembered.
const PROCESSES_MAX: usize = 4096;

/// A condition that the store decides at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// Where.
    pub key: StateKey,
    /// What has to be there.
    pub expected: Version,
    /// What then is there; `None` is nothing.
    pub new: Option<Vec<u8>>,
    /// Whether the value would not change, so that reading it is enough.
    pub same: bool,
    /// How long it is kept.
    pub kept: Duration,
}

/// A handshake to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Where.
    pub key: StateKey,
    /// How long the count is kept from its first one on.
    pub period: Duration,
}

/// What goes to the store.
#[derive(Debug)]
pub enum Request<W> {
    /// A value to change.
    Swap(Swap),
    /// A decision about sessions.
    Merge(Merge),
    /// One more.
    Count(Rate, W),
}

/// What the store answered to a swap or a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done; this is there now.
    Swapped(Stored),
    /// Something else was there: this.
    Differs(Stored),
    /// So many sessions are granted; this is there now.
    Merged(u32, Stored),
}

/// What this gateway has of all keys. `W` waits for a verdict.
pub struct Ledger<W> {
    process: u64,
    lease: Duration,
    /// Counts the lives of the store: what was written in an earlier one may be gone.
    epoch: u32,
    connected: bool,
    /// The store decides about sessions.
    merges: bool,
    entries: HashMap<StateKey, Entry<W>>,
    due: VecDeque<StateKey>,
    /// Keys that were changed just now, and when they may be changed again.
    resting: BTreeSet<(Instant, StateKey)>,
    rates: VecDeque<(Rate, W)>,
    /// All keys, each once, to look after one after the other.
    ring: VecDeque<StateKey>,
    /// Other processes, and whether they live.
    processes: BTreeMap<u64, bool>,
    waiting: usize,
    /// A count is sent before a value.
    counts_next: bool,
}

impl<W> Ledger<W> {
    /// Of a gateway that has nothing, and a store that is not connected. `lease` is how long a
    /// claim without a session is kept.
    pub fn new(process: u64, lease: Duration) -> Self {
        Self {
            process,
            lease,
            epoch: 0,
            connected: false,
            merges: false,
            entries: HashMap::new(),
            due: VecDeque::new(),
            resting: BTreeSet::new(),
            rates: VecDeque::new(),
            ring: VecDeque::new(),
            processes: BTreeMap::new(),
            waiting: 0,
            counts_next: false,
        }
    }

    /// Asks something of a key. A backend of a key without sessions is kept for `keep`.
    ///
    /// # Errors
    /// Gives `waiter` back if it cannot be asked now.
    pub fn ask(&mut self, key: StateKey, ask: Ask, keep: Duration, waiter: W) -> Result<(), W> {
        if !self.connected || self.waiting >= WAITING_MAX {
            return Err(waiter);
        }
        self.waiting += 1;
        let entry = self.entry(key);
        entry.ask(ask, waiter);
        entry.keep(keep);
        self.queue(key);
        Ok(())
    }

    /// Counts a handshake.
    ///
    /// # Errors
    /// Gives `waiter` back if it cannot be asked now.
    pub fn count(&mut self, rate: Rate, waiter: W) -> Result<(), W> {
        if !self.connected || self.waiting >= WAITING_MAX {
            return Err(waiter);
        }
        self.waiting += 1;
        self.rates.push_back((rate, waiter));
        Ok(())
    }

    /// One more session of a key, without asking.
    pub fn hold(&mut self, key: StateKey) {
        self.entry(key).hold();
        self.queue(key);
        self.forget(KEYS_PER_CHANGE);
    }

    /// One more session of a sticky key on this backend. If the session `moves`, the key moves with
    /// it. Without sessions the backend is kept for `keep`.
    pub fn stick(&mut self, key: StateKey, backend: &str, moves: bool, keep: Duration) {
        let entry = self.entry(key);
        entry.stick(backend, moves);
        entry.keep(keep);
        self.queue(key);
        self.forget(KEYS_PER_CHANGE);
    }

    /// One session of a key less.
    pub fn release(&mut self, key: StateKey) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.release(self.connected);
            self.queue(key);
        }
        self.forget(KEYS_PER_CHANGE);
    }

    /// What goes to the store next.
    pub fn next(&mut self, now: Instant) -> Option<Request<W>> {
        if !self.connected {
            return None;
        }
        // In turns, so that a flood of one kind does not hold up the other.
        self.counts_next ^= true;
        if (self.counts_next || self.due.is_empty())
            && let Some((rate, waiter)) = self.rates.pop_front()
        {
            return Some(Request::Count(rate, waiter));
        }
        self.wake(now);
        while let Some(key) = self.due.pop_front() {
            if let Some(request) = self.begin(key, now) {
                return Some(request);
            }
        }
        self.rates
            .pop_front()
            .map(|(rate, waiter)| Request::Count(rate, waiter))
    }

    /// Begins the attempt of a key.
    fn begin(&mut self, key: StateKey, now: Instant) -> Option<Request<W>> {
        let entry = self.entries.get_mut(&key)?;
        entry.queued = false;
        let (processes, process, epoch) = (&self.processes, self.process, self.epoch);
        let alive = |one: u64| processes.get(&one).copied().unwrap_or(true);
        if self.merges && key.kind() == KeyKind::Sessions {
            let merge = entry.begin_merge((key, process), epoch, alive, now);
            return Some(Request::Merge(merge));
        }
        entry.begin(process, epoch, alive, now);
        let kept = entry.kept(self.lease);
        let attempt = entry.attempt.as_ref().expect("it has just begun");
        let new = (!kept.is_zero()).then(|| attempt.document.write());
        let unchanged = || new.as_ref() == Some(&entry.stored.document.write());
        let same = match &entry.stored.version {
            Version::Absent => new.is_none(),
            _ => unchanged() && !entry.renews(now),
        };
        Some(Request::Swap(Swap {
            key,
            expected: entry.stored.version.clone(),
            new,
            same,
            kept,
        }))
    }

    /// When the next key that rests may be changed again.
    pub fn rests_until(&self) -> Option<Instant> {
        self.resting.first().map(|(until, _)| *until)
    }

    /// Ends the rests that are over.
    fn wake(&mut self, now: Instant) {
        while self.rests_until().is_some_and(|until| until <= now)
            && let Some((_, key)) = self.resting.pop_first()
        {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.rests = false;
            }
            self.queue(key);
        }
    }

    /// What the store answered to the swap or merge of a key. Returns who has waited for it.
    pub fn answered(&mut self, key: StateKey, answer: Answer, now: Instant) -> Vec<(W, Verdict)> {
        let Some(entry) = self.entries.get_mut(&key) else {
            return Vec::new();
        };
        let (Answer::Swapped(stored) | Answer::Differs(stored) | Answer::Merged(_, stored)) =
            &answer;
        for other in stored.document.processes() {
            if other == self.process {
                continue;
            }
            if self.processes.len() >= PROCESSES_MAX {
                self.processes.retain(|_, alive| *alive);
            }
            if self.processes.len() < PROCESSES_MAX {
                self.processes.entry(other).or_insert(true);
            }
        }
        let verdicts = match answer {
            Answer::Swapped(stored) => {
                if let Some(rest) = entry.rest(self.process, &stored, now) {
                    entry.rests = true;
                    self.resting.insert((now + rest, key));
                }
                entry.succeeded(self.process, now, stored)
            }
            Answer::Merged(granted, stored) => {
                let processes = &self.processes;
                let alive = |one: u64| processes.get(&one).copied().unwrap_or(true);
                entry.merged(self.process, (granted, stored), alive, now)
            }
            Answer::Differs(stored) => {
                entry.failed(self.process, stored);
                Vec::new()
            }
        };
        self.waiting = self.waiting.saturating_sub(verdicts.len());
        self.queue(key);
        verdicts
    }

    /// The store refuses this key, and no other one. Returns those whose questions have no answer.
    pub fn refused(&mut self, key: StateKey, now: Instant) -> Vec<W> {
        let entry = self.entries.get_mut(&key);
        let waiters = entry.map_or_else(Vec::new, |entry| entry.refused(now));
        self.waiting = self.waiting.saturating_sub(waiters.len());
        waiters
    }

    /// A count was answered.
    pub fn counted(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// The store can be asked from now on. What it holds is not known. If it `merges`, it decides
    /// about sessions itself.
    pub fn connected(&mut self, merges: bool) {
        self.connected = true;
        self.merges = merges;
        self.epoch += 1;
    }

    /// The store has forgotten this gateway: it began anew, or the lease ran out.
    pub fn forgotten(&mut self) {
        self.epoch += 1;
    }

    /// The store cannot be asked any more. Returns those whose questions have no answer. Walks the
    /// keys with questions only.
    pub fn lost(&mut self, under_way: &[StateKey]) -> Vec<W> {
        self.connected = false;
        self.waiting = 0;
        let mut unanswered: Vec<W> = self.rates.drain(..).map(|(_, waiter)| waiter).collect();
        let resting = std::mem::take(&mut self.resting);
        let resting = resting.into_iter().map(|(_, key)| key);
        let asked = self.due.drain(..).chain(under_way.iter().copied());
        for key in asked.chain(resting) {
            if let Some(entry) = self.entries.get_mut(&key) {
                unanswered.extend(entry.lost());
            }
        }
        unanswered
    }

    /// Looks after the next `most` keys: forgets those that are over, writes those again that the
    /// store may have lost. Returns how many keys there are.
    pub fn look_after(&mut self, most: usize, now: Instant) -> usize {
        for _ in 0..most.min(self.ring.len()) {
            let key = self.ring.pop_front().expect("it has so many");
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            if entry.is_over() && !entry.queued {
                self.entries.remove(&key);
                continue;
            }
            self.ring.push_back(key);
            if self.connected && (entry.is_due(self.epoch) || entry.is_old(now)) {
                self.push(key);
            }
        }
        self.ring.len()
    }

    /// Forgets those of the next `most` keys that are over.
    fn forget(&mut self, most: usize) {
        for _ in 0..most.min(self.ring.len()) {
            let key = self.ring.pop_front().expect("it has so many");
            let over = |one: &Entry<W>| one.is_over() && !one.queued;
            match self.entries.get(&key).is_some_and(over) {
                true => drop(self.entries.remove(&key)),
                false => self.ring.push_back(key),
            }
        }
    }

    /// Other processes whose lives are to be verified.
    pub fn processes(&self) -> Vec<u64> {
        self.processes.keys().copied().collect()
    }

    /// Whether another process lives. The shares of one that does not are left out of what is read.
    pub fn set_alive(&mut self, process: u64, alive: bool) {
        self.processes.insert(process, alive);
    }

    /// Live sessions of this gateway of a key.
    pub fn own(&self, key: StateKey) -> u32 {
        self.entries.get(&key).map_or(0, |entry| entry.own)
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn entry(&mut self, key: StateKey) -> &mut Entry<W> {
        let ring = &mut self.ring;
        self.entries.entry(key).or_insert_with(|| {
            ring.push_back(key);
            Entry::new(key.kind())
        })
    }

    /// Puts a key in the queue if there is something to write, and no attempt is under way.
    fn queue(&mut self, key: StateKey) {
        let due = self
            .entries
            .get(&key)
            .is_some_and(|one| one.is_due(self.epoch));
        if self.connected && due {
            self.push(key);
        }
    }

    fn push(&mut self, key: StateKey) {
        if let Some(entry) = self.entries.get_mut(&key)
            && !entry.queued
            && !entry.rests
            && entry.attempt.is_none()
        {
            entry.queued = true;
            self.due.push_back(key);
        }
    }
}

impl Stored {
    /// A value that was read. What no gateway wrote means nothing.
    pub fn of(value: &[u8], version: Version) -> Self {
        let document = Document::read(value).unwrap_or_default();
        Self { document, version }
    }
}
