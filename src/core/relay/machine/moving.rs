//! A session that changes its backend while its client stays. The old backend is left at a message
//! boundary in both directions. Then the client's half goes on alone until another backend is
//! attached, or the driver gives up and the session ends.

use crate::core::relay::close_filter::CloseFilter;
use crate::core::relay::direction::{ClosePlace, mask};
use crate::core::relay::machine::Machine;
use crate::core::relay::migration::{LeavePlan, Migration, Phase};
use crate::core::session::orders::LeaveOrder;
use crate::core::session::record::{Cause, EndedBy};
use crate::core::session::resume::{Moves, ResumeReason};
use crate::core::session::wheel::Tick;
use crate::core::wire::frame::{answer_to_close, close_frame};

impl Machine {
    /// Lets the session move to other backends, with a hold buffer of this many bytes.
    pub(in crate::core::relay) fn allow_moves(&mut self, hold_max: usize) {
        self.up.allow_replacement();
        self.down.filter_closes(CloseFilter::GoingAway);
        self.migration = Some(Box::new(Migration::new(hold_max)));
    }

    /// Whether `leave` can have an effect.
    pub fn movable(&self) -> bool {
        self.migration.is_some() && self.ending().is_none()
    }

    /// Whether the session is between two backends, or about to be.
    pub fn moves_now(&self) -> bool {
        let migration = self.migration.as_ref();
        migration.is_some_and(|migration| migration.is_moving())
    }

    /// Whether the session needs a backend.
    pub fn needs_backend(&self) -> bool {
        let migration = self.migration.as_ref();
        migration.is_some_and(|migration| migration.is_detached())
    }

    /// Its changes of backend so far.
    pub fn moves(&self) -> Moves {
        let migration = self.migration.as_ref();
        migration.map_or_else(Moves::default, |migration| migration.moves)
    }

    /// Leaves the backend at the next message boundary in both directions, with a close frame, and
    /// then asks for another. Returns whether that began. If the client does not come to a boundary
    /// in time, the session stays.
    pub fn leave(&mut self, order: &LeaveOrder, now: Tick) -> bool {
        if !self.movable() || self.moves_now() {
            return false;
        }
        let plan = LeavePlan {
            reason: order.resume,
            by: EndedBy::Gateway,
            cause: order.cause,
            code: order.code,
            text: (&*order.reason).into(),
        };
        let frame = close_frame(plan.code, &plan.text, Some(mask(self.entropy)));
        self.down.filter_closes(CloseFilter::Answers);
        self.begin_leaving(frame, plan, false, now);
        self.turn_needed = true;
        true
    }

    /// Another backend accepted the session; `early` arrived behind its 101.
    ///
    /// # Panics
    /// If the session has a backend.
    pub fn attach(&mut self, early: Vec<u8>, now: Tick) {
        let migration = self.migration.as_mut().filter(|_| !self.attached);
        let migration = migration.expect("only a session without a backend takes one");
        migration.phase = Phase::Settled;
        migration.moves.resumes += 1;
        self.attached = true;
        self.up.attach_sink();
        self.down.attach_source(early);
        if let Some(tap) = &mut self.tap {
            tap.replace_backend();
        }
        if let Some(liveness) = &mut self.liveness {
            liveness.backend_attached(now);
        }
        let closing = self.ending().is_some();
        self.down.filter_closes(if closing {
            CloseFilter::Off
        } else {
            CloseFilter::GoingAway
        });
        self.turn_needed = true;
    }

    /// No backend took over in time, or none can for the reason `unfit`. Without effect on a
    /// session that is still leaving its backend.
    pub fn give_up(&mut self, unfit: Option<&str>, now: Tick) {
        if !self.needs_backend() {
            return;
        }
        let Some(Phase::Detached { plan, .. }) = self.take_phase() else {
            return;
        };
        let closed = self.ending().is_some();
        let (by, cause) = match unfit {
            Some(_) => (EndedBy::Gateway, Cause::NotResumable),
            None => (plan.by, plan.cause),
        };
        self.end(by, cause, Some(plan.code), now);
        self.restart_limit(self.times.close, now);
        if closed {
            self.end_without_backend(None);
        } else {
            let text = unfit.unwrap_or(&plan.text);
            self.end_without_backend(Some(close_frame(plan.code, text, None)));
        }
        self.turn_needed = true;
    }

    /// The backend takes nothing more. Returns whether the session goes on with another one.
    pub(super) fn survives_sink_loss(&mut self, now: Tick) -> bool {
        let leaving = self.moves_now();
        if (self.ending().is_some() && !leaving) || !self.salvage() {
            return false;
        }
        if !leaving {
            // What it still sends is read, to the end of its stream.
            let until = now.saturating_add(self.times.close);
            let plan = self.loss(Cause::Reset);
            self.set_phase(Phase::Leaving {
                plan,
                backend_closed: false,
                until,
            });
        }
        true
    }

    /// The backend's stream has ended. Returns whether the session goes on with another backend.
    pub(super) fn survives_source_end(&mut self, cause: Cause) -> bool {
        let leaving = self.moves_now();
        if (self.ending().is_some() && !leaving) || !self.down.whole() || !self.salvage() {
            return false;
        }
        let plan = match self.take_phase() {
            Some(Phase::Leaving { plan, .. }) => plan,
            _ => self.loss(cause),
        };
        self.detach(plan);
        true
    }

    /// The backend sent a close frame that was not forwarded.
    pub(super) fn backend_closed(&mut self, code: Option<u16>, now: Tick) {
        let migration = self.migration.as_mut();
        if migration.is_some_and(|migration| migration.backend_closed()) {
            return;
        }
        // The session is settled and open: frames are withheld only where it may move, a detached
        // backend is not read, and `end` turns the filter off.
        let plan = LeavePlan {
            reason: ResumeReason::BackendGoingAway,
            by: EndedBy::Backend,
            cause: Cause::CloseFrame,
            code: code.unwrap_or(self.backend_lost_code),
            text: "backend is going away".into(),
        };
        let answer = answer_to_close(code, Some(mask(self.entropy)));
        self.begin_leaving(answer, plan, true, now);
    }

    /// Detaches a backend that is left in both directions.
    pub(super) fn complete_leaving(&mut self) {
        let migration = self.migration.as_ref();
        if migration.is_some_and(|migration| migration.is_backend_closed())
            && self.up.has_left()
            && let Some(Phase::Leaving { plan, .. }) = self.take_phase()
        {
            self.detach(plan);
        }
    }

    /// Leaving took too long. A client in the middle of a message stays where it is, if only the
    /// gateway wanted it to go; a backend that does not answer is detached.
    pub(super) fn leaving_timed_out(&mut self, now: Tick) {
        let Some(Phase::Leaving {
            plan,
            backend_closed,
            ..
        }) = self.take_phase()
        else {
            return;
        };
        if self.up.stay() {
            if backend_closed {
                self.end_with(&plan, now);
            } else {
                self.down.filter_closes(CloseFilter::GoingAway);
            }
        } else if self.down.whole() && self.salvage() {
            self.detach(plan);
        } else {
            self.lose_backend_sink();
            self.end_with(&plan, now);
        }
        self.turn_needed = true;
    }

    /// The session ends, or the client's half of it has: no other backend is needed.
    pub(super) fn stop_moving(&mut self) {
        match self.take_phase() {
            None | Some(Phase::Settled) => {}
            Some(Phase::Leaving { .. }) => {
                if !self.up.stay() {
                    self.lose_backend_sink();
                }
            }
            Some(Phase::Detached { .. }) => {
                self.lose_backend_sink();
                self.down.end_source();
                self.down.finish();
            }
        }
        self.down.filter_closes(CloseFilter::Off);
    }

    /// The client has closed and the session is between two backends: the gateway answers. Returns
    /// whether that was so.
    pub(super) fn answer_moving_client(&mut self) -> bool {
        let moving = self.moves_now() && self.up.closed();
        if moving {
            self.take_phase();
            self.end_without_backend(None);
        }
        moving
    }

    fn begin_leaving(
        &mut self,
        close_frame: Vec<u8>,
        plan: LeavePlan,
        backend_closed: bool,
        now: Tick,
    ) {
        let until = now.saturating_add(self.times.close);
        if let Some(migration) = &mut self.migration {
            self.up.leave_sink(close_frame, migration.hold_max);
            migration.phase = Phase::Leaving {
                plan,
                backend_closed,
                until,
            };
        }
    }

    /// Nothing of the old backend is left.
    fn detach(&mut self, plan: LeavePlan) {
        self.attached = false;
        if self.ending().is_some() && self.up.held_loss().messages == 0 {
            // The client has closed, and no message waits for a backend.
            self.end_without_backend(None);
            return;
        }
        self.set_phase(Phase::Detached {
            plan,
            reported: false,
        });
    }

    fn loss(&self, cause: Cause) -> LeavePlan {
        LeavePlan {
            reason: ResumeReason::BackendLost,
            by: EndedBy::Backend,
            cause,
            code: self.backend_lost_code,
            text: "backend lost".into(),
        }
    }

    /// Ends the session as for its migration, while the old backend is still there.
    fn end_with(&mut self, plan: &LeavePlan, now: Tick) {
        self.end(plan.by, plan.cause, Some(plan.code), now);
        self.down.filter_closes(CloseFilter::Off);
        let frame = close_frame(plan.code, &plan.text, None);
        self.down.queue_close(frame, ClosePlace::NextBoundary);
    }

    /// Sends the client its last frame: this one, or the answer to its own close frame.
    fn end_without_backend(&mut self, frame: Option<Vec<u8>>) {
        self.attached = false;
        self.lose_backend_sink();
        let answer = || answer_to_close(self.up.tracker.close_code(), None);
        let frame = frame.unwrap_or_else(answer);
        self.down.end_source();
        self.down.queue_close(frame, ClosePlace::NextBoundary);
        self.down.finish();
    }

    /// The backend gets nothing more, and no other one takes its place: drops what was meant for
    /// it, and counts that where the session may move. On other routes the place of the backend in
    /// the stream is not followed.
    pub(super) fn lose_backend_sink(&mut self) {
        if let Some(migration) = &mut self.migration {
            migration.count(self.up.unsent());
        }
        self.up.lose_sink();
    }

    /// Saves what the lost backend has not received for the next one. Returns whether that is
    /// possible.
    fn salvage(&mut self) -> bool {
        let Some(migration) = &mut self.migration else {
            return false;
        };
        let lost = self.up.salvage(migration.hold_max);
        if let Some(lost) = lost {
            migration.count(lost);
        }
        lost.is_some()
    }

    fn set_phase(&mut self, phase: Phase) {
        if let Some(migration) = &mut self.migration {
            migration.phase = phase;
        }
    }

    fn take_phase(&mut self) -> Option<Phase> {
        let migration = self.migration.as_mut();
        migration.map(|migration| migration.take_phase())
    }
}
