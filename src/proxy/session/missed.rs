//! Sends a session that has come back the messages that it has missed.

use std::sync::Arc;

use tokio::task::yield_now;

use crate::core::session::wheel::Tick;
use crate::io::relay::{QueueBounds, Unsent, WhenFull, gap_frame};
use crate::live::Delivery;
use crate::proxy::clock::ticks;
use crate::proxy::session::delivery_queue::QueuedReplay;
use crate::proxy::session::live_session::Session;
use crate::proxy::session::registry::Sessions;

/// Messages that are queued in one go.
const SLICE: usize = 64;
/// What was missed is bounded by the history, whose frames all sessions share, and not by the
/// session's queue: it would lose the front of it.
const UNBOUNDED: QueueBounds = QueueBounds {
    messages: usize::MAX,
    bytes: usize::MAX,
    when_full: WhenFull::DropNew,
};

/// Queues what a session has missed. What is published from then on comes behind it.
pub(crate) async fn replay(sessions: &Sessions, replay: QueuedReplay) {
    let QueuedReplay {
        id,
        deliveries,
        gap,
    } = replay;
    let Some(session) = sessions.find(id) else {
        return;
    };
    if session.is_here() {
        if gap {
            tell_of_gap(&session);
        }
        for slice in deliveries.chunks(SLICE) {
            for delivery in slice {
                queue(sessions, &session, delivery);
            }
            session.relay_mut().flush_client(sessions.worker().tick());
            yield_now().await;
        }
        session.relay_mut().flush_client(sessions.worker().tick());
    }
    sessions.index.caught_up(id);
}

/// A client that takes events learns that messages may be missing; others have no word for it.
fn tell_of_gap(session: &Session) {
    let mut relay = session.relay_mut();
    if relay.streams().0.takes_events() {
        // Without effect on a session that ends.
        let _: Result<(), Unsent> = relay.send_frame(&gap_frame(), Tick::MAX, &UNBOUNDED);
    }
}

fn queue(sessions: &Sessions, session: &Session, delivery: &Arc<Delivery>) {
    let left = delivery.left();
    if left.is_some_and(|left| left.is_zero()) || excluded(sessions, session, delivery) {
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
    let outcome = if queued.is_ok() { "queued" } else { "dropped" };
    session.metrics.published(outcome);
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
