//! A session that changes its backend while its client stays. The old one is parted from at a
//! message boundary in both directions; then the client's half lives alone until another backend is
//! attached, or nobody took over and the session ends.

use serde::{Deserialize, Serialize};

use crate::core::session::orders::LeaveOrder;
use crate::core::session::record::{Cause, EndedBy};
use crate::core::session::resume::{Moves, ResumeReason};
use crate::core::session::wheel::Tick;
use crate::core::wire::frame::{answer_to_close, close_frame};
use crate::io::relay::ending::Limit;
use crate::io::relay::flow::{Lost, Place, Withhold};
use crate::io::relay::{Relay, Stream, mask};

/// Why a session leaves its backend, and how it ends if no other takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Departure {
    /// What the next backend is told.
    reason: ResumeReason,
    /// Who ended the session, if this ends it.
    by: EndedBy,
    /// Why, likewise.
    cause: Cause,
    /// The close code: for the old backend if it is there to hear it, and for the client if this
    /// ends the session.
    code: u16,
    /// The words with it.
    said: Box<str>,
}

/// Of a session that may move.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Moving {
    /// Bytes of the client's that are held at most.
    hold_max: usize,
    phase: Phase,
    moves: Moves,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Phase {
    /// It has a backend, and stays.
    Settled,
    /// It parts from its backend.
    Leaving {
        departure: Departure,
        /// The backend has said its last word.
        heard_out: bool,
        /// For how long it is tried.
        until: Tick,
    },
    /// It has none.
    Bereft {
        departure: Departure,
        /// Whoever drives the relay knows.
        told: bool,
    },
}

impl Moving {
    /// For another process: times count from `now`, and whoever drives the relay there has to be
    /// told again that a backend is wanted.
    pub(super) fn pack(&self, now: Tick) -> Self {
        let mut packed = self.clone();
        match &mut packed.phase {
            Phase::Settled => {}
            Phase::Leaving { until, .. } => *until = until.saturating_sub(now),
            Phase::Bereft { told, .. } => *told = false,
        }
        packed
    }

    /// What another process packed.
    pub(super) fn unpack(mut self, now: Tick) -> Self {
        if let Phase::Leaving { until, .. } = &mut self.phase {
            *until = until.saturating_add(now);
        }
        self
    }

    fn lost(&mut self, lost: Lost) {
        self.moves.messages_lost += lost.messages;
        self.moves.bytes_lost += lost.bytes;
    }
}

impl<C: Stream> Relay<C> {
    pub(super) fn allow_moves(&mut self, hold_max: usize) {
        self.up.expect_other_sinks();
        self.down.withhold(Withhold::GoingAway);
        self.moving = Some(Box::new(Moving {
            hold_max,
            phase: Phase::Settled,
            moves: Moves::default(),
        }));
    }

    /// Whether `leave` can do anything for it.
    pub fn movable(&self) -> bool {
        self.moving.is_some() && self.ending.is_none()
    }

    /// Whether it is between two backends.
    pub fn moves_now(&self) -> bool {
        let moving = self.moving.as_ref();
        moving.is_some_and(|moving| !matches!(moving.phase, Phase::Settled))
    }

    /// Whether it wants a backend.
    pub fn is_bereft(&self) -> bool {
        let moving = self.moving.as_ref();
        moving.is_some_and(|moving| matches!(moving.phase, Phase::Bereft { .. }))
    }

    /// Its changes of backend so far.
    pub fn moves(&self) -> Moves {
        self.moving
            .as_ref()
            .map_or_else(Moves::default, |moving| moving.moves)
    }

    /// Parts from the backend at the next message boundary in both directions, with a close frame
    /// to it, and asks for another then. Answers whether that began. If the client does not come to
    /// a boundary in time, all stays as it is.
    pub fn leave(&mut self, order: &LeaveOrder, now: Tick) -> bool {
        if !self.movable() || self.moves_now() {
            return false;
        }
        let departure = Departure {
            reason: order.resume,
            by: EndedBy::Gateway,
            cause: order.cause,
            code: order.code,
            said: (&*order.reason).into(),
        };
        let farewell = close_frame(departure.code, &departure.said, Some(mask()));
        self.down.withhold(Withhold::Answers);
        self.begin_to_leave(farewell, departure, false, now);
        self.wake();
        true
    }

    /// Another backend granted the session; `early` came behind its 101.
    ///
    /// # Panics
    /// If the session has one.
    pub fn attach(&mut self, backend: C, early: Vec<u8>, now: Tick) {
        let moving = self.moving.as_mut().filter(|_| self.backend.is_none());
        let moving = moving.expect("only a bereft session takes a backend");
        moving.phase = Phase::Settled;
        moving.moves.resumes += 1;
        self.backend = Some(backend);
        self.up.attach_sink();
        self.down.attach_source(early);
        self.note_backend(now);
        let closing = self.ending.is_some();
        self.down.withhold(if closing {
            Withhold::Nothing
        } else {
            Withhold::GoingAway
        });
        self.wake();
    }

    /// No backend took over in time; or none can, and `unfit` says why.
    pub fn give_up(&mut self, unfit: Option<&str>, now: Tick) {
        // A session that is still parting from its backend goes on doing that.
        let bereft = self.is_bereft().then(|| self.take_phase()).flatten();
        let Some(Phase::Bereft { departure, .. }) = bereft else {
            return;
        };
        let closed = self.ending.is_some();
        match unfit {
            Some(_) => {
                let (by, cause) = (EndedBy::Gateway, Cause::NotResumable);
                self.end(by, cause, Some(departure.code), now);
            }
            None => self.end(departure.by, departure.cause, Some(departure.code), now),
        }
        self.over = Some(Limit::new(now, self.times.close));
        if closed {
            self.end_without_backend(None);
        } else {
            let said = unfit.unwrap_or(&departure.said);
            self.end_without_backend(Some(close_frame(departure.code, said, None)));
        }
        self.wake();
    }

    /// The backend takes nothing more; answers whether that is no end, since another may.
    pub(super) fn outlive_sink(&mut self, now: Tick) -> bool {
        let leaving = self.moves_now();
        if (self.ending.is_some() && !leaving) || !self.salvage() {
            return false;
        }
        if !leaving {
            // What it still says is heard, to the end of its stream.
            let until = now.saturating_add(self.times.close);
            let departure = self.loss(Cause::Reset);
            self.set_phase(Phase::Leaving {
                departure,
                heard_out: false,
                until,
            });
        }
        true
    }

    /// The backend's stream has ended; answers whether that is no end, since another may go on.
    pub(super) fn outlive_source(&mut self, cause: Cause) -> bool {
        let leaving = self.moves_now();
        if (self.ending.is_some() && !leaving) || !self.down.whole() || !self.salvage() {
            return false;
        }
        let departure = match self.take_phase() {
            Some(Phase::Leaving { departure, .. }) => departure,
            _ => self.loss(cause),
        };
        self.bereave(departure);
        true
    }

    /// The backend's close frame, which was not passed on.
    pub(super) fn backend_goes(&mut self, code: Option<u16>, now: Tick) {
        let close = answer_to_close(code, Some(mask()));
        match self.moving.as_mut().map(|moving| &mut moving.phase) {
            Some(Phase::Leaving { heard_out, .. }) => *heard_out = true,
            Some(Phase::Settled) if self.ending.is_none() => {
                let departure = Departure {
                    reason: ResumeReason::BackendGoingAway,
                    by: EndedBy::Backend,
                    cause: Cause::CloseFrame,
                    code: code.unwrap_or(self.backend_lost_code),
                    said: "backend is going away".into(),
                };
                self.begin_to_leave(close, departure, true, now);
            }
            // The client was faster with its own: it is answered after all.
            _ => {
                let frame = close_frame(code.unwrap_or(1000), "", None);
                self.down.say_goodbye(frame, Place::NextBoundary);
            }
        }
    }

    /// Looks whether the old backend is parted from.
    pub(super) fn depart(&mut self) {
        let Some(moving) = &self.moving else { return };
        let over = matches!(
            moving.phase,
            Phase::Leaving {
                heard_out: true,
                ..
            }
        );
        if over
            && self.up.parted()
            && let Some(Phase::Leaving { departure, .. }) = self.take_phase()
        {
            self.bereave(departure);
        }
    }

    /// Why another backend is wanted, said once.
    pub(super) fn ask_for_backend(&mut self) -> Option<ResumeReason> {
        match &mut self.moving.as_mut()?.phase {
            Phase::Bereft { departure, told } if !*told => {
                *told = true;
                Some(departure.reason)
            }
            _ => None,
        }
    }

    /// When parting has lasted long enough.
    pub(super) fn departs_at(&self) -> Option<Tick> {
        match self.moving.as_ref()?.phase {
            Phase::Leaving { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Parting took too long. A client in the middle of a message may stay where it is, if nobody
    /// but the gateway wanted it to go; a backend that does not answer is left without.
    pub(super) fn departure_late(&mut self, now: Tick) {
        let Some(Phase::Leaving {
            departure,
            heard_out,
            ..
        }) = self.take_phase()
        else {
            return;
        };
        if self.up.stay() {
            if heard_out {
                self.end_by(&departure, now);
            } else {
                self.down.withhold(Withhold::GoingAway);
            }
        } else if self.down.whole() && self.salvage() {
            self.bereave(departure);
        } else {
            self.up.lose_sink();
            self.end_by(&departure, now);
        }
        self.wake();
    }

    /// The session ends, or the client's half of it has: no other backend is wanted.
    pub(super) fn stop_moving(&mut self) {
        match self.take_phase() {
            None | Some(Phase::Settled) => {}
            Some(Phase::Leaving { .. }) => {
                if !self.up.stay() {
                    self.forfeit();
                }
            }
            Some(Phase::Bereft { .. }) => {
                self.forfeit();
                self.down.end_source();
                self.down.finish();
            }
        }
        self.down.withhold(Withhold::Nothing);
    }

    /// The client closed, and there is no backend to answer it: the gateway does. Answers whether
    /// it was so.
    pub(super) fn answer_client(&mut self) -> bool {
        let moving = self.moves_now() && self.up.closed();
        if moving {
            self.take_phase();
            self.end_without_backend(None);
        }
        moving
    }

    fn begin_to_leave(
        &mut self,
        farewell: Vec<u8>,
        departure: Departure,
        heard_out: bool,
        now: Tick,
    ) {
        let until = now.saturating_add(self.times.close);
        if let Some(moving) = &mut self.moving {
            self.up.part(farewell, moving.hold_max);
            moving.phase = Phase::Leaving {
                departure,
                heard_out,
                until,
            };
        }
    }

    /// Nothing of the old backend is left.
    fn bereave(&mut self, departure: Departure) {
        self.backend = None;
        if self.ending.is_some() && self.up.forfeit().messages == 0 {
            // Its client has closed, and nothing else waits.
            self.end_without_backend(None);
            return;
        }
        self.set_phase(Phase::Bereft {
            departure,
            told: false,
        });
    }

    fn loss(&self, cause: Cause) -> Departure {
        Departure {
            reason: ResumeReason::BackendLost,
            by: EndedBy::Backend,
            cause,
            code: self.backend_lost_code,
            said: "backend lost".into(),
        }
    }

    /// Ends the session as its departure says, while the old backend is still there.
    fn end_by(&mut self, departure: &Departure, now: Tick) {
        self.end(departure.by, departure.cause, Some(departure.code), now);
        self.down.withhold(Withhold::Nothing);
        let frame = close_frame(departure.code, &departure.said, None);
        self.down.say_goodbye(frame, Place::NextBoundary);
    }

    /// The last frame to the client: this one, or the answer to its own close.
    fn end_without_backend(&mut self, frame: Option<Vec<u8>>) {
        self.backend = None;
        self.forfeit();
        let answer = || answer_to_close(self.up.tracker.close_code(), None);
        let frame = frame.unwrap_or_else(answer);
        self.down.end_source();
        self.down.say_goodbye(frame, Place::NextBoundary);
        self.down.finish();
    }

    /// What is held for the next backend is given up.
    fn forfeit(&mut self) {
        let lost = self.up.forfeit();
        if let Some(moving) = &mut self.moving {
            moving.lost(lost);
        }
        self.up.lose_sink();
    }

    /// Saves what the lost backend has not had for the next one; answers whether that is possible.
    fn salvage(&mut self) -> bool {
        let Some(moving) = &mut self.moving else {
            return false;
        };
        match self.up.salvage(moving.hold_max) {
            Some(lost) => moving.lost(lost),
            None => return false,
        }
        true
    }

    fn set_phase(&mut self, phase: Phase) {
        if let Some(moving) = &mut self.moving {
            moving.phase = phase;
        }
    }

    fn take_phase(&mut self) -> Option<Phase> {
        let moving = self.moving.as_mut()?;
        Some(std::mem::replace(&mut moving.phase, Phase::Settled))
    }
}
