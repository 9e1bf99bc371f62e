//! Metrics that are read from live state when Prometheus scrapes. They need no counter that could
//! drift, and the series of a removed backend disappears with it.

use std::fmt::Write as _;
use std::fs;

use crate::telemetry::metrics::exposition::{Exposition, escaped};
use crate::telemetry::metrics::table::{self, Metric};

/// Ticks of `/proc/self/stat` per second; Linux reports 100 to all programs, independent of its own
/// tick.
const TICKS_PER_SECOND: f64 = 100.0;

/// Text for Prometheus, put together family by family.
#[derive(Debug, Default)]
pub struct Reading {
    form: Exposition,
    text: String,
}

impl Reading {
    /// Empty, in this format.
    pub fn new(form: Exposition) -> Self {
        Self {
            form,
            text: String::new(),
        }
    }

    /// Adds one family. A sample is the values of the metric's labels, in its order, and a number.
    pub fn family<'l, const N: usize>(
        &mut self,
        metric: &Metric,
        samples: impl IntoIterator<Item = ([&'l str; N], f64)>,
    ) {
        let name = metric.name;
        self.form.begin_family(&mut self.text, metric);
        for (values, number) in samples {
            debug_assert_eq!(metric.labels.len(), N, "{name}");
            self.write(format_args!("{name}"));
            for (place, (label, value)) in metric.labels.iter().zip(values).enumerate() {
                let before = if place == 0 { '{' } else { ',' };
                self.write(format_args!("{before}{label}=\"{}\"", escaped(value)));
            }
            let after = if N == 0 { "" } else { "}" };
            self.write(format_args!("{after} {number}\n"));
        }
        self.form.end_family(&mut self.text);
    }

    /// Adds a family of one sample without labels.
    pub fn single(&mut self, metric: &Metric, number: f64) {
        self.family(metric, [([], number)]);
    }

    /// Adds the metrics of this process; none without `/proc`.
    pub fn process(&mut self) {
        // Not `metrics-process`: it records through a recorder, which would keep showing the last
        // values when `/proc` can no longer be read; these four are read at each scrape.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kibibytes) = number_after(&status, "VmRSS:") {
            self.single(&table::PROCESS_RESIDENT, kibibytes * 1024.0);
        }
        if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
            // The listing itself holds one.
            self.single(
                &table::PROCESS_FDS,
                descriptors.count().saturating_sub(1) as f64,
            );
        }
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        if let Some(most) = number_after(&limits, "Max open files") {
            self.single(&table::PROCESS_FDS_MAX, most);
        }
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(ticks) = cpu_ticks(&stat) {
            self.single(&table::PROCESS_CPU, ticks / TICKS_PER_SECOND);
        }
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.text
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.text
            .write_fmt(text)
            .expect("a string takes everything");
    }
}

fn number_after(text: &str, label: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// User and system time, fields 14 and 15 of proc_pid_stat(5); field 2, the program's name, may
/// hold spaces and ends with the last parenthesis.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some(ticks()? + ticks()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_written_as_prometheus_reads_it() {
        let mut reading = Reading::default();
        let samples = [(["chat", "a\"b\\c\nd"], 1.0), (["chat", "e"], 0.5)];
        reading.family(&table::BACKEND_HEALTHY, samples);
        let text = reading.into_text();
        let (help, samples) = text.split_once("gauge\n").expect("a TYPE line");
        assert!(
            help.starts_with("# HELP sessile_backend_healthy 0 if"),
            "{help}"
        );
        assert_eq!(
            samples,
            "sessile_backend_healthy{upstream=\"chat\",backend=\"a\\\"b\\\\c\\nd\"} 1\n\
             sessile_backend_healthy{upstream=\"chat\",backend=\"e\"} 0.5\n\n"
        );
    }

    #[test]
    fn the_process_is_seen() {
        let mut reading = Reading::default();
        reading.process();
        let text = reading.into_text();
        let value = |name: &str| {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")));
            let number = line.and_then(|line| line.rsplit_once(' ')).expect(name).1;
            number.parse::<f64>().expect("a number")
        };
        assert!(
            value("sessile_process_resident_memory_bytes") > 1e6,
            "{text}"
        );
        assert!(
            value("sessile_process_open_fds") >= 3.0 && value("sessile_process_max_fds") >= 3.0,
            "{text}"
        );
    }

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        assert_eq!(cpu_ticks(stat), Some(300.0));
        assert_eq!(cpu_ticks(""), None);
    }
}
