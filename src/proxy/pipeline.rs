//! The road of a request, stage by stage: admit, route, pick and connect, pass on. Each stage
//! either hands over to the next or refuses, and every refusal is answered, recorded and counted
//! here.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{CONNECTION, HOST, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::base::clock;
use crate::base::names::{BackendId, RouteName, UpstreamName};
use crate::base::session_id::SessionId;
use crate::config::snapshot::{CredentialSource, RejectWith};
use crate::core::auth::Principal;
use crate::core::http::forwarded::{self, ClientView, MalformedForwarded};
use crate::core::http::query;
use crate::core::routing::affinity;
use crate::core::routing::rewrite;
use crate::core::routing::{self, Action, Route, Upstream};
use crate::core::wire::handshake::{self, Kind};
use crate::io::tls::client::ClientTls;
use crate::live::Phase;
use crate::proxy::body::{Outgoing, Watch};
use crate::proxy::connection::Connection;
use crate::proxy::farewell::Acceptance;
use crate::proxy::guard::Permits;
use crate::proxy::place::{BackendSeat, Ends, Road};
use crate::proxy::plain::Upload;
use crate::proxy::pool::Kept;
use crate::proxy::refusal::Refusal;
use crate::proxy::{authenticate, plain, upgrade};
use crate::telemetry::records::RequestRecord;

/// What the gateway knows of a request before any stage.
pub(super) struct Exchange {
    pub(super) connection: Rc<Connection>,
    /// Its name, and the session's if one comes of it.
    pub(super) id: SessionId,
    /// What backends and records call it: its name, or what a trusted peer called it.
    pub(super) request_id: Box<str>,
    /// The client, as far as it can be believed.
    pub(super) client: ClientView,
    /// A trusted peer said something about the client that cannot be read.
    unreadable: Option<MalformedForwarded>,
    pub(super) arrived: Instant,
    pub(super) started: SystemTime,
    method: Method,
    pub(super) host: String,
    /// Path and query with secrets cut out (I11).
    pub(super) target: Box<str>,
    /// Whose credential it bears, once one was found valid.
    subject: RefCell<Option<Arc<str>>>,
    /// Set where a refusal is to be told over an accepted upgrade.
    acceptance: RefCell<Option<Acceptance>>,
}

/// Where a request goes, once that is known.
pub(super) struct Plan {
    pub(super) route: Arc<Route>,
    pub(super) upstream: Arc<Upstream>,
    /// Who it is from, if that was asked and is known.
    pub(super) principal: Option<Arc<Principal>>,
    /// Where its credential stood.
    pub(super) judged: Option<CredentialSource>,
    /// Values of the route's path parameters, in its order.
    pub(super) parameters: Vec<String>,
    pub(super) key: Option<Vec<u8>>,
    /// `Set-Cookie` for a client that had no affinity cookie.
    pub(super) set_cookie: Option<HeaderValue>,
    /// Path and query for the backend.
    pub(super) target: String,
    /// What it takes up, from the guard on.
    pub(super) permits: Permits,
    /// The subprotocol for the client, where the backend chooses none: browsers want one of theirs.
    pub(super) subprotocol: Option<HeaderValue>,
}

/// Answers a request, whatever comes of it.
pub(super) async fn answer(connection: Rc<Connection>, request: Request<Incoming>) -> Reply {
    let (mut head, body) = request.into_parts();
    let table = connection.worker.live().table_arc();
    table.header_names().remove_respelt(&mut head.headers);
    drop(table);
    let exchange = Exchange::begin(connection, &head);
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
pub(super) type Reply = Response<Outgoing<Passing>>;

/// As far as a refused request came.
pub(super) type Way = Option<(RouteName, UpstreamName)>;

async fn road(
    exchange: &Exchange,
    mut head: Parts,
    body: Incoming,
) -> Result<Reply, (Refusal, Way)> {
    let nowhere = |refusal| (refusal, None);
    exchange.admit(&head).map_err(nowhere)?;
    let kind = match handshake::classify(&head.method, head.version, &head.headers) {
        Kind::Refused(fault) => return Err(nowhere(Refusal::Upgrade(fault))),
        kind => kind,
    };
    let endpoint = exchange
        .connection
        .worker
        .live()
        .table()
        .endpoint(head.uri.path())
        .cloned();
    if let Some(endpoint) = endpoint {
        return exchange.at_endpoint(endpoint, &head).await.map_err(nowhere);
    }
    let mut plan = match exchange
        .route(&head, matches!(kind, Kind::WebSocket(_)))
        .map_err(nowhere)?
    {
        Destination::Forward(plan) => plan,
        Destination::Elsewhere(route, response) => return Ok(exchange.own(response, &route)),
    };
    let way = Some((
        plan.route.config.name.clone(),
        plan.upstream.config.name.clone(),
    ));
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
        _ => plain::forward(exchange, plan, head, body).await,
    };
    answer.map_err(|refusal| (refusal, way))
}

enum Destination {
    Forward(Plan),
    Elsewhere(RouteName, Response<()>),
}

impl Exchange {
    fn begin(connection: Rc<Connection>, head: &Parts) -> Self {
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
        let target = head
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str());
        Self {
            id,
            request_id,
            client,
            unreadable,
            arrived: clock::now(),
            started: clock::wall(),
            method: head.method.clone(),
            host: host(head).to_owned(),
            subject: RefCell::default(),
            acceptance: RefCell::default(),
            target: query::redact_query(target, worker.live().table().secret_parameters()).into(),
            connection,
        }
    }

    /// Keeps whose credential the request bears, for its record: it may still be refused.
    pub(super) fn name_subject(&self, subject: &Arc<str>) {
        let subject = Some(Arc::clone(subject)).filter(|subject| !subject.is_empty());
        self.subject.replace(subject);
    }

    /// What is refused whatever the routes are.
    fn admit(&self, head: &Parts) -> Result<(), Refusal> {
        self.connection
            .judge_framing()
            .map_err(Refusal::Smuggling)?;
        if self.connection.worker.live().phase() == Phase::Stopping {
            return Err(Refusal::Stopping);
        }
        if self.unreadable.is_some() {
            return Err(Refusal::BadTarget("`forwarded` is malformed"));
        }
        if head.method == Method::CONNECT {
            return Err(Refusal::Connect);
        }
        Ok(())
    }

    /// The request as routing reads it.
    pub(super) fn request<'r>(&'r self, head: &'r Parts, websocket: bool) -> routing::Request<'r> {
        routing::Request {
            method: &head.method,
            host: &self.host,
            path: head.uri.path(),
            query: head.uri.query(),
            headers: &head.headers,
            websocket,
            tls: self.client.secure,
        }
    }

    fn route(&self, head: &Parts, websocket: bool) -> Result<Destination, Refusal> {
        let table = self.connection.worker.live().table();
        let request = self.request(head, websocket);
        let matched = table.find(&request).ok_or(Refusal::NoRoute)?;
        let route = matched.route;
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
                let mark = if query.is_some() { "?" } else { "" };
                format!(
                    "{}{mark}{}",
                    head.uri.path(),
                    query.as_deref().unwrap_or_default()
                )
            }
            None => client_target(head),
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
            tracing::warn!(request = id, reason = refusal.reason(), %error, source, way = ?way, "request failed");
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

    /// The record of this request, written when it is dropped.
    pub(super) fn report(
        &self,
        route: Option<RouteName>,
        upstream: Option<UpstreamName>,
        backend: Option<BackendId>,
    ) -> Report {
        Report {
            connection: Rc::clone(&self.connection),
            route,
            upstream,
            backend,
            client: self.client_text(),
            method: self.method.clone(),
            target: self.target.clone(),
            request_id: self.request_id.clone(),
            arrived: self.arrived,
            answered: self.elapsed(),
            started: self.started,
            status: 0,
            principal: self.subject.borrow().clone(),
            refusal: None,
            detail: None,
            upload: Upload::default(),
            bytes_out: 0,
            written: false,
        }
    }

    /// The record of a request that a backend answers.
    pub(super) fn report_of(&self, plan: &Plan, seat: &BackendSeat) -> Report {
        let (route, upstream) = (
            plan.route.config.name.clone(),
            plan.upstream.config.name.clone(),
        );
        self.report(Some(route), Some(upstream), Some(seat.id.clone()))
    }

    /// TLS to the plan's backends, if they speak it. Never plain where the plan says TLS, whatever
    /// is being reloaded meanwhile.
    pub(super) fn backend_tls(&self, plan: &Plan) -> Result<Option<ClientTls>, Refusal> {
        let upstream = &plan.upstream.config;
        if upstream.tls.is_none() {
            return Ok(None);
        }
        let tls = self.connection.worker.shared.backend_tls.of(&upstream.name);
        let gone = || Refusal::NoBackend(upstream.name.to_string());
        tls.map(Some).ok_or_else(gone)
    }

    /// How this request gets to a backend, until then.
    pub(super) fn road<'r>(
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
    pub(super) fn ends(&self) -> Ends {
        Ends {
            client: self.connection.client,
            local: self.connection.local,
        }
    }

    /// The client as records show it.
    pub(super) fn client_text(&self) -> Box<str> {
        match self.connection.client {
            Some(peer) if peer.ip() == self.client.address => peer.to_string().into(),
            None if self.client.address == self.connection.peer() => "unix".into(),
            // Believed on a trusted peer's word, which names no port.
            _ => self.client.address.to_string().into(),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        clock::now().duration_since(self.arrived)
    }
}

/// The client's own path and query, whatever form its target has.
fn client_target(head: &Parts) -> String {
    head.uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .to_owned()
}

/// The host that a request is for: its target's if that is absolute (RFC 9112, section 3.2.2),
/// else its `Host`.
fn host(head: &Parts) -> &str {
    match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head
            .headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default(),
    }
}

/// A request's record in the making. It follows the answer's body, and is written when that ends,
/// however it ends.
pub(super) struct Report {
    connection: Rc<Connection>,
    route: Option<RouteName>,
    upstream: Option<UpstreamName>,
    backend: Option<BackendId>,
    client: Box<str>,
    method: Method,
    target: Box<str>,
    request_id: Box<str>,
    arrived: Instant,
    /// From the request to the answer's head.
    answered: Duration,
    started: SystemTime,
    principal: Option<Arc<str>>,
    pub(super) status: u16,
    pub(super) refusal: Option<&'static str>,
    /// What exactly was wrong.
    pub(super) detail: Option<Box<str>>,
    /// Counted by the request's body, which may go up while the answer comes down.
    pub(super) upload: Upload,
    bytes_out: u64,
    written: bool,
}

impl Report {
    fn finish(mut self) {
        self.write();
    }

    fn write(&mut self) {
        if std::mem::replace(&mut self.written, true) {
            return;
        }
        let worker = &self.connection.worker;
        if let (Some(route), Some(upstream), None) = (&self.route, &self.upstream, self.refusal) {
            worker
                .route_metrics(route, upstream)
                .http(self.status, self.answered);
        }
        worker.shared.records.request(&RequestRecord {
            listener: &self.connection.listener().config.name,
            route: self.route.as_deref(),
            upstream: self.upstream.as_deref(),
            backend: self.backend.as_deref(),
            principal: self.principal.as_deref(),
            client: &self.client,
            method: self.method.as_str(),
            target: &self.target,
            status: self.status,
            started: self.started,
            duration: clock::now().duration_since(self.arrived),
            bytes_in: self.upload.bytes(),
            bytes_out: self.bytes_out,
            refusal: self.refusal,
            detail: self.detail.as_deref(),
            request_id: Some(&self.request_id),
        });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.write();
    }
}

/// A backend's answer on its way to the client.
pub(super) struct Passing {
    pub(super) report: Report,
    /// Its connection, where that may carry another.
    pub(super) keep: Option<Kept>,
}

impl Watch for Passing {
    fn passed(&mut self, bytes: usize) {
        self.report.bytes_out += bytes as u64;
    }

    fn ended(&mut self) {
        self.report.write();
        if let Some(keep) = self.keep.take() {
            keep.give_back();
        }
    }
}
