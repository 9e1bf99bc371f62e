//! Delivers published messages to the sessions of a worker: one after the other, so that the order
//! of a publisher is kept, and in slices, between which the worker serves its clients.
//!
//! Messages that wait are delivered together: they are put into the queues of their sessions first,
//! and a session that gets several of them is written to once.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{unconstrained, yield_now};

use crate::base::names::RouteName;
use crate::base::session_id::SessionId;
use crate::base::target::Target;
use crate::core::messages::delivery::{DeliveryCounts, Recipient};
use crate::core::messages::index::MembersSlice;
use crate::core::messages::topic::Topic;
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::Cause;
use crate::core::session::wheel::Tick;
use crate::io::relay::{QueueBounds, Unsent, WhenFull};
use crate::live::{Delivery, Destination, Slice, Sliced};
use crate::proxy::clock::ticks;
use crate::proxy::session::delivery_queue::{Batch, QueuedDelivery};
use crate::proxy::session::live_session::Session;
use crate::proxy::session::missed::{self, excluded};
use crate::proxy::session::queue_bounds::bounds_of_route;
use crate::proxy::session::registry::Sessions;
use crate::telemetry::metrics::RouteMetrics;

/// Sessions that are looked at in one go.
const SLICE: usize = 128;
/// Sessions that are written to in one go. A write costs several microseconds.
const WRITES: usize = 64;
/// Messages that are delivered together.
const BATCH: usize = 1024;
/// Deliveries that are queued before their sessions are written to, if there are several messages.
const WINDOW: usize = 16 * 1024;

/// Delivers messages for as long as the worker runs. It lets other tasks run by itself: tokio's
/// budget for a task would make a socket that takes bytes look like one that does not.
pub(crate) async fn run(sessions: Rc<Sessions>) {
    let deliveries = async {
        loop {
            match sessions.delivery_queue.take(BATCH).await {
                Batch::Deliveries(batch) => deliver(&sessions, batch).await,
                Batch::Replay(replay) => missed::replay(&sessions, &replay),
            }
        }
    };
    unconstrained(deliveries).await;
}

async fn deliver(sessions: &Sessions, batch: Vec<QueuedDelivery>) {
    let mut walks: Vec<_> = batch
        .into_iter()
        .map(|one| Walk::new(sessions, one))
        .collect();
    // One message alone is written while its sessions are in the processor's caches.
    let window = if walks.len() > 1 { WINDOW } else { SLICE };
    let mut unflushed = Unflushed::default();
    let (mut visited, mut answered) = (0, 0);
    for place in 0..walks.len() {
        while let Some(some) = walks[place].step(sessions, place, &mut unflushed) {
            visited += some.max(1);
            if visited < SLICE {
                continue;
            }
            visited = 0;
            if unflushed.waiting.len() >= window {
                unflushed.flush(sessions, &mut walks).await;
                walks[answered..place].iter_mut().for_each(Walk::answer);
                answered = place;
            }
            yield_now().await;
        }
    }
    unflushed.flush(sessions, &mut walks).await;
    walks[answered..].iter_mut().for_each(Walk::answer);
    yield_now().await;
}

/// Sessions in whose queues messages were put, with the place of the message in its batch.
#[derive(Default)]
struct Unflushed {
    waiting: Vec<(Rc<Session>, usize)>,
}

impl Unflushed {
    /// Writes to all of them what their sockets take; other tasks run between two slices.
    async fn flush(&mut self, sessions: &Sessions, walks: &mut [Walk]) {
        let mut outcomes = Outcomes::default();
        for (number, slice) in self.waiting.chunks(WRITES).enumerate() {
            if number > 0 {
                yield_now().await;
            }
            let now = sessions.worker().tick();
            for (session, place) in slice {
                let outcome = write(session, now);
                walks[*place].note(outcome);
                outcomes.note(&session.metrics, outcome);
            }
            outcomes.report();
        }
        self.waiting.clear();
    }
}

/// Writes what waits in a session. It may have been closed, or be held for another process, since
/// the message was put into its queue.
fn write(session: &Session, now: Tick) -> &'static str {
    // The message goes along with a session that is held.
    if !session.is_here() {
        return "queued";
    }
    let mut relay = session.relay_mut();
    if relay.closing() {
        return "dropped";
    }
    match relay.flush_client(now) {
        true => "delivered",
        false => "queued",
    }
}

/// Outcomes of deliveries that are not in the metrics yet: as long as they are the same ones of the
/// same route, they are counted here.
#[derive(Default)]
struct Outcomes {
    same: Option<(Rc<RouteMetrics>, &'static str)>,
    count: u64,
}

impl Outcomes {
    fn note(&mut self, metrics: &Rc<RouteMetrics>, outcome: &'static str) {
        let is_same =
            |(of, what): &(Rc<RouteMetrics>, &str)| Rc::ptr_eq(of, metrics) && *what == outcome;
        if !self.same.as_ref().is_some_and(is_same) {
            self.report();
            self.same = Some((Rc::clone(metrics), outcome));
        }
        self.count += 1;
    }

    fn report(&mut self) {
        if let Some((metrics, outcome)) = self.same.take() {
            metrics.published(outcome, std::mem::take(&mut self.count));
        }
    }
}

/// One message on its way through the sessions that it is for.
struct Walk {
    delivery: Arc<Delivery>,
    answer: Option<oneshot::Sender<DeliveryCounts>>,
    counts: DeliveryCounts,
    /// The target that is visited, and where its next slice begins.
    target: usize,
    after: Option<SessionId>,
    /// The sessions that were visited; kept only where several targets may name one.
    visited: Option<HashSet<SessionId>>,
    expires_at: Tick,
    /// Those of the last session's route, and of all routes so far.
    last_bounds: Option<(RouteName, QueueBounds)>,
    bounds: HashMap<RouteName, QueueBounds>,
}

impl Walk {
    fn new(sessions: &Sessions, queued: QueuedDelivery) -> Self {
        let QueuedDelivery { delivery, answer } = queued;
        let left = delivery.left();
        let now = sessions.worker().tick();
        let expired = left == Some(Duration::ZERO);
        Self {
            target: if expired { delivery.to.len() } else { 0 },
            visited: delivery.overlaps().then(HashSet::new),
            expires_at: left.map_or(Tick::MAX, |left| now.saturating_add(ticks(left))),
            delivery,
            answer: Some(answer),
            counts: DeliveryCounts::default(),
            after: None,
            last_bounds: None,
            bounds: HashMap::new(),
        }
    }

    /// Answers what became of the message.
    fn answer(&mut self) {
        if let Some(answer) = self.answer.take() {
            // The asker may have given up waiting.
            let _ = answer.send(self.counts);
        }
    }

    fn note(&mut self, outcome: &str) {
        match outcome {
            "delivered" => self.counts.delivered += 1,
            "queued" => self.counts.queued += 1,
            _ => self.counts.dropped += 1,
        }
    }

    /// Visits the next sessions. Returns how many it looked at; `None` when there are no more.
    fn step(
        &mut self,
        sessions: &Sessions,
        place: usize,
        unflushed: &mut Unflushed,
    ) -> Option<usize> {
        let delivery = Arc::clone(&self.delivery);
        let Some(destination) = delivery.to.get(self.target) else {
            self.visited = None;
            return None;
        };
        let Sliced { answer, next } = sessions_of(sessions, destination, self.after);
        let some = answer.len();
        let of_route = |session: &Rc<Session>| {
            let listed = &delivery.routes;
            listed.is_empty() || listed.contains(&session.facts.borrow().route)
        };
        let by_route = matches!(destination, Destination::Target(Target::Route(_)));
        let wanted = answer.into_iter().filter(|one| !by_route || of_route(one));
        for session in wanted {
            self.visit(sessions, session, (destination, place), unflushed);
        }
        self.after = next;
        if next.is_none() {
            self.target += 1;
        }
        Some(some)
    }

    fn visit(
        &mut self,
        sessions: &Sessions,
        session: Rc<Session>,
        (destination, place): (&Destination, usize),
        unflushed: &mut Unflushed,
    ) {
        if let Some(visited) = &mut self.visited
            && !visited.insert(session.id)
        {
            return;
        }
        if excluded(sessions, &session, &self.delivery) {
            return;
        }
        let recorded = self.delivery.recorded.as_ref();
        if recorded.is_some_and(|at| sessions.index.gets_later(session.id, at)) {
            return;
        }
        // The process before this one got it too, and may have delivered it.
        let came = self.delivery.came;
        if came.is_some_and(|came| sessions.index.came_behind(session.id, came)) {
            session.metrics.published("dropped", 1);
            self.counts.dropped += 1;
            return;
        }
        if recorded.is_some() && !session.is_here() {
            sessions.index.fall_behind(session.id);
        }
        match self.queue(sessions, &session, destination) {
            Ok(Recipient::Client) => {
                if let Some(at) = &self.delivery.recorded {
                    sessions.index.note_seen(session.id, at.id);
                }
                unflushed.waiting.push((session, place));
            }
            Ok(Recipient::Backend) => {
                session.metrics.published("delivered", 1);
                self.counts.delivered += 1;
            }
            Err(()) => {
                session.metrics.published("dropped", 1);
                self.counts.dropped += 1;
            }
        }
    }

    /// Puts the message into the session's queue.
    fn queue(
        &mut self,
        sessions: &Sessions,
        session: &Session,
        destination: &Destination,
    ) -> Result<Recipient, ()> {
        if !session.is_here() {
            return Err(());
        }
        let delivery = Arc::clone(&self.delivery);
        let frame = delivery.frame_for(destination).ok_or(())?;
        let bounds = self.bounds_of(sessions, session);
        let mut relay = session.relay_mut();
        let frame = match relay.streams().0.takes_events() {
            true => delivery.event(),
            false => frame,
        };
        let now = sessions.worker().tick();
        let to_client = self.delivery.side == Recipient::Client;
        if to_client && !relay.has_room(frame.len(), &bounds) {
            // Messages of this very batch may fill the queue of a client that reads.
            relay.flush_client(now);
        }
        let queued = match self.delivery.side {
            Recipient::Client => relay.send_frame(frame, self.expires_at, &bounds),
            Recipient::Backend => relay.send_to_backend(&self.delivery.message, &bounds),
        };
        drop(relay);
        let is_slow = to_client && queued == Err(Unsent::Full);
        if is_slow && bounds.when_full == WhenFull::Close {
            let order = CloseOrder {
                code: 1013,
                reason: "the client takes messages too slowly".into(),
                cause: Cause::SlowConsumer,
            };
            session.close(&order, None, now);
        }
        queued.map(|()| self.delivery.side).map_err(|_| ())
    }

    /// The bounds of the session's route, or the usual ones if the route is gone.
    fn bounds_of(&mut self, sessions: &Sessions, session: &Session) -> QueueBounds {
        let facts = session.facts.borrow();
        if let Some((_, bounds)) = self
            .last_bounds
            .as_ref()
            .filter(|(route, _)| *route == facts.route)
        {
            return *bounds;
        }
        let bounds = match self.bounds.get(&facts.route) {
            Some(bounds) => *bounds,
            None => bounds_of_route(sessions, &facts.route),
        };
        self.bounds.insert(facts.route.clone(), bounds);
        self.last_bounds = Some((facts.route.clone(), bounds));
        bounds
    }
}

/// Sessions of a destination, behind `after`; for a route all sessions.
fn sessions_of(
    sessions: &Sessions,
    destination: &Destination,
    after: Option<SessionId>,
) -> Sliced<Vec<Rc<Session>>> {
    let of_slice = |members: MembersSlice| Sliced {
        answer: (members.ids.iter())
            .filter_map(|id| sessions.find(*id))
            .collect(),
        next: members.next,
    };
    let target = match destination {
        Destination::Target(target) => target,
        Destination::Subscribers(subscription) => {
            return of_slice(sessions.index.subscribers(subscription, after, SLICE));
        }
    };
    match target {
        Target::Session(id) => Sliced::whole(sessions.find(*id).into_iter().collect()),
        Target::Group(_) | Target::Principal(_) => {
            of_slice(sessions.index.slice(&Topic::of(target), after, SLICE))
        }
        Target::Route(_) | Target::All => {
            let slice = Slice {
                after,
                limit: SLICE,
            };
            sessions.slice_of_all(slice)
        }
    }
}

#[cfg(test)]
mod tests;
