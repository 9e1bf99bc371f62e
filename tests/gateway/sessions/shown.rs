//! What operators see of live sessions: why each is where it is, what passes, and in what order.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::raw::{UPGRADE, masked};
use crate::support::time::pace_blocking;
use crate::support::{Backend, Client, Dial, Gateway, config, eventually, free_port};

/// A gateway that keys by the query's `k`.
async fn gateway(backends: &[SocketAddr], route: &str) -> Gateway {
    Gateway::start(&config::echo(backends, "", route)).await
}

fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().expect("a list").iter();
    items
        .map(|item| item["id"].as_str().expect("an id").to_owned())
        .collect()
}

/// "Why is user X on backend B?"
#[tokio::test]
async fn a_session_shows_its_key_and_the_walk_to_its_backend() {
    let (one, other) = (Backend::echo().await, Backend::echo().await);
    let backends = [one.address, other.address];
    let gateway = gateway(&backends, "").await;
    let mut client = Client::connect(gateway.address(), "/?k=ann").await;
    let id = client.session_id().await;
    let shown = gateway.get(&format!("/v1/sessions/{id}"));
    let key = json!({ "key": "ann", "source": "query:k", "hidden": false });
    assert_eq!(shown["key"], key, "{shown}");
    assert_eq!(shown["placement"]["choice"], "first_choice", "{shown}");
    assert_eq!(shown["moved"], json!([]));
    assert_eq!(shown["movable"], false);

    let home = shown["backend"].as_str().expect("an id").to_owned();
    let patch = format!("/v1/upstreams/echo/backends/{home}");
    let ordered = gateway.admin("PATCH", &patch, r#"{"state":"disabled"}"#);
    assert_eq!(ordered.status, 200, "{ordered:?}");
    let mut away = Client::connect(gateway.address(), "/?k=ann").await;
    let id = away.session_id().await;
    let shown = gateway.get(&format!("/v1/sessions/{id}"));
    assert_ne!(shown["backend"], home);
    let passed = json!([{ "backend": home, "reason": "disabled" }]);
    assert_eq!(shown["placement"]["choice"], "walk", "{shown}");
    assert_eq!(shown["placement"]["passed"], passed);
}

#[tokio::test]
async fn a_backend_that_refused_is_in_the_walk() {
    let dead = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let backend = Backend::echo().await;
    let upstream = "passive = { failures = 0 }\nattempts = 2";
    let text = config::echo(&[dead, backend.address], upstream, "");
    let gateway = Gateway::start(&text).await;
    let mut passed = Vec::new();
    for key in 0..40 {
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        let id = client.session_id().await;
        let shown = gateway.get(&format!("/v1/sessions/{id}"));
        let placement = shown["placement"].clone();
        if placement["choice"] == "walk" {
            passed.push(placement["passed"][0].clone());
        }
    }
    let refused = json!({ "backend": dead.to_string(), "reason": "refused" });
    assert!(!passed.is_empty(), "one of 40 keys belongs to the dead one");
    assert!(passed.iter().all(|one| *one == refused), "{passed:?}");
}

#[tokio::test]
async fn i11_a_key_that_may_be_a_credential_is_shown_as_a_fingerprint() {
    let backend = Backend::echo().await;
    let route = "[[routes]]\nname = \"all\"\nupstream = \"echo\"\naffinity = [\"cookie:sid\"]\n";
    let text = format!(
        "[upstreams.echo]\n{}\n{route}",
        config::members(&[backend.address])
    );
    let gateway = Gateway::start(&text).await;
    let dial = Dial::new("/").header("cookie", "sid=very-secret-1234");
    let _client = dial.connect(gateway.address()).await.expect("a session");
    let listed = gateway.admin("GET", "/v1/sessions", "");
    assert!(!listed.body.contains("very-secret"), "{}", listed.body);
    let session = &listed.json()["items"][0];
    assert_eq!(session["key"]["hidden"], true, "{session}");
    let shown = session["key"]["key"].as_str().expect("a fingerprint");
    let digits = shown.strip_prefix('#').expect("a fingerprint");
    for key in [&format!("%23{digits}"), "very-secret-1234"] {
        let found = gateway.get(&format!("/v1/sessions?key={key}"));
        assert_eq!(ids(&found).len(), 1, "{key}");
    }
    assert_eq!(ids(&gateway.get("/v1/sessions?key=other")).len(), 0);
}

/// "Who sends most right now?", "who is idle?"
#[tokio::test]
async fn sessions_are_sorted_and_filtered_by_their_numbers() {
    let backend = Backend::echo().await;
    let gateway = gateway(&[backend.address], "").await;
    let mut clients = Vec::new();
    for (number, key) in ["quiet", "some", "most"].into_iter().enumerate() {
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        let id = client.session_id().await;
        for _ in 0..number * 3 {
            client.echo("some text to be counted").await;
        }
        clients.push((client, id));
    }
    let of = |number: usize| clients[number].1.clone();
    let sorted = |sort: &str| ids(&gateway.get(&format!("/v1/sessions?sort={sort}")));
    assert_eq!(sorted("-messages"), [of(2), of(1), of(0)]);
    assert_eq!(sorted("bytes"), [of(0), of(1), of(2)]);
    assert_eq!(sorted("-age"), [of(0), of(1), of(2)]);
    let best = gateway.get("/v1/sessions?sort=-bytes&limit=1");
    assert_eq!((ids(&best), &best["matched"]), (vec![of(2)], &json!(3)));
    let found = |filter: &str| ids(&gateway.get(&format!("/v1/sessions?{filter}")));
    assert_eq!(found("min_messages=9"), [of(2)]);
    assert_eq!(found("key=some"), [of(1)]);
    assert_eq!(found("client=127.0.0.0/8&host=localhost").len(), 3);
    assert_eq!(found("client=192.0.2.1").len(), 0);
    assert_eq!(found("min_age=1h").len(), 0);
    // The request blocks the runtime of this test, so the talker has a thread of its own.
    let mut talker = TcpStream::connect(gateway.address()).expect("it accepts");
    talker.write_all(UPGRADE.as_bytes()).expect("open");
    let over = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&over);
    let talking = thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            talker.write_all(&masked(0x81, b"now")).expect("open");
            pace_blocking(Duration::from_millis(5));
        }
    });
    eventually("it talks", async || gateway.sessions().len() == 4).await;
    let target = "/v1/sessions?sort=-message_rate&interval=300ms&limit=2";
    let found = gateway.get(target);
    over.store(true, Ordering::Relaxed);
    talking.join().expect("it never fails");
    let (first, second) = (&found["items"][0], &found["items"][1]);
    let known: Vec<_> = clients.iter().map(|(_, id)| json!(id)).collect();
    assert!(!known.contains(&first["id"]), "{found}");
    let rate = |session: &Value| session["rate"]["messages_per_second"].as_f64();
    assert!(rate(first) > Some(0.0), "{found}");
    assert_eq!((rate(second), &found["rate"]), (Some(0.0), &first["rate"]));
}

/// "Who is half dead, what is the round trip?"
#[tokio::test]
async fn the_round_trip_of_a_ping_and_the_silence_of_each_side_are_shown() {
    let backend = Backend::echo().await;
    let route = "keepalive = { interval = \"200ms\", timeout = \"60s\", to = \"both\" }";
    let gateway = gateway(&[backend.address], route).await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    let id = client.session_id().await;
    let reading = tokio::spawn(async move { while client.socket.next().await.is_some() {} });
    let target = format!("/v1/sessions/{id}");
    eventually("both were pinged", async || {
        let shown = gateway.get(&target);
        let trip = |side: &str| shown[format!("round_trip_{side}_ms")].as_f64();
        [trip("client"), trip("backend")]
            .into_iter()
            .all(|trip| trip.is_some_and(|trip| (0.0..5_000.0).contains(&trip)))
    })
    .await;
    let listed = gateway.get("/v1/sessions?sort=-round_trip");
    assert_eq!(ids(&listed), [id]);
    reading.abort();
    // The client is dropped with its task.
    drop(reading.await);
}

#[tokio::test]
async fn a_session_keeps_its_history_over_a_hand_over() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let addresses = [backends[0].address, backends[1].address];
    let text = config::echo(&addresses, "", "on_backend_loss = \"reconnect\"");
    let mut old = Gateway::start_with_handover(&text).await;
    let mut client = Client::connect(old.address(), "/?k=ann").await;
    let id = client.session_id().await;
    let target = format!("/v1/sessions/{id}");
    let moved = old.admin("POST", &format!("{target}/move"), "{}");
    assert_eq!(moved.status, 202, "{moved:?}");
    eventually("it moved", async || old.get(&target)["resumes"] == 1).await;
    let before = old.get(&target);
    let new = old.succeed().await;
    assert!(old.wait_for_exit().await.success());
    let after = new.get(&target);
    for field in ["moved", "placement", "key", "backend", "extensions"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_eq!(after["moved"][0]["reason"], "moved");
    assert_eq!(after["moved"][0]["by"], "local");
    client.echo("still here").await;
    drop(client);
}
