//! Published messages beside Pushpin and nchan: CPU time for each delivery, and the time until the
//! last client has the message. A blind relay, whose backend sends each message to each client, is
//! the floor. Each contestant is on one core with one worker, each does the same work in turn.
//!
//! ```text
//! cargo bench --bench publish -- [--rounds 5] [--sessions 9000] [--peers blind,sessile]
//! ```
//!
//! With `--base PATH --peers base,sessile` an earlier build takes part in the run.
//!
//! Without `--bench`, as `cargo test` runs it, the blind relay and Sessile deliver a few messages:
//! that tests the tool itself. It leaves out conclusions; see BENCHMARKS.md.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for the terminal"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "counts are far from the limits"
)]

mod contestant;
#[path = "../shared/figures.rs"]
mod figures;
mod load;
#[allow(dead_code, reason = "memory is not measured here")]
#[path = "../shared/process.rs"]
mod process;
#[path = "../peers/relay.rs"]
mod relay;
#[allow(dead_code, reason = "other messages are sent here")]
#[path = "../peers/wire.rs"]
mod wire;
mod work;

use anyhow::{Context as _, Result, bail, ensure};

use crate::contestant::{BASE, Contestant};
use crate::figures::{median, noise, ratio};
use crate::work::{ROWS, Row, Sample, Scale};

/// Both ends of every session are in this process.
const DESCRIPTORS_MIN: u64 = 19_500;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut measured = false;
    let mut scale = Scale::FULL;
    let mut contestants = Contestant::ALL.to_vec();
    contestants.retain(|one| *one != Contestant::Base);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--blind" => return relay::run(arguments),
            "--bench" => {
                measured = true;
                continue;
            }
            _ => {}
        }
        let value = arguments.next();
        let value = value.with_context(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--rounds" => scale.rounds = value.parse()?,
            "--sessions" => scale.sessions = value.parse()?,
            "--base" => drop(BASE.set(value)),
            "--peers" => {
                let named = |one: &Contestant| value.split(',').any(|name| name == one.name());
                contestants = Contestant::ALL.into_iter().filter(named).collect();
            }
            _ => bail!("unknown argument {argument}"),
        }
    }
    ensure!(!contestants.is_empty(), "no peer of these names");
    if !measured {
        scale = Scale::SMALL;
        contestants = vec![Contestant::Blind, Contestant::Sessile];
    }
    let scarce = process::raise_descriptors()? < DESCRIPTORS_MIN;
    if scarce && scale.sessions > 1_000 {
        bail!("the benchmark needs {DESCRIPTORS_MIN} descriptors; see `ulimit -Hn`");
    }
    process::leave_first_cpu()?;
    println!(
        "| | contestant | CPU of a delivery, µs | {} = 1 | |",
        contestants[0].name()
    );
    println!("| --- | --- | ---: | ---: | ---: |");
    ROWS.iter()
        .try_for_each(|row| measure(row, &contestants, scale))
}

/// The contestants take turns, and each round another one begins.
fn measure(row: &Row, contestants: &[Contestant], scale: Scale) -> Result<()> {
    let mut samples: Vec<Vec<Sample>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 0..scale.rounds {
        for turn in 0..contestants.len() {
            let place = (round + turn) % contestants.len();
            let sample = (row.work)(contestants[place], scale);
            let who = || format!("{} with {}", row.title, contestants[place].name());
            samples[place].push(sample.with_context(who)?);
        }
        eprintln!("{} {}/{}", row.title, round + 1, scale.rounds);
    }
    let costs = |place: usize| -> Vec<f64> { samples[place].iter().map(|one| one.cost).collect() };
    let (title, unit) = (row.title, row.unit);
    for (place, contestant) in contestants.iter().enumerate() {
        let pace = median(samples[place].iter().map(|one| one.pace).collect());
        let (cost, noise) = (median(costs(place)), noise(&costs(place)));
        let (name, ratio) = (contestant.name(), ratio(&costs(place), &costs(0)));
        println!("| {title} | {name} | {cost:.2} ±{noise:.0}% | {ratio:.2} | {pace:.1} {unit} |");
    }
    Ok(())
}
