//! What a gateway makes ready before the first client, and what it refuses to start with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::gateway::command;
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

#[tokio::test]
async fn sockets_and_state_are_for_their_owner() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start_with_handover(&config::echo(&[backend.address], "", "")).await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&gateway.door()), 0o600);
    let admin = mode(&gateway.directory().join("admin.sock"));
    assert_eq!(admin & 0o007, 0, "{admin:o}");
    let records = mode(&gateway.directory().join("access.log"));
    assert_eq!(records & 0o007, 0, "{records:o}");
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_written_to_is_refused_and_shown() {
    let directory = tempfile::tempdir().unwrap();
    let text = config::complete(&config::echo(&[], "", ""), directory.path());
    let broken = text.replacen(
        &format!("{}/state", directory.path().display()),
        "/dev/null/state",
        1,
    );
    let path = directory.path().join("gateway.toml");
    fs::write(&path, broken).unwrap();
    let output = command(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("`node.state_dir` /dev/null/state cannot be written to"),
        "{said}"
    );

    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let shown = gateway.get("/v1/status")["state_dir"].clone();
    assert!(shown["fault"].is_null(), "{shown}");
    let state = gateway.directory().join("state");
    assert_eq!(
        fs::metadata(&state).unwrap().permissions().mode() & 0o777,
        0o700
    );
    fs::remove_dir_all(&state).unwrap();
    let shown = gateway.get("/v1/status")["state_dir"].clone();
    assert!(shown["fault"].is_string(), "{shown}");
}
