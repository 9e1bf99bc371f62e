//! Numbers for Prometheus. Whoever counts holds a set of handles that was made once: by route, by
//! listener, or for the node; counting is then an atomic addition. What can be read when Prometheus
//! asks (health of backends, sessions of workers) is not counted at all, see [`Reading`].
//!
//! There is no global recorder: several gateways in one process keep their numbers apart.

mod reading;
mod registry;
pub mod table;

use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::base::names::ListenerName;
use crate::base::traffic::Traffic;
use crate::core::routing::{Action, RoutingTable};
use crate::core::session::record::{Cause, EndedBy, Record};
use crate::telemetry::metrics::registry::{Counter, Gauge, Histogram, Registry};
use crate::telemetry::metrics::table::Metric;

pub use reading::Reading;

/// All numbers of one gateway.
#[derive(Debug, Default)]
pub struct Metrics(Registry);

impl Metrics {
    /// With nothing counted.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What was counted, in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Removes series of routes, upstreams and authenticators that are not in this table, once
    /// nothing counts under their names any more and their last values have been there for scrapes
    /// for two minutes. Answers how many such series there are still.
    pub fn sweep(&self, now: Instant, table: &RoutingTable) -> usize {
        self.0
            .sweep(now, |metric, values| is_named(table, metric, values))
    }

    fn counter(&self, metric: &Metric, values: &[&str]) -> Counter {
        self.0.counter(metric, values)
    }

    fn gauge(&self, metric: &Metric, values: &[&str]) -> Gauge {
        self.0.gauge(metric, values)
    }

    fn histogram(&self, metric: &Metric, values: &[&str]) -> Histogram {
        self.0.histogram(metric, values)
    }
}

/// Whether the table has what these labels are named after; labels that are names of nothing in a
/// table always count.
fn is_named(table: &RoutingTable, metric: &Metric, values: &[Box<str>]) -> bool {
    let value = |label: &str| {
        let place = metric.labels.iter().position(|known| *known == label)?;
        Some(&*values[place]).filter(|value| !value.is_empty())
    };
    let upstream = value("upstream");
    let authenticator = value("authenticator");
    if authenticator.is_some_and(|name| table.authenticator(name).is_none()) {
        return false;
    }
    match value("route") {
        Some(route) => is_route(table, route, upstream),
        None => upstream.is_none_or(|name| table.upstream(name).is_some()),
    }
}

/// Whether the table has this route, and it leads to this upstream, if one is asked for.
pub fn is_route(table: &RoutingTable, route: &str, upstream: Option<&str>) -> bool {
    let Some(found) = table.route(&route.into()) else {
        return false;
    };
    match (upstream, table.action(found)) {
        (None, _) => true,
        (Some(name), Action::Forward(upstream)) => upstream.name().as_str() == name,
        (Some(_), Action::Redirect(_)) => false,
    }
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    ToBackend,
    /// From the backend.
    ToClient,
}

/// What is counted by route and upstream. Sets that were made for the same names count together,
/// so each worker may keep its own; make one when a route is first asked for, not for all of them.
#[derive(Debug)]
pub struct RouteMetrics {
    metrics: Arc<Metrics>,
    route: Box<str>,
    upstream: Box<str>,
    sessions: OnceLock<SessionMetrics>,
    response_seconds: OnceLock<Histogram>,
    ended: Family<(EndedBy, Cause)>,
    close_codes: Family<(EndedBy, &'static str)>,
    refused: Family<&'static str>,
    http: Family<&'static str>,
    connect_failures: Family<&'static str>,
    moves: Family<&'static str>,
}

/// Made with a route's first session, so that routes without sessions add no series.
#[derive(Debug)]
struct SessionMetrics {
    handshake_seconds: Histogram,
    session_seconds: Histogram,
    live: Gauge,
    began: Counter,
    to_backend: TrafficCounters,
    to_client: TrafficCounters,
}

#[derive(Debug)]
struct TrafficCounters {
    bytes: Counter,
    text: Counter,
    binary: Counter,
    ping: Counter,
    pong: Counter,
    close: Counter,
}

impl RouteMetrics {
    /// The set for these names; an empty one stands for none (no route matched, or it has no
    /// upstream).
    pub fn new(metrics: &Arc<Metrics>, route: &str, upstream: &str) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            route: route.into(),
            upstream: upstream.into(),
            sessions: OnceLock::new(),
            response_seconds: OnceLock::new(),
            ended: Family::default(),
            close_codes: Family::default(),
            refused: Family::default(),
            http: Family::default(),
            connect_failures: Family::default(),
            moves: Family::default(),
        }
    }

    /// A session began; `handshake` is the time from the request to the 101.
    pub fn began(&self, handshake: Duration) {
        let sessions = self.sessions();
        sessions.handshake_seconds.record(handshake.as_secs_f64());
        sessions.began.increment(1);
        sessions.live.increment(1.0);
    }

    /// A session that another process began goes on here.
    pub fn came(&self) {
        self.sessions().live.increment(1.0);
    }

    /// A session goes on in another process.
    pub fn left(&self) {
        self.sessions().live.decrement(1.0);
    }

    /// Adds what a live session relayed since it was last added.
    pub fn traffic(&self, direction: Direction, delta: &Traffic) {
        let counters = match direction {
            Direction::ToBackend => &self.sessions().to_backend,
            Direction::ToClient => &self.sessions().to_client,
        };
        counters.bytes.increment(delta.bytes);
        counters.text.increment(delta.text);
        counters.binary.increment(delta.binary);
        counters.ping.increment(delta.ping);
        counters.pong.increment(delta.pong);
        counters.close.increment(delta.close);
    }

    /// A session that `began` has ended. Its traffic is not read from the record: the caller adds
    /// what is left of it.
    pub fn ended(&self, record: &Record) {
        let sessions = self.sessions();
        sessions
            .session_seconds
            .record(record.duration.as_secs_f64());
        sessions.live.decrement(1.0);
        let ending = record.ending;
        self.ended.count((ending.by, ending.cause), || {
            self.counter(
                &table::SESSIONS_ENDED,
                &[ending.by.as_str(), ending.cause.as_str()],
            )
        });
        let code = close_code_label(ending.close_code);
        self.close_codes.count((ending.by, code), || {
            self.counter(&table::CLOSE_CODES, &[ending.by.as_str(), code])
        });
    }

    /// A session went on with another backend.
    pub fn resumed(&self) {
        self.moves
            .count("resumed", || self.counter(&table::RESUMES, &[]));
    }

    /// A session could not go on with another backend.
    pub fn not_resumed(&self) {
        self.moves
            .count("failed", || self.counter(&table::RESUME_FAILURES, &[]));
    }

    /// A session that ended had lost so many messages of its client.
    pub fn lost(&self, messages: u64) {
        if messages > 0 {
            self.counter(&table::MESSAGES_LOST, &[]).increment(messages);
        }
    }

    /// The gateway answered a request itself.
    pub fn refused(&self, reason: &'static str) {
        self.refused
            .count(reason, || self.counter(&table::REFUSALS, &[reason]));
    }

    /// The head of a response to an ordinary request went to the client, this long after the
    /// request's head came.
    pub fn http(&self, status: u16, response: Duration) {
        let class = status_class(status);
        self.http
            .count(class, || self.counter(&table::HTTP_REQUESTS, &[class]));
        let seconds = self.response_seconds.get_or_init(|| {
            self.metrics.histogram(
                &table::HTTP_RESPONSE_SECONDS,
                &[&self.route, &self.upstream],
            )
        });
        seconds.record(response.as_secs_f64());
    }

    /// A backend could not be reached.
    pub fn connect_failed(&self, reason: &'static str) {
        self.connect_failures
            .count(reason, || self.counter(&table::CONNECT_FAILURES, &[reason]));
    }

    fn counter(&self, metric: &Metric, more: &[&str]) -> Counter {
        let mut values = vec![&*self.route, &*self.upstream];
        values.extend(more);
        self.metrics.counter(metric, &values)
    }

    fn sessions(&self) -> &SessionMetrics {
        self.sessions.get_or_init(|| {
            let names = [&*self.route, &*self.upstream];
            SessionMetrics {
                handshake_seconds: self.metrics.histogram(&table::HANDSHAKE_SECONDS, &names),
                session_seconds: self.metrics.histogram(&table::SESSION_SECONDS, &names),
                live: self.metrics.gauge(&table::SESSIONS, &names),
                began: self.metrics.counter(&table::SESSIONS_TOTAL, &names),
                to_backend: self.traffic_counters("to_backend"),
                to_client: self.traffic_counters("to_client"),
            }
        })
    }

    fn traffic_counters(&self, direction: &str) -> TrafficCounters {
        let messages = |kind| self.counter(&table::MESSAGES, &[direction, kind]);
        TrafficCounters {
            bytes: self.counter(&table::MESSAGE_BYTES, &[direction]),
            text: messages("text"),
            binary: messages("binary"),
            ping: messages("ping"),
            pong: messages("pong"),
            close: messages("close"),
        }
    }
}

/// What is counted by listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    metrics: Arc<Metrics>,
    listener: ListenerName,
    accepted: Counter,
    connections: Gauge,
    tls_failures: Counter,
    proxy_header_failures: Counter,
    accept_errors: Family<&'static str>,
}

impl ListenerMetrics {
    /// The set for this listener.
    pub fn new(metrics: &Arc<Metrics>, listener: &ListenerName) -> Self {
        let names = [listener.as_str()];
        Self {
            metrics: Arc::clone(metrics),
            listener: listener.clone(),
            accepted: metrics.counter(&table::ACCEPTED, &names),
            connections: metrics.gauge(&table::CONNECTIONS, &names),
            tls_failures: metrics.counter(&table::TLS_FAILURES, &names),
            proxy_header_failures: metrics.counter(&table::PROXY_HEADER_FAILURES, &names),
            accept_errors: Family::default(),
        }
    }

    /// A connection was accepted and is open until `closed`.
    pub fn accepted(&self) {
        self.accepted.increment(1);
        self.connections.increment(1.0);
    }

    /// A connection that another process accepted is open here until `closed`.
    pub fn inherited(&self) {
        self.connections.increment(1.0);
    }

    /// A connection that was accepted is gone, with its session if it had one.
    pub fn closed(&self) {
        self.connections.decrement(1.0);
    }

    /// Accepting failed; `kind` is a word such as `too_many_files`.
    pub fn accept_error(&self, kind: &'static str) {
        self.accept_errors.count(kind, || {
            self.metrics
                .counter(&table::ACCEPT_ERRORS, &[self.listener.as_str(), kind])
        });
    }

    /// A client's TLS handshake failed.
    pub fn tls_failed(&self) {
        self.tls_failures.increment(1);
    }

    /// A connection began without a proper PROXY header.
    pub fn proxy_header_failed(&self) {
        self.proxy_header_failures.increment(1);
    }
}

/// Which way things are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handing {
    /// From the process before this one.
    In,
    /// To the process after this one.
    Out,
}

impl Handing {
    const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// What is counted by authenticator.
#[derive(Debug)]
pub struct AuthMetrics {
    metrics: Arc<Metrics>,
    name: Box<str>,
    judged: Family<&'static str>,
}

impl AuthMetrics {
    /// The set for this authenticator.
    pub fn new(metrics: &Arc<Metrics>, name: &str) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            name: name.into(),
            judged: Family::default(),
        }
    }

    /// It let somebody in (`ok`, `anonymous`) or not, and why.
    pub fn judged(&self, outcome: &'static str) {
        self.judged.count(outcome, || {
            self.metrics
                .counter(&table::AUTHENTICATIONS, &[&self.name, outcome])
        });
    }
}

/// What is counted once for the gateway.
#[derive(Debug)]
pub struct NodeMetrics {
    metrics: Arc<Metrics>,
    generation: Gauge,
    swaps: Counter,
    reload_failures: Counter,
}

impl NodeMetrics {
    /// The set, with the generation of the first table.
    pub fn new(metrics: &Arc<Metrics>, generation: u64) -> Self {
        let node = Self {
            metrics: Arc::clone(metrics),
            generation: metrics.gauge(&table::TABLE_GENERATION, &[]),
            swaps: metrics.counter(&table::TABLE_SWAPS, &[]),
            reload_failures: metrics.counter(&table::RELOAD_FAILURES, &[]),
        };
        node.generation.set(generation as f64);
        node
    }

    /// A new routing table took effect.
    pub fn swapped(&self, generation: u64) {
        self.generation.set(generation as f64);
        self.swaps.increment(1);
    }

    /// The keys of an authenticator's issuer were read (`ok`) or not (`failed`).
    pub fn keys_read(&self, authenticator: &str, outcome: &'static str) {
        let labels = [authenticator, outcome];
        self.metrics
            .counter(&table::KEY_READINGS, &labels)
            .increment(1);
    }

    /// A configuration was refused.
    pub fn reload_refused(&self) {
        self.reload_failures.increment(1);
    }

    /// So many sessions were told to leave a backend of this upstream that is draining.
    pub fn drained(&self, upstream: &str, moved: usize, closed: usize) {
        self.left(&table::DRAINED, upstream, moved, closed);
    }

    /// So many sessions of this upstream were told to go home.
    pub fn rebalanced(&self, upstream: &str, moved: usize, closed: usize) {
        self.left(&table::REBALANCED, upstream, moved, closed);
    }

    /// A few times a second at most, so no handles are kept.
    fn left(&self, metric: &Metric, upstream: &str, moved: usize, closed: usize) {
        for (how, count) in [("moved", moved), ("closed", closed)] {
            if count > 0 {
                let counter = self.metrics.counter(metric, &[upstream, how]);
                counter.increment(count as u64);
            }
        }
    }

    /// A hand-over came to its end.
    pub fn handed_over(&self, handing: Handing, took: Duration) {
        let names = [handing.as_str()];
        self.metrics.counter(&table::HANDOVERS, &names).increment(1);
        self.metrics
            .gauge(&table::HANDOVER_SECONDS, &names)
            .set(took.as_secs_f64());
    }

    /// Sessions came or went.
    pub fn handed_sessions(&self, handing: Handing, sessions: usize) {
        self.metrics
            .counter(&table::HANDOVER_SESSIONS, &[handing.as_str()])
            .increment(sessions as u64);
    }

    /// A hand-over broke off.
    pub fn handover_failed(&self) {
        self.metrics
            .counter(&table::HANDOVER_FAILURES, &[])
            .increment(1);
    }

    /// A backend of this upstream was ejected; rare, so no handle is kept.
    pub fn ejected(&self, upstream: &str) {
        self.metrics
            .counter(&table::EJECTIONS, &[upstream])
            .increment(1);
    }
}

/// Counters that differ in labels out of a small closed set, each made when it is first needed, so
/// that what never happened adds no series.
#[derive(Debug)]
struct Family<K>(RwLock<Vec<(K, Counter)>>);

impl<K> Default for Family<K> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Copy + PartialEq> Family<K> {
    fn count(&self, key: K, make: impl FnOnce() -> Counter) {
        let made = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = made.iter().find(|(known, _)| *known == key) {
            counter.increment(1);
            return;
        }
        drop(made);
        // Two threads may both come here and add the key twice: the handles are to the same
        // counter, so nothing is lost.
        let counter = make();
        counter.increment(1);
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push((key, counter));
    }
}

/// Codes that mean something to everybody have a label of their own (RFC 6455, section 7.4, and
/// IANA's registry); the rest share one by range.
fn close_code_label(code: Option<u16>) -> &'static str {
    const REGISTERED: [&str; 15] = [
        "1000", "1001", "1002", "1003", "1004", "1005", "1006", "1007", "1008", "1009", "1010",
        "1011", "1012", "1013", "1014",
    ];
    match code {
        None => "none",
        Some(code @ 1000..=1014) => REGISTERED[usize::from(code - 1000)],
        Some(3000) => "3000",
        Some(3003) => "3003",
        Some(3008) => "3008",
        Some(3000..=3999) => "3xxx",
        Some(4000..=4999) => "4xxx",
        Some(_) => "other",
    }
}

fn status_class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "other",
    }
}

#[cfg(test)]
mod tests;
