//! A worker's live sessions by id, and the wheel that brings them up when they are due.

use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;

use crate::base::session_id::SessionId;
use crate::core::session::orders::{CloseOrder, LeaveOrder};
use crate::core::session::record::EndOrder;
use crate::core::session::resume::ResumeReason;
use crate::core::session::wheel::{Tick, Wheel};
use crate::live::{Departures, Leavers, SessionBrief, SessionQuery, SessionView};
use crate::proxy::context::worker::Worker;
use crate::proxy::session::live_session::Session;

/// The live sessions of one worker.
pub(crate) struct Sessions {
    worker: Rc<Worker>,
    live: RefCell<BTreeMap<SessionId, Rc<Session>>>,
    wheel: RefCell<Wheel<SessionId>>,
    /// Sessions that are held for another process: no byte of theirs moves.
    pub(crate) held: RefCell<Vec<Rc<Session>>>,
}

impl Sessions {
    /// None yet.
    pub(crate) fn new(worker: Rc<Worker>) -> Rc<Self> {
        let mut wheel = Wheel::default();
        wheel.advance(worker.tick());
        Rc::new(Self {
            worker,
            live: RefCell::default(),
            wheel: RefCell::new(wheel),
            held: RefCell::default(),
        })
    }

    /// The worker that they are on.
    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// All of them by id.
    pub(crate) fn by_id(&self) -> Ref<'_, BTreeMap<SessionId, Rc<Session>>> {
        self.live.borrow()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.live.borrow().len()
    }

    /// Adds a session.
    pub(crate) fn insert(&self, session: Rc<Session>) {
        self.live.borrow_mut().insert(session.id, session);
    }

    /// Removes a session.
    pub(crate) fn remove(&self, id: SessionId) {
        self.live.borrow_mut().remove(&id);
    }

    /// The session with this id.
    pub(crate) fn find(&self, id: SessionId) -> Option<Rc<Session>> {
        self.live.borrow().get(&id).cloned()
    }

    /// Makes sure that the wheel brings a session up no later than it is due.
    pub(crate) fn arm(&self, session: &Session) {
        let due = session.relay.borrow().due();
        if let Some(due) = due.filter(|due| *due < session.armed.get()) {
            session
                .armed
                .set(self.wheel.borrow_mut().insert(session.id, due));
        }
    }

    /// Ends what is due and arms the rest again.
    pub(crate) fn expire(&self, now: Tick) {
        let due = self.wheel.borrow_mut().advance(now);
        for id in due {
            let Some(session) = self.find(id) else {
                continue;
            };
            // A stale entry: the session was armed again for another time.
            if session.armed.get() > now {
                continue;
            }
            session.armed.set(Tick::MAX);
            // A held session is armed again if it stays.
            if session.is_here() {
                session.relay.borrow_mut().expire(now);
                self.arm(&session);
            }
        }
    }

    /// The first `limit` sessions that match `query`, in the order of their ids.
    fn first_matching(&self, query: &SessionQuery, limit: usize) -> Vec<Rc<Session>> {
        let live = self.live.borrow();
        if let Some(id) = query.id {
            return live
                .get(&id)
                .filter(|session| query.takes(&session.facts.borrow()))
                .cloned()
                .into_iter()
                .collect();
        }
        let after = query.after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = live.range((after, Bound::Unbounded));
        range
            .map(|(_, session)| session)
            .filter(|session| query.takes(&session.facts.borrow()))
            .take(limit)
            .cloned()
            .collect()
    }

    /// All sessions that match `query`.
    pub(crate) fn matching(&self, query: &SessionQuery) -> Vec<Rc<Session>> {
        self.first_matching(query, usize::MAX)
    }

    /// The first `limit` sessions that match `query`, as the admin API shows them.
    pub(crate) fn list(&self, query: &SessionQuery, limit: usize) -> Vec<SessionView> {
        let sessions = self.first_matching(query, limit);
        let views = sessions.iter().map(|session| session.view(&self.worker));
        views.collect()
    }

    /// What plans need of the sessions that match `query`, in the order of their ids.
    pub(crate) fn briefs(&self, query: &SessionQuery) -> Vec<SessionBrief> {
        let sessions = self.matching(query);
        let briefs = sessions.iter().map(|session| session.brief(&self.worker));
        briefs.collect()
    }

    /// Begins the end of the sessions that match `query`; returns how many.
    pub(crate) fn close(
        &self,
        query: &SessionQuery,
        order: &CloseOrder,
        given: Option<&Arc<EndOrder>>,
    ) -> usize {
        let now = self.worker.tick();
        let sessions = self.matching(query);
        let here = sessions.iter().filter(|session| session.is_here());
        here.filter(|session| session.close(order, given, now))
            .count()
    }

    /// Makes sessions leave their backend. With `Rebalanced`, sessions on the backend that their
    /// key belongs to stay.
    pub(crate) fn leave(&self, which: &Leavers, order: &LeaveOrder) -> Departures {
        let sessions = match which {
            Leavers::Query(query) => self.matching(query),
            Leavers::Ids(ids) => ids.iter().filter_map(|id| self.find(*id)).collect(),
        };
        let mut departures = Departures::default();
        let now = self.worker.tick();
        for session in sessions.iter().filter(|session| session.is_here()) {
            if order.resume == ResumeReason::Rebalanced && !session.has_another_home(&self.worker) {
                continue;
            }
            let mut relay = session.relay.borrow_mut();
            if relay.leave(order, now) {
                departures.moving += 1;
            } else if !relay.moves_now() && relay.close(&order.close(), now) {
                departures.closing += 1;
            }
        }
        departures
    }

    /// Ends all of them at once; returns how many.
    pub(crate) fn cut(&self) -> usize {
        let sessions = self.matching(&SessionQuery::default());
        for session in &sessions {
            session.relay.borrow_mut().cut(self.worker.tick());
        }
        sessions.len()
    }

    /// Adds the traffic of all to the metrics.
    pub(crate) fn gather(&self) {
        for session in self.matching(&SessionQuery::default()) {
            session.gather();
        }
    }
}
