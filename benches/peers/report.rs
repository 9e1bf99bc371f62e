//! Medians, spreads and ratios of what the trials found, as Markdown. It leaves out what the
//! numbers mean: see BENCHMARKS.md.

use std::fmt::Write as _;

use crate::contestant::Contestant;
use crate::figures::{median, noise, ratio};
use crate::rows::{Row, Sample, Unit};

/// All samples of a row: for each contestant that took part, one for each round.
pub(crate) struct Findings {
    pub(crate) row: &'static Row,
    pub(crate) samples: Vec<(Contestant, Vec<Sample>)>,
}

impl Findings {
    fn of(&self, contestant: Contestant) -> Option<&[Sample]> {
        let found = self.samples.iter().find(|(name, _)| *name == contestant);
        found.map(|(_, samples)| samples.as_slice())
    }
}

/// Three tables: what a piece of work costs, that divided by the reference's cost, and how much
/// work was done meanwhile.
pub(crate) fn tables(all: &[Findings], contestants: &[Contestant], to: Contestant) -> String {
    let costs = table("cost", all, contestants, |findings, contestant| {
        let costs = costs_of(findings.of(contestant)?);
        let (middle, noise) = (median(costs.clone()), noise(&costs));
        Some(match findings.row.unit {
            Unit::Micros => format!("{middle:.2} µs ±{noise:.0}%"),
            Unit::Bytes => format!("{middle:.0} B ±{noise:.0}%"),
        })
    });
    let title = format!("cost, {} = 1", to.name());
    let ratios = table(&title, all, contestants, |findings, contestant| {
        let reference = costs_of(findings.of(to)?);
        let costs = costs_of(findings.of(contestant)?);
        Some(format!("{:.2}", ratio(&costs, &reference)))
    });
    let work = table(
        "work per second",
        all,
        contestants,
        |findings, contestant| {
            let samples = findings.of(contestant)?;
            let work = samples.iter().map(|sample| sample.work).collect();
            (findings.row.unit == Unit::Micros).then(|| format!("{:.0}", median(work)))
        },
    );
    format!("{costs}\n{ratios}\n{work}")
}

fn table(
    title: &str,
    all: &[Findings],
    contestants: &[Contestant],
    cell: impl Fn(&Findings, Contestant) -> Option<String>,
) -> String {
    let names = contestants.iter().map(|contestant| contestant.name());
    let mut text = format!("| {title} | {} |\n", names.collect::<Vec<_>>().join(" | "));
    text += &format!("| --- |{}\n", " ---: |".repeat(contestants.len()));
    for findings in all {
        let cells = contestants
            .iter()
            .map(|contestant| cell(findings, *contestant).unwrap_or_default());
        let cells = cells.collect::<Vec<_>>();
        if cells.iter().any(|cell| !cell.is_empty()) {
            let title = findings.row.title;
            writeln!(text, "| {title} | {} |", cells.join(" | ")).expect("a string takes all");
        }
    }
    text
}

fn costs_of(samples: &[Sample]) -> Vec<f64> {
    samples.iter().map(|sample| sample.cost).collect()
}
