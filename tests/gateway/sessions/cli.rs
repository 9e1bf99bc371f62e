//! Questions of a person on call, each answered by one command.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::shell::sessile;
use crate::support::{Backend, Client, Gateway, config, eventually};

const RECONNECT: &str = "on_backend_loss = \"reconnect\"";

async fn gateway(backends: &[SocketAddr], route: &str) -> Gateway {
    Gateway::start(&config::echo(backends, "", route)).await
}

/// Runs a command that must succeed; returns what it printed.
#[track_caller]
fn run(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = sessile(arguments, gateway.directory());
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {printed}{errors}");
    printed
}

/// Runs a command that must fail with this code; returns its error.
#[track_caller]
fn fails(gateway: &Gateway, arguments: &[&str], code: i32) -> String {
    let output = sessile(arguments, gateway.directory());
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    errors
}

/// 1. "Why is user X on backend B?"
#[tokio::test]
async fn why_a_session_is_where_it_is_is_one_command() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let gateway = gateway(&[backends[0].address, backends[1].address], RECONNECT).await;
    let mut client = Client::connect(gateway.address(), "/?k=user07").await;
    let id = client.session_id().await;
    let target = format!("/v1/sessions/{id}");
    let home = gateway.get(&target)["backend"].clone();
    let home = home.as_str().expect("an id");
    let shown = run(&gateway, &["why", &id]);
    let first = shown.lines().next().expect("a line");
    let expected = format!("{id} echo/{home}  key user07 (query:k), first choice");
    assert_eq!(first, expected);

    let moved = run(&gateway, &["move", &id]);
    assert!(
        moved.contains(&format!("{id} leaves {home} for another backend")),
        "{moved}"
    );
    eventually("it moved", async || gateway.get(&target)["resumes"] == 1).await;
    let backend = gateway.get(&target)["backend"].clone();
    let backend = backend.as_str().expect("an id");
    // By the key, and by the request id, which is the session's.
    for what in ["user07", &id] {
        let shown = run(&gateway, &["why", what]);
        assert!(shown.contains("first choice; moved 1x"), "{shown}");
        let line = format!("{home} -> {backend}: moved by local");
        assert!(shown.contains(&line), "{shown}");
    }
    let unknown = fails(&gateway, &["why", "stranger"], 1);
    assert!(
        unknown.contains("`sessile sessions` lists live ones"),
        "{unknown}"
    );
    client.echo("still here").await;
}

/// 2. "Which backend has most sessions, is the load skewed, which key is hot?"
#[tokio::test]
async fn a_hot_key_and_a_skew_are_one_command() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let gateway = gateway(&[backends[0].address, backends[1].address], "").await;
    let mut clients = Vec::new();
    for _ in 0..30 {
        clients.push(Client::connect(gateway.address(), "/?k=hot").await);
    }
    for key in 0..6 {
        clients.push(Client::connect(gateway.address(), &format!("/?k={key}")).await);
    }
    let shown = run(&gateway, &["top", "--once", "--interval", "100ms"]);
    assert!(shown.starts_with("36 sessions, "), "{shown}");
    let listed: Value =
        serde_json::from_str(&run(&gateway, &["top", "--json", "--interval", "100ms"])).unwrap();
    let hot = &listed["keys"][0];
    assert_eq!(
        (&hot["key"]["key"], &hot["sessions"]),
        (&"hot".into(), &30.into())
    );
    let load = &listed["upstreams"][0];
    let fullest = &load["backends"][0];
    assert_eq!(fullest["id"], hot["backend"], "{listed}");
    let part = 30.0 / fullest["sessions"].as_f64().expect("a number");
    let line = format!("key hot: 30 sessions, {:.0} % of echo/", part * 100.0);
    assert!(shown.contains(&line), "{shown}");
    let skewed = load["skewed"] == true;
    assert_eq!(shown.contains("SKEW echo: "), skewed, "{shown}");
    assert!(load["skew"].as_f64() >= Some(30.0 / 18.0), "{listed}");
    drop(clients);
}

/// 8. "Who sends most right now?" and 9. "Who is half dead?"
#[tokio::test]
async fn lists_are_sorted_filtered_and_whole() {
    let backend = Backend::echo().await;
    let gateway = gateway(&[backend.address], "").await;
    let mut one = Client::connect(gateway.address(), "/?k=1").await;
    let mut other = Client::connect(gateway.address(), "/?k=2").await;
    let ids = [one.session_id().await, other.session_id().await];
    for _ in 0..5 {
        other.echo("some text").await;
    }
    let first = |arguments: &[&str]| {
        let shown = run(&gateway, arguments);
        let line = shown.lines().nth(1).expect("a session").to_owned();
        line.split(' ').next().expect("an id").to_owned()
    };
    assert_eq!(first(&["sessions", "--sort", "-messages"]), ids[1]);
    assert_eq!(first(&["sessions", "--sort", "messages"]), ids[0]);
    assert_eq!(first(&["sessions", "--affinity-key", "2"]), ids[1]);
    let shown = run(
        &gateway,
        &["sessions", "--sort", "-round_trip", "--rates", "100ms"],
    );
    assert!(
        shown.contains("MSG/S  BYTES/S  PING CLIENT  PING BACKEND"),
        "{shown}"
    );
    let wrong = fails(&gateway, &["sessions", "--sort", "name"], 2);
    assert!(wrong.contains("sort: give age, idle"), "{wrong}");
    drop((one, other));
}

/// 10. "What is X's socket saying?"
#[tokio::test]
async fn a_socket_is_watched_by_one_command() {
    let backend = Backend::echo().await;
    let gateway = gateway(&[backend.address], "").await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    let id = client.session_id().await;
    let mut tap = Command::new(env!("CARGO_BIN_EXE_sessile"))
        .args(["tap", &id, "--frames", "2"])
        .current_dir(gateway.directory())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sessile runs");
    eventually("it watches", async || {
        gateway.log().contains("session tapped")
    })
    .await;
    client.echo("hello").await;
    let lines = BufReader::new(tap.stdout.take().expect("piped")).lines();
    let lines: Vec<_> = lines.map(|line| line.expect("UTF-8")).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].contains("client  -> text         5 B"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("backend <- text         5 B"),
        "{lines:?}"
    );
    assert!(lines[2].starts_with("end: as many frames"), "{lines:?}");
    assert!(tap.wait().expect("it ends").success());
    let refused = fails(&gateway, &["tap", &id, "--payload"], 1);
    assert!(refused.contains("tap_payload = true"), "{refused}");
}

/// 12. "Tell one user, or everyone on a route."
#[tokio::test]
async fn users_are_told_by_one_command() {
    let backend = Backend::echo().await;
    let gateway = gateway(&[backend.address], "").await;
    let mut one = Client::connect(gateway.address(), "/?k=1").await;
    let mut other = Client::connect(gateway.address(), "/?k=2").await;
    let id = one.session_id().await;
    let told = run(&gateway, &["send", "--route", "all", "maintenance at 5"]);
    assert_eq!(told, "delivered 2, busy 0, gone 0\n");
    assert_eq!(one.receive_text().await, "maintenance at 5");
    assert_eq!(other.receive_text().await, "maintenance at 5");
    assert_eq!(run(&gateway, &["send", &id, "hello"]), "delivered\n");
    assert_eq!(one.receive_text().await, "hello");
    let whom = fails(&gateway, &["send", "hello"], 1);
    assert!(
        whom.contains("a filter such as --route, or --all"),
        "{whom}"
    );
    let nobody = sessile(&["send", "--route", "none", "x"], gateway.directory());
    assert_eq!(nobody.status.code(), Some(1));
}
