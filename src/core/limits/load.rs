//! Whether the node has capacity: sessions, handshakes in progress, memory. A refusal for lack of
//! capacity costs as little work as possible, and low priorities are refused first.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::config::limits::Priority;

/// What the node has taken on. All workers count here, at handshakes only.
#[derive(Debug, Default)]
pub struct Load {
    sessions: AtomicUsize,
    handshakes: AtomicUsize,
    /// Bytes, as last looked at.
    memory: AtomicU64,
}

/// What the node may take on. It changes with the configuration; sessions that exist stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadLimits {
    /// Sessions; 0 is no limit.
    pub sessions_max: usize,
    /// Handshakes under way; 0 is no limit.
    pub handshakes_max: usize,
    /// Bytes; 0 is no limit.
    pub memory_max: u64,
    /// Whether the last tenth of each is for routes of high priority only.
    pub reserve: bool,
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
    /// How much memory is in use now.
    pub fn set_memory(&self, bytes: u64) {
        self.memory.store(bytes, Ordering::Relaxed);
    }

    /// Room for a session that is about to be made.
    ///
    /// # Errors
    /// What there is too little of.
    pub fn session(
        self: &Arc<Self>,
        limits: &LoadLimits,
        priority: Priority,
    ) -> Result<LoadPermit, Scarce> {
        if self.short_of_memory(limits, priority) {
            return Err(Scarce::Memory);
        }
        self.take(Scarce::Sessions, limits.share(Scarce::Sessions, priority))
    }

    /// The permit of a session that exists already, regardless of the limits.
    pub fn session_regardless(self: &Arc<Self>) -> LoadPermit {
        self.take(Scarce::Sessions, None)
            .expect("without a limit there is room")
    }

    /// Room for a handshake.
    ///
    /// # Errors
    /// When there are too many under way.
    pub fn handshake(
        self: &Arc<Self>,
        limits: &LoadLimits,
        priority: Priority,
    ) -> Result<LoadPermit, Scarce> {
        self.take(
            Scarce::Handshakes,
            limits.share(Scarce::Handshakes, priority),
        )
    }

    /// Whether memory is too short to admit clients of this priority.
    pub fn short_of_memory(&self, limits: &LoadLimits, priority: Priority) -> bool {
        let share = limits.share(Scarce::Memory, priority);
        share.is_some_and(|share| self.memory() >= share)
    }

    /// Whether a limit is reached, so that no client is admitted whatever its priority.
    pub fn reached(&self, limits: &LoadLimits, of: Scarce) -> bool {
        let now = match of {
            Scarce::Sessions => self.sessions() as u64,
            Scarce::Handshakes => self.handshakes() as u64,
            Scarce::Memory => self.memory(),
        };
        let max = limits.share(of, Priority::High);
        max.is_some_and(|max| now >= max)
    }

    /// Sessions, those in the making among them.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Handshakes under way.
    pub fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// Bytes in use, as last looked at.
    pub fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// `most` is how many there may be.
    fn take(self: &Arc<Self>, of: Scarce, most: Option<u64>) -> Result<LoadPermit, Scarce> {
        let before = self.count(of).fetch_add(1, Ordering::Relaxed);
        let permit = LoadPermit {
            load: Arc::clone(self),
            of,
        };
        match most {
            // Dropping the permit takes it back.
            Some(most) if before as u64 >= most => Err(of),
            _ => Ok(permit),
        }
    }

    fn count(&self, of: Scarce) -> &AtomicUsize {
        match of {
            Scarce::Sessions => &self.sessions,
            Scarce::Handshakes | Scarce::Memory => &self.handshakes,
        }
    }
}

impl LoadLimits {
    /// How much of a limit a priority may fill, at least one however small the limit is; `None`
    /// without a limit.
    fn share(&self, of: Scarce, priority: Priority) -> Option<u64> {
        let max = match of {
            Scarce::Sessions => self.sessions_max as u64,
            Scarce::Handshakes => self.handshakes_max as u64,
            Scarce::Memory => self.memory_max,
        };
        let share = match priority {
            Priority::Low => max / 5 * 4 + max % 5 * 4 / 5,
            Priority::Normal if self.reserve => max / 10 * 9 + max % 10 * 9 / 10,
            Priority::Normal | Priority::High => max,
        };
        (max > 0).then(|| share.max(1))
    }
}

impl Drop for LoadPermit {
    fn drop(&mut self) {
        self.load.count(self.of).fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(sessions_max: usize, reserve: bool) -> LoadLimits {
        LoadLimits {
            sessions_max,
            memory_max: 1000,
            reserve,
            ..LoadLimits::default()
        }
    }

    fn fill(load: &Arc<Load>, limits: &LoadLimits, priority: Priority) -> Vec<LoadPermit> {
        std::iter::from_fn(|| load.session(limits, priority).ok()).collect()
    }

    #[test]
    fn lower_priorities_are_refused_first() {
        let (load, reserving) = (Arc::new(Load::default()), limits(100, true));
        let low = fill(&load, &reserving, Priority::Low);
        let normal = fill(&load, &reserving, Priority::Normal);
        let high = fill(&load, &reserving, Priority::High);
        assert_eq!((low.len(), normal.len(), high.len()), (80, 10, 10));
        assert!(load.reached(&reserving, Scarce::Sessions));
        let refused = load.session(&reserving, Priority::High);
        assert_eq!(refused.err(), Some(Scarce::Sessions));
        let _more = load.session_regardless();
        drop((low, normal, high));
        assert_eq!(load.sessions(), 1);
        assert!(!load.reached(&reserving, Scarce::Sessions));
    }

    #[test]
    fn nothing_is_reserved_without_routes_of_high_priority() {
        let count = |limits: &LoadLimits, priority| fill(&Arc::default(), limits, priority).len();
        assert_eq!(count(&limits(100, false), Priority::Normal), 100);
        assert_eq!(count(&limits(1, true), Priority::Low), 1);
    }

    #[test]
    fn memory_refuses_by_priority_too() {
        let load = Arc::new(Load::default());
        let check = |limits: &LoadLimits, bytes, priority, expected: bool| {
            load.set_memory(bytes);
            let admitted = load.session(limits, priority).is_ok();
            assert_eq!(admitted, expected, "{bytes} {priority:?}");
        };
        let limited = limits(0, true);
        check(&limited, 799, Priority::Low, true);
        check(&limited, 800, Priority::Low, false);
        check(&limited, 899, Priority::Normal, true);
        check(&limited, 900, Priority::Normal, false);
        check(&limited, 999, Priority::High, true);
        check(&limited, 1000, Priority::High, false);
        check(&LoadLimits::default(), u64::MAX, Priority::Low, true);
    }

    #[test]
    fn without_limits_everything_is_admitted() {
        let (load, none) = (Arc::new(Load::default()), LoadLimits::default());
        let permits: Vec<_> = (0..1000)
            .map(|_| load.handshake(&none, Priority::Low))
            .collect();
        assert!(permits.iter().all(Result::is_ok));
        assert_eq!(load.handshakes(), 1000);
    }
}
