//! One address throws bad handshakes, while a client of another address goes on talking: what that
//! client notices of it, what each handshake costs the gateway, and whether its memory grows.
//! Sessile beside HAProxy and nginx, each set to refuse with 400 what has no key, then also to
//! take no more than 500 connections a second of one address. Needs both on the path.
//!
//! `cargo bench --bench flood -- --rate 10000 --seconds 10`
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a program for people: it measures real time and fails by panic"
)]

mod contestant;
mod echo;
#[allow(
    dead_code,
    reason = "few descriptors suffice, and each is asked to end"
)]
#[path = "../shared/process.rs"]
mod process;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::contestant::{Contestant, Running};
use crate::echo::{Times, connect, echoes, session};

/// Threads that throw; each waits for the answer to its last one.
const THROWERS: u32 = 8;
/// Where they come from.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// The address of the well-behaved client, which sends and gets its echo.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// An upgrade without a key.
const BAD: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn main() {
    // `cargo test` only sees that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let (rate, seconds) = (argument("--rate", 10_000), argument("--seconds", 10));
    process::leave_first_cpu().unwrap();
    let backend = echo::backend();
    println!(
        "| | bad handshakes a second | CPU of each, µs | echo quiet, ms | flooded, ms | factor \
         | p99 quiet, ms | flooded, ms | longest, ms | grown, KiB |"
    );
    println!("| --- |{}", " ---: |".repeat(9));
    for limited in [false, true] {
        for contestant in Contestant::ALL {
            let running = contestant.start(backend, limited).unwrap();
            let found = flood(&running, rate, Duration::from_secs(seconds.into()));
            let limit = if limited { ", 500/s of an address" } else { "" };
            println!(
                "| {}{limit} | {:.0} | {:.1} | {:.3} | {:.3} | {:.2} | {:.2} | {:.2} | {:.1} | {} |",
                contestant.name(),
                found.rate,
                found.cost * 1e6,
                found.quiet.median * 1e3,
                found.flooded.median * 1e3,
                found.flooded.median / found.quiet.median,
                found.quiet.p99 * 1e3,
                found.flooded.p99 * 1e3,
                found.flooded.longest * 1e3,
                found.grown / 1024,
            );
        }
    }
}

fn argument(name: &str, default: u32) -> u32 {
    let mut arguments = std::env::args();
    arguments.find(|one| one == name);
    let value = arguments.next();
    value.map_or(default, |text| text.parse().unwrap())
}

/// What one flood showed.
struct Found {
    /// Bad handshakes a second.
    rate: f64,
    /// CPU time of the contestant for each, seconds.
    cost: f64,
    quiet: Times,
    flooded: Times,
    /// Bytes of memory more than before.
    grown: i64,
}

fn flood(running: &Running, rate: u32, length: Duration) -> Found {
    let mut client = session(CLIENT, running.address);
    // What only the first ones cost is not the price of a flood.
    throw_for(running.address, rate, Duration::from_secs(1), || {});
    let before = running.process.cpu().unwrap();
    let quiet = echoes(&mut client, |passed| passed >= length);
    let base = running.process.cpu().unwrap() - before;
    let (memory, cpu) = (
        running.process.memory().unwrap(),
        running.process.cpu().unwrap(),
    );
    let mut flooded = None;
    let thrown = throw_for(running.address, rate, length, || {
        flooded = Some(echoes(&mut client, |passed| passed >= length));
    });
    let cpu = running.process.cpu().unwrap() - cpu;
    Found {
        rate: thrown as f64 / length.as_secs_f64(),
        cost: cpu.saturating_sub(base).as_secs_f64() / thrown as f64,
        quiet,
        flooded: flooded.unwrap(),
        grown: running.process.memory().unwrap().cast_signed() - memory.cast_signed(),
    }
}

/// Throws at this rate while `meanwhile` runs, and for `length` at least; answers how many.
fn throw_for(to: SocketAddr, rate: u32, length: Duration, meanwhile: impl FnOnce()) -> u64 {
    let stop = Arc::new(AtomicBool::new(false));
    let thrown = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let throwers: Vec<_> = (0..THROWERS)
        .map(|_| {
            let (stop, thrown) = (Arc::clone(&stop), Arc::clone(&thrown));
            let gap = Duration::from_secs(1) * THROWERS / rate;
            thread::spawn(move || {
                let mut due = start;
                while !stop.load(Ordering::Relaxed) {
                    due += gap;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    throw(to);
                    thrown.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    meanwhile();
    thread::sleep(length.saturating_sub(start.elapsed()));
    stop.store(true, Ordering::Relaxed);
    for thrower in throwers {
        thrower.join().unwrap();
    }
    thrown.load(Ordering::Relaxed)
}

/// One bad handshake, and its answer if there is one. It ends by a reset, so that no port stays
/// behind in TIME_WAIT.
fn throw(to: SocketAddr) {
    let Ok(mut stream) = connect(ATTACKER, to) else {
        return;
    };
    // It may be cut off at any time.
    let _ = stream.write_all(BAD);
    let _ = stream.read(&mut [0; 512]);
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}
