//! Time limits: silence, age, an expired credential, an end that takes too long.

use crate::core::relay::machine::Machine;
use crate::core::relay::side::{SendQueue, Side};
use crate::core::relay::stage::Stage;
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::Cause;
use crate::core::session::wheel::Tick;

impl Machine {
    /// When `expire` has to be called. It may be earlier than anything is due.
    pub fn due(&self) -> Option<Tick> {
        match &self.stage {
            Stage::Closing(closing) if self.half_closed() => {
                let at = closing.limit.at;
                Some(self.times.last_at().map_or(at, |last| last.min(at)))
            }
            Stage::Closing(closing) => Some(closing.limit.at),
            Stage::Cut(_) => None,
            Stage::Open => [
                self.idle_at(),
                self.times.last_at(),
                self.leaving_due(),
                self.keepalive_at(),
                self.resumes_at(),
                self.warns_at(),
            ]
            .into_iter()
            .flatten()
            .min(),
        }
    }

    /// Does what is due at `now`. `queue` returns the send queue of a side's stream; it is called
    /// only if that matters.
    pub fn expire(&mut self, now: Tick, queue: impl Fn(Side) -> Option<SendQueue>) {
        let too_old = self.times.last_at().is_some_and(|at| now >= at);
        match &self.stage {
            Stage::Cut(_) => return,
            Stage::Closing(closing) if !(too_old && self.half_closed()) => {
                if now >= closing.limit.at && !self.prolong(queue, now) {
                    self.cut(now);
                }
                return;
            }
            Stage::Closing(_) | Stage::Open => {}
        }
        self.warn(now);
        if self.times.expires_at.is_some_and(|at| now >= at) {
            self.close_for(3000, "credential expired", Cause::Expired, now);
        } else if too_old {
            let text = "maximum session lifetime reached";
            self.close_for(1001, text, Cause::LifetimeReached, now);
        } else if self.idle_at().is_some_and(|at| now >= at) {
            self.close_for(3008, "idle for too long", Cause::IdleTimeout, now);
        } else if self.leaving_due().is_some_and(|at| now >= at) {
            self.leaving_timed_out(now);
        } else {
            self.turn_needed |= self.resumes_at().is_some_and(|at| now >= at);
            self.keep_alive(queue, now);
        }
    }

    fn close_for(&mut self, code: u16, text: &str, cause: Cause, now: Tick) {
        let order = CloseOrder {
            code,
            reason: text.into(),
            cause,
        };
        self.close(&order, now);
    }

    fn leaving_due(&self) -> Option<Tick> {
        self.migration.as_ref()?.due()
    }

    /// When the session has been idle for too long. A client that is not read is not idle.
    pub(in crate::core::relay) fn idle_at(&self) -> Option<Tick> {
        let resumes = self.resumes_at();
        let active = resumes.unwrap_or(0).max(self.active_at());
        self.times.idle.map(|idle| active.saturating_add(idle))
    }
}
