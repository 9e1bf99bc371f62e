//! The values behind the handles of the `metrics` crate, and the lines that Prometheus reads.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use metrics::{CounterFn, GaugeFn, HistogramFn};

use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::telemetry::metrics::exposition::{Bound, Exposition, escaped};
use crate::telemetry::metrics::table::{Kind, Metric};

/// The value of one series. The registry and all handles to the series share it.
#[derive(Debug)]
pub(super) enum Cell {
    Counter(Arc<Count>),
    Gauge(Arc<Float>),
    Histogram(Arc<Buckets>),
}

impl Cell {
    pub(super) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter(Arc::default()),
            Kind::Gauge => Self::Gauge(Arc::default()),
            Kind::Histogram(bounds) => Self::Histogram(Arc::new(Buckets::new(bounds))),
        }
    }

    /// Whether a handle to it is held outside of the registry.
    pub(super) fn is_held(&self) -> bool {
        let owners = match self {
            Self::Counter(value) => Arc::strong_count(value),
            Self::Gauge(value) => Arc::strong_count(value),
            Self::Histogram(value) => Arc::strong_count(value),
        };
        owners > 1
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl CounterFn for Count {
    fn increment(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }
}

/// A gauge; threads may add to it concurrently.
#[derive(Debug, Default)]
pub(super) struct Float(AtomicU64);

impl Float {
    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn add(&self, by: f64) {
        let add = |bits| Some((f64::from_bits(bits) + by).to_bits());
        let order = Ordering::Relaxed;
        // The closure never refuses, so this always succeeds.
        let _ = self.0.fetch_update(order, order, add);
    }
}

impl GaugeFn for Float {
    fn increment(&self, by: f64) {
        self.add(by);
    }

    fn decrement(&self, by: f64) {
        self.add(-by);
    }

    fn set(&self, to: f64) {
        self.0.store(to.to_bits(), Ordering::Relaxed);
    }
}

/// How many observations lay under each bound.
#[derive(Debug)]
pub(super) struct Buckets {
    bounds: &'static [f64],
    /// One for each bound, and one for what lies above the last.
    counts: Box<[AtomicU64]>,
    sum: Float,
    /// The last session of each bucket, where sessions are observed.
    exemplars: OnceLock<Box<[ExemplarSlot]>>,
}

/// Empty until a session is counted in the bucket.
type ExemplarSlot = Mutex<Option<Box<Exemplar>>>;

/// A session that was counted in a bucket.
#[derive(Clone, Debug)]
struct Exemplar {
    session: SessionId,
    value: f64,
    at: SystemTime,
}

impl Buckets {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0));
        Self {
            bounds,
            counts: counts.collect(),
            sum: Float::default(),
            exemplars: OnceLock::new(),
        }
    }

    /// Records a time of this session, observed at `at`.
    pub(super) fn record_session(&self, time: Duration, session: SessionId, at: SystemTime) {
        let value = time.as_secs_f64();
        self.record(value);
        let slots = self.exemplars.get_or_init(|| {
            let slots = self.counts.iter().map(|_| ExemplarSlot::default());
            slots.collect()
        });
        // Another worker or a scrape is at this bucket: any session of it will do.
        let Ok(mut slot) = slots[self.place(value)].try_lock() else {
            return;
        };
        let exemplar = Exemplar { session, value, at };
        match &mut *slot {
            Some(last) => **last = exemplar,
            None => *slot = Some(Box::new(exemplar)),
        }
    }

    /// The bucket of a value.
    fn place(&self, value: f64) -> usize {
        self.bounds.partition_point(|bound| *bound < value)
    }

    fn exemplar(&self, place: usize) -> Option<Exemplar> {
        let slot = self.exemplars.get()?[place].lock();
        // A panic cannot leave half an exemplar.
        let slot = slot.unwrap_or_else(PoisonError::into_inner);
        slot.as_deref().cloned()
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        self.counts[self.place(value)].fetch_add(1, Ordering::Relaxed);
        self.sum.add(value);
    }
}

/// Adds the lines of one series.
pub(super) fn write_series(
    text: &mut String,
    form: Exposition,
    metric: &Metric,
    values: &[Box<str>],
    cell: &Cell,
) {
    let labels = metric.labels.iter().zip(values);
    let labels: Vec<_> = labels
        .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
        .collect();
    let labels = labels.join(",");
    let name = metric.name;
    let mut line = |suffix: &str, more: &str, number: &dyn std::fmt::Display, last: &str| {
        let comma = if labels.is_empty() || more.is_empty() {
            ""
        } else {
            ","
        };
        let (open, close) = match labels.is_empty() && more.is_empty() {
            true => ("", ""),
            false => ("{", "}"),
        };
        writeln!(
            text,
            "{name}{suffix}{open}{labels}{comma}{more}{close} {number}{last}"
        )
        .expect("a string takes everything");
    };
    match cell {
        Cell::Counter(count) => line("", "", &count.0.load(Ordering::Relaxed), ""),
        Cell::Gauge(gauge) => line("", "", &gauge.get(), ""),
        Cell::Histogram(buckets) => {
            let mut count = 0;
            for (place, bucket) in buckets.counts.iter().enumerate() {
                count += bucket.load(Ordering::Relaxed);
                let bound = Bound(buckets.bounds.get(place).copied());
                let exemplar = match form {
                    Exposition::Text => None,
                    Exposition::OpenMetrics => buckets.exemplar(place),
                };
                let exemplar = exemplar.map(|one| written(&one)).unwrap_or_default();
                line("_bucket", &format!("le=\"{bound}\""), &count, &exemplar);
            }
            line("_sum", "", &buckets.sum.get(), "");
            line("_count", "", &count, "");
        }
    }
}

/// An exemplar as it stands behind the count of its bucket.
fn written(exemplar: &Exemplar) -> String {
    let Exemplar { session, value, at } = exemplar;
    let millis = clock::unix_millis(*at);
    let (seconds, fraction) = (millis / 1_000, millis % 1_000);
    format!(" # {{session_id=\"{session}\"}} {value} {seconds}.{fraction:03}")
}
