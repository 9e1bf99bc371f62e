//! The series that are counted: made when they are first needed, written out for Prometheus, and
//! removed when what they are named after is gone and no handle to them is left.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::telemetry::metrics::reading::escaped;
use crate::telemetry::metrics::table::{self, Kind, Metric};

/// How long a series stays when it is no longer needed: a few scrapes, which read its last value.
const KEPT: Duration = Duration::from_secs(120);
/// Series that are kept for that long at most; the oldest go first.
const KEPT_MAX: usize = 500;

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(super) fn increment(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub(super) struct Gauge(Arc<Float>);

impl Gauge {
    pub(super) fn increment(&self, by: f64) {
        self.0.add(by);
    }

    pub(super) fn decrement(&self, by: f64) {
        self.0.add(-by);
    }

    pub(super) fn set(&self, to: f64) {
        self.0.0.store(to.to_bits(), Ordering::Relaxed);
    }
}

/// How many observations lay under each bound.
#[derive(Clone, Debug)]
pub(super) struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    bounds: &'static [f64],
    /// One for each bound, and one for what lies above the last.
    counts: Box<[AtomicU64]>,
    sum: Float,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0));
        Self(Arc::new(Buckets {
            bounds,
            counts: counts.collect(),
            sum: Float::default(),
        }))
    }

    pub(super) fn record(&self, value: f64) {
        let place = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.counts[place].fetch_add(1, Ordering::Relaxed);
        self.0.sum.add(value);
    }
}

/// An `f64` that threads add to.
#[derive(Debug, Default)]
struct Float(AtomicU64);

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

#[derive(Debug)]
enum Cell {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Cell {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter(Counter::default()),
            Kind::Gauge => Self::Gauge(Gauge::default()),
            Kind::Histogram(bounds) => Self::Histogram(Histogram::new(bounds)),
        }
    }

    /// Whether a handle to it is held outside of the registry.
    fn is_held(&self) -> bool {
        let handles = match self {
            Self::Counter(Counter(value)) => Arc::strong_count(value),
            Self::Gauge(Gauge(value)) => Arc::strong_count(value),
            Self::Histogram(Histogram(value)) => Arc::strong_count(value),
        };
        handles > 1
    }
}

#[derive(Debug)]
struct Series {
    cell: Cell,
    /// Since when it has not been needed.
    unneeded: Option<Instant>,
}

/// Values of a metric's labels, in its order.
type Values = Box<[Box<str>]>;

/// All series of one gateway.
#[derive(Debug, Default)]
pub(super) struct Registry(RwLock<HashMap<&'static str, BTreeMap<Values, Series>>>);

impl Registry {
    pub(super) fn counter(&self, metric: &Metric, values: &[&str]) -> Counter {
        self.cell(metric, values, |cell| match cell {
            Cell::Counter(counter) => Some(counter.clone()),
            _ => None,
        })
    }

    pub(super) fn gauge(&self, metric: &Metric, values: &[&str]) -> Gauge {
        self.cell(metric, values, |cell| match cell {
            Cell::Gauge(gauge) => Some(gauge.clone()),
            _ => None,
        })
    }

    pub(super) fn histogram(&self, metric: &Metric, values: &[&str]) -> Histogram {
        self.cell(metric, values, |cell| match cell {
            Cell::Histogram(histogram) => Some(histogram.clone()),
            _ => None,
        })
    }

    fn cell<T>(&self, metric: &Metric, values: &[&str], of: fn(&Cell) -> Option<T>) -> T {
        debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
        let values: Values = values.iter().map(|value| Box::from(*value)).collect();
        // The handle is cloned under the lock, so that no sweep finds the series without it.
        let mut families = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let family = families.entry(metric.name).or_default();
        let series = family.entry(values).or_insert_with(|| Series {
            cell: Cell::new(metric.kind),
            unneeded: None,
        });
        of(&series.cell).expect("code asks for the kind that the table has")
    }

    /// Removes series that have not been needed for a while: those that `is_named` denies and to
    /// which no handle is left. Answers how many series of what is gone are there still.
    pub(super) fn sweep(
        &self,
        now: Instant,
        is_named: impl Fn(&Metric, &[Box<str>]) -> bool,
    ) -> usize {
        let mut families = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut gone = 0;
        let mut unneeded = Vec::new();
        for metric in table::ALL {
            let Some(family) = families.get_mut(metric.name) else {
                continue;
            };
            family.retain(|values, series| {
                if is_named(metric, values) {
                    series.unneeded = None;
                    return true;
                }
                if series.cell.is_held() {
                    series.unneeded = None;
                    gone += 1;
                    return true;
                }
                let since = *series.unneeded.get_or_insert(now);
                if now.saturating_duration_since(since) >= KEPT {
                    return false;
                }
                gone += 1;
                unneeded.push((since, metric.name, values.clone()));
                true
            });
        }
        let more = unneeded.len().saturating_sub(KEPT_MAX);
        unneeded.sort_unstable();
        for (_, name, values) in unneeded.drain(..more) {
            families.get_mut(name).map(|family| family.remove(&values));
        }
        gone - more
    }

    /// Everything in Prometheus' text format, in the order of the table.
    pub(super) fn render(&self) -> String {
        let families = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for metric in table::ALL {
            let family = families
                .get(metric.name)
                .filter(|family| !family.is_empty());
            let Some(family) = family else { continue };
            let (name, kind) = (metric.name, metric.kind.as_str());
            write!(
                text,
                "# HELP {name} {}\n# TYPE {name} {kind}\n",
                metric.help
            )
            .expect("a string takes everything");
            for (values, series) in family {
                write_series(&mut text, metric, values, &series.cell);
            }
            text.push('\n');
        }
        text
    }
}

fn write_series(text: &mut String, metric: &Metric, values: &[Box<str>], cell: &Cell) {
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
        Cell::Counter(counter) => line("", "", &counter.0.load(Ordering::Relaxed)),
        Cell::Gauge(gauge) => line("", "", &gauge.0.get()),
        Cell::Histogram(histogram) => {
            let buckets = &*histogram.0;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    fn lines(registry: &Registry) -> usize {
        let text = registry.render();
        text.lines()
            .filter(|line| line.starts_with("sessile_"))
            .count()
    }

    #[test]
    fn a_series_goes_when_its_name_is_gone_and_nothing_holds_it() {
        let registry = Registry::default();
        let now = clock::now();
        let held = registry.counter(&table::REFUSALS, &["a", "u", "no_backend"]);
        let named = |_: &Metric, values: &[Box<str>]| &*values[0] == "b";
        registry.counter(&table::REFUSALS, &["b", "u", "no_backend"]);
        assert_eq!(registry.sweep(now, named), 1);
        let later = now + 10 * KEPT;
        // A session may last for days after its route.
        assert_eq!(registry.sweep(later, named), 1);
        held.increment(7);
        drop(held);
        // Its last value can still be scraped.
        assert_eq!(registry.sweep(later, named), 1);
        assert!(
            registry.render().contains("reason=\"no_backend\"} 7\n"),
            "{}",
            registry.render()
        );
        assert_eq!(registry.sweep(later + KEPT / 2, named), 1);
        assert_eq!(lines(&registry), 2);
        assert_eq!(registry.sweep(later + KEPT, named), 0);
        assert_eq!(lines(&registry), 1);
    }

    #[test]
    fn a_name_that_returns_in_time_counts_on() {
        let registry = Registry::default();
        let now = clock::now();
        registry
            .counter(&table::REFUSALS, &["a", "u", "r"])
            .increment(1);
        registry.sweep(now, |_, _| false);
        registry
            .counter(&table::REFUSALS, &["a", "u", "r"])
            .increment(1);
        registry.sweep(now + KEPT / 2, |_, _| true);
        registry.sweep(now + KEPT, |_, _| false);
        assert!(registry.render().contains("} 2\n"), "{}", registry.render());
    }

    #[test]
    fn no_churn_keeps_more_than_the_bound() {
        let registry = Registry::default();
        let now = clock::now();
        for route in 0..3 * KEPT_MAX {
            let route = route.to_string();
            registry
                .counter(&table::REFUSALS, &[&route, "u", "r"])
                .increment(1);
        }
        assert_eq!(registry.sweep(now, |_, _| false), KEPT_MAX);
        assert_eq!(lines(&registry), KEPT_MAX);
    }

    #[test]
    fn histograms_are_written_as_prometheus_reads_them() {
        let registry = Registry::default();
        let histogram = registry.histogram(&table::SESSION_SECONDS, &["r\"1", "u"]);
        for value in [1.0, 2.0, 1e9] {
            histogram.record(value);
        }
        let text = registry.render();
        for line in [
            "# TYPE sessile_session_seconds histogram",
            "sessile_session_seconds_bucket{route=\"r\\\"1\",upstream=\"u\",le=\"1\"} 1",
            "sessile_session_seconds_bucket{route=\"r\\\"1\",upstream=\"u\",le=\"10\"} 2",
            "sessile_session_seconds_bucket{route=\"r\\\"1\",upstream=\"u\",le=\"+Inf\"} 3",
            "sessile_session_seconds_sum{route=\"r\\\"1\",upstream=\"u\"} 1000000003",
            "sessile_session_seconds_count{route=\"r\\\"1\",upstream=\"u\"} 3",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "no {line} in {text}"
            );
        }
    }
}
