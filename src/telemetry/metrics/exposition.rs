//! The two text formats that Prometheus reads: its own, and OpenMetrics 1.0, which also has
//! exemplars.

use std::fmt::{self, Write as _};

use crate::telemetry::metrics::table::{self, Kind, Metric};

/// A text format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus' own, version 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Exposition {
    /// The format that a client with this `Accept` header prefers.
    pub fn preferred(accept: &str) -> Self {
        let (mut open_metrics, mut text) = (0, 0);
        for range in accept.split(',') {
            let mut words = range.split(';').map(str::trim);
            let media = words.next().unwrap_or_default();
            let (mut quality, mut version) = (1_000, "1.0.0");
            for (name, value) in words.filter_map(|word| word.split_once('=')) {
                match name {
                    "q" => quality = thousandths(value),
                    "version" => version = value,
                    _ => {}
                }
            }
            let best = match media.to_ascii_lowercase().as_str() {
                "application/openmetrics-text" if version == "1.0.0" => &mut open_metrics,
                "text/plain" | "text/*" | "*/*" => &mut text,
                _ => continue,
            };
            *best = quality.max(*best);
        }
        match open_metrics > 0 && open_metrics >= text {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What stands after the last family.
    pub const fn end(self) -> &'static str {
        match self {
            Self::Text => "",
            Self::OpenMetrics => "# EOF\n",
        }
    }

    /// Adds the lines before the samples of a family.
    pub(super) fn begin_family(self, text: &mut String, metric: &Metric) {
        let (name, kind) = match (self, metric.kind) {
            (Self::OpenMetrics, Kind::Counter) => counter_family(metric.name),
            _ => (metric.name, metric.kind.as_str()),
        };
        let help = metric.help;
        write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n")
            .expect("a string takes everything");
    }

    /// Adds what stands after the samples of a family.
    pub(super) fn end_family(self, text: &mut String) {
        if self == Self::Text {
            text.push('\n');
        }
    }
}

/// OpenMetrics names a family of counters without `_total`. A counter whose family would then have
/// the name of another metric is written as `unknown`, which has no suffix.
fn counter_family(name: &str) -> (&str, &'static str) {
    let family = name.trim_end_matches("_total");
    match table::ALL.iter().any(|other| other.name == family) {
        true => (name, "unknown"),
        false => (family, "counter"),
    }
}

/// A quality of `Accept`, 0 to 1; 0 if it is malformed.
fn thousandths(quality: &str) -> u32 {
    let quality = quality.parse::<f32>().unwrap_or(0.0);
    // A cast of NaN is 0.
    (quality.clamp(0.0, 1.0) * 1_000.0) as u32
}

/// The bound of a bucket as Prometheus' own libraries write it: never without a fraction.
pub(super) struct Bound(pub(super) Option<f64>);

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bound) => write!(f, "{bound:?}"),
            None => f.write_str("+Inf"),
        }
    }
}

/// A label's value, escaped for both formats.
pub(super) fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', r#"\""#)
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_the_client_prefers() {
        let check = |accept: &str, expected| {
            assert_eq!(Exposition::preferred(accept), expected, "{accept}");
        };
        use Exposition::{OpenMetrics, Text};
        check("", Text);
        check("*/*", Text);
        check("text/html, */*;q=0.8", Text);
        check("application/openmetrics-text", OpenMetrics);
        check("Application/OpenMetrics-Text; version=1.0.0", OpenMetrics);
        // Prometheus 2.
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
             version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OpenMetrics,
        );
        check("application/openmetrics-text;version=0.0.1", Text);
        check(
            "application/openmetrics-text;q=0.3,text/plain;version=0.0.4;q=0.6",
            Text,
        );
        check("application/openmetrics-text;q=0", Text);
        check("application/openmetrics-text;q=NaN", Text);
    }

    #[test]
    fn no_two_families_of_openmetrics_have_one_name() {
        let mut names = std::collections::HashSet::new();
        for metric in table::ALL {
            let (name, kind) = match metric.kind {
                Kind::Counter => counter_family(metric.name),
                other => (metric.name, other.as_str()),
            };
            assert!(names.insert(name), "{name} is there twice");
            let plain = kind == "counter" && metric.name == format!("{name}_total");
            assert!(plain || metric.name == name, "{name} {kind}");
            assert!(!metric.help.contains(['\\', '"', '\n']), "{name}");
        }
    }

    #[test]
    fn bounds_are_floating_point_numbers() {
        let shown = [0.0005, 1.0, 10.0, 604_800.0].map(|bound| Bound(Some(bound)).to_string());
        assert_eq!(shown, ["0.0005", "1.0", "10.0", "604800.0"]);
        assert_eq!(Bound(None).to_string(), "+Inf");
    }
}
