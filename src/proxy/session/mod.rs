//! A worker's live sessions: each is a small task around its relay, is found by its id, is woken
//! when it is due, and leaves one record (I6).

mod handover;
pub(crate) mod reconnect;
mod renewal;
mod rights;

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Bound;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::right::Right;
use crate::base::session_id::SessionId;
use crate::base::traffic::Traffic;
use crate::core::health::{Outcome, Witness};
use crate::core::session::orders::{CloseOrder, LeaveOrder};
use crate::core::session::record::{Cause, EndOrder, EndedBy, Ending, Facts, Record};
use crate::core::session::resume::{Moves, ResumeReason};
use crate::core::session::wheel::{Tick, Wheel};
use crate::io::carrier::Carrier;
use crate::io::relay::{Relay, Turn};
use crate::live::{Departures, Leavers, SessionBrief, SessionQuery, SessionView};
use crate::proxy::backend::candidates::BackendSeat;
use crate::proxy::context::worker::{ConnectionSeat, TICK, Worker};
use crate::proxy::session::reconnect::{NotResumed, Reached, Resume, Resumption};
use crate::telemetry::metrics::{Direction, RouteMetrics};

/// All of a worker's.
pub(crate) struct Sessions {
    live: RefCell<BTreeMap<SessionId, Rc<Session>>>,
    wheel: RefCell<Wheel<SessionId>>,
    /// Those on which nothing moves until it is known whose they are.
    held: RefCell<Vec<Rc<Session>>>,
}

/// One of them.
pub(crate) struct Session {
    id: SessionId,
    facts: RefCell<Arc<Facts>>,
    relay: RefCell<Relay<Carrier>>,
    began: Instant,
    /// Its place with its backend, and since when; none between two.
    backend: RefCell<Option<(BackendSeat, Instant)>>,
    /// Set where it may go on with another backend.
    resumption: Option<Rc<Resumption>>,
    /// Backends in a row that took it and lost it within `QUICK_LOSS`.
    quick: Cell<u32>,
    metrics: Rc<RouteMetrics>,
    /// What the metrics know already.
    gathered: Cell<(Traffic, Traffic)>,
    /// What its place hangs on, where its route has affinity.
    key: Option<Box<[u8]>>,
    /// The tick at which the wheel brings it up.
    armed: Cell<Tick>,
    custody: Cell<Custody>,
    connection: ConnectionSeat,
}

/// What a session is made of at its 101.
pub(crate) struct Beginning {
    pub(crate) facts: Facts,
    pub(crate) relay: Relay<Carrier>,
    pub(crate) backend: BackendSeat,
    pub(crate) key: Option<Box<[u8]>>,
    pub(crate) resumption: Option<Rc<Resumption>>,
    pub(crate) metrics: Rc<RouteMetrics>,
    pub(crate) connection: ConnectionSeat,
}

/// A backend that keeps a session no longer than this is no better than none.
const QUICK_LOSS: Duration = Duration::from_secs(2);
/// Bytes of a session's future.
const SESSION_FUTURE_MAX: usize = 96;

/// Starts a session on this worker; it runs until it ends.
pub(crate) fn start(worker: &Rc<Worker>, beginning: Beginning) {
    let (id, began) = (beginning.facts.id, clock::now());
    beginning.metrics.began(beginning.facts.handshake);
    beginning.backend.established();
    let session = Session {
        id,
        facts: RefCell::new(Arc::new(beginning.facts)),
        relay: RefCell::new(beginning.relay),
        began,
        backend: RefCell::new(Some((beginning.backend, began))),
        resumption: beginning.resumption,
        quick: Cell::new(0),
        metrics: beginning.metrics,
        gathered: Cell::default(),
        key: beginning.key,
        armed: Cell::new(Tick::MAX),
        custody: Cell::new(Custody::Here),
        connection: beginning.connection,
    };
    enter(worker, Rc::new(session));
}

/// Gives a session its task.
fn enter(worker: &Rc<Worker>, session: Rc<Session>) {
    worker.load.sessions.fetch_add(1, Ordering::Relaxed);
    worker
        .sessions
        .live
        .borrow_mut()
        .insert(session.id, Rc::clone(&session));
    // Not of the request's generation: a right may be revoked during the handshake.
    let newest = worker.live().generation();
    session.end_if_revoked(&newest.revocations, worker.tick());
    drop(newest);
    let run = Run {
        worker: Rc::clone(worker),
        session,
        ending: None,
        attempt: None,
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
    /// Another backend is being looked for.
    attempt: Option<Attempt>,
}

type Attempt = Pin<Box<dyn Future<Output = Result<Reached, NotResumed>>>>;

impl Run {
    async fn finish(mut self) {
        self.ending = poll_fn(|cx| self.poll(cx)).await;
    }

    /// Ready without an ending when another process has the session.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ending>> {
        loop {
            let turn = {
                let mut relay = self.session.relay.borrow_mut();
                match self.session.custody.get() {
                    Custody::Here | Custody::Stays => {}
                    Custody::Held => {
                        relay.rest(cx);
                        return Poll::Pending;
                    }
                    Custody::Gone => return Poll::Ready(None),
                }
                relay.poll(cx, &mut self.worker.scratch(), self.worker.tick())
            };
            match turn {
                Poll::Ready(Turn::Ended(ending)) => return Poll::Ready(Some(ending)),
                Poll::Ready(Turn::Bereft(reason)) => self.look_for_another(reason),
                Poll::Ready(Turn::Renewal) => {
                    renewal::begin(&self.worker, &self.session);
                    continue;
                }
                Poll::Pending => {}
            }
            if self.attempt.is_none() || !self.attempt(cx) {
                self.worker.sessions.arm(&self.session);
                return Poll::Pending;
            }
        }
    }

    fn look_for_another(&mut self, reason: ResumeReason) {
        let session = &self.session;
        session.part(reason);
        let Some(resumption) = &session.resumption else {
            return;
        };
        let resume = Resume {
            facts: Arc::clone(&session.facts.borrow()),
            key: session.key.clone(),
            resumption: Rc::clone(resumption),
            number: session.relay.borrow().moves().resumes + 1,
            reason,
            quick: session.quick.get(),
        };
        self.attempt = Some(Box::pin(resume.run(Rc::clone(&self.worker))));
    }

    /// Goes on with the search; answers whether it changed anything.
    fn attempt(&mut self, cx: &mut Context<'_>) -> bool {
        let attempt = self.attempt.as_mut().expect("one goes on");
        if !self.session.relay.borrow().is_bereft() {
            self.attempt = None;
            return false;
        }
        let Poll::Ready(result) = attempt.as_mut().poll(cx) else {
            return false;
        };
        self.attempt = None;
        match result {
            Ok(reached) => self.session.go_on(reached, self.worker.tick()),
            Err(why) => {
                self.session.metrics.not_resumed();
                tracing::debug!(id = %self.session.id, %why, "session not resumed");
                let unfit = matches!(why, NotResumed::Unfit(_)).then(|| why.to_string());
                let mut relay = self.session.relay.borrow_mut();
                relay.give_up(unfit.as_deref(), self.worker.tick());
            }
        }
        true
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
        self.sessions.live.borrow_mut().remove(&session.id);
        self.load.sessions.fetch_sub(1, Ordering::Relaxed);
        session.gather();
        let duration = clock::now().duration_since(session.began);
        let (to_backend, to_client) = session.gathered.get();
        let record = Record {
            facts: Arc::clone(&session.facts.borrow()),
            duration,
            to_backend,
            to_client,
            moves: session.moves(),
            ending,
        };
        session.metrics.ended(&record);
        self.shared.records.session(&record);
        session.metrics.lost(record.moves.messages_lost);
        if let Some((seat, since)) = &*session.backend.borrow() {
            let held = clock::now().duration_since(*since);
            seat.judge(ending, held, witness(&record.facts));
        }
    }
}

impl Session {
    /// Whether this process may move its bytes and decide on its end.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self.custody.get(), Custody::Here | Custody::Stays)
    }

    /// Not while it is polled.
    pub(crate) fn relay_mut(&self) -> RefMut<'_, Relay<Carrier>> {
        self.relay.borrow_mut()
    }

    /// The backend has no part in it any more.
    fn part(&self, reason: ResumeReason) {
        let Some((seat, since)) = self.backend.borrow_mut().take() else {
            return;
        };
        let ending = Ending {
            by: EndedBy::Backend,
            cause: match reason {
                ResumeReason::BackendLost => Cause::Disconnected,
                _ => Cause::CloseFrame,
            },
            close_code: None,
            clean: false,
        };
        let held = clock::now().duration_since(since);
        let planned = matches!(reason, ResumeReason::Draining | ResumeReason::Rebalanced);
        match held < QUICK_LOSS && !planned {
            true => self.quick.set(self.quick.get() + 1),
            false => self.quick.set(0),
        }
        seat.judge(ending, held, witness(&self.facts.borrow()));
    }

    /// Goes on with another backend.
    fn go_on(&self, reached: Reached, now: Tick) {
        let Reached {
            seat,
            carrier,
            early,
        } = reached;
        seat.established();
        self.metrics.resumed();
        let mut facts = self.facts.borrow_mut();
        Arc::make_mut(&mut facts).backend = seat.id.clone();
        self.backend.replace(Some((seat, clock::now())));
        self.relay.borrow_mut().attach(carrier, early, now);
    }

    /// What is known of it.
    pub(crate) fn facts(&self) -> Arc<Facts> {
        Arc::clone(&self.facts.borrow())
    }

    /// Begins its end; answers whether this did. Its record shows the order that was `given`.
    pub(crate) fn close(
        &self,
        order: &CloseOrder,
        given: Option<&Arc<EndOrder>>,
        now: Tick,
    ) -> bool {
        let begun = self.relay.borrow_mut().close(order, now);
        if let Some(given) = given.filter(|_| begun) {
            Arc::make_mut(&mut self.facts.borrow_mut()).order = Some(Arc::clone(given));
        }
        begun
    }

    /// Gives it another right, which ends at this tick; not where its end has begun, nor where
    /// another process may have it: that one would not hear of it.
    pub(crate) fn set_right(&self, right: Arc<Right>, ends_at: Option<Tick>) -> bool {
        let mut relay = self.relay.borrow_mut();
        if relay.closing() || !self.is_here() {
            return false;
        }
        relay.set_expiry(ends_at);
        Arc::make_mut(&mut self.facts.borrow_mut()).right = Some(right);
        true
    }

    /// Whether its key is placed on another backend now.
    fn has_another_home(&self, worker: &Worker) -> bool {
        let Some(key) = &self.key else { return false };
        let facts = self.facts.borrow();
        let table = worker.live().table();
        table.upstream(&facts.upstream).is_some_and(|upstream| {
            let pick = upstream.pick_for_session(Some(key), &[], clock::now(), fastrand::u64(..));
            pick.is_some_and(|index| upstream.members[index].id != facts.backend)
        })
    }

    fn moves(&self) -> Moves {
        let relay = self.relay.try_borrow();
        // It is being polled further up this stack, which has panicked.
        relay.map_or_else(|_| Moves::default(), |relay| relay.moves())
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
            facts: Arc::clone(&self.facts.borrow()),
            worker: worker.index,
            age: clock::now().duration_since(self.began),
            idle: TICK * worker.tick().saturating_sub(relay.active_at()),
            to_backend: relay.to_backend(),
            to_client: relay.to_client(),
            moves: relay.moves(),
            closing: relay.closing(),
        }
    }

    fn brief(&self, worker: &Worker) -> SessionBrief {
        let (relay, facts) = (self.relay.borrow(), self.facts.borrow());
        SessionBrief {
            id: self.id,
            route: facts.route.clone(),
            upstream: facts.upstream.clone(),
            backend: facts.backend.clone(),
            age: clock::now().duration_since(self.began),
            idle: TICK * worker.tick().saturating_sub(relay.active_at()),
            key: self.key.clone(),
            movable: relay.movable(),
            busy: relay.closing() || relay.moves_now(),
        }
    }
}

impl Sessions {
    /// None yet; the first tick is `now`.
    pub(crate) fn new(now: Tick) -> Self {
        let mut wheel = Wheel::default();
        wheel.advance(now);
        Self {
            live: RefCell::default(),
            wheel: RefCell::new(wheel),
            held: RefCell::default(),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.live.borrow().len()
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

    /// Ends what is due, puts the rest in again.
    pub(crate) fn expire(&self, now: Tick) {
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
    pub(crate) fn list(
        &self,
        worker: &Worker,
        query: &SessionQuery,
        limit: usize,
    ) -> Vec<SessionView> {
        self.first_taken(query, limit)
            .into_iter()
            .map(|session| session.view(worker))
            .collect()
    }

    pub(crate) fn taken(&self, query: &SessionQuery) -> Vec<Rc<Session>> {
        self.first_taken(query, usize::MAX)
    }

    /// The first `limit` of them.
    fn first_taken(&self, query: &SessionQuery, limit: usize) -> Vec<Rc<Session>> {
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

    /// Begins the end of those that `query` takes; answers how many.
    pub(crate) fn close(
        &self,
        query: &SessionQuery,
        order: &CloseOrder,
        given: Option<&Arc<EndOrder>>,
        now: Tick,
    ) -> usize {
        let sessions = self.taken(query);
        let here = sessions.iter().filter(|session| session.is_here());
        here.filter(|session| session.close(order, given, now))
            .count()
    }

    /// What plans need to know of those that `query` takes, in the order of their ids.
    pub(crate) fn briefs(&self, worker: &Worker, query: &SessionQuery) -> Vec<SessionBrief> {
        let sessions = self.taken(query);
        sessions
            .iter()
            .map(|session| session.brief(worker))
            .collect()
    }

    /// Makes sessions leave their backend. One that is to be brought home and is at home stays.
    pub(crate) fn leave(&self, worker: &Worker, which: &Leavers, order: &LeaveOrder) -> Departures {
        let sessions = match which {
            Leavers::Query(query) => self.taken(query),
            Leavers::Ids(ids) => ids.iter().filter_map(|id| self.find(*id)).collect(),
        };
        let mut departures = Departures::default();
        let now = worker.tick();
        for session in sessions.iter().filter(|session| session.is_here()) {
            if order.resume == ResumeReason::Rebalanced && !session.has_another_home(worker) {
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

    /// Ends all of them at once; answers how many.
    pub(crate) fn cut(&self, now: Tick) -> usize {
        let sessions = self.taken(&SessionQuery::default());
        for session in &sessions {
            session.relay.borrow_mut().cut(now);
        }
        sessions.len()
    }

    /// Brings the counters of all into the metrics.
    pub(crate) fn gather(&self) {
        for session in self.taken(&SessionQuery::default()) {
            session.gather();
        }
    }
}

/// Whose session it is, as passive health tells clients apart.
fn witness(facts: &Facts) -> Witness {
    Witness::of_record(&facts.client, facts.principal.as_deref())
}

impl BackendSeat {
    /// What a session's end says about its backend: one that loses a session right after its 101 is
    /// not well, whatever its probe says.
    fn judge(&self, ending: Ending, held: Duration, witness: Witness) {
        let lost = match (ending.by, ending.cause) {
            (EndedBy::Backend, Cause::CloseFrame) => matches!(ending.close_code, Some(1006 | 1011)),
            (EndedBy::Backend, _) | (_, Cause::BackendProtocolError) => true,
            _ => false,
        };
        if lost && held <= self.early_close() {
            self.report(Outcome::EarlyClose, witness);
        } else if !lost {
            // A late loss says nothing about the next session, and must not outweigh failed dials.
            self.report(Outcome::Ok, witness);
        }
    }
}

const _: () = assert!(size_of::<Session>() <= 1096, "every live session holds one");
const _: () = assert!(size_of::<Poll<Turn>>() <= 8, "returned at every wake-up");
