//! Traces of handshakes: one span for a WebSocket upgrade, and one below it for each stage. They
//! are made only where `[tracing]` asks for them, and wait for their exporter in a bounded queue.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use metrics::Counter;
use tokio::sync::mpsc;

use crate::base::clock;
use crate::core::http::trace_context::TraceContext;
use crate::telemetry::metrics::{Metrics, table};

/// Handshakes that may wait for the exporter.
const WAITING_MAX: usize = 4_096;
/// Spans of one handshake; attempts beyond that are not recorded.
const STEPS_MAX: usize = 32;

/// Makes the traces of a gateway.
pub struct Tracer {
    queue: mpsc::Sender<Box<Handshake>>,
    /// The share of handshakes that are recorded, 0 to 1.
    ratio: f64,
    dropped: Counter,
}

/// A handshake that has come to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Handshake {
    /// Where it is in its trace.
    pub context: TraceContext,
    /// The span that it is part of, if the client sent one.
    pub parent: Option<u64>,
    /// When the request came.
    pub started: SystemTime,
    /// From then to the answer.
    pub duration: Duration,
    /// Its stages in the order in which they ended.
    pub steps: Vec<Step>,
    /// What it was and what became of it.
    pub facts: HandshakeFacts,
}

/// A stage of a handshake.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The id of its span.
    pub span: u64,
    /// `route`, `authenticate`, `place`, `connect` or `upgrade`.
    pub name: &'static str,
    /// From the request to its begin.
    pub begin: Duration,
    /// From the request to its end.
    pub end: Duration,
}

/// What a handshake was and what became of it. Targets have no secrets in them (I11).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandshakeFacts {
    /// The session, if one came of it.
    pub session: Option<Box<str>>,
    /// What records call the request.
    pub request: Box<str>,
    /// The host that the client asked for.
    pub host: Box<str>,
    /// Path and query, with secrets cut out.
    pub target: Box<str>,
    /// The client's address.
    pub client: Box<str>,
    /// The listener.
    pub listener: Box<str>,
    /// The route, if one matched.
    pub route: Option<Box<str>>,
    /// Its upstream.
    pub upstream: Option<Box<str>>,
    /// The backend that granted the session.
    pub backend: Option<Box<str>>,
    /// The status of the answer; 499 if the client left before it.
    pub status: u16,
    /// Why the gateway refused.
    pub refusal: Option<&'static str>,
}

impl Tracer {
    /// A tracer that records this share of handshakes, and what it records.
    pub fn new(ratio: f64, metrics: &Metrics) -> (Arc<Self>, mpsc::Receiver<Box<Handshake>>) {
        let (queue, traces) = mpsc::channel(WAITING_MAX);
        let tracer = Self {
            queue,
            ratio,
            dropped: metrics.counter(&table::TRACES_DROPPED, &[]),
        };
        (Arc::new(tracer), traces)
    }

    /// A handshake that has just begun. The trace of a client goes on; whether that is recorded is
    /// the client's decision only if it is trusted, since recording has a cost.
    pub fn begin(
        self: &Arc<Self>,
        fields: &HeaderMap,
        trusted: bool,
        arrived: Instant,
        started: SystemTime,
    ) -> Trace {
        let sent = TraceContext::read(fields);
        let sampled = match sent {
            Some(sent) if trusted => sent.sampled,
            _ => fastrand::f64() < self.ratio,
        };
        let context = TraceContext {
            trace: sent.map_or_else(|| fastrand::u128(1..), |sent| sent.trace),
            span: fastrand::u64(1..),
            sampled,
        };
        Trace {
            tracer: Arc::clone(self),
            context,
            parent: sent.map(|sent| sent.span),
            arrived,
            started,
            steps: RefCell::default(),
            finished: Cell::new(false),
        }
    }

    /// The exporter lost so many.
    pub fn lost(&self, handshakes: usize) {
        self.dropped.increment(handshakes as u64);
    }
}

/// The trace of a handshake under way.
pub struct Trace {
    tracer: Arc<Tracer>,
    context: TraceContext,
    parent: Option<u64>,
    arrived: Instant,
    started: SystemTime,
    steps: RefCell<Vec<Step>>,
    finished: Cell<bool>,
}

impl Trace {
    /// Puts the span of the handshake into the request for a backend.
    pub fn pass_on(&self, fields: &mut HeaderMap) {
        self.context.write(fields, self.parent.is_some());
    }

    /// A stage begins; it ends when the guard is dropped. `None` where nothing is recorded.
    pub fn step(&self, name: &'static str) -> Option<StepGuard<'_>> {
        self.context.sampled.then(|| StepGuard {
            trace: self,
            name,
            begin: self.elapsed(),
        })
    }

    fn elapsed(&self) -> Duration {
        clock::now().saturating_duration_since(self.arrived)
    }

    /// The end of the handshake; only the first call counts. `facts` is called only if it is
    /// recorded.
    pub fn finish(&self, facts: impl FnOnce() -> HandshakeFacts) {
        if self.finished.replace(true) || !self.context.sampled {
            return;
        }
        let handshake = Handshake {
            context: self.context,
            parent: self.parent,
            started: self.started,
            duration: self.elapsed(),
            steps: self.steps.take(),
            facts: facts(),
        };
        if self.tracer.queue.try_send(Box::new(handshake)).is_err() {
            self.tracer.lost(1);
        }
    }
}

/// A stage under way.
pub struct StepGuard<'t> {
    trace: &'t Trace,
    name: &'static str,
    begin: Duration,
}

impl Drop for StepGuard<'_> {
    fn drop(&mut self) {
        let mut steps = self.trace.steps.borrow_mut();
        if steps.len() < STEPS_MAX {
            steps.push(Step {
                span: fastrand::u64(1..),
                name: self.name,
                begin: self.begin,
                end: self.trace.elapsed(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Exposition;

    const SENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn begin(tracer: &Arc<Tracer>, sent: Option<&str>, trusted: bool) -> Trace {
        let mut fields = HeaderMap::new();
        if let Some(sent) = sent {
            fields.insert("traceparent", sent.parse().expect("a value"));
        }
        tracer.begin(&fields, trusted, clock::now(), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn only_trusted_clients_decide_what_is_recorded() {
        let metrics = Metrics::new();
        let (never, _) = Tracer::new(0.0, &metrics);
        let (always, _) = Tracer::new(1.0, &metrics);
        let unsampled = SENT.replace("-01", "-00");
        let check = |tracer: &Arc<Tracer>, sent: Option<&str>, trusted, sampled| {
            let trace = begin(tracer, sent, trusted);
            assert_eq!(trace.context.sampled, sampled, "{sent:?} {trusted}");
            assert_eq!(trace.step("route").is_some(), sampled);
            // The trace goes on in any case.
            let mut fields = HeaderMap::new();
            trace.pass_on(&mut fields);
            let passed = TraceContext::read(&fields).expect("a context");
            let continues = passed.trace == 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
            assert_eq!(continues, sent.is_some());
            assert_ne!(passed.span, 0xb7ad_6b71_6920_3331, "a span of its own");
        };
        check(&never, None, true, false);
        check(&never, Some(SENT), true, true);
        check(&never, Some(SENT), false, false);
        check(&always, None, false, true);
        check(&always, Some(&unsampled), true, false);
        check(&always, Some(&unsampled), false, true);
    }

    #[test]
    fn stages_are_recorded_within_a_bound_and_a_full_queue_is_counted() {
        let metrics = Metrics::new();
        let (tracer, mut traces) = Tracer::new(1.0, &metrics);
        let trace = begin(&tracer, Some(SENT), false);
        for _ in 0..STEPS_MAX + 5 {
            drop(trace.step("connect"));
        }
        trace.finish(HandshakeFacts::default);
        let handshake = traces.try_recv().expect("a handshake");
        assert_eq!(handshake.steps.len(), STEPS_MAX);
        assert_eq!(handshake.parent, Some(0xb7ad_6b71_6920_3331));
        for step in &handshake.steps {
            assert!(step.begin <= step.end && step.end <= handshake.duration);
        }
        for _ in 0..WAITING_MAX + 3 {
            begin(&tracer, None, false).finish(HandshakeFacts::default);
        }
        let text = metrics.render(Exposition::Text);
        assert!(text.contains("sessile_traces_dropped_total 3\n"), "{text}");
    }
}
