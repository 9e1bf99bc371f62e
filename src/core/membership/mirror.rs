//! The mirror: what the source has, and what it has no longer but stays in force.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::time::{Duration, Instant};

use crate::core::membership::held::{leased, leaving};
use crate::core::membership::{DOUBT_MIN, Held, Key, SETTLE, STORM_MIN, WINDOW, backend_of};

/// Everything that the source has at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FullRead {
    /// Which cluster this is.
    pub cluster: u64,
    /// The revision that was read.
    pub revision: i64,
    /// What is there.
    pub documents: BTreeMap<Key, Held>,
}

/// One change reported by the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The key has this value now.
    Put(Key, Held),
    /// The key is gone.
    Delete {
        /// Which.
        key: Key,
        /// When.
        revision: i64,
        /// Its lease is gone too, so it may not have been deleted on purpose.
        lapsed: bool,
    },
}

impl Event {
    /// What it is about.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete { key, .. } => key,
        }
    }

    /// When it happened.
    pub fn revision(&self) -> i64 {
        match self {
            Self::Put(_, held) => held.revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
}

/// Why a document is in force that the source has no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Missing from a doubted read.
    Doubted,
    /// A backend that lost its lease at this time, and it is not clear yet what that means.
    Lapsed(Instant),
    /// A backend that lost its lease together with others, and the time of its removal.
    Stale(Instant),
}

/// Facts about a backend from other parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing speaks against it.
    Fine,
    /// Its probe fails, or traffic to it.
    Fails,
}

/// What a full read came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reread {
    /// The source is another one than before, or has forgotten what it was.
    pub restored: bool,
    /// Documents that are new or differ.
    pub changed: usize,
    /// Documents that are gone.
    pub gone: usize,
    /// Missing documents that stay, since the read is doubted.
    pub doubted: usize,
    /// Backends that have lost their leases, for all that can be seen.
    pub lapsed: usize,
}

/// The documents of the source, and those that stay in force without it.
///
/// `present` and `absent` have no key in common; together they are in force. `changed` holds every
/// key whose document in force may differ from the result of the last [`take`](Self::take).
#[derive(Clone, Debug)]
pub struct Mirror {
    cluster: u64,
    revision: i64,
    grace: Duration,
    present: BTreeMap<Key, Held>,
    absent: BTreeMap<Key, (Held, Absence)>,
    changed: BTreeSet<Key>,
    /// Losses of leases that were taken for ordinary ones; the oldest first.
    lost: VecDeque<(Instant, Key, Held)>,
}

impl Mirror {
    /// An empty mirror. Stale members stay for `grace`.
    pub fn new(grace: Duration) -> Self {
        Self {
            cluster: 0,
            revision: 0,
            grace,
            present: BTreeMap::new(),
            absent: BTreeMap::new(),
            changed: BTreeSet::new(),
            lost: VecDeque::new(),
        }
    }

    /// Restores a saved mirror: the documents of the source, and those in force without it. Times
    /// are not saved: periods of absence start again at `now`.
    pub fn remembered(
        grace: Duration,
        read: FullRead,
        absent: impl IntoIterator<Item = (Key, Held)>,
        now: Instant,
    ) -> Self {
        let mut mirror = Self::new(grace);
        mirror.cluster = read.cluster;
        mirror.revision = read.revision;
        mirror.changed.extend(read.documents.keys().cloned());
        mirror.present = read.documents;
        for (key, held) in absent {
            if !mirror.present.contains_key(&key) {
                let why = match leased(&key, &held) {
                    true => Absence::Stale(mirror.until(&key, now)),
                    false => Absence::Doubted,
                };
                mirror.changed.insert(Key::clone(&key));
                mirror.absent.insert(key, (held, why));
            }
        }
        mirror
    }

    /// Which cluster this mirrors; 0 before the first read.
    pub fn cluster(&self) -> u64 {
        self.cluster
    }

    /// The revision up to which everything was read; 0 before the first read.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// What the source has.
    pub fn present(&self) -> &BTreeMap<Key, Held> {
        &self.present
    }

    /// What is in force without it, and why.
    pub fn absent(&self) -> &BTreeMap<Key, (Held, Absence)> {
        &self.absent
    }

    /// Whether a read at the mirror's own revision shows that nothing was missed.
    pub fn agrees(&self, read: &FullRead) -> bool {
        read.cluster == self.cluster
            && read.revision == self.revision
            && read.documents == self.present
    }

    /// Takes a full read.
    pub fn read(&mut self, read: FullRead, now: Instant) -> Reread {
        let first = self.cluster == 0;
        let mut report = Reread {
            restored: !first && (read.cluster != self.cluster || read.revision < self.revision),
            ..Reread::default()
        };
        let missing = self.present.keys().chain(self.absent.keys());
        let missing: Vec<_> = missing
            .filter(|key| !read.documents.contains_key(&***key))
            .cloned()
            .collect();
        let believed = self.believable(&read, &missing);
        for key in missing {
            let Some(held) = self.present.remove(&key) else {
                // It was absent before and stays so.
                continue;
            };
            if leased(&key, &held) && leaving(&held) {
                report.gone += 1;
                self.changed.insert(key);
            } else if leased(&key, &held) {
                report.lapsed += 1;
                self.absent.insert(key, (held, Absence::Lapsed(now)));
            } else if believed {
                report.gone += 1;
                self.changed.insert(key);
            } else {
                report.doubted += 1;
                self.absent.insert(key, (held, Absence::Doubted));
            }
        }
        self.cluster = read.cluster;
        self.revision = read.revision;
        for (key, held) in read.documents {
            report.changed += usize::from(self.put(key, held));
        }
        report
    }

    /// Whether a read may lack what it lacks.
    fn believable(&self, read: &FullRead, missing: &[Key]) -> bool {
        let present = self.present.iter();
        let known = present.filter(|(key, held)| !leased(key, held)).count();
        let counts = |key: &&Key| self.present.get(*key).is_some_and(|one| !leased(key, one));
        let missing = missing.iter().filter(counts).count();
        if read.documents.iter().all(|(key, held)| leased(key, held)) {
            return missing == 0;
        }
        missing < DOUBT_MIN || missing * 2 <= known
    }

    /// The lease of a backend that it may lose.
    pub fn lease_of(&self, key: &str) -> Option<i64> {
        let held = self.present.get(key)?;
        leased(key, held).then_some(held.lease)
    }

    /// Applies events: whole revisions, in order. Events that a watch repeats are skipped.
    pub fn events(&mut self, events: impl IntoIterator<Item = Event>, now: Instant) {
        let known = self.revision;
        for event in events {
            if event.revision() > known {
                self.revision = self.revision.max(event.revision());
                self.event(event, now);
            }
        }
    }

    fn event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Put(key, held) => {
                self.put(key, held);
            }
            Event::Delete { key, lapsed, .. } => {
                let Some(held) = self.present.remove(&key) else {
                    // Events do not concern documents in force without the source.
                    return;
                };
                if lapsed && leased(&key, &held) && !leaving(&held) {
                    self.absent.insert(key, (held, Absence::Lapsed(now)));
                } else {
                    self.changed.insert(key);
                }
            }
        }
    }

    /// The source has reached this revision without changes.
    pub fn progress(&mut self, revision: i64) {
        self.revision = self.revision.max(revision);
    }

    /// Answers whether anything is new.
    fn put(&mut self, key: Key, held: Held) -> bool {
        self.absent.remove(&key);
        if self.present.get(&key) == Some(&held) {
            return false;
        }
        self.changed.insert(Key::clone(&key));
        self.present.insert(key, held);
        true
    }

    /// An operator accepts that what is doubted is gone; answers how many documents that were.
    pub fn accept(&mut self) -> usize {
        let doubted = self.absent.iter();
        let doubted: Vec<_> = doubted
            .filter(|(_, (_, why))| *why == Absence::Doubted)
            .map(|(key, _)| Key::clone(key))
            .collect();
        for key in &doubted {
            self.absent.remove(key);
            self.changed.insert(Key::clone(key));
        }
        doubted.len()
    }

    /// The source has returned after an outage: backends need time to obtain new leases, so their
    /// periods of grace start again.
    pub fn resumed(&mut self, now: Instant) {
        let grace = self.grace;
        for (key, (_, why)) in &mut self.absent {
            *why = match *why {
                Absence::Doubted => Absence::Doubted,
                Absence::Lapsed(_) => Absence::Lapsed(now),
                Absence::Stale(_) => Absence::Stale(now + patience(grace, key)),
            };
        }
    }

    /// Handles elapsed time: lost leases that are a storm or not, stale members whose grace is over
    /// or that fail.
    pub fn tick(&mut self, now: Instant, verdict: impl Fn(&str) -> Verdict) {
        while let Some((at, ..)) = self.lost.front() {
            if now.saturating_duration_since(*at) <= WINDOW {
                break;
            }
            self.lost.pop_front();
        }
        self.settle(now, &verdict);
        let over = self.absent.iter().filter(|(key, (_, why))| match why {
            Absence::Stale(until) => *until <= now || verdict(key) == Verdict::Fails,
            Absence::Lapsed(_) | Absence::Doubted => false,
        });
        let over: Vec<_> = over.map(|(key, _)| Key::clone(key)).collect();
        for key in over {
            self.absent.remove(&key);
            self.changed.insert(key);
        }
    }

    fn settle(&mut self, now: Instant, verdict: &impl Fn(&str) -> Verdict) {
        let due = self.absent.iter().filter(|(_, (_, why))| match why {
            Absence::Lapsed(at) => now.saturating_duration_since(*at) >= SETTLE,
            Absence::Doubted | Absence::Stale(_) => false,
        });
        let due: Vec<_> = due.map(|(key, _)| Key::clone(key)).collect();
        let mut storms = HashMap::new();
        for key in due {
            let Some((upstream, _)) = backend_of(&key) else {
                continue;
            };
            let storm = *storms
                .entry(upstream.to_owned())
                .or_insert_with(|| self.storm(upstream));
            if storm && verdict(&key) == Verdict::Fine {
                let until = self.until(&key, now);
                if let Some((_, why)) = self.absent.get_mut(&key) {
                    *why = Absence::Stale(until);
                }
            } else if let Some((held, _)) = self.absent.remove(&key) {
                self.lost.push_back((now, Key::clone(&key), held));
                self.changed.insert(key);
            }
        }
        for (upstream, _) in storms.into_iter().filter(|(_, storm)| *storm) {
            self.recall(&upstream, now);
        }
    }

    /// Whether so many of an upstream's leased backends are lost that it is not theirs to answer
    /// for.
    fn storm(&self, upstream: &str) -> bool {
        let of = |key: &Key| backend_of(key).is_some_and(|(name, _)| name == upstream);
        let prefix = format!("backends/{upstream}/");
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let present = self.present.range::<str, _>(from);
        let present = present
            .take_while(|(key, _)| key.starts_with(&prefix))
            .filter(|(key, held)| leased(key, held))
            .count();
        let absent = self.absent.range::<str, _>(from);
        let absent = absent
            .take_while(|(key, _)| key.starts_with(&prefix))
            .filter(|(_, (_, why))| *why != Absence::Doubted)
            .count();
        let lost = self.lost.iter().filter(|(_, key, _)| of(key)).count();
        let lost = absent + lost;
        present == 0 || (lost >= STORM_MIN && lost * 3 > present + lost)
    }

    /// Restores members that were removed before the storm was detected. A member that had failed
    /// still fails, and is removed by the next tick.
    fn recall(&mut self, upstream: &str, now: Instant) {
        let (back, stay): (VecDeque<_>, _) =
            std::mem::take(&mut self.lost).into_iter().partition(|one| {
                backend_of(&one.1).is_some_and(|(name, _)| name == upstream) && one.0 != now
            });
        self.lost = stay;
        for (_, key, held) in back {
            if !self.present.contains_key(&key) && !self.absent.contains_key(&key) {
                let until = self.until(&key, now);
                self.changed.insert(Key::clone(&key));
                self.absent.insert(key, (held, Absence::Stale(until)));
            }
        }
    }

    fn until(&self, key: &str, now: Instant) -> Instant {
        now + patience(self.grace, key)
    }

    /// Whether [`tick`](Self::tick) has pending work.
    pub fn waits(&self) -> bool {
        self.absent
            .values()
            .any(|(_, why)| *why != Absence::Doubted)
    }

    /// What has changed since the last call: for each key what is in force under it now, if
    /// anything is.
    pub fn take(&mut self) -> Vec<(Key, Option<Held>)> {
        let changed = std::mem::take(&mut self.changed);
        changed
            .into_iter()
            .map(|key| {
                let held = self.in_force(&key).cloned();
                (key, held)
            })
            .collect()
    }

    /// The document in force under a key.
    pub fn in_force(&self, key: &str) -> Option<&Held> {
        let present = self.present.get(key);
        present.or_else(|| self.absent.get(key).map(|(held, _)| held))
    }
}

/// Stale members go over a quarter of the grace, and the same one at the same time on all gateways.
fn patience(grace: Duration, key: &str) -> Duration {
    let share = xxhash_rust::xxh3::xxh3_64(key.as_bytes()) as f64 / u64::MAX as f64;
    grace + grace.mul_f64(share / 4.0)
}
