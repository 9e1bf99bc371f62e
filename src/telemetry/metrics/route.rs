//! What is counted by route and upstream.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use metrics::{Counter, Gauge, Histogram};

use crate::base::session_id::SessionId;
use crate::base::traffic::Traffic;
use crate::core::session::record::{Cause, EndedBy, Record};
use crate::telemetry::metrics::by_backend::BackendHandshakes;
use crate::telemetry::metrics::cell::Buckets;
use crate::telemetry::metrics::table::{self, Metric};
use crate::telemetry::metrics::{Family, Metrics};

/// The direction of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    ToBackend,
    /// From the backend.
    ToClient,
}

/// Metrics by route and upstream. Sets for the same names share their counters, so each worker may
/// keep its own; create one at a route's first use, not for all routes.
#[derive(Debug)]
pub struct RouteMetrics {
    metrics: Arc<Metrics>,
    route: Box<str>,
    upstream: Box<str>,
    sessions: OnceLock<SessionMetrics>,
    by_backend: BackendHandshakes,
    response_seconds: OnceLock<Histogram>,
    ended: Family<(EndedBy, Cause)>,
    close_codes: Family<(EndedBy, &'static str)>,
    refused: Family<&'static str>,
    http: Family<&'static str>,
    connect_failures: Family<&'static str>,
    tls: Family<&'static str>,
    moves: Family<&'static str>,
    published: Family<&'static str>,
    cached: Family<&'static str>,
}

/// Made with a route's first session, so that routes without sessions add no series.
#[derive(Debug)]
struct SessionMetrics {
    handshake_seconds: Arc<Buckets>,
    session_seconds: Arc<Buckets>,
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
    /// The set for these names; empty if no route matched, or it has no upstream.
    pub fn new(metrics: &Arc<Metrics>, route: &str, upstream: &str) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            route: route.into(),
            upstream: upstream.into(),
            sessions: OnceLock::new(),
            by_backend: BackendHandshakes::default(),
            response_seconds: OnceLock::new(),
            ended: Family::default(),
            close_codes: Family::default(),
            refused: Family::default(),
            http: Family::default(),
            connect_failures: Family::default(),
            tls: Family::default(),
            moves: Family::default(),
            published: Family::default(),
            cached: Family::default(),
        }
    }

    /// A session began at `at` on this backend; `handshake` is the time from the request to the
    /// 101.
    pub fn began(&self, session: SessionId, backend: &str, handshake: Duration, at: SystemTime) {
        let sessions = self.sessions();
        let by_route = &sessions.handshake_seconds;
        by_route.record_session(handshake, session, at);
        let by_backend = self.by_backend.of(&self.metrics, &self.upstream, backend);
        by_backend.record_session(handshake, session, at);
        sessions.began.increment(1);
        sessions.live.increment(1.0);
    }

    /// A session that began is at a backend of another zone or of a higher priority number.
    pub fn spilled(&self, to: &'static str) {
        self.moves
            .count(to, || self.counter(&table::SESSIONS_SPILLED, &[to]));
    }

    /// A session was taken over from another process.
    pub fn came(&self) {
        self.sessions().live.increment(1.0);
    }

    /// A session was handed over to another process.
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
        counters.ping.increment(delta.ping.into());
        counters.pong.increment(delta.pong.into());
        counters.close.increment(delta.close.into());
    }

    /// A session is not subscribed to a name at the broker.
    pub fn subscription_refused(&self, reason: &'static str) {
        // So seldom that no handle is kept.
        let labels = &[reason];
        self.counter(&table::SUBSCRIPTIONS_REFUSED, labels)
            .increment(1);
    }

    /// A request went through the cache.
    pub fn cached(&self, result: &'static str) {
        let make = || self.counter(&table::CACHE_REQUESTS, &[result]);
        self.cached.add(result, 1, make);
    }

    /// Published messages were `delivered`, `queued` or `dropped`, summed over sessions.
    pub fn published(&self, outcome: &'static str, count: u64) {
        let make = || self.counter(&table::DELIVERIES, &[outcome]);
        self.published.add(outcome, count, make);
    }

    /// A session that `began` has ended. Its traffic is not read from the record: the caller adds
    /// what is left of it.
    pub fn ended(&self, record: &Record) {
        let sessions = self.sessions();
        let (facts, lasted) = (&record.facts, record.duration);
        let ended = facts.request.granted() + lasted;
        let seconds = &sessions.session_seconds;
        seconds.record_session(lasted, facts.id, ended);
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

    /// A session reconnected to another backend.
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

    /// The head of a response to an ordinary request was sent, this long after the request's head
    /// was received.
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

    /// A TLS handshake with a backend succeeded, by a ticket or in full.
    pub fn tls_connected(&self, resumed: bool) {
        let kind = if resumed { "resumed" } else { "full" };
        self.tls.count(kind, || {
            self.counter(&table::BACKEND_TLS_HANDSHAKES, &[kind])
        });
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
                handshake_seconds: self
                    .metrics
                    .session_histogram(&table::HANDSHAKE_SECONDS, &names),
                session_seconds: self
                    .metrics
                    .session_histogram(&table::SESSION_SECONDS, &names),
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

/// Registered codes have a label of their own (RFC 6455, section 7.4, and IANA's registry); the
/// rest share one by range.
pub(super) fn close_code_label(code: Option<u16>) -> &'static str {
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
