//! What decisions cost: the pure parts of the gateway, one operation at a time.
//!
//! ```text
//! cargo bench --bench pure -- [FILTER]                  # nanoseconds: for people
//! cargo bench --bench pure -- --instructions [FILTER]   # instructions: the same on every run
//! ```
//!
//! Instructions are counted by valgrind's callgrind, which must be installed. Without `--bench`, as
//! `cargo test` runs it, every case is tried once. It leaves out everything that does I/O: that is
//! in `benches/peers`.

#![allow(clippy::print_stdout, reason = "a tool for the terminal")]

mod balance;
mod relay;
mod routing;
mod session;
mod wire;

use std::hint::black_box;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sessile::base::clock::now;

/// Does an operation that many times.
type Work = Box<dyn FnMut(u64)>;

/// An operation to measure.
struct Case {
    /// `room: what, with what`.
    name: &'static str,
    /// Sets up, which is not measured.
    make: fn() -> Work,
}

const ROOMS: [&[Case]; 5] = [
    wire::CASES,
    routing::CASES,
    balance::CASES,
    session::CASES,
    relay::CASES,
];
/// Under valgrind ten are as good as a million.
const COUNTED: u64 = 10;
const SAMPLES: usize = 15;
const SAMPLE: Duration = Duration::from_millis(10);

fn main() -> Result<()> {
    let mut bench = false;
    let mut instructions = false;
    let mut filter = String::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => bench = true,
            "--instructions" => instructions = true,
            "--count" => filter = arguments.next().context("--count needs a case")?,
            _ => filter = argument,
        }
    }
    let cases = ROOMS.into_iter().flatten();
    for case in cases.filter(|case| case.name.contains(&filter)) {
        if instructions {
            println!("{:<56} {:>11.1} instructions", case.name, count(case)?);
        } else if bench {
            let (median, best) = time(case);
            println!("{:<56} {median:>11.1} ns   best {best:.1}", case.name);
        } else {
            measured(&mut (case.make)(), COUNTED);
        }
    }
    Ok(())
}

/// Makes work out of one operation. What it returns counts as used.
fn work<T>(mut operation: impl FnMut() -> T + 'static) -> Work {
    Box::new(move |times| {
        for _ in 0..times {
            black_box(operation());
        }
    })
}

/// Nanoseconds for one operation: the median of the samples and the best.
fn time(case: &Case) -> (f64, f64) {
    let mut work = (case.make)();
    let mut sample = |times| {
        let start = now();
        measured(&mut work, times);
        start.elapsed()
    };
    let mut times = 1;
    while sample(times) < SAMPLE {
        times *= 2;
    }
    let mut samples = [0.0; SAMPLES];
    for nanos in &mut samples {
        *nanos = sample(times).as_secs_f64() * 1e9 / times as f64;
    }
    samples.sort_by(f64::total_cmp);
    (samples[SAMPLES / 2], samples[0])
}

/// Instructions for one operation: this program again, under valgrind, with that case alone.
fn count(case: &Case) -> Result<f64> {
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*measured*",
        ])
        .arg(std::env::current_exe()?)
        .args(["--count", case.name])
        .output()
        .context("cannot run valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed: {text}");
    let total = text
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let (_, total) = total.context("valgrind says what it collected")?;
    Ok(total.trim().parse::<f64>()? / COUNTED as f64)
}

/// The one function that callgrind looks into.
#[inline(never)]
fn measured(work: &mut Work, times: u64) {
    work(times);
}
