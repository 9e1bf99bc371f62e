//! The series that are counted: made when they are first needed, written out for Prometheus, and
//! removed when what they are named after is gone and no handle to them is left. Code records
//! through handles of the `metrics` crate; the registry is its recorder, one for each gateway.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit,
};

use crate::telemetry::metrics::cell::{Buckets, Cell, write_series};
use crate::telemetry::metrics::exposition::Exposition;
use crate::telemetry::metrics::table::{self, Kind, Metric};

/// How long a series stays when it is no longer needed: a few scrapes, which read its last value.
const KEPT: Duration = Duration::from_secs(120);
/// Series that are kept for that long at most; the oldest go first.
const KEPT_MAX: usize = 500;
/// The registry looks at keys only.
const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

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
    /// The counter with these values of the metric's labels.
    pub(super) fn counter(&self, metric: &Metric, values: &[&str]) -> Counter {
        debug_assert_eq!(metric.kind, Kind::Counter, "{}", metric.name);
        self.register_counter(&key(metric, values), &METADATA)
    }

    /// The gauge with these values of the metric's labels.
    pub(super) fn gauge(&self, metric: &Metric, values: &[&str]) -> Gauge {
        debug_assert_eq!(metric.kind, Kind::Gauge, "{}", metric.name);
        self.register_gauge(&key(metric, values), &METADATA)
    }

    /// The histogram with these values of the metric's labels.
    pub(super) fn histogram(&self, metric: &Metric, values: &[&str]) -> Histogram {
        let is_histogram = matches!(metric.kind, Kind::Histogram(_));
        debug_assert!(is_histogram, "{}", metric.name);
        self.register_histogram(&key(metric, values), &METADATA)
    }

    /// The same with sessions as exemplars.
    pub(super) fn session_histogram(&self, metric: &Metric, values: &[&str]) -> Arc<Buckets> {
        let handle = self.handle(&key(metric, values), |cell| match cell {
            Cell::Histogram(value) => Some(Arc::clone(value)),
            _ => None,
        });
        handle.expect("the caller names a histogram of the table")
    }

    /// How many series the metric has.
    pub(super) fn count(&self, metric: &Metric) -> usize {
        let families = self.0.read().unwrap_or_else(PoisonError::into_inner);
        families.get(metric.name).map_or(0, BTreeMap::len)
    }

    /// A handle to the series of this key, which is made if it is not there yet; `None` if the
    /// table has no such metric or `of` refuses its kind.
    fn handle<T>(&self, key: &Key, of: fn(&Cell) -> Option<T>) -> Option<T> {
        let (metric, values) = find(key)?;
        // A series of another kind must not appear because of a key that is refused.
        let cell = Cell::new(metric.kind);
        of(&cell)?;
        // The handle is cloned under the lock, so that no sweep finds the series without it.
        let mut families = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let family = families.entry(metric.name).or_default();
        let series = family.entry(values).or_insert_with(|| Series {
            cell,
            unneeded: None,
        });
        of(&series.cell)
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

    /// Calls `each` with the labels and the count of every series of a counter.
    pub(super) fn each_counter(
        &self,
        metric: &Metric,
        mut each: impl FnMut(&HashMap<&str, &str>, u64),
    ) {
        let families = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (values, series) in families.get(metric.name).into_iter().flatten() {
            if let Cell::Counter(count) = &series.cell {
                let values = values.iter().map(|value| &**value);
                let labels = metric.labels.iter().copied().zip(values).collect();
                each(&labels, count.get());
            }
        }
    }

    /// Everything in this format, in the order of the table.
    pub(super) fn render(&self, form: Exposition) -> String {
        let families = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for metric in table::ALL {
            let family = families
                .get(metric.name)
                .filter(|family| !family.is_empty());
            let Some(family) = family else { continue };
            form.begin_family(&mut text, metric);
            for (values, series) in family {
                write_series(&mut text, form, metric, values, &series.cell);
            }
            form.end_family(&mut text);
        }
        text
    }
}

/// What the table lacks is not recorded: such a key gets a handle that does nothing.
impl Recorder for Registry {
    // The table describes every metric.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let handle = self.handle(key, |cell| match cell {
            Cell::Counter(value) => Some(Counter::from_arc(Arc::clone(value))),
            _ => None,
        });
        handle.unwrap_or_else(Counter::noop)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let handle = self.handle(key, |cell| match cell {
            Cell::Gauge(value) => Some(Gauge::from_arc(Arc::clone(value))),
            _ => None,
        });
        handle.unwrap_or_else(Gauge::noop)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let handle = self.handle(key, |cell| match cell {
            Cell::Histogram(value) => Some(Histogram::from_arc(Arc::clone(value))),
            _ => None,
        });
        handle.unwrap_or_else(Histogram::noop)
    }
}

/// The key of the series with these values of the metric's labels, in the metric's order.
fn key(metric: &Metric, values: &[&str]) -> Key {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let labels = metric.labels.iter().zip(values);
    let labels = labels.map(|(label, value)| Label::new(*label, (*value).to_owned()));
    Key::from_parts(metric.name, labels.collect::<Vec<_>>())
}

/// The metric of this key and the values of its labels, in the metric's order; `None` if the table
/// has no metric with this name and exactly these labels.
fn find(key: &Key) -> Option<(&'static Metric, Values)> {
    let metric = table::ALL.iter().find(|known| known.name == key.name())?;
    if key.labels().len() != metric.labels.len() {
        return None;
    }
    let value = |name: &&str| {
        let found = key.labels().find(|label| label.key() == *name)?;
        Some(Box::from(found.value()))
    };
    let values = metric.labels.iter().map(value).collect::<Option<_>>()?;
    Some((metric, values))
}

#[cfg(test)]
mod tests;
