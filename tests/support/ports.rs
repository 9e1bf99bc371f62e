//! Ports for servers that are started by number.

use std::fs;
use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports below are often taken by services of the machine.
const FIRST: u16 = 10_000;
/// Where the system's range of ports for outgoing connections begins, unless it shows another one.
const EPHEMERAL: u16 = 32_768;

static TAKEN: AtomicU16 = AtomicU16::new(0);

/// A port that nothing listens on, that this process has not handed out recently, and that no
/// outgoing connection takes before the server has started: it lies below the range that the
/// system takes ports of connections from. Otherwise a server may find its port in use, or a
/// connection that waits for the server may reach itself.
pub fn free_port() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let end = range
        .split_whitespace()
        .next()
        .and_then(|first| first.parse().ok());
    let count = end
        .unwrap_or(EPHEMERAL)
        .checked_sub(FIRST)
        .filter(|count| *count > 1000);
    let count = count.expect("the system's ephemeral ports begin at 11000 or above");
    // Processes that run at a time begin at different ports.
    let first = process::id().wrapping_mul(7919) % u32::from(count);
    for _ in 0..count {
        let next = u32::from(TAKEN.fetch_add(1, Ordering::Relaxed));
        let offset = (first + next) % u32::from(count);
        let port = FIRST + u16::try_from(offset).expect("it is below a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
