//! Orders of an operator for live sessions: to move one, and to send messages in many.

use std::rc::Rc;

use crate::base::clock;
use crate::base::message::Message;
use crate::base::names::{BackendId, RouteName};
use crate::base::session_id::SessionId;
use crate::core::session::details::Choice;
use crate::core::session::orders::LeaveOrder;
use crate::io::relay::{Side, Unsent};
use crate::live::{MoveAnswer, SendCounts, TapAnswer, TapReporter};
use crate::proxy::context::worker::Worker;
use crate::proxy::session::live_session::Session;
use crate::proxy::session::registry::Sessions;

/// Makes a session leave its backend for `to`, or for any other; see `WorkerCommand::Move`.
pub(crate) fn move_one(
    sessions: &Sessions,
    id: SessionId,
    to: Option<BackendId>,
    order: &LeaveOrder,
) -> Option<MoveAnswer> {
    let session = sessions.find(id)?;
    let worker = sessions.worker();
    let (route, upstream, from) = {
        let facts = session.facts.borrow();
        (
            facts.route.clone(),
            facts.upstream.clone(),
            facts.backend.clone(),
        )
    };
    let mut relay = session.relay_mut();
    let answer = if relay.closing() || !session.is_here() {
        MoveAnswer::Ending
    } else if relay.moves_now() {
        MoveAnswer::Moving
    } else if !relay.movable() {
        cannot_move(worker, &session, route)
    } else if !has_backend(worker, &session, to.as_ref()) {
        MoveAnswer::NoBackend(upstream)
    } else if relay.leave(order, worker.tick()) {
        session.set_leaving(order, to);
        MoveAnswer::Begun(from)
    } else {
        MoveAnswer::Moving
    };
    Some(answer)
}

/// Why a session cannot move. Only routes that reconnect keep what repeats a handshake, and only
/// without an unknown extension.
fn cannot_move(worker: &Worker, session: &Session, route: RouteName) -> MoveAnswer {
    let table = worker.live().table();
    let now = table.route(&route);
    let reconnects = now.is_some_and(|route| route.config.reconnect.is_some());
    let facts = session.facts.borrow();
    if facts.details.placement.choice == Choice::Gateway {
        return MoveAnswer::WithoutBackend;
    }
    match &facts.details.extensions {
        Some(extensions) if reconnects => MoveAnswer::Extension(extensions.clone()),
        _ => MoveAnswer::NotMovable(route),
    }
}

/// Whether a backend other than the session's takes sessions now: this one, if it is given.
fn has_backend(worker: &Worker, session: &Session, to: Option<&BackendId>) -> bool {
    let facts = session.facts.borrow();
    let table = worker.live().table();
    let Some(upstream) = table.upstream(&facts.upstream) else {
        return false;
    };
    let now = clock::now();
    let mut members = upstream.members.iter().enumerate();
    members.any(|(index, member)| {
        member.id != facts.backend
            && to.is_none_or(|to| member.id == *to)
            && upstream.may_take(index, &[], now, true)
    })
}

/// Reports the frames of a session from now on; see `WorkerCommand::Tap`.
pub(crate) fn tap(
    sessions: &Sessions,
    id: SessionId,
    reporter: Box<TapReporter>,
    payload_max: Option<usize>,
) -> Option<TapAnswer> {
    let session = sessions.find(id)?;
    let mut relay = session.relay_mut();
    Some(if relay.closing() || !session.is_here() {
        TapAnswer::Ending
    } else if relay.tapped() {
        TapAnswer::Tapped
    } else {
        relay.tap(reporter, payload_max);
        TapAnswer::Begun
    })
}

/// Sends a message of the gateway's own in these sessions.
pub(crate) fn send(sessions: &[Rc<Session>], to: Side, message: &Message) -> SendCounts {
    let mut counts = SendCounts::default();
    for session in sessions {
        if !session.is_here() {
            counts.gone += 1;
            continue;
        }
        match session.relay_mut().send_message(to, message) {
            Ok(()) => counts.delivered += 1,
            Err(Unsent::Busy | Unsent::Full | Unsent::TooLarge) => counts.busy += 1,
            Err(Unsent::Closing) => counts.gone += 1,
            Err(Unsent::Extension) => counts.unfit += 1,
        }
    }
    counts
}
