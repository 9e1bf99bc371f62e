//! What a machine reports about itself. Nothing here changes the session, but for `set_active`.

use crate::base::traffic::Traffic;
use crate::core::relay::machine::Machine;
use crate::core::relay::side::Side;
use crate::core::relay::stage::{Closing, Stage};
use crate::core::session::record::Ending;
use crate::core::session::wheel::Tick;

impl Machine {
    /// Whether there is a backend. A driver drops the backend's stream when there is none.
    pub fn attached(&self) -> bool {
        self.attached
    }

    /// Whether something changed since the last turn that needs another one.
    pub fn turn_needed(&self) -> bool {
        self.turn_needed
    }

    /// What went from the client to the backend.
    pub fn to_backend(&self) -> Traffic {
        self.up.tracker.traffic()
    }

    /// What went from the backend to the client.
    pub fn to_client(&self) -> Traffic {
        self.down.tracker.traffic()
    }

    /// When relayed bytes moved last.
    pub fn active_at(&self) -> Tick {
        self.up_active.max(self.down_active)
    }

    /// When relayed bytes of this side moved last.
    pub fn active_from(&self, side: Side) -> Tick {
        match side {
            Side::Client => self.up_active,
            Side::Backend => self.down_active,
        }
    }

    /// Sets when bytes of each side moved last, where another process has recorded it.
    pub fn set_active(&mut self, client: Tick, backend: Tick) {
        (self.up_active, self.down_active) = (client, backend);
    }

    /// Whether its end has begun.
    pub fn closing(&self) -> bool {
        self.ending().is_some()
    }

    /// Bytes that are stored for both sides.
    pub fn held(&self) -> usize {
        self.up.held() + self.down.held()
    }

    /// Bytes that are stored for this side.
    pub fn held_for(&self, side: Side) -> usize {
        self.sent_by(side.other()).held()
    }

    /// How the session ended, or is ending.
    pub(in crate::core::relay) fn ending(&self) -> Option<Ending> {
        match &self.stage {
            Stage::Open => None,
            Stage::Closing(closing) => closing.ending,
            Stage::Cut(cut) => Some(cut.ending),
        }
    }

    /// The end that has begun, if it is not forced.
    pub(in crate::core::relay) fn closing_state(&self) -> Option<&Closing> {
        match &self.stage {
            Stage::Closing(closing) => Some(closing),
            Stage::Open | Stage::Cut(_) => None,
        }
    }
}
