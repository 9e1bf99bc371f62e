//! `sessile register` beside a backend, with a real etcd.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::etcd::Etcd;
use crate::support::etcd_world::{etcd_status, follow, has_members, seed};
use crate::support::gateway::signal_process;
use crate::support::time::{holds_within, run_out};
use crate::support::{Backend, Client, DEADLINE, eventually};

/// `sessile register`, killed when it is dropped.
pub struct Register {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Register {
    /// With these arguments beside etcd, an upstream `echo` and a short lease.
    pub fn start(etcd: &Etcd, address: &str, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sessile"));
        command
            .args(["register", "--etcd", &etcd.url(), "--upstream", "echo"])
            .args(["--address", address, "--interval", "50ms"])
            .args(if more.contains(&"--ttl") {
                &[][..]
            } else {
                &["--ttl", "3s"]
            })
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (written, stderr) = (Arc::clone(&log), child.stderr.take().expect("a pipe"));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                written.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        Self { child, log }
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn signal(&self, signal: Signal) {
        signal_process(self.child.id(), signal);
    }

    pub async fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        let ends = holds_within(DEADLINE, async || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        assert!(ends.await, "it goes on:\n{}", self.log());
        ended.expect("it has ended")
    }

    async fn prints(&self, text: &str) {
        eventually(text, async || self.log().contains(text)).await;
    }
}

impl Drop for Register {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            eprintln!("--- sessile register\n{}---", self.log());
        }
    }
}

fn key(address: SocketAddr) -> String {
    format!("/sessile/backends/echo/{address}")
}

/// Waits until what stands in etcd under the key has this state; `None` is nothing at all.
async fn wait_for(etcd: &Etcd, key: &str, state: Option<&str>) {
    eventually(&format!("{key} {state:?}"), async || {
        let found = etcd.get(key).await;
        let found: Option<Value> = found.map(|text| serde_json::from_str(&text).unwrap());
        found.as_ref().map(|value| value["state"].as_str().unwrap()) == state
    })
    .await;
}

#[tokio::test]
async fn a_backend_is_registered_once_it_passes_its_probe_and_disabled_while_it_does_not() {
    let etcd = Etcd::start().await;
    let backend = Backend::echo().await;
    let address = backend.address.to_string();
    backend.set_healthy(false);
    let more = [
        "--probe", "http", "--path", "/healthz", "--weight", "2", "--zone", "a",
    ];
    let register = Register::start(&etcd, &address, &[&more[..], &["--label", "x=y"]].concat());
    register.prints("the probe fails").await;
    assert_eq!(etcd.get(&key(backend.address)).await, None);

    backend.set_healthy(true);
    wait_for(&etcd, &key(backend.address), Some("active")).await;
    let found: Value =
        serde_json::from_str(&etcd.get(&key(backend.address)).await.unwrap()).unwrap();
    assert_eq!(found["address"], address);
    assert_eq!((&found["weight"], &found["zone"]), (&json!(2), &json!("a")));
    assert_eq!(found["labels"], json!({ "x": "y" }));

    backend.set_healthy(false);
    wait_for(&etcd, &key(backend.address), Some("disabled")).await;
    backend.set_healthy(true);
    wait_for(&etcd, &key(backend.address), Some("active")).await;
}

#[tokio::test]
async fn on_sigterm_it_drains_and_then_goes() {
    let etcd = Etcd::start().await;
    let backend = Backend::echo().await;
    let address = backend.address.to_string();
    let mut register = Register::start(&etcd, &address, &["--drain", "10m"]);
    wait_for(&etcd, &key(backend.address), Some("active")).await;
    register.signal(Signal::TERM);
    wait_for(&etcd, &key(backend.address), Some("draining")).await;
    // The second one ends the wait.
    register.signal(Signal::TERM);
    assert_eq!(register.wait().await.code(), Some(0), "{}", register.log());
    assert_eq!(etcd.get(&key(backend.address)).await, None);

    let mut register = Register::start(&etcd, &address, &["--drain", "200ms"]);
    wait_for(&etcd, &key(backend.address), Some("active")).await;
    register.signal(Signal::INT);
    assert_eq!(register.wait().await.code(), Some(0), "{}", register.log());
    assert_eq!(etcd.get(&key(backend.address)).await, None);
}

#[tokio::test]
async fn when_it_is_killed_its_lease_runs_out() {
    let etcd = Etcd::start().await;
    let backend = Backend::echo().await;
    let register = Register::start(&etcd, &backend.address.to_string(), &[]);
    wait_for(&etcd, &key(backend.address), Some("active")).await;
    register.signal(Signal::KILL);
    wait_for(&etcd, &key(backend.address), None).await;
}

#[tokio::test]
async fn an_etcd_that_comes_back_without_its_data_has_it_again() {
    let mut etcd = Etcd::start().await;
    let backend = Backend::echo().await;
    let register = Register::start(&etcd, &backend.address.to_string(), &[]);
    wait_for(&etcd, &key(backend.address), Some("active")).await;
    etcd.restart_empty().await;
    wait_for(&etcd, &key(backend.address), Some("active")).await;
    // And so has one that only lost the key.
    etcd.client()
        .await
        .delete(key(backend.address), None)
        .await
        .unwrap();
    wait_for(&etcd, &key(backend.address), Some("active")).await;
    register.prints("cannot be registered now").await;
}

#[tokio::test]
async fn it_starts_without_etcd_and_registers_when_that_is_there() {
    let mut etcd = Etcd::start().await;
    let backend = Backend::echo().await;
    etcd.stop();
    let register = Register::start(&etcd, &backend.address.to_string(), &[]);
    register.prints("cannot be registered now").await;
    etcd.restart_empty().await;
    wait_for(&etcd, &key(backend.address), Some("active")).await;
}

#[tokio::test]
async fn an_etcd_that_hangs_for_longer_than_the_lease_has_it_again() {
    let etcd = Etcd::start().await;
    let backend = Backend::echo().await;
    let register = Register::start(&etcd, &backend.address.to_string(), &["--ttl", "2s"]);
    wait_for(&etcd, &key(backend.address), Some("active")).await;
    etcd.signal(Signal::STOP);
    register.prints("cannot be registered now").await;
    // The lease, which has two seconds.
    run_out(Duration::from_secs(3)).await;
    etcd.signal(Signal::CONT);
    // Whether the lease ran out meanwhile or not: it is there, and stays.
    for _ in 0..3 {
        wait_for(&etcd, &key(backend.address), Some("active")).await;
        // Three times that is more than the lease: it is renewed.
        run_out(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn the_last_registration_of_an_id_wins_and_the_other_waits() {
    let etcd = Etcd::start().await;
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let id = ["--id", "chat-1"];
    let first = Register::start(&etcd, &one.address.to_string(), &id);
    let key = "/sessile/backends/echo/chat-1";
    wait_for(&etcd, key, Some("active")).await;
    let mut second = Register::start(
        &etcd,
        &two.address.to_string(),
        &[&id[..], &["--drain", "1ms"]].concat(),
    );
    let at = async |address: SocketAddr| {
        let address = address.to_string();
        eventually(&format!("{key} at {address}"), async || {
            etcd.get(key)
                .await
                .is_some_and(|value| value.contains(&address))
        })
        .await;
    };
    at(two.address).await;
    first
        .prints("another process has registered under this id")
        .await;
    assert!(
        etcd.get(key)
            .await
            .unwrap()
            .contains(&two.address.to_string()),
        "they do not fight"
    );
    // A new write of the first one does not change that.
    let port = one.stop().await;
    first.prints("the probe fails").await;
    // Twenty of its probes, none of which may take the key back.
    run_out(Duration::from_secs(1)).await;
    at(two.address).await;
    let one = Backend::echo_at(port).await;
    second.signal(Signal::TERM);
    assert_eq!(second.wait().await.code(), Some(0));
    at(one.address).await;
}

#[tokio::test]
async fn what_an_operator_edits_stays() {
    let etcd = Etcd::start().await;
    let backend = Backend::echo().await;
    let register = Register::start(&etcd, &backend.address.to_string(), &[]);
    let key = key(backend.address);
    wait_for(&etcd, &key, Some("active")).await;
    let edited = json!({ "address": backend.address.to_string(), "state": "draining" }).to_string();
    let keep = etcd_client::PutOptions::new().with_ignore_lease();
    etcd.client()
        .await
        .put(key.as_str(), edited.as_str(), Some(keep))
        .await
        .unwrap();
    register.prints("the entry was edited").await;
    assert_eq!(etcd.get(&key).await, Some(edited));
}

#[tokio::test]
async fn it_starts_the_backend_passes_signals_on_and_ends_with_its_code() {
    let etcd = Etcd::start().await;
    // A backend that others can reach is none of a shell's business: the probe is off.
    // SIGUSR1, since a shell cannot trap a signal that was ignored when it started, as SIGHUP is
    // under `nohup`.
    let script = "trap 'exit 7' TERM; trap 'echo usr1 >&2' USR1; echo up >&2; \
                  while :; do sleep 0.05; done";
    let command = [
        "--probe", "none", "--drain", "1ms", "--", "sh", "-c", script,
    ];
    let mut register = Register::start(&etcd, ":9000", &command);
    let key = "/sessile/backends/echo/127.0.0.1:9000";
    wait_for(&etcd, key, Some("active")).await;
    // It is registered as soon as it has begun, which may be before it can take a signal.
    register.prints("up\n").await;
    register.signal(Signal::USR1);
    register.prints("usr1\n").await;
    register.signal(Signal::TERM);
    assert_eq!(register.wait().await.code(), Some(7), "{}", register.log());
    assert_eq!(etcd.get(key).await, None);

    let command = ["--probe", "none", "--", "sh", "-c", "sleep 0.3; exit 3"];
    let mut register = Register::start(&etcd, ":9000", &command);
    assert_eq!(register.wait().await.code(), Some(3), "{}", register.log());
    assert_eq!(
        etcd.get(key).await,
        None,
        "a backend that ended is out at once"
    );
}

#[tokio::test]
async fn wrong_arguments_are_refused() {
    let etcd = Etcd::start().await;
    for (address, more, expected) in [
        ("10.0.0.1", &[][..], "is not a backend's address"),
        ("10.0.0.1:9", &["--weight", "0"], "weight"),
        ("unix:/run/x.sock", &[], "--id"),
        ("10.0.0.1:9", &["--id", "a/b"], "slash"),
        (
            "10.0.0.1:9",
            &["--probe", "tcp", "--path", "/x"],
            "has no `path`",
        ),
        ("10.0.0.1:9", &["--ttl", "1s"], "2 seconds to an hour"),
    ] {
        let mut register = Register::start(&etcd, address, more);
        assert_eq!(register.wait().await.code(), Some(2), "{}", register.log());
        register.prints(expected).await;
    }
}

#[tokio::test]
async fn i1_a_registered_backend_gets_its_share_and_leaves_without_ending_a_session_early() {
    let etcd = Etcd::start().await;
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    seed(&etcd, &[&one]).await;
    let gateway = follow(&etcd).await;
    has_members(&gateway, &[&one]).await;
    let mut register = Register::start(&etcd, &two.address.to_string(), &["--drain", "10m"]);
    has_members(&gateway, &[&one, &two]).await;
    let mut clients = Vec::new();
    for key in 0..60 {
        clients.push(Client::connect(gateway.address(), &format!("/?k={key}")).await);
    }
    let mut there = 0;
    for client in &mut clients {
        there += usize::from(client.backend().await == two.address);
    }
    assert!((10..=50).contains(&there), "{there} of 60");

    register.signal(Signal::TERM);
    eventually("it drains at the gateway", async || {
        gateway.backend("echo", two.address)["state"] == "draining"
    })
    .await;
    for key in 0..60 {
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        assert_eq!(client.backend().await, one.address, "it gets no new ones");
        client.close().await;
    }
    for client in &mut clients {
        client.echo("still here").await;
    }
    register.signal(Signal::TERM);
    assert_eq!(register.wait().await.code(), Some(0), "{}", register.log());
    has_members(&gateway, &[&one]).await;
}

#[tokio::test]
async fn a_backend_that_has_ended_is_no_loss_of_a_lease() {
    let etcd = Etcd::start().await;
    seed(&etcd, &[]).await;
    let gateway = follow(&etcd).await;
    let backend = Backend::echo().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        "while [ -e {} ]; do sleep 0.05; done",
        file.path().display()
    );
    let command = ["--probe", "none", "--", "sh", "-c", &script];
    let mut register = Register::start(&etcd, &backend.address.to_string(), &command);
    has_members(&gateway, &[&backend]).await;
    let mut client = etcd.client().await;
    let found = client.get(key(backend.address), None).await.unwrap();
    let lease = found.kvs()[0].lease();
    drop(file);
    assert_eq!(register.wait().await.code(), Some(0), "{}", register.log());
    // By the lease gateways tell whether it was taken out or lost.
    let left = client.lease_time_to_live(lease, None).await.unwrap();
    assert!(left.ttl() > 0, "it runs out by itself");
    has_members(&gateway, &[]).await;
    assert_eq!(etcd_status(&gateway)["stale"], 0);
}
