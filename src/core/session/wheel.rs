//! The timer wheel of sessions, which costs nothing while messages flow. A session is inserted at
//! the earliest time at which it could be due; then it is examined, and inserted again if it was
//! active meanwhile (Varghese & Lauck 1987, scheme 6, with lazy renewal).

/// Time in steps of a wheel, counted from its making.
pub type Tick = u32;

/// Slots; a power of two. Entries further away than this many ticks expire early and are inserted
/// again, once per round.
const SLOTS: usize = 1024;

/// Keys by the tick at which they are to be looked at.
#[derive(Debug)]
pub struct Wheel<K> {
    slots: Vec<Vec<K>>,
    now: Tick,
}

impl<K> Default for Wheel<K> {
    fn default() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            now: 0,
        }
    }
}

impl<K> Wheel<K> {
    /// The tick that was reached last.
    pub fn now(&self) -> Tick {
        self.now
    }

    /// Inserts a key. Returns the time of its expiry: `due`, or earlier if that is more than a
    /// round away, never before the next tick.
    pub fn insert(&mut self, key: K, due: Tick) -> Tick {
        let wait = due.saturating_sub(self.now).clamp(1, SLOTS as Tick - 1);
        let at = self.now.wrapping_add(wait);
        self.slots[slot(at)].push(key);
        at
    }

    /// Goes on to `to` and takes out all keys on the way.
    pub fn advance(&mut self, to: Tick) -> Vec<K> {
        let mut due = Vec::new();
        // After a long pause (a suspended machine) one round sees every slot.
        if to.saturating_sub(self.now) as usize > SLOTS {
            self.now = to - SLOTS as Tick;
        }
        while self.now < to {
            self.now += 1;
            let slot = &mut self.slots[slot(self.now)];
            due.append(slot);
            // A slot that was crowded once must not hold its room for ever.
            slot.shrink_to(64);
        }
        due
    }
}

fn slot(tick: Tick) -> usize {
    tick as usize & (SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_comes_up_at_its_tick() {
        let mut wheel = Wheel::default();
        wheel.insert("soon", 3);
        wheel.insert("past", 0);
        assert_eq!(wheel.advance(1), ["past"]);
        assert!(wheel.advance(2).is_empty());
        assert_eq!(wheel.advance(3), ["soon"]);
        assert!(wheel.advance(10_000).is_empty());
    }

    proptest! {
        #[test]
        fn every_key_comes_up_once_and_never_late(dues in prop::collection::vec(0_u32..5_000, 1..50), steps in prop::collection::vec(1_u32..3_000, 1..20)) {
            let mut wheel = Wheel::default();
            for due in &dues {
                let at = wheel.insert(*due, *due);
                prop_assert!(at <= (*due).max(1));
            }
            let mut waiting = dues.len();
            for step in steps {
                let to = wheel.now() + step;
                for due in wheel.advance(to) {
                    if due > to { wheel.insert(due, due); } else { waiting -= 1; }
                }
                // Whatever is still in the wheel is due later than now.
                let late = dues.iter().filter(|due| **due > to).count();
                prop_assert_eq!(waiting, late);
            }
        }
    }
}
