//! The begin of a session, at its 101.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock;
use crate::base::history_id::HistoryId;
use crate::core::messages::index::{Membership, Memberships, Subscription};
use crate::core::session::record::Facts;
use crate::core::session::wheel::Tick;
use crate::io::carrier::Carrier;
use crate::io::relay::{EventClient, Relay, Setup};
use crate::proxy::backend::lease::BackendLease;
use crate::proxy::clock::TICK;
use crate::proxy::context::connection_lease::ConnectionLease;
use crate::proxy::context::permits::SessionPermits;
use crate::proxy::session::live_session::{HeldBackend, Ownership, Session};
use crate::proxy::session::registry::Sessions;
use crate::proxy::session::resumption::Resumption;
use crate::proxy::session::{task, tuning};
use crate::telemetry::metrics::RouteMetrics;

/// For a client that takes events to acknowledge something, where it is not pinged.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A session that its backend has granted. It begins when the 101 has left.
pub(crate) struct GrantedSession {
    pub(crate) facts: Facts,
    pub(crate) backend: BackendLease,
    /// The affinity key.
    pub(crate) key: Option<Box<[u8]>>,
    /// The stream to the backend.
    pub(crate) carrier: Carrier,
    /// Set where the session may go on with another backend.
    pub(crate) resumption: Option<Rc<Resumption>>,
    /// Groups that it joins.
    pub(crate) memberships: Vec<Membership>,
    /// The last message that its client has, where it asks for what it has missed.
    pub(crate) since: Option<HistoryId>,
    /// Set where the client takes server-sent events.
    pub(crate) events: Option<EventClient>,
    /// Names at the broker that it is subscribed to.
    pub(crate) subscriptions: Vec<Subscription>,
    /// All but the client's early bytes, which only its transport has.
    pub(crate) setup: Setup,
    pub(crate) permits: SessionPermits,
}

/// The client's half of a session.
pub(crate) struct ClientEnd {
    pub(crate) carrier: Carrier,
    /// Bytes that came after the request.
    pub(crate) early: Vec<u8>,
    /// Bytes of the response that its socket has not taken.
    pub(crate) unsent: Vec<u8>,
    pub(crate) lease: ConnectionLease,
}

/// Tells a function in the place of a backend that the session begins.
fn tell_function(backend: &Carrier) {
    if let Carrier::Local(end) = backend {
        end.begin();
    }
}

fn count(metrics: &RouteMetrics, facts: &Facts) {
    let began_at = facts.request.granted();
    metrics.began(
        facts.id,
        &facts.backend,
        facts.request.handshake(),
        began_at,
    );
    let level = facts.details.placement.level.as_ref();
    if let Some(to) = level.and_then(|level| level.spilled) {
        metrics.spilled(to.as_str());
    }
}

/// Starts a session on this worker; it runs until it ends.
pub(crate) fn start(sessions: &Rc<Sessions>, granted: GrantedSession, client: ClientEnd) {
    let GrantedSession {
        facts,
        backend,
        key,
        carrier,
        resumption,
        memberships,
        since,
        events,
        subscriptions,
        mut setup,
        permits,
    } = granted;
    let mut connection = client.lease;
    connection.hold_session(permits);
    setup.client_early = client.early;
    let (mut client_end, mut backend_end) = (client.carrier, carrier);
    client_end.settle();
    backend_end.settle();
    tell_function(&backend_end);
    if let Some(events) = events {
        // What such a client sends after its request has no meaning.
        setup.client_early = Vec::new();
        let silence = setup.keepalive.map_or(SILENCE_MAX, |keepalive| {
            TICK * (keepalive.interval + keepalive.timeout)
        });
        client_end = client_end.with_events(events, client.unsent, silence);
    }
    let worker = sessions.worker();
    let metrics = worker.route_metrics(&facts.route, &facts.upstream);
    let tuned = !tuning::is_put_off(&backend_end);
    let relay = Relay::new(client_end, backend_end, setup, worker.tick());
    count(&metrics, &facts);
    backend.established();
    let began = clock::now();
    let facts = Arc::new(facts);
    worker.live().events().session_began(&facts);
    let session = Session {
        id: facts.id,
        facts: RefCell::new(facts),
        relay: RefCell::new(relay),
        began,
        backend: RefCell::new(Some(HeldBackend::new(backend, began, began))),
        resumption,
        quick: Cell::new(0),
        metrics,
        gathered: Cell::default(),
        key,
        armed: Cell::new(Tick::MAX),
        tuned: Cell::new(tuned),
        ownership: Cell::new(Ownership::Here),
        connection,
    };
    let id = session.id;
    let memberships = Memberships {
        groups: memberships,
        subscriptions,
    };
    task::spawn(sessions, Rc::new(session), memberships);
    if let Some(since) = since {
        sessions.index.ask_for_client(id, since);
    }
}
