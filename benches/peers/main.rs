//! Sessile beside its peers: CPU time per message, CPU time per session set-up, memory per idle
//! session, each contestant on one core with one worker, each doing the same work in turn.
//!
//! ```text
//! cargo bench --bench peers -- [--rounds 5] [--seconds 1] [--only echo,idle] [--peers haproxy]
//! ```
//!
//! With `--base PATH --peers base,sessile` an earlier build takes part in the run.
//!
//! Without `--bench`, as `cargo test` runs it, every plain row is tried for a moment with the blind
//! relay: that tests the tool itself. It leaves out conclusions; see BENCHMARKS.md.

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
mod engine;
#[path = "../shared/figures.rs"]
mod figures;
#[path = "../shared/process.rs"]
mod process;
mod relay;
mod report;
mod rows;
mod stream;
mod wire;

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};

use crate::contestant::{BASE, Contestant, Identity};
use crate::report::Findings;
use crate::rows::{ROWS, Row, Scale};
use crate::stream::Tls;

/// Both ends of every idle session are in this process.
const DESCRIPTORS_MIN: u64 = 19_500;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq("--blind").is_some() {
        return relay::run(arguments);
    }
    let plan = Plan::parse(arguments)?;
    let scarce = process::raise_descriptors()? < DESCRIPTORS_MIN;
    if scarce && plan.scale.idle > 1_000 {
        bail!("the benchmark needs {DESCRIPTORS_MIN} descriptors; see `ulimit -Hn`");
    }
    process::leave_first_cpu()?;
    for contestant in &plan.contestants {
        println!("{}: {}", contestant.name(), contestant.version()?);
    }
    let findings = plan.run()?;
    let reference = [Contestant::Haproxy, plan.contestants[0]];
    let reference = reference
        .into_iter()
        .find(|one| plan.contestants.contains(one));
    let reference = reference.expect("a plan has contestants");
    println!(
        "\n{}",
        report::tables(&findings, &plan.contestants, reference)
    );
    Ok(())
}

/// What is measured, with whom, how often.
struct Plan {
    rounds: usize,
    rows: Vec<&'static Row>,
    contestants: Vec<Contestant>,
    scale: Scale,
}

impl Plan {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut measured = false;
        let mut plan = Self {
            rounds: 5,
            rows: ROWS.iter().collect(),
            contestants: Contestant::usual(),
            scale: Scale {
                window: Duration::from_secs(1),
                idle: 9_000,
                idle_tls: 3_000,
                settle: Duration::from_secs(3),
            },
        };
        while let Some(argument) = arguments.next() {
            if argument == "--bench" {
                measured = true;
                continue;
            }
            let value = arguments.next();
            let value = value.with_context(|| format!("{argument} needs a value"))?;
            match argument.as_str() {
                "--rounds" => plan.rounds = value.parse()?,
                "--seconds" => plan.scale.window = Duration::try_from_secs_f64(value.parse()?)?,
                "--only" => plan.rows = choose(&value, ROWS.iter(), |row| row.name)?,
                "--base" => drop(BASE.set(value)),
                "--peers" => {
                    let all = Contestant::ALL.into_iter();
                    plan.contestants = choose(&value, all, |contestant| contestant.name())?;
                }
                _ => bail!("unknown argument {argument}"),
            }
        }
        ensure!(plan.rounds > 0, "no rounds");
        if !measured {
            plan.rounds = 1;
            plan.rows.retain(|row| !row.tls);
            plan.contestants = vec![Contestant::Blind];
            plan.scale = Scale {
                window: Duration::from_millis(50),
                idle: 100,
                idle_tls: 100,
                settle: Duration::from_millis(50),
            };
        }
        Ok(plan)
    }

    /// Row by row; inside a row the contestants take turns, and each round another one begins.
    fn run(&self) -> Result<Vec<Findings>> {
        let ecdsa = certified(KeyPair::generate()?)?;
        let rsa = certified(KeyPair::generate_for(&PKCS_RSA_SHA256)?)?;
        let mut all = Vec::new();
        for row in &self.rows {
            let (identity, tls) = if row.rsa { &rsa } else { &ecdsa };
            let mut contestants = self.contestants.clone();
            contestants.retain(|contestant| !row.tls || contestant.speaks_tls());
            let mut samples: Vec<_> = contestants.iter().map(|one| (*one, Vec::new())).collect();
            for round in 0..self.rounds {
                let count = samples.len();
                for turn in 0..count {
                    let (contestant, samples) = &mut samples[(round + turn) % count];
                    let sample = row.run(*contestant, identity, tls, self.scale);
                    let who = || format!("{} with {}", row.name, contestant.name());
                    samples.push(sample.with_context(who)?);
                }
                eprintln!("{} {}/{}", row.name, round + 1, self.rounds);
            }
            all.push(Findings { row, samples });
        }
        Ok(all)
    }
}

/// A certificate with this key, and clients that trust it.
fn certified(key: KeyPair) -> Result<(Identity, Tls)> {
    let certificate = CertificateParams::new([wire::HOST.to_owned()])?.self_signed(&key)?;
    let identity = Identity {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    };
    Ok((identity, stream::tls_configs(certificate.der().clone())?))
}

fn choose<T: Copy>(
    names: &str,
    all: impl Iterator<Item = T> + Clone,
    name_of: impl Fn(&T) -> &'static str,
) -> Result<Vec<T>> {
    let mut chosen = Vec::new();
    for name in names.split(',') {
        let found = all.clone().find(|one| name_of(one) == name);
        let known = || {
            all.clone()
                .map(|one| name_of(&one))
                .collect::<Vec<_>>()
                .join(", ")
        };
        chosen.push(found.with_context(|| format!("no {name} here; there are: {}", known()))?);
    }
    Ok(chosen)
}
