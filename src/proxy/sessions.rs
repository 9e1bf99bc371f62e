//! A worker's live sessions: each is a small task around its relay, is found by its id, is woken
//! when it is due, and leaves one record (I6).

mod handover;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Instant;

use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::base::traffic::Traffic;
use crate::core::health::Outcome;
use crate::core::session::record::{Cause, EndedBy, Ending, Facts, Record};
use crate::core::session::resume::Moves;
use crate::core::session::wheel::{Tick, Wheel};
use crate::io::carrier::Carrier;
use crate::io::relay::Relay;
use crate::live::{
    CloseOrder, Departures, LeaveOrder, Leavers, SessionBrief, SessionQuery, SessionView,
};
use crate::proxy::context::{ConnectionSeat, TICK, Worker};
use crate::proxy::place::BackendSeat;
use crate::telemetry::metrics::{Direction, RouteMetrics};

/// All of a worker's.
pub(super) struct Sessions {
    live: RefCell<BTreeMap<SessionId, Rc<Session>>>,
    wheel: RefCell<Wheel<SessionId>>,
    /// Those on which nothing moves until it is known whose they are.
    held: RefCell<Vec<Rc<Session>>>,
}

/// One of them.
pub(super) struct Session {
    facts: Arc<Facts>,
    relay: RefCell<Relay<Carrier>>,
    began: Instant,
    backend: BackendSeat,
    metrics: Rc<RouteMetrics>,
    /// What the metrics know already.
    gathered: Cell<(Traffic, Traffic)>,
    /// What its place hangs on, where its route has affinity.
    key: Option<Box<[u8]>>,
    /// The tick at which the wheel brings it up.
    armed: Cell<Tick>,
    custody: Cell<Custody>,
    _connection: ConnectionSeat,
}

/// What a session is made of at its 101.
pub(super) struct Beginning {
    pub(super) facts: Facts,
    pub(super) relay: Relay<Carrier>,
    pub(super) backend: BackendSeat,
    pub(super) key: Option<Box<[u8]>>,
    pub(super) metrics: Rc<RouteMetrics>,
    pub(super) connection: ConnectionSeat,
}

/// Bytes of a session's future.
const SESSION_FUTURE_MAX: usize = 96;

/// Starts a session on this worker; it runs until it ends.
pub(super) fn start(worker: &Rc<Worker>, beginning: Beginning) {
    let session = Session {
        facts: Arc::new(beginning.facts),
        relay: RefCell::new(beginning.relay),
        began: clock::now(),
        backend: beginning.backend,
        metrics: beginning.metrics,
        gathered: Cell::default(),
        key: beginning.key,
        armed: Cell::new(Tick::MAX),
        custody: Cell::new(Custody::Here),
        _connection: beginning.connection,
    };
    session.metrics.began(session.facts.handshake);
    session.backend.established();
    enter(worker, Rc::new(session));
}

/// Gives a session its task.
fn enter(worker: &Rc<Worker>, session: Rc<Session>) {
    worker.load.sessions.fetch_add(1, Ordering::Relaxed);
    worker
        .sessions
        .live
        .borrow_mut()
        .insert(session.facts.id, Rc::clone(&session));
    let run = Run {
        worker: Rc::clone(worker),
        session,
        ending: None,
    };
    let task = run.finish();
    // Every live session holds one; the behaviour tests run with this check on.
    debug_assert!(size_of_val(&task) <= SESSION_FUTURE_MAX);
    tokio::task::spawn_local(task);
}

/// A session's task. Whatever happens to it, dropping it leaves the record.
struct Run {
    worker: Rc<Worker>,
    session: Rc<Session>,
    ending: Option<Ending>,
}

impl Run {
    async fn finish(mut self) {
        let ending = poll_fn(|cx| {
            let mut relay = self.session.relay.borrow_mut();
            match self.session.custody.get() {
                Custody::Here | Custody::Stays => {}
                Custody::Held => {
                    relay.rest(cx);
                    return Poll::Pending;
                }
                Custody::Gone => return Poll::Ready(None),
            }
            let poll = relay.poll(cx, &mut self.worker.scratch(), self.worker.tick());
            drop(relay);
            if poll.is_pending() {
                self.worker.sessions.arm(&self.session);
            }
            poll.map(Some)
        });
        self.ending = ending.await;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.session.custody.get() == Custody::Gone {
            return;
        }
        let aborted = Ending {
            by: EndedBy::Gateway,
            cause: Cause::Aborted,
            close_code: None,
            clean: false,
        };
        self.worker
            .end(&self.session, self.ending.unwrap_or(aborted));
    }
}

/// Who moves a session's bytes. Only `handover` changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Custody {
    /// This process.
    Here,
    /// This process, whatever else goes to another.
    Stays,
    /// Nobody, while another process decides whether it takes it.
    Held,
    /// Another process, which writes its record too.
    Gone,
}

impl Worker {
    fn end(&self, session: &Session, ending: Ending) {
        self.sessions.live.borrow_mut().remove(&session.facts.id);
        self.load.sessions.fetch_sub(1, Ordering::Relaxed);
        session.gather();
        let duration = clock::now().duration_since(session.began);
        let (to_backend, to_client) = session.gathered.get();
        let record = Record {
            facts: Arc::clone(&session.facts),
            duration,
            to_backend,
            to_client,
            moves: Moves::default(),
            ending,
        };
        session.metrics.ended(&record);
        self.shared.records.session(&record);
        session.backend.judge(&record);
    }
}

impl Session {
    /// Whether this process may move its bytes and decide on its end.
    fn is_here(&self) -> bool {
        matches!(self.custody.get(), Custody::Here | Custody::Stays)
    }

    /// Brings what moved since the last time into the metrics.
    fn gather(&self) {
        let (up, down) = match self.relay.try_borrow() {
            Ok(relay) => (relay.to_backend(), relay.to_client()),
            // It is being polled further up this stack, which has panicked; what is known counts.
            Err(_) => self.gathered.get(),
        };
        let (up_before, down_before) = self.gathered.replace((up, down));
        self.metrics
            .traffic(Direction::ToBackend, &up.since(&up_before));
        self.metrics
            .traffic(Direction::ToClient, &down.since(&down_before));
    }

    fn view(&self, worker: &Worker) -> SessionView {
        let relay = self.relay.borrow();
        SessionView {
            facts: Arc::clone(&self.facts),
            worker: worker.index,
            age: clock::now().duration_since(self.began),
            idle: TICK * worker.tick().saturating_sub(relay.active_at()),
            to_backend: relay.to_backend(),
            to_client: relay.to_client(),
            moves: Moves::default(),
            closing: relay.closing(),
        }
    }

    fn brief(&self, worker: &Worker) -> SessionBrief {
        let relay = self.relay.borrow();
        SessionBrief {
            id: self.facts.id,
            route: self.facts.route.clone(),
            upstream: self.facts.upstream.clone(),
            backend: self.facts.backend.clone(),
            age: clock::now().duration_since(self.began),
            idle: TICK * worker.tick().saturating_sub(relay.active_at()),
            key: self.key.clone(),
            movable: false,
            busy: relay.closing(),
        }
    }
}

impl Sessions {
    /// None yet; the first tick is `now`.
    pub(super) fn new(now: Tick) -> Self {
        let mut wheel = Wheel::default();
        wheel.advance(now);
        Self {
            live: RefCell::default(),
            wheel: RefCell::new(wheel),
            held: RefCell::default(),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.live.borrow().len()
    }

    /// Makes sure that the wheel brings a session up no later than it is due.
    fn arm(&self, session: &Session) {
        let due = session.relay.borrow().due();
        if let Some(due) = due.filter(|due| *due < session.armed.get()) {
            session
                .armed
                .set(self.wheel.borrow_mut().insert(session.facts.id, due));
        }
    }

    /// Ends what is due, puts the rest in again.
    pub(super) fn expire(&self, now: Tick) {
        let due = self.wheel.borrow_mut().advance(now);
        for id in due {
            let Some(session) = self.find(id) else {
                continue;
            };
            // An entry from before the session was armed for an earlier time, which has passed.
            if session.armed.get() > now {
                continue;
            }
            session.armed.set(Tick::MAX);
            // One that is held is armed again if it stays.
            if session.is_here() {
                session.relay.borrow_mut().expire(now);
                self.arm(&session);
            }
        }
    }

    fn find(&self, id: SessionId) -> Option<Rc<Session>> {
        self.live.borrow().get(&id).cloned()
    }

    /// Those that `query` takes, in the order of their ids.
    pub(super) fn list(
        &self,
        worker: &Worker,
        query: &SessionQuery,
        limit: usize,
    ) -> Vec<SessionView> {
        self.taken(query)
            .into_iter()
            .take(limit)
            .map(|session| session.view(worker))
            .collect()
    }

    fn taken(&self, query: &SessionQuery) -> Vec<Rc<Session>> {
        let live = self.live.borrow();
        if let Some(id) = query.id {
            return live
                .get(&id)
                .filter(|session| query.takes(&session.facts))
                .cloned()
                .into_iter()
                .collect();
        }
        let after = query.after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = live.range((after, Bound::Unbounded));
        range
            .map(|(_, session)| session)
            .filter(|session| query.takes(&session.facts))
            .cloned()
            .collect()
    }

    /// Begins the end of those that `query` takes; answers how many.
    pub(super) fn close(&self, query: &SessionQuery, order: &CloseOrder, now: Tick) -> usize {
        let sessions = self.taken(query);
        sessions
            .iter()
            .filter(|session| session.is_here())
            .filter(|session| session.relay.borrow_mut().close(order, now))
            .count()
    }

    /// What plans need to know of those that `query` takes, in the order of their ids.
    pub(super) fn briefs(&self, worker: &Worker, query: &SessionQuery) -> Vec<SessionBrief> {
        let sessions = self.taken(query);
        sessions
            .iter()
            .map(|session| session.brief(worker))
            .collect()
    }

    /// Makes sessions leave their backend.
    pub(super) fn leave(&self, which: &Leavers, order: &LeaveOrder, now: Tick) -> Departures {
        let sessions = match which {
            Leavers::Query(query) => self.taken(query),
            Leavers::Ids(ids) => ids.iter().filter_map(|id| self.find(*id)).collect(),
        };
        let mut departures = Departures::default();
        for session in sessions.iter().filter(|session| session.is_here()) {
            if session.relay.borrow_mut().close(&order.close(), now) {
                departures.closing += 1;
            }
        }
        departures
    }

    /// Ends all of them at once; answers how many.
    pub(super) fn cut(&self, now: Tick) -> usize {
        let sessions = self.taken(&SessionQuery::default());
        for session in &sessions {
            session.relay.borrow_mut().cut(now);
        }
        sessions.len()
    }

    /// The ids of all, oldest first.
    pub(super) fn ids(&self) -> Vec<SessionId> {
        self.live.borrow().keys().copied().collect()
    }

    /// Brings the counters of all into the metrics.
    pub(super) fn gather(&self) {
        for session in self.taken(&SessionQuery::default()) {
            session.gather();
        }
    }
}

impl BackendSeat {
    /// What a session's end says about its backend: one that loses a session right after its 101 is
    /// not well, whatever its probe says.
    fn judge(&self, record: &Record) {
        let ending = record.ending;
        let lost = match (ending.by, ending.cause) {
            (EndedBy::Backend, Cause::CloseFrame) => matches!(ending.close_code, Some(1006 | 1011)),
            (EndedBy::Backend, _) | (_, Cause::BackendProtocolError) => true,
            _ => false,
        };
        if lost && record.duration <= self.early_close() {
            self.report(Outcome::EarlyClose);
        } else if !lost {
            // A late loss says nothing about the next session, and must not outweigh failed dials.
            self.report(Outcome::Ok);
        }
    }
}

const _: () = assert!(size_of::<Session>() <= 1024, "every live session holds one");
const _: () = assert!(size_of::<Poll<Ending>>() <= 8, "returned at every wake-up");
