//! Whether the node has capacity: sessions, handshakes in progress, memory. A refusal for lack of
//! capacity costs as little work as possible, and low priorities are refused first.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::config::limits::{NodeLimits, Priority};

/// What the node has taken on, and what it may. All workers count here, at handshakes only.
#[derive(Debug, Default)]
pub struct Load {
    sessions: AtomicUsize,
    handshakes: AtomicUsize,
    /// Bytes, as last looked at.
    memory: AtomicU64,
    sessions_max: AtomicUsize,
    handshakes_max: AtomicUsize,
    memory_max: AtomicU64,
    /// There are routes that the last tenth is kept for.
    reserved: AtomicBool,
}

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scarce {
    /// `node.sessions_max`
    Sessions,
    /// `node.handshakes_max`
    Handshakes,
    /// `node.memory_max`
    Memory,
}

impl Scarce {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Sessions, Self::Handshakes, Self::Memory];

    /// The label in metrics and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions_max",
            Self::Handshakes => "handshakes_max",
            Self::Memory => "memory_max",
        }
    }
}

impl fmt::Display for Scarce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sessions => "the gateway has as many sessions as it may",
            Self::Handshakes => "the gateway has as many handshakes under way as it may",
            Self::Memory => "the gateway is short of memory",
        })
    }
}

/// A place among the node's sessions or handshakes, given back when it is dropped.
#[derive(Debug)]
pub struct LoadPermit {
    load: Arc<Load>,
    of: Scarce,
}

impl Load {
    /// Applies new limits; existing sessions stay even if they exceed them. `reserve` keeps the
    /// last tenth of each for routes of high priority. `memory_max` in bytes, 0 is no limit.
    pub fn configure(&self, limits: NodeLimits, memory_max: u64, reserve: bool) {
        self.sessions_max
            .store(limits.sessions_max, Ordering::Relaxed);
        self.handshakes_max
            .store(limits.handshakes_max, Ordering::Relaxed);
        self.memory_max.store(memory_max, Ordering::Relaxed);
        self.reserved.store(reserve, Ordering::Relaxed);
    }

    /// How much memory is in use now.
    pub fn set_memory(&self, bytes: u64) {
        self.memory.store(bytes, Ordering::Relaxed);
    }

    /// Room for a session that is about to be made.
    ///
    /// # Errors
    /// What there is too little of.
    pub fn session(self: &Arc<Self>, priority: Priority) -> Result<LoadPermit, Scarce> {
        if self.short_of_memory(priority) {
            return Err(Scarce::Memory);
        }
        self.take(Scarce::Sessions, Some(priority))
    }

    /// The permit of a session that exists already, regardless of the limits.
    pub fn session_regardless(self: &Arc<Self>) -> LoadPermit {
        self.take(Scarce::Sessions, None)
            .expect("nothing is asked for")
    }

    /// Room for a handshake.
    ///
    /// # Errors
    /// When there are too many under way.
    pub fn handshake(self: &Arc<Self>, priority: Priority) -> Result<LoadPermit, Scarce> {
        self.take(Scarce::Handshakes, Some(priority))
    }

    /// Whether new work of this priority is refused because memory runs out.
    pub fn short_of_memory(&self, priority: Priority) -> bool {
        let max = self.memory_max.load(Ordering::Relaxed);
        max > 0 && self.memory.load(Ordering::Relaxed) >= self.share(max, priority)
    }

    /// Whether a limit is reached, so that new work of any priority is refused.
    pub fn reached(&self, limit: Scarce) -> bool {
        match limit {
            Scarce::Memory => self.short_of_memory(Priority::High),
            Scarce::Sessions | Scarce::Handshakes => {
                let (count, max) = self.count(limit);
                max > 0 && count.load(Ordering::Relaxed) >= max
            }
        }
    }

    /// Sessions, those in the making among them, and how many there may be.
    pub fn sessions(&self) -> (usize, usize) {
        let now = self.sessions.load(Ordering::Relaxed);
        (now, self.sessions_max.load(Ordering::Relaxed))
    }

    /// Handshakes under way, and how many there may be.
    pub fn handshakes(&self) -> (usize, usize) {
        let now = self.handshakes.load(Ordering::Relaxed);
        (now, self.handshakes_max.load(Ordering::Relaxed))
    }

    /// Bytes in use as last looked at, and how many may be.
    pub fn memory(&self) -> (u64, u64) {
        let now = self.memory.load(Ordering::Relaxed);
        (now, self.memory_max.load(Ordering::Relaxed))
    }

    fn take(
        self: &Arc<Self>,
        of: Scarce,
        priority: Option<Priority>,
    ) -> Result<LoadPermit, Scarce> {
        let (count, max) = self.count(of);
        let before = count.fetch_add(1, Ordering::Relaxed);
        let permit = LoadPermit {
            load: Arc::clone(self),
            of,
        };
        match priority {
            // Dropping the permit takes it back.
            Some(priority) if max > 0 && before as u64 >= self.share(max as u64, priority) => {
                Err(of)
            }
            _ => Ok(permit),
        }
    }

    fn count(&self, of: Scarce) -> (&AtomicUsize, usize) {
        let (count, max) = match of {
            Scarce::Sessions => (&self.sessions, &self.sessions_max),
            Scarce::Handshakes | Scarce::Memory => (&self.handshakes, &self.handshakes_max),
        };
        (count, max.load(Ordering::Relaxed))
    }

    /// How much of a limit a priority may fill; something, however small the limit is.
    fn share(&self, max: u64, priority: Priority) -> u64 {
        let share = match priority {
            Priority::Low => max / 5 * 4 + max % 5 * 4 / 5,
            Priority::Normal if self.reserved.load(Ordering::Relaxed) => {
                max / 10 * 9 + max % 10 * 9 / 10
            }
            Priority::Normal | Priority::High => max,
        };
        share.max(1)
    }
}

impl Drop for LoadPermit {
    fn drop(&mut self) {
        self.load.count(self.of).0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(sessions_max: usize, reserve: bool) -> Arc<Load> {
        let load = Arc::new(Load::default());
        let limits = NodeLimits {
            sessions_max,
            ..NodeLimits::default()
        };
        load.configure(limits, 1000, reserve);
        load
    }

    #[test]
    fn what_matters_least_is_refused_first() {
        let fill = |load: &Arc<Load>, priority| {
            std::iter::from_fn(|| load.session(priority).ok()).collect::<Vec<_>>()
        };
        let reserving = load(100, true);
        let low = fill(&reserving, Priority::Low);
        let normal = fill(&reserving, Priority::Normal);
        let high = fill(&reserving, Priority::High);
        assert_eq!((low.len(), normal.len(), high.len()), (80, 10, 10));
        assert_eq!(
            reserving.session(Priority::High).err(),
            Some(Scarce::Sessions)
        );
        let _more = reserving.session_regardless();
        drop((low, normal, high));
        assert_eq!(reserving.sessions(), (1, 100));
        // Without routes of high priority the last tenth is open to all.
        assert_eq!(fill(&load(100, false), Priority::Normal).len(), 100);
        assert_eq!(fill(&load(1, true), Priority::Low).len(), 1);
    }

    #[test]
    fn memory_keeps_out_by_priority_too() {
        let load = load(0, true);
        let check = |bytes, priority, expected: bool| {
            load.set_memory(bytes);
            assert_eq!(
                load.session(priority).is_ok(),
                expected,
                "{bytes} {priority:?}"
            );
        };
        check(799, Priority::Low, true);
        check(800, Priority::Low, false);
        check(899, Priority::Normal, true);
        check(900, Priority::Normal, false);
        check(999, Priority::High, true);
        check(1000, Priority::High, false);
        load.configure(NodeLimits::default(), 0, true);
        check(u64::MAX, Priority::Low, true);
    }

    #[test]
    fn no_limit_is_no_limit() {
        let load = Arc::new(Load::default());
        let permits: Vec<_> = (0..1000).map(|_| load.handshake(Priority::Low)).collect();
        assert!(permits.iter().all(Result::is_ok));
        assert_eq!(load.handshakes(), (1000, 0));
    }
}
