//! Sessions between two processes: held here, given back or let go, and made of what another
//! process sent. `io::handover` defines which process owns a session when.

mod ends;
mod rebuild;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::base::clock;
use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::base::metadata::Metadata;
use crate::base::session_id::SessionId;
use crate::core::limits::Holder;
use crate::core::messages::index::{Membership, Memberships, Subscription};
use crate::core::session::details::Details;
use crate::core::session::record::Facts;
use crate::core::session::staying::StayReason;
use crate::core::session::transfer::FactsState;
use crate::core::session::wheel::Tick;
use crate::io::carrier::Carrier;
use crate::io::handover::{SESSION_STATE_MAX, STATE_DETAILS};
use crate::io::net::socket::Socket;
use crate::io::relay::{OwnState, Relay, RelayState, Side};
use crate::live::{
    Adopted, EndTransfer, SessionQuery, SessionTransfer, Slice, Sliced, TransferBatch,
};
use crate::proxy::backend::lease::BackendLease;
use crate::proxy::context::connection_lease::ConnectionLease;
use crate::proxy::context::permits::SessionPermits;
use crate::proxy::context::worker::{Worker, WorkerPhase};
use crate::proxy::session::handover::ends::{Ends, check_carriers, set_paused};
use crate::proxy::session::handover::rebuild::{RebuildError, attach};
use crate::proxy::session::live_session::{HeldBackend, Ownership, Session};
use crate::proxy::session::registry::Sessions;
use crate::proxy::session::resumption::Resumption;
use crate::proxy::session::task;

/// The complete state of a session without its sockets, in the format of the hand-over.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    facts: FactsState,
    /// Since the 101.
    age: Duration,
    /// With its backend, if it has one.
    held: Option<Duration>,
    quick: u32,
    resumption: Option<Rc<Resumption>>,
    /// For whom it counts.
    holders: Vec<Holder>,
    #[serde(with = "crate::base::blob::optional")]
    key: Option<Vec<u8>>,
    relay: RelayState,
    /// Only where one of its ends is in the process: a process that does not know these refuses the
    /// session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends: Option<Ends>,
    /// Only for a process that reads [`STATE_DETAILS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    more: Option<Value>,
}

/// Optional state: unknown fields are ignored, and all of it is dropped if it cannot be parsed.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct More {
    details: Arc<Details>,
    /// Ticks since bytes of the client and of the backend moved.
    silent: Option<(Tick, Tick)>,
    /// The session's groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<GroupState>,
    /// The last message of the history that it got: milliseconds, and the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<(u64, u64)>,
    /// The names at the broker that it is subscribed to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions: Vec<Subscription>,
    /// The gateway's own messages to the client.
    #[serde(skip_serializing_if = "OwnState::is_empty")]
    messages: OwnState,
}

/// A membership.
#[derive(Debug, Serialize, Deserialize)]
struct GroupState {
    name: GroupName,
    /// What is left of it; `None` until the session ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
}

impl GroupState {
    fn into_membership(self, now: Instant) -> Membership {
        Membership {
            group: self.name,
            expires: self.ttl.map(|ttl| now + ttl),
            metadata: self.metadata,
        }
    }
}

/// Holds sessions that can go to another process, see `WorkerCommand::Pack`.
pub(crate) fn pack(
    sessions: &Sessions,
    after: Option<SessionId>,
    limit: usize,
    reads: u32,
) -> TransferBatch {
    let worker = sessions.worker();
    worker.set_phase(WorkerPhase::HandingOver);
    let mut batch = TransferBatch::default();
    let slice = sessions.slice(&SessionQuery::default(), Slice::first(after));
    batch.next = slice.next;
    let mut last = None;
    for session in &slice.answer {
        if batch.transfers.len() == limit {
            batch.next = last;
            break;
        }
        last = Some(session.id);
        match pack_one(sessions, session, reads) {
            Ok(transfer) => {
                session.gather();
                session.ownership.set(Ownership::Held);
                sessions.held.borrow_mut().push(Rc::clone(session));
                batch.transfers.push(transfer);
            }
            Err(reason) => batch.staying.add(reason, 1),
        }
    }
    let connections = worker.load.connections.load(Ordering::Relaxed);
    let sessions = worker.load.sessions.load(Ordering::Relaxed);
    batch.coming = connections.saturating_sub(sessions);
    batch
}

/// Lets go of those that another process has, see `WorkerCommand::Release`.
pub(crate) fn release(sessions: &Sessions, taken: &[SessionId]) -> usize {
    let taken: HashSet<_> = taken.iter().collect();
    let held = sessions.held.take();
    let mut went = 0;
    for session in held {
        if taken.contains(&session.id) {
            session.ownership.set(Ownership::Gone);
            forget(sessions, &session);
            went += 1;
        } else {
            session.ownership.set(Ownership::Stays);
            sessions.arm(&session);
            sessions.index.ask_again(session.id);
            let mut relay = session.relay.borrow_mut();
            let (client, backend) = relay.streams_mut();
            client.thaw();
            backend.map(Carrier::thaw);
        }
        session.relay.borrow().wake();
    }
    went
}

/// Nothing more is handed over, see `WorkerCommand::Resume`: sessions that were held and stayed are
/// as all others again.
pub(crate) fn resume(sessions: &Sessions, slice: Slice) -> Sliced<()> {
    let resumed = sessions.slice(&SessionQuery::default(), slice);
    if resumed.next.is_none() {
        sessions.worker().set_phase(WorkerPhase::Serving);
    }
    resumed.map(|found| {
        for session in &found {
            if session.ownership.get() == Ownership::Stays {
                session.ownership.set(Ownership::Here);
            }
            let mut relay = session.relay.borrow_mut();
            if set_paused(&mut relay, false) {
                relay.wake();
            }
        }
    })
}

/// Forgets sessions that are held when the process ends: another process may have them, so this one
/// must not write to them.
pub(crate) fn abandon(sessions: &Sessions) {
    for session in sessions.held.take() {
        session.ownership.set(Ownership::Gone);
        forget(sessions, &session);
        session.relay.borrow().wake();
    }
}

/// Makes sessions of transfers, see `WorkerCommand::Adopt`.
pub(crate) fn adopt(
    sessions: &Rc<Sessions>,
    transfers: Vec<SessionTransfer>,
    go: oneshot::Receiver<()>,
) -> Adopted {
    let mut adopted = Adopted::default();
    let mut ready = Vec::with_capacity(transfers.len());
    for transfer in transfers {
        let id = transfer.id;
        match unpack(sessions, transfer) {
            Ok(unpacked) => {
                adopted.ready.push(id);
                ready.push(unpacked);
            }
            Err(error) => adopted.refused.push((id, error.to_string())),
        }
    }
    let sessions = Rc::clone(sessions);
    tokio::task::spawn_local(async move {
        // Without this signal the other process still owns them, and writes their records.
        if go.await.is_ok() {
            for one in ready {
                let id = one.session.id;
                one.session.metrics.came();
                sessions.index.note_adopted(id);
                if let (_, Some(Carrier::Local(end))) = one.session.relay_mut().streams_mut() {
                    end.set_packed(false);
                }
                task::spawn(&sessions, Rc::new(one.session), one.memberships);
                if let Some((millis, number)) = one.seen {
                    let seen = HistoryId { millis, number };
                    // What was published while it was on its way.
                    sessions.index.ask_for_missed(id, seen, false);
                }
            }
        }
    });
    adopted
}

/// A session for another process, or why it stays.
type PackResult = Result<SessionTransfer, StayReason>;

/// A session that has come.
struct Unpacked {
    session: Session,
    memberships: Memberships,
    /// The last message of the history that it got.
    seen: Option<(u64, u64)>,
}

fn unpack(sessions: &Sessions, transfer: SessionTransfer) -> Result<Unpacked, RebuildError> {
    let worker = sessions.worker();
    let State {
        facts,
        age,
        held,
        quick,
        resumption,
        holders,
        key,
        relay,
        ends,
        more,
    } = serde_json::from_slice(&transfer.state)?;
    if sessions.find(facts.id).is_some() {
        return Err(RebuildError::Known);
    }
    let client = attach(transfer.client)?;
    let backend = transfer.backend.map(attach).transpose()?;
    let ends = ends.unwrap_or_default();
    let (client, backend) = ends.put_on(client, backend, &worker.end_services());
    let is_local = matches!(backend, Some(Carrier::Local(_)));
    let mut relay = Relay::from_state(client, backend, relay, worker.tick())?;
    let more = more.and_then(|more| serde_json::from_value(more).ok());
    let More {
        details,
        silent,
        groups,
        seen,
        subscriptions,
        messages,
    } = more.unwrap_or_default();
    relay.set_own_state(&messages, worker.tick());
    set_silent(&mut relay, silent, worker.tick());
    let details = worker.share_details(Arc::unwrap_or_clone(details));
    let facts = Arc::new(facts.into_facts(details));
    // No session is older than the system's clock.
    let now = clock::now();
    let since = |age| now.checked_sub(age).unwrap_or(now);
    let lease = |held| {
        let lease = lease(worker, &facts, key.as_deref(), is_local);
        HeldBackend::new(lease, since(age), since(held))
    };
    let permits = SessionPermits::inherit(worker.live(), holders);
    let connection =
        ConnectionLease::inherit(&worker.shared, &facts.listener, &worker.load, permits);
    let groups = groups.into_iter().map(|group| group.into_membership(now));
    let memberships = Memberships {
        groups: groups.collect(),
        subscriptions,
    };
    let session = Session {
        gathered: Cell::new((relay.to_backend(), relay.to_client())),
        relay: RefCell::new(relay),
        id: facts.id,
        began: since(age),
        backend: RefCell::new(held.map(lease)),
        resumption,
        quick: Cell::new(u16::try_from(quick).unwrap_or(u16::MAX)),
        metrics: worker.route_metrics(&facts.route, &facts.upstream),
        key: key.map(Vec::into_boxed_slice),
        armed: Cell::new(Tick::MAX),
        // The process before this one has seen to it.
        tuned: Cell::new(true),
        ownership: Cell::new(Ownership::Here),
        connection,
        facts: RefCell::new(facts),
    };
    Ok(Unpacked {
        session,
        memberships,
        seen,
    })
}

/// Sets since when client and backend are silent, in ticks.
fn set_silent(relay: &mut Relay<Carrier>, silent: Option<(Tick, Tick)>, now: Tick) {
    if let Some((client, backend)) = silent {
        relay.set_active(now.saturating_sub(client), now.saturating_sub(backend));
    }
}

/// The lease of a session on its backend.
fn lease(worker: &Worker, facts: &Facts, key: Option<&[u8]>, is_local: bool) -> BackendLease {
    if is_local {
        return BackendLease::local(worker);
    }
    let lease = BackendLease::inherit(worker, &facts.upstream, &facts.backend);
    lease.stick_as(worker, &facts.route, key)
}

/// A session that has gone leaves no record here. Its task ends when it is next polled.
fn forget(sessions: &Sessions, session: &Session) {
    let worker = sessions.worker();
    sessions.remove(session.id);
    worker.load.sessions.fetch_sub(1, Ordering::Relaxed);
    session.metrics.left();
}

/// The session for another process, with second handles to its sockets. Its TLS connections are
/// frozen: nothing is sealed until `release`.
///
/// # Errors
/// Why it stays.
fn pack_one(sessions: &Sessions, session: &Session, reads: u32) -> PackResult {
    if session.ownership.get() != Ownership::Here {
        return Err(StayReason::Refused);
    }
    session.tune_backend();
    let mut relay = session.relay.borrow_mut();
    relay.untap("the session is handed over to another process");
    let state = relay
        .state(sessions.worker().tick())
        .ok_or(StayReason::Ending)?;
    check_carriers(&mut relay, reads)?;
    let (client, backend) = relay.streams();
    let client_socket = client.socket().ok_or(StayReason::Sockets)?;
    let client_socket = duplicate(session, client_socket)?;
    let backend_socket = backend.and_then(Carrier::socket);
    let backend_socket = backend_socket.map(|socket| duplicate(session, socket));
    let backend_socket = backend_socket.transpose()?;
    let ends = Ends::of(client, backend);
    // No `..`: a new field does not compile until it is decided here how it gets across.
    let Session {
        id,
        facts,
        relay: _,
        began,
        backend,
        resumption,
        quick,
        metrics: _,
        gathered: _,
        key,
        armed: _,
        tuned: _,
        ownership: _,
        connection,
    } = session;
    let age = |since| clock::now().duration_since(since);
    let state = State {
        facts: FactsState::new(&facts.borrow()),
        age: age(*began),
        held: backend.borrow().as_ref().map(|one| one.held(*began)),
        quick: quick.get().into(),
        resumption: resumption.clone(),
        holders: connection.permits().holders(),
        key: key.as_deref().map(<[u8]>::to_vec),
        relay: state,
        ends,
        more: (reads >= STATE_DETAILS).then(|| more(sessions, session, &relay)),
    };
    let state = serde_json::to_vec(&state).expect("plain data serialises");
    let state = bounded(session, state)?;
    let (client, backend_end) = relay.streams_mut();
    // Last, since a connection that is packed is frozen.
    let client_tls = client.pack().map_err(|_| StayReason::Ending)?;
    let Ok(backend_tls) = backend_end.map_or(Ok(None), Carrier::pack) else {
        client.thaw();
        return Err(StayReason::Ending);
    };
    let backend = |socket| EndTransfer {
        socket,
        tls: backend_tls,
    };
    Ok(SessionTransfer {
        id: *id,
        state,
        client: EndTransfer {
            socket: client_socket,
            tls: client_tls,
        },
        backend: backend_socket.map(backend),
    })
}

/// A state that fits into a message of the hand-over: a larger one would call all of it off.
fn bounded(session: &Session, state: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, StayReason> {
    let state = Zeroizing::new(state);
    if state.len() > SESSION_STATE_MAX {
        let bytes = state.len();
        tracing::warn!(session = %session.id, bytes, "too much waits in a session; it stays");
        return Err(StayReason::Refused);
    }
    Ok(state)
}

/// A second handle to a socket.
fn duplicate(session: &Session, socket: &Socket) -> Result<OwnedFd, StayReason> {
    let duplicate = socket.as_fd().try_clone_to_owned();
    duplicate.map_err(|error| {
        tracing::warn!(session = %session.id, %error, "a session stays");
        StayReason::Sockets
    })
}

/// What only processes that read [`STATE_DETAILS`] get. The round trips of pings are not among it:
/// the next ping measures them again.
fn more(sessions: &Sessions, session: &Session, relay: &Relay<Carrier>) -> Value {
    let now = sessions.worker().tick();
    let groups = sessions.index.groups_of(session.id);
    let left = |at: Instant| at.saturating_duration_since(clock::now());
    let silent = |side| now.saturating_sub(relay.active_from(side));
    let more = More {
        details: Arc::clone(&session.facts.borrow().details),
        silent: Some((silent(Side::Client), silent(Side::Backend))),
        groups: groups
            .into_iter()
            .map(|one| GroupState {
                name: one.group,
                ttl: one.expires.map(left),
                metadata: one.metadata,
            })
            .collect(),
        seen: sessions
            .index
            .seen(session.id)
            .map(|id| (id.millis, id.number)),
        subscriptions: sessions.index.subscriptions_of(session.id),
        messages: relay.own_state(now),
    };
    serde_json::to_value(more).expect("plain data serialises")
}

#[cfg(test)]
mod tests;
