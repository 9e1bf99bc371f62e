//! The road of a request, stage by stage: admit, route, pick and connect, pass on. Each stage
//! either hands over to the next or refuses, and every refusal is answered, recorded and counted
//! here.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{CONNECTION, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Version};
use hyper::body::Incoming;

use crate::base::clock;
use crate::base::host;
use crate::base::names::{BackendId, RouteName, UpstreamName};
use crate::base::path::{CanonicalPath, PathFault};
use crate::base::session_id::SessionId;
use crate::config::snapshot::{CredentialSource, RejectWith};
use crate::core::auth::Principal;
use crate::core::health::Witness;
use crate::core::http::forwarded::{self, ClientView, MalformedForwarded};
use crate::core::http::loops;
use crate::core::routing::affinity;
use crate::core::routing::rewrite;
use crate::core::routing::{self, Action, Endpoint, Route, Upstream};
use crate::core::wire::handshake::{self, Kind};
use crate::core::wire::request_guard::Smuggling;
use crate::io::tls::client::ClientTls;
use crate::live::{Generation, Phase};
use crate::proxy::backend::candidates::{BackendSeat, Ends, Road};
use crate::proxy::refusal::Refusal;
use crate::proxy::refusal::over_websocket::Acceptance;
use crate::proxy::request::record::{Passing, Report, Stage};
use crate::proxy::request::target;
use crate::proxy::stages::forward::Upload;
use crate::proxy::stages::guard::Permits;
use crate::proxy::stages::{authenticate, forward, upgrade};
use crate::proxy::streams::body::Outgoing;
use crate::proxy::transport::connection::Connection;

/// What the gateway knows of a request before any stage.
pub(crate) struct Exchange {
    pub(crate) connection: Rc<Connection>,
    /// What was in force when it arrived; all stages decide by it.
    pub(crate) generation: Arc<Generation>,
    /// Its name, and the session's if one comes of it.
    pub(crate) id: SessionId,
    /// What backends and records call it: its name, or what a trusted peer called it.
    pub(crate) request_id: Box<str>,
    /// The client, as far as it can be believed.
    pub(crate) client: ClientView,
    /// A trusted peer said something about the client that cannot be read.
    unreadable: Option<MalformedForwarded>,
    pub(crate) arrived: Instant,
    pub(crate) started: SystemTime,
    pub(crate) method: Method,
    /// Canonical, with its port if it has one.
    pub(crate) host: String,
    /// The path in its canonical form.
    pub(crate) path: Result<CanonicalPath, PathFault>,
    /// Path and query with secrets cut out (I11).
    pub(crate) shown: RefCell<Box<str>>,
    /// Whose credential it bears, once one was found valid.
    subject: RefCell<Option<Arc<str>>>,
    /// Set where a refusal is to be told over an accepted upgrade.
    acceptance: RefCell<Option<Acceptance>>,
    /// As far as it came.
    way: RefCell<Way>,
    /// Its body as it goes up.
    pub(crate) upload: Upload,
    /// The client can read what HTTP/1.1 brought.
    pub(crate) http_11: bool,
    /// Somebody else sees to its record.
    settled: Cell<bool>,
}

/// Where a request goes, once that is known.
pub(crate) struct Plan {
    pub(crate) route: Arc<Route>,
    pub(crate) upstream: Arc<Upstream>,
    /// Who it is from, if that was asked and is known.
    pub(crate) principal: Option<Arc<Principal>>,
    /// Where it is from.
    pub(crate) client: IpAddr,
    /// Where its credential stood.
    pub(crate) judged: Option<CredentialSource>,
    /// Values of the route's path parameters, in its order.
    pub(crate) parameters: Vec<String>,
    pub(crate) key: Option<Vec<u8>>,
    /// `Set-Cookie` for a client that had no affinity cookie.
    pub(crate) set_cookie: Option<HeaderValue>,
    /// Path and query for the backend.
    pub(crate) target: String,
    /// What it takes up, from the guard on.
    pub(crate) permits: Permits,
    /// The subprotocol for the client, where the backend chooses none: browsers want one of theirs.
    pub(crate) subprotocol: Option<HeaderValue>,
}

impl Plan {
    /// Who asks, as passive health tells clients apart.
    pub(crate) fn witness(&self) -> Witness {
        let principal = self.principal.as_ref();
        Witness::new(self.client, principal.map(|principal| &*principal.subject))
    }
}

/// Answers a request, whatever comes of it.
pub(crate) async fn answer(exchange: Exchange, head: Parts, body: Incoming) -> Reply {
    let mut response = match road(&exchange, head, body).await {
        Ok(response) => response,
        Err((refusal, way)) => exchange.refuse(&refusal, way),
    };
    let ordinary = response.status() != StatusCode::SWITCHING_PROTOCOLS;
    if ordinary && !exchange.connection.worker.keeps_connections() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// What a client gets.
pub(crate) type Reply = Response<Outgoing<Passing>>;

/// As far as a refused request came.
pub(crate) type Way = Option<(RouteName, UpstreamName)>;

async fn road(
    exchange: &Exchange,
    mut head: Parts,
    body: Incoming,
) -> Result<Reply, (Refusal, Way)> {
    let nowhere = |refusal| (refusal, None);
    exchange.admit(&head).map_err(nowhere)?;
    let path = exchange.path().map_err(nowhere)?;
    exchange
        .set_path(&mut head, path.as_str())
        .map_err(nowhere)?;
    let kind = match handshake::classify(&head.method, head.version, &head.headers) {
        Kind::Refused(fault) => return Err(nowhere(Refusal::Upgrade(fault))),
        kind => kind,
    };
    if let Some(endpoint) = exchange.endpoint(&head) {
        return exchange.at_endpoint(endpoint, &head).await.map_err(nowhere);
    }
    let mut plan = match exchange
        .route(&head, path, matches!(kind, Kind::WebSocket(_)))
        .map_err(nowhere)?
    {
        Destination::Forward(plan) => plan,
        Destination::Elsewhere(route, response) => return Ok(exchange.own(response, &route)),
    };
    let forwarded = path.forwarded(plan.route.config.paths);
    exchange.set_path(&mut head, forwarded).map_err(nowhere)?;
    let way = Some((
        plan.route.config.name.clone(),
        plan.upstream.config.name.clone(),
    ));
    exchange.way.replace(way.clone());
    exchange.connection.use_times(&plan.route.config.timeouts);
    if let (Kind::WebSocket(offer), RejectWith::Close) = (&kind, plan.route.config.auth.reject_with)
    {
        let acceptance = Acceptance::of(offer, &plan.route);
        exchange.acceptance.replace(Some(acceptance));
    }
    exchange
        .guard(&mut plan, &head, &kind)
        .map_err(|refusal| (refusal, way.clone()))?;
    let kind = exchange
        .authenticate(&mut plan, &mut head, kind)
        .await
        .map_err(|refusal| (refusal, way.clone()))?;
    if matches!(kind, Kind::WebSocket(_)) {
        exchange
            .guard_principal(&mut plan)
            .map_err(|refusal| (refusal, way.clone()))?;
        // Last: those who are refused otherwise take no place of those who are let in.
        let admitted = exchange.connection.worker.live().admit_session();
        admitted.map_err(|left| (Refusal::Ramp(left), way.clone()))?;
    }
    exchange.place(&mut plan, &head, matches!(kind, Kind::WebSocket(_)));
    let answer = match kind {
        // The 101 of a connection that is parting would say so, and no client would believe it.
        Kind::WebSocket(_) if exchange.connection.is_parting() => Err(Refusal::Stopping),
        Kind::WebSocket(offer) => {
            exchange.connection.set_upgrading(true);
            let answer = upgrade::upgrade(exchange, plan, head, &offer).await;
            let granted = |reply: &Reply| reply.status() == StatusCode::SWITCHING_PROTOCOLS;
            exchange
                .connection
                .set_upgrading(answer.as_ref().is_ok_and(granted));
            answer
        }
        _ => forward::forward(exchange, plan, head, body).await,
    };
    answer.map_err(|refusal| (refusal, way))
}

enum Destination {
    Forward(Plan),
    Elsewhere(RouteName, Response<()>),
}

impl Exchange {
    /// Begins a request, from now on it leaves a record.
    pub(crate) fn begin(
        connection: Rc<Connection>,
        generation: Arc<Generation>,
        head: &Parts,
    ) -> Self {
        connection.asking.set(true);
        let worker = &connection.worker;
        let id = worker.name_request();
        let trusted = connection.peer_trusted();
        let named = forwarded::request_id(&head.headers).filter(|_| trusted);
        let request_id = named.map_or_else(|| id.to_string(), str::to_owned).into();
        let networks = &connection.listener().config.trusted_proxies;
        let (peer, tls) = (connection.peer(), connection.tls);
        let client = forwarded::client(&head.headers, peer, networks, tls);
        let unreadable = client.err();
        let client = client.unwrap_or(ClientView {
            address: peer,
            secure: tls,
        });
        let path = CanonicalPath::read(head.uri.path());
        // Of a request that is refused for its path, the record shows what came.
        let sent = head.uri.path();
        let shown = path.as_ref().map_or(sent, CanonicalPath::as_str);
        let shown = target::with_query(shown, head.uri.query());
        let host = target::host(head);
        Self {
            id,
            request_id,
            client,
            unreadable,
            arrived: clock::now(),
            started: clock::wall(),
            method: head.method.clone(),
            host: host::canonical(host).unwrap_or_else(|| host.to_owned()),
            path,
            subject: RefCell::default(),
            acceptance: RefCell::default(),
            way: RefCell::default(),
            upload: Upload::default(),
            http_11: head.version == Version::HTTP_11,
            settled: Cell::new(false),
            shown: RefCell::new(target::redacted(&shown, &generation.table)),
            connection,
            generation,
        }
    }

    /// Keeps whose credential the request bears, for its record: it may still be refused.
    pub(crate) fn name_subject(&self, subject: &Arc<str>) {
        let subject = Some(Arc::clone(subject)).filter(|subject| !subject.is_empty());
        self.subject.replace(subject);
    }

    /// What is refused whatever the routes are.
    fn admit(&self, head: &Parts) -> Result<(), Refusal> {
        self.connection
            .judge_framing()
            .map_err(|fault| match fault {
                Smuggling::Target => Refusal::BadTarget("the target holds `#`, `\"`, `<` or `>`"),
                fault => Refusal::Smuggling(fault),
            })?;
        if self.connection.worker.live().phase() == Phase::Stopping {
            return Err(Refusal::Stopping);
        }
        if self.unreadable.is_some() {
            return Err(Refusal::BadTarget("`forwarded` is malformed"));
        }
        if loops::is_loop(&head.headers, self.connection.worker.live().instance()) {
            return Err(Refusal::Loop);
        }
        if head.method == Method::CONNECT {
            return Err(Refusal::Connect);
        }
        if !routing::has_one_reading(&head.method) {
            return Err(Refusal::BadTarget("the method has lower-case letters"));
        }
        // RFC 3986 has them nowhere; what is written into a page or a log would not be read as
        // data.
        let target = head
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str());
        if target.contains(['"', '<', '>']) {
            return Err(Refusal::BadTarget("the target holds `\"`, `<` or `>`"));
        }
        Ok(())
    }

    /// The request as routing reads it.
    pub(crate) fn request<'r>(&'r self, head: &'r Parts, websocket: bool) -> routing::Request<'r> {
        routing::Request {
            method: &head.method,
            // What the backend is told where the request says nothing.
            host: host::or_default(&self.host),
            path: head.uri.path(),
            query: head.uri.query(),
            headers: &head.headers,
            websocket,
            tls: self.client.secure,
        }
    }

    /// What the gateway itself answers at the request's path, if it does.
    fn endpoint(&self, head: &Parts) -> Option<Endpoint> {
        let table = &self.generation.table;
        table.endpoint(head.uri.path()).cloned()
    }

    fn route(
        &self,
        head: &Parts,
        path: &CanonicalPath,
        websocket: bool,
    ) -> Result<Destination, Refusal> {
        let table = &self.generation.table;
        let request = self.request(head, websocket);
        let matched = table.choose(&request, path);
        let matched = matched.map_err(|fault| Refusal::BadTarget(fault.as_str()))?;
        let matched = matched.ok_or(Refusal::NoRoute)?;
        let route = matched.route;
        let request = routing::Request {
            path: path.forwarded(route.config.paths),
            host: &self.host,
            ..request
        };
        let parameters = &matched.parameters;
        let upstream = match table.action(route) {
            Action::Forward(upstream) => upstream,
            Action::Redirect(redirect) => {
                let location =
                    rewrite::location(redirect, &request, self.client.secure, parameters);
                let location = location.ok_or(Refusal::BadTarget("the request names no host"))?;
                let mut response = Response::new(());
                *response.status_mut() =
                    StatusCode::from_u16(redirect.status).expect("a checked status");
                response.headers_mut().insert(LOCATION, location);
                return Ok(Destination::Elsewhere(route.name().clone(), response));
            }
        };
        Ok(Destination::Forward(Plan {
            route: Arc::clone(route),
            upstream: Arc::clone(upstream),
            principal: None,
            client: self.client.address,
            judged: None,
            parameters: parameters
                .iter()
                .map(|(_, value)| value.to_owned())
                .collect(),
            key: None,
            set_cookie: None,
            target: String::new(),
            subprotocol: None,
            permits: Permits::default(),
        }))
    }

    /// What decides the backend, and what it is asked for; known once it is known who asks.
    fn place(&self, plan: &mut Plan, head: &Parts, websocket: bool) {
        let route = Arc::clone(&plan.route);
        let stripped = authenticate::stripped_query(plan, head.uri.query());
        let mut request = self.request(head, websocket);
        let principal = plan.principal.clone();
        let values = std::mem::take(&mut plan.parameters);
        let names = route.config.path.parameters();
        let parameters = names.zip(values.iter().map(String::as_str)).collect();
        let key = affinity::key(
            &route.config.affinity,
            &request,
            &parameters,
            self.client.address,
            principal.as_ref().map(|principal| &principal.claims),
            fastrand::u128(..),
        );
        let cookie = key.as_ref().and_then(|key| key.issue.as_ref());
        plan.set_cookie = cookie.map(|issue| {
            HeaderValue::try_from(issue.set_cookie(self.client.secure))
                .expect("a checked name, a number")
        });
        plan.key = key.map(|key| key.bytes.into_owned());
        let own = match &stripped {
            Some(query) => {
                request.query = query.as_deref();
                target::with_query(head.uri.path(), query.as_deref())
            }
            None => target::with_query(head.uri.path(), head.uri.query()),
        };
        let target = rewrite::target(&route.config.rewrite, &request, &parameters);
        plan.target = target.unwrap_or(own);
    }

    fn refuse(&self, refusal: &Refusal, way: Way) -> Reply {
        let id = &*self.request_id;
        let response = match self.acceptance.take() {
            Some(acceptance) => {
                let (response, farewell) = acceptance.refuse(refusal);
                self.connection.dismiss(farewell);
                response
            }
            None => refusal.answer(id),
        };
        let error = refusal as &dyn std::error::Error;
        let source = error.source().map(tracing::field::display);
        if refusal.status().is_server_error() {
            let (route, upstream) = way
                .as_ref()
                .map(|(route, upstream)| (&**route, &**upstream))
                .unzip();
            tracing::warn!(request = id, reason = refusal.reason(), %error, source, route, upstream, "request failed");
        } else {
            tracing::debug!(request = id, reason = refusal.reason(), %error, "request refused");
        }
        let worker = &self.connection.worker;
        match &way {
            Some((route, upstream)) => worker
                .route_metrics(route, upstream)
                .refused(refusal.reason()),
            None => worker.no_route_metrics().refused(refusal.reason()),
        }
        let (route, upstream) = way.unzip();
        let mut report = self.report(route, upstream, None);
        report.status = response.status().as_u16();
        report.refusal = Some(refusal.reason());
        report.detail = refusal.detail();
        report.finish();
        response
    }

    /// The gateway's own answer of a route.
    fn own(&self, response: Response<()>, route: &RouteName) -> Reply {
        let mut report = self.report(Some(route.clone()), None, None);
        report.status = response.status().as_u16();
        report.finish();
        response.map(|()| Outgoing::Empty)
    }

    /// The record of this request, written when it is dropped. The request itself leaves none then.
    pub(crate) fn report(
        &self,
        route: Option<RouteName>,
        upstream: Option<UpstreamName>,
        backend: Option<BackendId>,
    ) -> Report {
        self.settled.set(true);
        Report {
            worker: Rc::clone(&self.connection.worker),
            listener: self.connection.listener,
            ending: Rc::clone(&self.connection.ending),
            route,
            upstream,
            backend,
            client: self.client_text(),
            method: self.method.clone(),
            target: self.target(),
            request_id: self.request_id.clone(),
            arrived: self.arrived,
            answered: self.elapsed(),
            started: self.started,
            status: 0,
            principal: self.subject.borrow().clone(),
            refusal: None,
            upload: self.upload.clone(),
            detail: None,
            bytes_out: 0,
            broke: false,
            stage: Stage::Own,
        }
    }

    /// The record of a request that a backend answers.
    pub(crate) fn report_of(&self, plan: &Plan, seat: &BackendSeat) -> Report {
        let (route, upstream) = (
            plan.route.config.name.clone(),
            plan.upstream.config.name.clone(),
        );
        self.report(Some(route), Some(upstream), Some(seat.id.clone()))
    }

    /// TLS to the plan's backends, if they speak it: never plain where the plan has TLS.
    pub(crate) fn backend_tls(&self, plan: &Plan) -> Result<Option<ClientTls>, Refusal> {
        let upstream = &plan.upstream.config;
        if upstream.tls.is_none() {
            return Ok(None);
        }
        let tls = self.generation.backend_tls.of(&upstream.name);
        let gone = || Refusal::NoBackend(upstream.name.to_string());
        tls.map(Some).ok_or_else(gone)
    }

    /// How this request gets to a backend, until then.
    pub(crate) fn road<'r>(
        &self,
        until: tokio::time::Instant,
        tls: Option<&'r ClientTls>,
    ) -> Road<'r> {
        Road {
            ends: self.ends(),
            tls,
            until,
        }
    }

    /// Addresses of the client's connection.
    pub(crate) fn ends(&self) -> Ends {
        Ends {
            client: self.connection.client,
            local: self.connection.local,
        }
    }

    /// The client as records show it.
    pub(crate) fn client_text(&self) -> Box<str> {
        match self.connection.client {
            Some(peer) if peer.ip() == self.client.address => peer.to_string().into(),
            None if self.client.address == self.connection.peer() => "unix".into(),
            // Believed on a trusted peer's word, which names no port.
            _ => self.client.address.to_string().into(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        clock::now().duration_since(self.arrived)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.asked();
        if !self.settled.get() {
            let (route, upstream) = self.way.take().unzip();
            self.report(route, upstream, None).stage = Stage::Unanswered;
        }
    }
}
