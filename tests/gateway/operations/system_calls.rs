//! System calls of a session from its connection to its end, counted by strace(1). The bound keeps
//! what each of many thousand sessions costs in a reconnect storm.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::Signal;

use crate::support::{Backend, Client, Gateway, config};

/// Starts the rest of its arguments in the same process, traced into `$TRACE`.
const WRAPPER: &str = "exec strace -D -f -qq -o \"$1\" \"${@:2}\"";

/// Sessions of the shorter run, and by how many the longer one has more.
const FEW: usize = 20;
const MORE: usize = 100;

/// Calls of a session that says nothing: one worker, no TLS, no record. With one message and its
/// echo there are four more.
const MOST: usize = 22;

/// How many calls of each kind the worker of a gateway makes from its start to its end, with so
/// many sessions one after the other.
async fn calls(sessions: usize) -> BTreeMap<String, usize> {
    let backend = Backend::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let text = format!(
        "# node: workers = 1\n# log: access = \"off\"\n{}",
        config::echo(&[backend.address], "", "")
    );
    let wrapper = ["bash", "-c", WRAPPER, "bash", trace.to_str().unwrap()];
    let mut gateway = Gateway::start_wrapped(&wrapper, directory, &text).await;
    for _ in 0..sessions {
        Client::connect(gateway.address(), "/").await.close().await;
    }
    gateway.wait_until_idle().await;
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    count(&fs::read_to_string(trace).unwrap())
}

/// The calls by name of the thread that accepts clients. Left out are those that wait, of which
/// there are fewer the more a worker has to do at once, and those by which debug builds check
/// descriptors.
fn count(trace: &str) -> BTreeMap<String, usize> {
    let lines = trace.lines().filter_map(|line| line.split_once(' '));
    let lines: Vec<_> = lines
        .map(|(thread, call)| (thread, call.trim_start()))
        .collect();
    let accepts = |call: &str| call.starts_with("accept4(") && call.contains("sin_port");
    let worker = lines.iter().find(|(_, call)| accepts(call));
    let (worker, _) = worker.expect("a client was accepted");
    let mut calls = BTreeMap::new();
    for (_, call) in lines.iter().filter(|(thread, _)| thread == worker) {
        // `<... read resumed>` is the second half of a line.
        let Some((name, arguments)) = call.split_once('(').filter(|(name, _)| !name.contains('<'))
        else {
            continue;
        };
        let checks = arguments.contains("F_GETFL)") || arguments.contains("F_GETFD)");
        if !checks && name != "epoll_wait" {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    calls
}

#[tokio::test]
async fn a_sessions_setup_and_end_take_few_system_calls() {
    let few = calls(FEW).await;
    let mut more = calls(FEW + MORE).await;
    for (name, count) in &mut more {
        *count = count.saturating_sub(few.get(name).copied().unwrap_or(0));
    }
    let all: usize = more.values().sum();
    // What a worker does from time to time is less than one call for every second session.
    let allowed = MOST * MORE + MORE / 2;
    assert!(all <= allowed, "{all} for {MORE} sessions: {more:#?}");
    // The count counts: no session does without these.
    let sockets = ["accept4", "connect", "recvfrom", "close"];
    assert!(
        sockets.iter().all(|name| more.get(*name) >= Some(&MORE)),
        "{more:#?}"
    );
}
