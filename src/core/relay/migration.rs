//! The state of a session that moves from one backend to the next.

use serde::{Deserialize, Serialize};

use crate::core::relay::hold::Lost;
use crate::core::session::record::{Cause, EndedBy};
use crate::core::session::resume::{Moves, ResumeReason};
use crate::core::session::wheel::Tick;

/// Why a session leaves its backend, and how it ends if no other backend takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeavePlan {
    /// Reason that the next backend receives.
    pub(super) reason: ResumeReason,
    /// Who ended the session, if this ends it.
    pub(super) by: EndedBy,
    /// Cause in the record, likewise.
    pub(super) cause: Cause,
    /// Close code: for the old backend if it can still receive it, and for the client if this ends
    /// the session.
    pub(super) code: u16,
    /// Close reason.
    #[serde(rename = "said")]
    pub(super) text: Box<str>,
}

/// The state of a session that may move.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Migration {
    /// Bytes of the client that are held at most.
    pub(super) hold_max: usize,
    pub(super) phase: Phase,
    pub(super) moves: Moves,
}

/// The phases of a move. The names in stored states are older.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Phase {
    /// It has a backend and stays.
    Settled,
    /// It leaves its backend.
    Leaving {
        #[serde(rename = "departure")]
        plan: LeavePlan,
        /// The backend sends nothing more: it has closed, or its stream ended.
        #[serde(rename = "heard_out")]
        backend_closed: bool,
        /// For how long leaving is tried.
        until: Tick,
    },
    /// It has no backend.
    #[serde(rename = "bereft")]
    Detached {
        #[serde(rename = "departure")]
        plan: LeavePlan,
        /// The driver was notified.
        #[serde(rename = "told")]
        reported: bool,
    },
}

impl Migration {
    pub(super) fn new(hold_max: usize) -> Self {
        Self {
            hold_max,
            phase: Phase::Settled,
            moves: Moves::default(),
        }
    }

    /// For another process: times count from `now`, and the driver there has to be notified again
    /// that a backend is needed.
    pub(super) fn pack(&self, now: Tick) -> Self {
        let mut packed = self.clone();
        match &mut packed.phase {
            Phase::Settled => {}
            Phase::Leaving { until, .. } => *until = until.saturating_sub(now),
            Phase::Detached { reported, .. } => *reported = false,
        }
        packed
    }

    /// What `pack` wrote in another process.
    pub(super) fn unpack(mut self, now: Tick) -> Self {
        if let Phase::Leaving { until, .. } = &mut self.phase {
            *until = until.saturating_add(now);
        }
        self
    }

    /// Whether the session is between two backends, or about to be.
    pub(super) fn is_moving(&self) -> bool {
        !matches!(self.phase, Phase::Settled)
    }

    /// Whether the session needs a backend.
    pub(super) fn is_detached(&self) -> bool {
        matches!(self.phase, Phase::Detached { .. })
    }

    /// When leaving has lasted long enough.
    pub(super) fn due(&self) -> Option<Tick> {
        match self.phase {
            Phase::Leaving { until, .. } => Some(until),
            Phase::Settled | Phase::Detached { .. } => None,
        }
    }

    /// Why a backend is needed; once for each time.
    pub(super) fn report(&mut self) -> Option<ResumeReason> {
        match &mut self.phase {
            Phase::Detached { plan, reported } if !*reported => {
                *reported = true;
                Some(plan.reason)
            }
            _ => None,
        }
    }

    /// The backend that is left sends nothing more. Returns whether one is being left.
    pub(super) fn backend_closed(&mut self) -> bool {
        let Phase::Leaving { backend_closed, .. } = &mut self.phase else {
            return false;
        };
        *backend_closed = true;
        true
    }

    /// Whether the backend that is left sends nothing more.
    pub(super) fn is_backend_closed(&self) -> bool {
        matches!(
            self.phase,
            Phase::Leaving {
                backend_closed: true,
                ..
            }
        )
    }

    /// The phase; the session is settled from here on.
    pub(super) fn take_phase(&mut self) -> Phase {
        std::mem::replace(&mut self.phase, Phase::Settled)
    }

    /// Counts what was lost.
    pub(super) fn count(&mut self, lost: Lost) {
        self.moves.messages_lost += lost.messages;
        self.moves.bytes_lost += lost.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> LeavePlan {
        LeavePlan {
            reason: ResumeReason::Draining,
            by: EndedBy::Gateway,
            cause: Cause::Drained,
            code: 1012,
            text: "drained".into(),
        }
    }

    fn leaving(until: Tick) -> Migration {
        let mut migration = Migration::new(100);
        migration.phase = Phase::Leaving {
            plan: plan(),
            backend_closed: false,
            until,
        };
        migration
    }

    fn detached() -> Migration {
        let mut migration = Migration::new(100);
        migration.phase = Phase::Detached {
            plan: plan(),
            reported: false,
        };
        migration
    }

    #[test]
    fn a_needed_backend_is_reported_once_in_each_process() {
        let mut migration = detached();
        assert_eq!(migration.report(), Some(ResumeReason::Draining));
        assert_eq!(migration.report(), None);
        let mut other = migration.pack(10).unpack(5_000);
        assert_eq!(other.report(), Some(ResumeReason::Draining));
        assert_eq!(leaving(5).report(), None);
    }

    #[test]
    fn leaving_has_a_limit_by_any_clock() {
        assert_eq!(leaving(50).due(), Some(50));
        assert_eq!(leaving(50).pack(30).unpack(5_000).due(), Some(5_020));
        assert_eq!(detached().due(), None);
        assert_eq!(Migration::new(1).due(), None);
    }

    #[test]
    fn only_a_backend_that_is_left_can_have_closed() {
        let mut migration = leaving(50);
        assert!(!migration.is_backend_closed());
        assert!(migration.backend_closed() && migration.is_backend_closed());
        assert!(!detached().backend_closed());
        assert!(!Migration::new(1).backend_closed());
    }

    #[test]
    fn phases_differ_in_what_they_need() {
        let check = |migration: &Migration, moving: bool, needs_backend: bool| {
            assert_eq!(migration.is_moving(), moving);
            assert_eq!(migration.is_detached(), needs_backend);
        };
        check(&Migration::new(1), false, false);
        check(&leaving(5), true, false);
        check(&detached(), true, true);
    }

    #[test]
    fn losses_add_up() {
        let mut migration = Migration::new(1);
        for _ in 0..2 {
            migration.count(Lost {
                messages: 1,
                bytes: 20,
            });
        }
        let moves = migration.moves;
        assert_eq!((moves.messages_lost, moves.bytes_lost), (2, 40));
    }
}
