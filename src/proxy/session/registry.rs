//! A worker's live sessions by id, and the wheel that brings them up when they are due.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use crate::base::session_id::SessionId;
use crate::core::session::orders::{CloseOrder, LeaveOrder};
use crate::core::session::record::EndOrder;
use crate::core::session::resume::ResumeReason;
use crate::core::session::wheel::{Tick, Wheel};
use crate::live::{
    LeaveCounts, SLICE_MAX, SessionBrief, SessionQuery, SessionSample, SessionView, Slice, Sliced,
    SortKey,
};
use crate::proxy::context::worker::Worker;
use crate::proxy::session::delivery_queue::DeliveryQueue;
use crate::proxy::session::index::SessionIndex;
use crate::proxy::session::live_session::Session;

/// The live sessions of one worker.
pub(crate) struct Sessions {
    worker: Rc<Worker>,
    live: RefCell<BTreeMap<SessionId, Rc<Session>>>,
    wheel: RefCell<Wheel<SessionId>>,
    /// Sessions that the wheel brought up and that were not looked at yet.
    due: RefCell<VecDeque<SessionId>>,
    /// Who of them gets which published messages.
    pub(crate) index: SessionIndex,
    /// Published messages that wait for them.
    pub(crate) delivery_queue: DeliveryQueue,
    /// Sessions that are held for another process: no byte of theirs moves.
    pub(crate) held: RefCell<Vec<Rc<Session>>>,
    /// How many were ever added.
    added: Cell<u64>,
    /// Sessions that were looked at.
    #[cfg(test)]
    looked: Cell<usize>,
}

impl Sessions {
    /// None yet.
    pub(crate) fn new(worker: Rc<Worker>) -> Rc<Self> {
        let mut wheel = Wheel::default();
        wheel.advance(worker.tick());
        Rc::new(Self {
            index: SessionIndex::new(&worker),
            delivery_queue: DeliveryQueue::default(),
            worker,
            live: RefCell::default(),
            wheel: RefCell::new(wheel),
            due: RefCell::default(),
            held: RefCell::default(),
            added: Cell::default(),
            #[cfg(test)]
            looked: Cell::default(),
        })
    }

    /// The worker that they are on.
    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.live.borrow().len()
    }

    /// Adds a session.
    pub(crate) fn insert(&self, session: Rc<Session>) {
        self.added.set(self.added.get() + 1);
        self.live.borrow_mut().insert(session.id, session);
    }

    /// Removes a session.
    pub(crate) fn remove(&self, id: SessionId) {
        if let Some(session) = self.live.borrow_mut().remove(&id) {
            self.index.remove(&session);
        }
    }

    /// How many were ever added: whether there are others than at an earlier look.
    pub(crate) fn added(&self) -> u64 {
        self.added.get()
    }

    /// The session with this id.
    pub(crate) fn find(&self, id: SessionId) -> Option<Rc<Session>> {
        #[cfg(test)]
        self.looked.set(self.looked.get() + 1);
        self.live.borrow().get(&id).cloned()
    }

    /// Makes sure that the wheel brings a session up no later than it is due.
    pub(crate) fn arm(&self, session: &Session) {
        let due = session.relay.borrow().due();
        let due = match session.tuned.get() {
            true => due,
            false => session.tuning_due(self.worker.tick(), due),
        };
        if let Some(due) = due.filter(|due| *due < session.armed.get()) {
            session
                .armed
                .set(self.wheel.borrow_mut().insert(session.id, due));
        }
    }

    /// Ends what is due and arms the rest again, a slice at once: a crowd that came at the same
    /// time is due at the same time. Returns whether others wait, for which the worker calls it
    /// again once it has served its clients.
    pub(crate) fn expire(&self, now: Tick) -> bool {
        let brought = self.wheel.borrow_mut().advance(now);
        self.due.borrow_mut().extend(brought);
        for _ in 0..SLICE_MAX {
            let Some(id) = self.due.borrow_mut().pop_front() else {
                break;
            };
            self.expire_one(id, now);
        }
        let mut due = self.due.borrow_mut();
        if due.is_empty() {
            due.shrink_to(SLICE_MAX);
        }
        !due.is_empty()
    }

    fn expire_one(&self, id: SessionId, now: Tick) {
        let Some(session) = self.find(id) else { return };
        // A stale entry: the session was armed again for another time.
        if session.armed.get() > now {
            return;
        }
        session.armed.set(Tick::MAX);
        // A held session is armed again if it stays.
        if session.is_here() {
            session.tune_backend();
            session.relay.borrow_mut().expire(now);
            self.arm(&session);
        }
    }

    /// The sessions of a slice that match `query`, in the order of their ids.
    pub(crate) fn slice(&self, query: &SessionQuery, slice: Slice) -> Sliced<Vec<Rc<Session>>> {
        let matches = |session: &Rc<Session>| {
            let measured = || session.measured(&self.worker);
            query.takes(&session.facts.borrow(), session.key.as_deref(), measured)
        };
        if let Some(id) = query.id {
            let found = self.find(id).filter(matches);
            return Sliced::whole(found.into_iter().collect());
        }
        let mut sliced = self.slice_of_all(slice);
        sliced.answer.retain(matches);
        sliced
    }

    /// The sessions of a slice, in the order of their ids.
    pub(crate) fn slice_of_all(&self, slice: Slice) -> Sliced<Vec<Rc<Session>>> {
        let sliced = slice.of(&self.live.borrow());
        #[cfg(test)]
        self.looked.set(self.looked.get() + sliced.answer.len());
        sliced
    }

    /// The first `limit` of these, as the admin API shows them.
    pub(crate) fn views(&self, sessions: &[Rc<Session>], limit: usize) -> Vec<SessionView> {
        let first = sessions.iter().take(limit);
        first.map(|session| session.view(self)).collect()
    }

    /// These sessions as the admin API shows them, as far as they are here.
    pub(crate) fn views_of(&self, ids: &[SessionId]) -> Vec<SessionView> {
        let ids = ids.iter().take(SLICE_MAX);
        let found = ids.filter_map(|id| self.find(*id));
        found.map(|session| session.view(self)).collect()
    }

    /// Numbers of these sessions.
    pub(crate) fn samples(&self, sessions: &[Rc<Session>], sort: SortKey) -> Vec<SessionSample> {
        let samples = sessions.iter();
        samples
            .map(|session| session.sample(sort, &self.worker))
            .collect()
    }

    /// What plans need of these sessions.
    pub(crate) fn briefs(&self, sessions: &[Rc<Session>]) -> Vec<SessionBrief> {
        let briefs = sessions.iter().map(|session| session.brief(&self.worker));
        briefs.collect()
    }

    /// Begins the end of these sessions; returns how many were not closing before.
    pub(crate) fn close(
        &self,
        sessions: &[Rc<Session>],
        order: &CloseOrder,
        given: Option<&Arc<EndOrder>>,
    ) -> usize {
        let now = self.worker.tick();
        let here = sessions.iter().filter(|session| session.is_here());
        here.filter(|session| session.close(order, given, now))
            .count()
    }

    /// Makes sessions leave their backend. With `Rebalanced`, sessions on the backend that their
    /// key belongs to stay.
    pub(crate) fn leave(&self, ids: &[SessionId], order: &LeaveOrder) -> LeaveCounts {
        let sessions: Vec<_> = ids.iter().filter_map(|id| self.find(*id)).collect();
        let mut counts = LeaveCounts::default();
        let (now, given) = (self.worker.tick(), order.given());
        for session in sessions.iter().filter(|session| session.is_here()) {
            if order.resume == ResumeReason::Rebalanced && !session.has_another_home(&self.worker) {
                continue;
            }
            let (leaves, moves) = {
                let mut relay = session.relay.borrow_mut();
                (relay.leave(order, now), relay.moves_now())
            };
            if leaves {
                counts.moving += 1;
                session.set_leaving(order, None);
            } else if !moves && session.close(&order.close(), given.as_ref(), now) {
                counts.closing += 1;
            }
        }
        counts
    }

    /// Ends the sessions of a slice at once; returns how many.
    pub(crate) fn cut(&self, slice: Slice) -> Sliced<usize> {
        let sliced = self.slice(&SessionQuery::default(), slice);
        sliced.map(|sessions| {
            for session in &sessions {
                session.relay.borrow_mut().cut(self.worker.tick());
            }
            sessions.len()
        })
    }
}

#[cfg(test)]
impl Sessions {
    /// The ids of all sessions, in order.
    pub(crate) fn ids(&self) -> Vec<SessionId> {
        self.live.borrow().keys().copied().collect()
    }

    /// All sessions.
    pub(crate) fn all(&self) -> Vec<Rc<Session>> {
        self.live.borrow().values().cloned().collect()
    }

    /// Adds a session under another id than its own, so that there are more than the system has
    /// descriptors for.
    pub(crate) fn insert_as(&self, id: SessionId, session: Rc<Session>) {
        self.live.borrow_mut().insert(id, session);
    }

    /// How many sessions were looked at since the last call.
    pub(crate) fn take_looked(&self) -> usize {
        self.looked.take()
    }
}

#[cfg(test)]
mod tests;
