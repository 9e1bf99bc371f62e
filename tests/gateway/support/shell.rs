//! The program from the shell, and numbers for people who read the output of a test.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// Runs the program in a directory, to its end.
pub fn sessile(arguments: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessile"));
    command.args(arguments).current_dir(directory);
    command.output().expect("sessile runs")
}

/// Prints how many events each slot of time has, and returns the counts.
pub fn histogram(what: &str, times: &[Duration], slot: Duration) -> Vec<usize> {
    let last = times.iter().max().copied().unwrap_or_default();
    let slots = usize::try_from(last.as_millis() / slot.as_millis()).unwrap() + 1;
    let mut counts = vec![0; slots];
    for time in times {
        counts[usize::try_from(time.as_millis() / slot.as_millis()).unwrap()] += 1;
    }
    let mut text = format!("{what}: {} in {last:?}\n", times.len());
    for (place, count) in counts.iter().enumerate() {
        let from = slot * u32::try_from(place).unwrap();
        writeln!(
            text,
            "{from:>8.1?} {count:>5} {}",
            "#".repeat((*count).min(100))
        )
        .unwrap();
    }
    eprint!("{text}");
    counts
}
