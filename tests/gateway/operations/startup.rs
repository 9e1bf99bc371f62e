//! What a gateway makes ready before the first client.

use std::fs;

use crate::support::{Backend, Gateway, config};

/// The number that the system states about a process.
fn stated(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix(field));
    let number = line.expect("the system states it").trim();
    number.parse().expect("a number")
}

/// Where the table of descriptors grows while sessions run, they stand still meanwhile.
#[tokio::test]
async fn the_descriptor_table_is_extended_at_the_start() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.pid())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line
        .expect("a limit")
        .split_whitespace()
        .nth(3)
        .expect("a value");
    let allowed = soft.parse::<u64>().unwrap_or(u64::MAX).min(512 * 1024);
    assert!(
        stated(gateway.pid(), "FDSize:") >= allowed,
        "limit {allowed}"
    );
    assert!(gateway.log().contains("descriptor table extended"));
}
