//! A live session as commands report it, and the history of its moves.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock;
use crate::base::names::BackendId;
use crate::core::session::details::{Leaving, Move};
use crate::core::session::orders::LeaveOrder;
use crate::core::session::resume::ResumeReason;
use crate::io::carrier::Carrier;
use crate::io::relay::{Relay, Side};
use crate::live::{
    DirectionView, Measured, Rights, SessionBrief, SessionSample, SessionView, SortKey,
};
use crate::proxy::clock::TICK;
use crate::proxy::context::worker::Worker;
use crate::proxy::session::live_session::Session;
use crate::proxy::session::registry::Sessions;

impl Session {
    /// The session as the admin API shows it.
    pub(crate) fn view(&self, sessions: &Sessions) -> SessionView {
        let worker = sessions.worker();
        let memberships = sessions.index.groups_of(self.id);
        let subscriptions = sessions.index.subscriptions_of(self.id);
        let relay = self.relay.borrow();
        SessionView {
            facts: self.facts(),
            key: self.key.clone(),
            worker: worker.index,
            age: clock::now().duration_since(self.began),
            idle: since(relay.active_at(), worker),
            from_client: direction(&relay, Side::Client, worker),
            from_backend: direction(&relay, Side::Backend, worker),
            published: relay.own_counts(Side::Client),
            groups: memberships.into_iter().map(|one| one.group).collect(),
            subscriptions: subscriptions.into_iter().map(|one| one.name).collect(),
            moves: relay.moves(),
            movable: relay.movable(),
            closing: relay.closing(),
        }
    }

    /// What plans need of it.
    pub(crate) fn brief(&self, worker: &Worker) -> SessionBrief {
        let (relay, facts) = (self.relay.borrow(), self.facts.borrow());
        SessionBrief {
            id: self.id,
            route: facts.route.clone(),
            upstream: facts.upstream.clone(),
            backend: facts.backend.clone(),
            age: clock::now().duration_since(self.began),
            idle: since(relay.active_at(), worker),
            key: self.key.clone(),
            movable: relay.movable(),
            busy: relay.closing() || relay.moves_now(),
        }
    }

    /// What filters look at.
    pub(crate) fn measured(&self, worker: &Worker) -> Measured {
        let relay = self.relay.borrow();
        let (up, down) = (relay.to_backend(), relay.to_client());
        Measured {
            age: clock::now().duration_since(self.began),
            idle: since(relay.active_at(), worker),
            messages: up.messages() + down.messages(),
            bytes: up.bytes + down.bytes,
            lost: relay.moves().messages_lost + relay.own_counts(Side::Client).dropped,
        }
    }

    /// Its numbers, with the one that a list is sorted by.
    pub(crate) fn sample(&self, sort: SortKey, worker: &Worker) -> SessionSample {
        let relay = self.relay.borrow();
        let (up, down) = (relay.to_backend(), relay.to_client());
        let (messages, bytes) = (up.messages() + down.messages(), up.bytes + down.bytes);
        let idle = |side| since(relay.active_from(side), worker);
        let value = match sort {
            SortKey::Age => Some(micros(clock::now().duration_since(self.began))),
            SortKey::Idle => Some(micros(since(relay.active_at(), worker))),
            SortKey::IdleClient => Some(micros(idle(Side::Client))),
            SortKey::IdleBackend => Some(micros(idle(Side::Backend))),
            SortKey::Bytes => Some(bytes),
            SortKey::Messages => Some(messages),
            SortKey::RoundTrip => {
                let sides = [Side::Client, Side::Backend];
                let trips = sides.into_iter().filter_map(|side| relay.round_trip(side));
                trips.max().map(micros)
            }
            SortKey::InFlight => {
                let sides = [Side::Client, Side::Backend].map(|side| relay.in_flight(side));
                Some(
                    sides
                        .iter()
                        .map(|(held, queued)| (held + queued) as u64)
                        .sum(),
                )
            }
            SortKey::Expires => {
                let facts = self.facts.borrow();
                let expires = facts.right.as_ref().and_then(|right| right.expires);
                expires.map(clock::unix_millis)
            }
            SortKey::Moves => Some(relay.moves().resumes.into()),
        };
        SessionSample {
            id: self.id,
            value,
            messages,
            bytes,
        }
    }

    /// Notes an order to leave the backend, with the backend to try first.
    pub(crate) fn set_leaving(&self, order: &LeaveOrder, to: Option<BackendId>) {
        let leaving = Leaving {
            reason: order.resume,
            by: order.operator.clone(),
            to,
        };
        let mut facts = self.facts.borrow_mut();
        // Most moves are of a plan, and need no details of their own before they are done.
        if facts.details.leaving.is_some() || leaving.by.is_some() || leaving.to.is_some() {
            let details = &mut Arc::make_mut(&mut facts).details;
            Arc::make_mut(details).leaving = Some(Box::new(leaving));
        }
    }

    /// Notes that it is with another backend now.
    pub(crate) fn note_move(&self, to: &BackendId, reason: ResumeReason) {
        let mut facts = self.facts.borrow_mut();
        let facts = Arc::make_mut(&mut facts);
        let from = std::mem::replace(&mut facts.backend, to.clone());
        let details = Arc::make_mut(&mut facts.details);
        let by = details.order(reason).and_then(|order| order.by.clone());
        let moved = Move {
            from,
            to: to.clone(),
            reason,
            by,
            at: clock::wall(),
            messages_lost: 0,
        };
        details.moved(moved, self.relay.borrow().moves().messages_lost);
    }
}

/// The rights of these sessions, by authenticator.
pub(crate) fn rights(sessions: &[Rc<Session>], until: u64) -> Rights {
    let mut rights = Rights::new();
    for session in sessions {
        let facts = session.facts.borrow();
        if let Some(right) = &facts.right {
            let counts = rights.entry(right.authenticator.clone()).or_default();
            counts.count(right.expires.map(clock::unix_millis), until);
        }
    }
    rights
}

fn direction(relay: &Relay<Carrier>, from: Side, worker: &Worker) -> DirectionView {
    let (held, queued) = relay.in_flight(from.other());
    DirectionView {
        traffic: match from {
            Side::Client => relay.to_backend(),
            Side::Backend => relay.to_client(),
        },
        idle: since(relay.active_from(from), worker),
        held,
        queued,
        round_trip: relay.round_trip(from),
    }
}

fn since(tick: u32, worker: &Worker) -> Duration {
    TICK * worker.tick().saturating_sub(tick)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
