//! Sends a session that has come back the messages that it has missed.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::base::group::GroupName;
use crate::core::session::wheel::Tick;
use crate::io::relay::{QueueBounds, Unsent, WhenFull, gap_frame};
use crate::live::Delivery;
use crate::proxy::clock::ticks;
use crate::proxy::session::delivery_queue::QueuedReplay;
use crate::proxy::session::live_session::Session;
use crate::proxy::session::queue_bounds::bounds_of_route;
use crate::proxy::session::registry::Sessions;

/// Between two looks at a session whose client has not taken what it has missed so far.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// For what the bounds of the route were asked before, and for a word about a gap.
const UNBOUNDED: QueueBounds = QueueBounds {
    messages: usize::MAX,
    bytes: usize::MAX,
    when_full: WhenFull::DropNew,
};

/// Queues a page of what a session has missed. If that was all, and it has left, what is published
/// from then on comes behind it. Otherwise the next page is asked for when this one has left.
pub(crate) fn replay(sessions: &Rc<Sessions>, replay: &QueuedReplay) {
    let Some(session) = sessions.find(replay.id) else {
        return;
    };
    // A session held for a hand-over gets no page: the process that continues it requests the page
    // again.
    if !session.is_here() {
        return;
    }
    if replay.gap {
        tell_of_gap(&session);
    }
    let mut more = replay.more;
    for delivery in &*replay.deliveries {
        if let Some(at) = &delivery.recorded {
            if !has_room(sessions, &session, delivery) {
                more = true;
                break;
            }
            // Also one that the client does not get: the next page is behind it.
            sessions.index.note_seen(replay.id, at.id);
            queue(sessions, &session, delivery, &at.groups);
        }
    }
    let sent = session.relay_mut().flush_client(sessions.worker().tick());
    match (sent || replay.deliveries.is_empty(), more) {
        (true, false) => sessions.index.caught_up(replay.id, replay.last),
        (true, true) => sessions.index.ask_again(replay.id),
        (false, _) => drop(spawn_local(ask_when_sent(Rc::clone(sessions), session))),
    }
}

/// Whether the route's queue has room for a message now; an empty one has it for any, as the client
/// gets the next one when it has taken this.
fn has_room(sessions: &Sessions, session: &Session, delivery: &Delivery) -> bool {
    let bounds = bounds_of_route(sessions, &session.facts.borrow().route);
    let mut relay = session.relay_mut();
    let bytes = delivery.frame.len();
    relay.has_room(bytes, &bounds) || relay.flush_client(sessions.worker().tick())
}

/// Asks for the next page when the client has taken this one.
async fn ask_when_sent(sessions: Rc<Sessions>, session: Rc<Session>) {
    let (id, mut waits) = (session.id, true);
    let session = Rc::downgrade(&session);
    while waits {
        sleep(LOOK_EVERY).await;
        let Some(session) = session.upgrade() else {
            return;
        };
        if !session.is_here() {
            return;
        }
        let now = sessions.worker().tick();
        waits = !session.relay_mut().flush_client(now) && !session.relay_mut().closing();
    }
    sessions.index.ask_again(id);
}

/// A client that takes events learns that messages may be missing; others have no word for it.
fn tell_of_gap(session: &Session) {
    let mut relay = session.relay_mut();
    if relay.streams().0.takes_events() {
        // Without effect on a session that ends.
        let _: Result<(), Unsent> = relay.send_frame(&gap_frame(), Tick::MAX, &UNBOUNDED);
    }
}

fn queue(sessions: &Sessions, session: &Session, delivery: &Delivery, groups: &[GroupName]) {
    let left = delivery.left();
    let expired = left.is_some_and(|left| left.is_zero());
    let member = sessions.index.is_in(session.id, groups);
    if !member || expired || excluded(sessions, session, delivery) {
        return;
    }
    let now = sessions.worker().tick();
    let expires_at = left.map_or(Tick::MAX, |left| now.saturating_add(ticks(left)));
    let mut relay = session.relay_mut();
    let frame = match relay.streams().0.takes_events() {
        true => delivery.event(),
        false => &delivery.frame,
    };
    let queued = relay.send_frame(frame, expires_at, &UNBOUNDED);
    drop(relay);
    let outcome = if queued.is_ok() { "queued" } else { "dropped" };
    session.metrics.published(outcome, 1);
}

/// Whether a message is for all but this session.
pub(crate) fn excluded(sessions: &Sessions, session: &Session, delivery: &Delivery) -> bool {
    let except = &delivery.except;
    if except.is_empty() {
        return false;
    }
    let facts = session.facts.borrow();
    let groups = sessions.index.groups_of(session.id);
    except.contains(
        session.id,
        facts.principal.as_deref(),
        &facts.route,
        &groups,
    )
}
