//! Delivers published messages to the sessions of a worker: one after the other, so that the order
//! of a publisher is kept, and in slices, between which the worker serves its clients.
//!
//! Several small messages that wait are delivered together: a session that gets more than one of
//! them is written to once.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::base::clock;
use crate::base::group::GroupName;
use crate::base::names::RouteName;
use crate::base::session_id::SessionId;
use crate::base::target::Target;
use crate::config::snapshot::{MessageQueue, WhenFull as QueuePolicy};
use crate::core::messages::delivery::{DeliveryCounts, Recipient};
use crate::core::messages::index::{MembersSlice, Membership};
use crate::core::messages::member::Member;
use crate::core::messages::presence::ITEMS_MAX;
use crate::core::messages::topic::Topic;
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::Cause;
use crate::core::session::wheel::Tick;
use crate::io::relay::{QueueBounds, Unsent, WhenFull};
use crate::live::{
    Delivery, Destination, GroupSlice, MessageCommand, PresenceNote, RosterAsk, Slice, Sliced,
};
use crate::proxy::clock::ticks;
use crate::proxy::session::delivery_queue::{Batch, QueuedDelivery, QueuedReplay};
use crate::proxy::session::live_session::Session;
use crate::proxy::session::missed::{self, excluded};
use crate::proxy::session::registry::Sessions;

/// Sessions that are written to in one go.
const SLICE: usize = 128;
/// Messages that are delivered together.
const BATCH: usize = 64;

/// Carries out a command about messages and groups.
pub(crate) fn carry_out(sessions: &Rc<Sessions>, command: MessageCommand) {
    match command {
        MessageCommand::Deliver { delivery, answer } => {
            sessions
                .delivery_queue
                .push(QueuedDelivery { delivery, answer });
        }
        MessageCommand::Replay {
            id,
            deliveries,
            gap,
            more,
            answer,
        } => {
            let here = sessions.find(id).is_some();
            if here {
                let replay = QueuedReplay {
                    id,
                    deliveries,
                    gap,
                    more,
                };
                sessions.delivery_queue.push_replay(replay);
            }
            reply(answer, here);
        }
        MessageCommand::Join {
            id,
            group,
            ttl,
            metadata,
            answer,
        } => {
            let membership = Membership {
                group,
                expires: ttl.map(|ttl| clock::now() + ttl),
                metadata,
            };
            let here = sessions.find(id).filter(|session| session.is_here());
            let joined = here.map(|session| sessions.index.join(&session, membership));
            reply(answer, joined);
        }
        MessageCommand::Leave { id, group, answer } => {
            let here = sessions.find(id).filter(|session| session.is_here());
            let left = here.map(|_| sessions.index.leave(id, &group));
            reply(answer, left);
        }
        MessageCommand::Members {
            group,
            slice,
            answer,
        } => {
            let (members, next) = members(sessions, &group, slice.after, slice.limit);
            let count = sessions.index.count(&Topic::Group(group)) as u64;
            let answered = Sliced {
                answer: GroupSlice { members, count },
                next,
            };
            reply(answer, answered);
        }
        MessageCommand::Roster {
            group,
            asked,
            after,
        } => report_members(sessions, group, asked, after),
    }
}

/// Reports members of a group behind `after` to those who watch it.
fn report_members(
    sessions: &Sessions,
    group: GroupName,
    asked: RosterAsk,
    after: Option<SessionId>,
) {
    let (mut members, next) = members(sessions, &group, after, ITEMS_MAX);
    for member in &mut members {
        member.ttl_ms = None;
    }
    sessions.index.report(PresenceNote::Slice {
        group,
        asked,
        worker: sessions.worker().index,
        members,
        next,
    });
}

/// Members of a group behind `after`, and where the next ones begin.
fn members(
    sessions: &Sessions,
    group: &GroupName,
    after: Option<SessionId>,
    most: usize,
) -> (Vec<Member>, Option<SessionId>) {
    let topic = Topic::Group(group.clone());
    let slice = sessions.index.slice(&topic, after, most);
    let found = slice.ids.iter().filter_map(|id| sessions.find(*id));
    let members = found.filter_map(|session| sessions.index.member(&session, group));
    (members.collect(), slice.next)
}

/// Sends an answer; the asker may have given up waiting.
fn reply<A>(answer: oneshot::Sender<A>, value: A) {
    let _ = answer.send(value);
}

/// Delivers messages for as long as the worker runs.
pub(crate) async fn run(sessions: Rc<Sessions>) {
    loop {
        match sessions.delivery_queue.take(BATCH).await {
            Batch::Deliveries(batch) => deliver(&sessions, batch).await,
            Batch::Replay(replay) => missed::replay(&sessions, &replay),
        }
    }
}

async fn deliver(sessions: &Sessions, batch: Vec<QueuedDelivery>) {
    let mut walks: Vec<_> = batch
        .into_iter()
        .map(|one| Walk::new(sessions, one))
        .collect();
    let mut unflushed = Unflushed::default();
    let mut visited = 0;
    for place in 0..walks.len() {
        while let Some(some) = walks[place].step(sessions, place, &mut unflushed) {
            visited += some.max(1);
            if visited >= SLICE {
                unflushed.flush(sessions, &mut walks);
                yield_now().await;
                visited = 0;
            }
        }
    }
    unflushed.flush(sessions, &mut walks);
    for walk in walks {
        reply(walk.answer, walk.counts);
    }
    yield_now().await;
}

/// Sessions in whose queues messages were put, with the place of the message in its batch.
#[derive(Default)]
struct Unflushed {
    sessions: Vec<(Rc<Session>, usize)>,
}

impl Unflushed {
    /// Writes to all of them what their sockets take.
    fn flush(&mut self, sessions: &Sessions, walks: &mut [Walk]) {
        let now = sessions.worker().tick();
        for (session, place) in self.sessions.drain(..) {
            let counts = &mut walks[place].counts;
            let sent = session.relay_mut().flush_client(now);
            session
                .metrics
                .published(if sent { "delivered" } else { "queued" });
            match sent {
                true => counts.delivered += 1,
                false => counts.queued += 1,
            }
        }
    }
}

/// One message on its way through the sessions that it is for.
struct Walk {
    delivery: Arc<Delivery>,
    answer: oneshot::Sender<DeliveryCounts>,
    counts: DeliveryCounts,
    /// The target that is visited, and where its next slice begins.
    target: usize,
    after: Option<SessionId>,
    /// The sessions that were visited; kept only where several targets may name one.
    visited: Option<HashSet<SessionId>>,
    expires_at: Tick,
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
            answer,
            counts: DeliveryCounts::default(),
            after: None,
            bounds: HashMap::new(),
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
        match self.queue(sessions, &session, destination) {
            Ok(Recipient::Client) => {
                if let Some(at) = &self.delivery.recorded {
                    sessions.index.note_seen(session.id, at.id);
                }
                unflushed.sessions.push((session, place));
            }
            Ok(Recipient::Backend) => {
                session.metrics.published("delivered");
                self.counts.delivered += 1;
            }
            Err(()) => {
                session.metrics.published("dropped");
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
        if let Some(bounds) = self.bounds.get(&facts.route) {
            return *bounds;
        }
        let table = sessions.worker().live().table();
        let route = table.route(&facts.route);
        let queue = route.map_or_else(MessageQueue::default, |route| route.config.messages.queue);
        let bounds = bounds(queue);
        self.bounds.insert(facts.route.clone(), bounds);
        bounds
    }
}

fn bounds(queue: MessageQueue) -> QueueBounds {
    QueueBounds {
        messages: queue.messages,
        bytes: queue.bytes,
        when_full: match queue.when_full {
            QueuePolicy::DropNew => WhenFull::DropNew,
            QueuePolicy::DropOldest => WhenFull::DropOldest,
            QueuePolicy::Close => WhenFull::Close,
        },
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
            slice.of(&sessions.by_id())
        }
    }
}
