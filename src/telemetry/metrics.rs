//! Numbers for Prometheus. Code records through sets of handles of the `metrics` crate, each made
//! once: by route, by listener, or for the node; counting is then an atomic addition. What can be
//! read at the time of a scrape (health of backends, sessions of workers) is not counted at all,
//! see [`Reading`].
//!
//! Each gateway has a registry of its own, which removes series that are no longer needed. There is
//! no global recorder: several gateways in one process keep their numbers apart.

mod by_backend;
mod cell;
mod exposition;
mod functions;
mod messages;
mod reading;
mod registry;
mod route;
mod state;
pub mod table;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram};

use crate::base::names::ListenerName;
use crate::core::routing::{Action, RoutingTable};
use crate::telemetry::metrics::cell::Buckets;
use crate::telemetry::metrics::registry::Registry;
use crate::telemetry::metrics::table::Metric;

pub use exposition::Exposition;
pub use functions::{FunctionMetrics, InFlight};
pub use messages::MessageMetrics;
pub use reading::Reading;
pub use route::{Direction, RouteMetrics};
pub use state::StateMetrics;

/// All numbers of one gateway.
#[derive(Debug, Default)]
pub struct Metrics(Registry);

impl Metrics {
    /// With nothing counted.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What was counted, in this format.
    pub fn render(&self, form: Exposition) -> String {
        self.0.render(form)
    }

    /// Removes series of routes, upstreams and authenticators that are not in this table, once
    /// nothing counts under their names any more and their last values have been there for scrapes
    /// for two minutes. Answers how many such series there are still.
    pub fn sweep(&self, now: Instant, table: &RoutingTable) -> usize {
        self.0
            .sweep(now, |metric, values| is_named(table, metric, values))
    }

    /// Calls `each` with the labels and the count of every series of a counter.
    pub fn each_counter(&self, metric: &Metric, each: impl FnMut(&HashMap<&str, &str>, u64)) {
        self.0.each_counter(metric, each);
    }

    /// The sum of all series of a counter.
    pub fn total(&self, metric: &Metric) -> u64 {
        let mut total = 0;
        self.each_counter(metric, |_, count| total += count);
        total
    }

    pub(super) fn counter(&self, metric: &Metric, values: &[&str]) -> Counter {
        self.0.counter(metric, values)
    }

    fn gauge(&self, metric: &Metric, values: &[&str]) -> Gauge {
        self.0.gauge(metric, values)
    }

    fn histogram(&self, metric: &Metric, values: &[&str]) -> Histogram {
        self.0.histogram(metric, values)
    }

    fn session_histogram(&self, metric: &Metric, values: &[&str]) -> Arc<Buckets> {
        self.0.session_histogram(metric, values)
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
    if value("function").is_some_and(|name| table.function(&name.into()).is_none()) {
        return false;
    }
    if let (Some(upstream), Some(backend)) = (upstream, value("backend")) {
        let found = table.upstream(upstream);
        return found.is_some_and(|one| one.member(&backend.into()).is_some());
    }
    match value("route") {
        Some(route) => is_route(table, route, upstream),
        None => upstream.is_none_or(|name| table.upstream(name).is_some()),
    }
}

/// Whether the table has this route, with this upstream if one is given.
pub fn is_route(table: &RoutingTable, route: &str, upstream: Option<&str>) -> bool {
    let Some(found) = table.route(&route.into()) else {
        return false;
    };
    match (upstream, table.action(found)) {
        (None, _) => true,
        (
            Some(name),
            Action::Forward(upstream) | Action::Static(_, upstream) | Action::Function(_, upstream),
        ) => upstream.name().as_str() == name,
        (Some(_), Action::Redirect(_)) => false,
    }
}

/// What is counted by listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    metrics: Arc<Metrics>,
    listener: ListenerName,
    accepted: Counter,
    connections: Gauge,
    tls_full: Counter,
    tls_resumed: Counter,
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
            tls_full: metrics.counter(&table::TLS_HANDSHAKES, &[names[0], "full"]),
            tls_resumed: metrics.counter(&table::TLS_HANDSHAKES, &[names[0], "resumed"]),
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

    /// A client's TLS handshake succeeded, by a ticket or in full.
    pub fn tls_accepted(&self, resumed: bool) {
        match resumed {
            true => self.tls_resumed.increment(1),
            false => self.tls_full.increment(1),
        }
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
    verified: Family<&'static str>,
}

impl AuthMetrics {
    /// The set for this authenticator.
    pub fn new(metrics: &Arc<Metrics>, name: &str) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            name: name.into(),
            verified: Family::default(),
        }
    }

    /// Its outcome: `ok`, `anonymous`, or the reason of the refusal.
    pub fn verified(&self, outcome: &'static str) {
        self.verified.count(outcome, || {
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
    commands: Histogram,
}

impl NodeMetrics {
    /// The set, with the generation of the first table.
    pub fn new(metrics: &Arc<Metrics>, generation: u64) -> Self {
        let node = Self {
            metrics: Arc::clone(metrics),
            generation: metrics.gauge(&table::TABLE_GENERATION, &[]),
            swaps: metrics.counter(&table::TABLE_SWAPS, &[]),
            reload_failures: metrics.counter(&table::RELOAD_FAILURES, &[]),
            commands: metrics.histogram(&table::WORKER_COMMAND_SECONDS, &[]),
        };
        node.generation.set(generation as f64);
        // Present from the start: a counter that appears with its first event has not increased.
        let _ = metrics.counter(&table::HANDOVER_FAILURES, &[]);
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

    /// A certificate was ordered (`ok`) or not (`failed`).
    pub fn certificate_ordered(&self, outcome: &'static str) {
        self.metrics
            .counter(&table::CERTIFICATE_ORDERS, &[outcome])
            .increment(1);
    }

    /// A configuration was refused.
    pub fn reload_refused(&self) {
        self.reload_failures.increment(1);
    }

    /// Sessions ordered to leave a draining backend of this upstream.
    pub fn drained(&self, upstream: &str, moved: usize, closed: usize) {
        self.left(&table::DRAINED, upstream, moved, closed);
    }

    /// Sessions of this upstream ordered to move to their home.
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

    /// A command held a worker for so long.
    pub fn command_took(&self, took: Duration) {
        self.commands.record(took.as_secs_f64());
    }

    /// A hand-over came to its end.
    pub fn handed_over(&self, handing: Handing, took: Duration) {
        let names = [handing.as_str()];
        self.metrics.counter(&table::HANDOVERS, &names).increment(1);
        self.metrics
            .gauge(&table::HANDOVER_SECONDS, &names)
            .set(took.as_secs_f64());
    }

    /// The number of sessions changed.
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
        self.add(key, 1, make);
    }

    fn add(&self, key: K, count: u64, make: impl FnOnce() -> Counter) {
        let made = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = made.iter().find(|(known, _)| *known == key) {
            counter.increment(count);
            return;
        }
        drop(made);
        // Two threads may both add the key: both handles refer to the same counter, so no count is
        // lost.
        let counter = make();
        counter.increment(count);
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push((key, counter));
    }
}

#[cfg(test)]
mod tests;
