//! Several gateways on one machine: one port for two of them, and the cores of their workers.

use std::collections::BTreeMap;
use std::fs;

use crate::support::gateway::command;
use crate::support::{Backend, Client, Gateway, config, eventually, free_port};

/// A listener on this port that others may share, and the echo behind it.
fn shared(port: u16, backend: &Backend, reuse_port: bool) -> String {
    format!(
        "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:{port}\"]\n\
         reuse_port = {reuse_port}\n\n{}",
        config::echo(&[backend.address], "", "")
    )
}

#[tokio::test]
async fn two_gateways_share_a_port_and_one_goes_on_when_the_other_ends() {
    let backend = Backend::echo().await;
    let port = free_port();
    let config = shared(port, &backend, true);
    let mut first = Gateway::start(&config).await;
    let second = Gateway::start(&config).await;
    assert_eq!(first.address(), second.address());
    let mut clients = Vec::new();
    // The system spreads connections by a hash: each of them gets one sooner or later.
    eventually("both have sessions", async || {
        let mut client = Client::connect(first.address(), "/").await;
        client.echo("hello").await;
        clients.push(client);
        first.sessions_live() > 0 && second.sessions_live() > 0
    })
    .await;
    let of_second = second.sessions();
    first.signal(rustix::process::Signal::TERM);
    assert!(first.wait_for_exit().await.success());
    for _ in 0..8 {
        Client::connect(second.address(), "/")
            .await
            .echo("on")
            .await;
    }
    let live = second.sessions();
    for session in of_second {
        let same = |other: &&serde_json::Value| other["id"] == session["id"];
        assert!(live.iter().any(|other| same(&other)), "{session} lives on");
    }
}

#[tokio::test]
async fn a_port_is_not_shared_by_mistake() {
    let backend = Backend::echo().await;
    let port = free_port();
    let _first = Gateway::start(&shared(port, &backend, false)).await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gateway.toml");
    let text = config::complete(&shared(port, &backend, true), directory.path());
    fs::write(&path, text).expect("a file");
    let output = command(&path).output().expect("it runs");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = format!("cannot listen on 127.0.0.1:{port}");
    assert!(text.contains(&expected), "{text}");
}

/// The cores that each worker of a process may use.
fn cores_of_workers(pid: u32) -> BTreeMap<String, String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let mut cores = BTreeMap::new();
    for task in tasks {
        let path = task.expect("a thread").path();
        let status = fs::read_to_string(path.join("status")).unwrap_or_default();
        let value = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
        };
        if let (Some(name), Some(allowed)) = (value("Name:"), value("Cpus_allowed_list:"))
            && name.starts_with("worker-")
        {
            cores.insert(name, allowed);
        }
    }
    cores
}

/// The cores that this process may use.
fn allowed() -> Vec<String> {
    let set = rustix::thread::sched_getaffinity(None).expect("cores");
    let cores = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu));
    cores.map(|cpu| cpu.to_string()).collect()
}

#[tokio::test]
async fn pinned_workers_stay_on_one_core_each() {
    let backend = Backend::echo().await;
    let config = config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&format!("# node: pin_workers = true\n{config}")).await;
    let cores = cores_of_workers(gateway.pid());
    let allowed = allowed();
    for (place, (worker, on)) in cores.iter().enumerate() {
        assert_eq!(on, &allowed[place % allowed.len()], "{worker}");
    }
    assert_eq!(cores.len(), 2);
    Client::connect(gateway.address(), "/")
        .await
        .echo("on")
        .await;
}

/// What an operator leaves to other programs is not used, and there are no more workers than cores.
#[tokio::test]
async fn workers_keep_to_the_cores_that_the_process_may_use() {
    let backend = Backend::echo().await;
    let last = allowed().pop().expect("a core");
    let directory = tempfile::tempdir().expect("a directory");
    let config = config::echo(&[backend.address], "", "");
    let wrapper = [
        "env",
        "SESSILE_NODE__WORKERS=0",
        "taskset",
        "--cpu-list",
        &last,
    ];
    let gateway = Gateway::start_wrapped(&wrapper, directory, &config).await;
    let expected = BTreeMap::from([("worker-0".to_owned(), last.clone())]);
    assert_eq!(cores_of_workers(gateway.pid()), expected);
}
