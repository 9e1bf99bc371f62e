//! A request as it arrived, before any stage. It leaves a record in any case: `report` hands the
//! record over, and if that was never called, dropping the request writes it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::UPGRADE;
use http::request::Parts;
use http::{Method, Version};

use crate::base::clock;
use crate::base::host;
use crate::base::names::{BackendId, RouteName, UpstreamName};
use crate::base::path::{CanonicalPath, PathFault};
use crate::base::session_id::SessionId;
use crate::core::http::forwarded::{self, ClientView, MalformedForwarded};
use crate::core::routing;
use crate::core::wire::request_guard::Smuggling;
use crate::live::Generation;
use crate::proxy::client::connection::ClientConnection;
use crate::proxy::client::progress::Progress;
use crate::proxy::refusal::Refusal;
use crate::proxy::refusal::over_websocket::Acceptance;
use crate::proxy::request::record::{AnswerState, Report};
use crate::proxy::request::target;
use crate::proxy::request::traced::TraceEnd;
use crate::proxy::streams::upload::Upload;
use crate::telemetry::traces::{HandshakeFacts, StepGuard, Trace};

/// A request as it arrived.
pub(crate) struct Received {
    pub(crate) connection: Rc<ClientConnection>,
    pub(crate) progress: Rc<Progress>,
    /// The generation in force when it arrived; all stages decide by it.
    pub(crate) generation: Arc<Generation>,
    /// Its id, and the session's if one comes of it.
    pub(crate) id: SessionId,
    /// Its name for backends and records: its id, or the name that a trusted peer gave it.
    pub(crate) request_id: Box<str>,
    /// The client, as far as the peer is trusted.
    pub(crate) client: ClientView,
    /// Set if a trusted peer sent something about the client that cannot be read.
    pub(crate) unreadable: Option<MalformedForwarded>,
    /// Whether its framing can be read in one way only.
    pub(crate) framing: Result<(), Smuggling>,
    pub(crate) arrived: Instant,
    pub(crate) started: SystemTime,
    pub(crate) method: Method,
    /// Canonical, with its port if it has one.
    pub(crate) host: String,
    pub(crate) path: Result<CanonicalPath, PathFault>,
    /// The client reads HTTP/1.1.
    pub(crate) http_11: bool,
    /// Its body on the way to the backend.
    pub(crate) upload: Upload,
    /// Path and query with secrets cut out (I11).
    pub(crate) shown: RefCell<Box<str>>,
    /// Set where handshakes are traced and this is one.
    pub(crate) trace: Option<Box<Trace>>,
    trail: RefCell<Trail>,
    /// `report` was called.
    reported: Cell<bool>,
}

/// How far a request came, for its record and its refusal.
#[derive(Default)]
struct Trail {
    route: Option<(RouteName, UpstreamName)>,
    /// The subject of a valid credential.
    subject: Option<Arc<str>>,
    /// Set if a refusal is sent over an accepted upgrade.
    acceptance: Option<Acceptance>,
}

impl Received {
    /// A request that has just arrived.
    pub(crate) fn begin(
        connection: Rc<ClientConnection>,
        progress: Rc<Progress>,
        generation: Arc<Generation>,
        framing: Result<(), Smuggling>,
        head: &Parts,
    ) -> Self {
        let worker = &connection.worker;
        let id = worker.name_request();
        let edge = &generation.edge;
        let trusted = connection.peer_trusted(edge);
        let named = forwarded::request_id(&head.headers).filter(|_| trusted);
        let request_id = named.map_or_else(|| id.to_string(), str::to_owned).into();
        let networks = connection.trusted_proxies(edge);
        let (peer, tls) = (connection.peer(), connection.tls);
        let client = forwarded::client(&head.headers, peer, networks, tls);
        let unreadable = client.err();
        let client = client.unwrap_or(ClientView {
            address: peer,
            secure: tls,
        });
        let path = CanonicalPath::read(head.uri.path());
        // If the path is refused, the record shows it as it came.
        let sent = head.uri.path();
        let shown = path.as_ref().map_or(sent, CanonicalPath::as_str);
        let shown = target::with_query(shown, head.uri.query());
        let host = target::host(head);
        let (arrived, started) = (clock::now(), clock::wall());
        let tracer = worker.shared.tracer.as_ref();
        let tracer = tracer.filter(|_| head.headers.contains_key(UPGRADE));
        let trace = tracer.map(|tracer| tracer.begin(&head.headers, trusted, arrived, started));
        Self {
            id,
            request_id,
            client,
            unreadable,
            framing,
            arrived,
            started,
            trace: trace.map(Box::new),
            method: head.method.clone(),
            host: host::canonical(host).unwrap_or_else(|| host.to_owned()),
            path,
            http_11: head.version == Version::HTTP_11,
            upload: Upload::default(),
            shown: RefCell::new(target::redacted(&shown, &generation.table)),
            trail: RefCell::default(),
            reported: Cell::new(false),
            progress,
            generation,
            connection,
        }
    }

    /// The request as routing reads it.
    pub(crate) fn request<'r>(&'r self, head: &'r Parts, websocket: bool) -> routing::Request<'r> {
        routing::Request {
            method: &head.method,
            // An empty host is what the backend gets in its place.
            host: host::or_default(&self.host),
            path: head.uri.path(),
            query: head.uri.query(),
            headers: &head.headers,
            websocket,
            tls: self.client.secure,
        }
    }

    /// Puts `path` in place of the one that came, for all that follows.
    ///
    /// # Errors
    /// When the target grows too long by that: each byte that must be encoded becomes three.
    pub(crate) fn set_path(&self, head: &mut Parts, path: &str) -> Result<(), Refusal> {
        if head.uri.path() == path && head.uri.authority().is_none() {
            return Ok(());
        }
        let target = target::with_query(path, head.uri.query());
        let too_long = Refusal::BadTarget("the request target is too long when it is encoded");
        head.uri = target.parse().map_err(|_| too_long)?;
        self.shown
            .replace(target::redacted(&target, &self.generation.table));
        Ok(())
    }

    /// A stage of the handshake begins, for its trace; it ends when the guard is dropped.
    pub(crate) fn step(&self, name: &'static str) -> Option<StepGuard<'_>> {
        self.trace.as_ref()?.step(name)
    }

    /// Ends the trace of the handshake, if it has one that has not ended.
    pub(crate) fn end_trace(&self, end: &TraceEnd<'_>) {
        let Some(trace) = &self.trace else {
            return;
        };
        trace.finish(|| {
            let (route, upstream) = self.route().unzip();
            HandshakeFacts {
                session: end.backend.map(|_| self.id.to_string().into()),
                request: self.request_id.clone(),
                host: self.host.as_str().into(),
                target: self.target(),
                client: self.client_text(),
                listener: self.connection.listener().config.name.as_str().into(),
                route: route.map(|name| name.as_str().into()),
                upstream: upstream.map(|name| name.as_str().into()),
                backend: end.backend.map(|id| id.as_str().into()),
                status: end.status,
                refusal: end.refusal,
            }
        });
    }

    /// It has a route.
    pub(crate) fn set_route(&self, route: &RouteName, upstream: &UpstreamName) {
        self.trail.borrow_mut().route = Some((route.clone(), upstream.clone()));
    }

    /// Its route and upstream, once it has them.
    pub(crate) fn route(&self) -> Option<(RouteName, UpstreamName)> {
        self.trail.borrow().route.clone()
    }

    /// The subject of its credential, for the record: the request may still be refused.
    pub(crate) fn set_subject(&self, subject: &Arc<str>) {
        let subject = Some(Arc::clone(subject)).filter(|subject| !subject.is_empty());
        self.trail.borrow_mut().subject = subject;
    }

    /// A refusal is sent over an accepted upgrade.
    pub(crate) fn set_acceptance(&self, acceptance: Acceptance) {
        self.trail.borrow_mut().acceptance = Some(acceptance);
    }

    /// How a refusal is sent over an accepted upgrade, if the route asks for that.
    pub(crate) fn take_acceptance(&self) -> Option<Acceptance> {
        self.trail.borrow_mut().acceptance.take()
    }

    /// The name that a trusted peer gave it.
    pub(crate) fn foreign_request_id(&self) -> Option<&str> {
        Some(&*self.request_id).filter(|name| *name != self.id.to_string())
    }

    /// The record of this request, written when it is dropped. The request itself leaves none then.
    pub(crate) fn report(
        &self,
        route: Option<RouteName>,
        upstream: Option<UpstreamName>,
        backend: Option<BackendId>,
    ) -> Report {
        self.reported.set(true);
        Report {
            connection: Rc::clone(&self.connection),
            route,
            upstream,
            backend,
            client: self.client_text(),
            method: self.method.clone(),
            host: self.host.as_str().into(),
            target: self.target(),
            request_id: self.request_id.clone(),
            arrived: self.arrived,
            answered: self.elapsed(),
            started: self.started,
            status: 0,
            principal: self.trail.borrow().subject.clone(),
            refusal: None,
            upload: self.upload.clone(),
            authenticator: None,
            detail: None,
            bytes_out: 0,
            broke: false,
            state: AnswerState::GatewayAnswer,
        }
    }

    /// The client as records show it.
    pub(crate) fn client_text(&self) -> Box<str> {
        match self.connection.addresses.client {
            Some(peer) if peer.ip() == self.client.address => peer.to_string().into(),
            None if self.client.address == self.connection.peer() => "unix".into(),
            // Given by a trusted peer, without a port.
            _ => self.client.address.to_string().into(),
        }
    }

    /// Path and query as records show them.
    pub(crate) fn target(&self) -> Box<str> {
        self.shown.borrow().clone()
    }

    /// The time since it arrived.
    pub(crate) fn elapsed(&self) -> Duration {
        clock::now().duration_since(self.arrived)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.progress.answered();
        self.end_trace(&TraceEnd::ABANDONED);
        if !self.reported.get() {
            let (route, upstream) = self.route().unzip();
            self.report(route, upstream, None).state = AnswerState::Unanswered;
        }
    }
}
