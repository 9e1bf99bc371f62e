//! What is wrong, who would leave a backend, what a code means: one command each.

use serde_json::Value;

use super::run;
use crate::support::{Backend, Client, Gateway, config, eventually};

#[tokio::test]
async fn the_doctor_finds_nothing_then_a_dead_upstream_and_says_so_by_its_exit_code() {
    let backend = Backend::echo().await;
    let probe = "probe = { type = \"tcp\", interval = \"50ms\", timeout = \"200ms\", fall = 1 }";
    let gateway = Gateway::start(&config::echo(&[backend.address], probe, "")).await;
    let here = gateway.directory();
    let seen = run(here, &["doctor"]).await;
    assert_eq!(
        (seen.code, &*seen.out),
        (Some(0), "nothing is wrong\n"),
        "{seen:?}"
    );
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    client.echo("here").await;
    let address = backend.address;
    backend.stop().await;
    gateway.wait_for_health("echo", address, "unhealthy").await;
    let seen = run(here, &["doctor"]).await;
    assert_eq!(seen.code, Some(2), "{seen:?}");
    let first = seen.out.lines().next().unwrap();
    assert!(
        first.starts_with("CRIT  upstream echo: 0 of 1 backends"),
        "{first}"
    );
    assert!(
        first.contains(&format!("{address} is unhealthy")),
        "{first}"
    );
    assert!(seen.out.contains("-> `sessile backends echo`"), "{seen:?}");
    let seen = run(here, &["doctor", "--json"]).await;
    let json: Value = serde_json::from_str(&seen.out).unwrap();
    assert_eq!(json["items"][0]["kind"], "upstream_down", "{json}");
    let seen = run(here, &["doctor", "--admin", "127.0.0.1:1"]).await;
    assert_eq!(seen.code, Some(2), "{seen:?}");
    assert!(seen.out.starts_with("CRIT  no answer"), "{seen:?}");
}

#[tokio::test]
async fn who_would_leave_a_backend_is_known_before_it_is_drained() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let text = format!(
        r#"
[upstreams.echo]
policy = "consistent_hash"
backends = ["{}", "{}"]

[[routes]]
name = "moves"
path = "/moves"
upstream = "echo"
affinity = ["query:k"]
on_backend_loss = "reconnect"

[[routes]]
name = "closes"
path = "/closes"
upstream = "echo"
affinity = ["query:k"]
"#,
        one.address, two.address
    );
    let gateway = Gateway::start(&text).await;
    let here = gateway.directory();
    let mut clients = Vec::new();
    for path in ["/moves?k=1", "/moves?k=1", "/closes?k=1"] {
        clients.push(Client::connect(gateway.address(), path).await);
    }
    let at = clients[0].backend().await;
    let other = if at == one.address {
        two.address
    } else {
        one.address
    };
    let (id, other) = (at.to_string(), other.to_string());
    let seen = run(here, &["drain", "echo", &id, "--who"]).await;
    assert_eq!(seen.code, Some(0), "{seen:?}");
    let expected = format!(
        "{id}: 3 live sessions, 2 would move, 1 would be closed with 1012\n  \
         route closes: 0 move, 1 close (it does not reconnect)\n  \
         route moves: 2 move, 0 close\n  to {other}: 2\n"
    );
    assert_eq!(seen.out, expected);
    // Nothing was ordered.
    let state = gateway.backend("echo", at)["state"].clone();
    assert_eq!(state, "active");
    for client in &mut clients {
        client.echo("still here").await;
    }
    let seen = run(here, &["drain", "echo", "10.9.9.9:1", "--who"]).await;
    assert_eq!(seen.code, Some(1), "{seen:?}");
    // Where the key would go without its backend.
    let socket = format!("unix:{}", here.join("admin.sock").display());
    let arguments = [
        "resolve",
        "/moves?k=1",
        "--without",
        &*id,
        "--admin",
        &*socket,
    ];
    let seen = run(here, &arguments).await;
    assert!(
        seen.out.contains("is left out of this question"),
        "{seen:?}"
    );
    assert!(seen.out.contains(&format!("backend   {other}")), "{seen:?}");
    // With its only neighbour draining, there is nowhere to go.
    let seen = run(here, &["drain", "echo", &other, "--pace", "1/h", "--yes"]).await;
    assert_eq!(seen.code, Some(0), "{seen:?}");
    eventually("no other backend takes them", async || {
        let seen = run(here, &["drain", "echo", &id, "--who"]).await;
        seen.out.contains("NOWHERE TO GO: 2")
    })
    .await;
}

#[tokio::test]
async fn codes_completions_and_pages_need_no_gateway() {
    let here = tempfile::tempdir().unwrap();
    let seen = run(here.path(), &["explain", "429", "--json"]).await;
    let json: Value = serde_json::from_str(&seen.out).unwrap();
    assert_eq!(json["means"], "a quota is used up", "{json}");
    let seen = run(here.path(), &["completions", "bash"]).await;
    assert!(seen.out.contains("doctor"), "{seen:?}");
    let seen = run(here.path(), &["man"]).await;
    assert!(seen.out.contains(".TH sessile"), "{seen:?}");
}
