//! The values behind the handles of the `metrics` crate, and the lines that Prometheus reads.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{CounterFn, GaugeFn, HistogramFn};

use crate::telemetry::metrics::reading::escaped;
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
}

impl Buckets {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0));
        Self {
            bounds,
            counts: counts.collect(),
            sum: Float::default(),
        }
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        self.sum.add(value);
    }
}

/// Adds the lines of one series.
pub(super) fn write_series(text: &mut String, metric: &Metric, values: &[Box<str>], cell: &Cell) {
    let labels = metric.labels.iter().zip(values);
    let labels: Vec<_> = labels
        .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
        .collect();
    let labels = labels.join(",");
    let name = metric.name;
    let mut line = |suffix: &str, more: &str, number: &dyn std::fmt::Display| {
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
            "{name}{suffix}{open}{labels}{comma}{more}{close} {number}"
        )
        .expect("a string takes everything");
    };
    match cell {
        Cell::Counter(count) => line("", "", &count.0.load(Ordering::Relaxed)),
        Cell::Gauge(gauge) => line("", "", &gauge.get()),
        Cell::Histogram(buckets) => {
            let mut count = 0;
            for (place, bucket) in buckets.counts.iter().enumerate() {
                count += bucket.load(Ordering::Relaxed);
                let bound = buckets.bounds.get(place);
                let bound = bound.map_or_else(|| "+Inf".to_owned(), ToString::to_string);
                line("_bucket", &format!("le=\"{bound}\""), &count);
            }
            line("_sum", "", &buckets.sum.get());
            line("_count", "", &count);
        }
    }
}
