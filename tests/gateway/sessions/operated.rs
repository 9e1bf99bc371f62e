//! What operators do with live sessions: move one, send messages into some, close those that match.

use std::net::SocketAddr;

use serde_json::json;

use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

const RECONNECT: &str = "on_backend_loss = \"reconnect\"";

async fn gateway(backends: &[SocketAddr], route: &str) -> Gateway {
    Gateway::start(&config::echo(backends, "", route)).await
}

#[tokio::test]
async fn i1_a_session_is_moved_to_the_backend_that_was_asked_for() {
    let backends = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let gateway = gateway(&addresses, RECONNECT).await;
    let mut client = Client::connect(gateway.address(), "/?k=ann").await;
    let id = client.session_id().await;
    let target = format!("/v1/sessions/{id}");
    let mut expected = Vec::new();
    for backend in &addresses {
        let from = gateway.get(&target)["backend"].clone();
        let body = json!({ "backend": backend.to_string() }).to_string();
        let answer = gateway.admin("POST", &format!("{target}/move"), &body);
        if from == backend.to_string() {
            assert_eq!(answer.status, 409, "{answer:?}");
            continue;
        }
        assert_eq!(answer.status, 202, "{answer:?}");
        eventually("it moved", async || {
            gateway.get(&target)["backend"] == backend.to_string()
        })
        .await;
        client.echo("still here").await;
        expected.push((from, json!(backend.to_string())));
    }
    let shown = gateway.get(&target);
    let moved = shown["moved"].as_array().expect("a list").iter();
    let moved: Vec<_> = moved
        .map(|one| {
            assert_eq!(
                (&one["reason"], &one["by"]),
                (&json!("moved"), &json!("local"))
            );
            (one["from"].clone(), one["to"].clone())
        })
        .collect();
    assert_eq!(moved, expected);
    assert!(gateway.log().contains("session moved by an operator"));
    // Without a backend: to any other.
    let from = shown["backend"].clone();
    let answer = gateway.admin("POST", &format!("{target}/move"), "{}");
    assert_eq!(answer.status, 202, "{answer:?}");
    eventually("it moved", async || gateway.get(&target)["backend"] != from).await;
    client.echo("and here").await;
}

#[tokio::test]
async fn a_move_that_is_not_possible_is_refused_and_changes_nothing() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let addresses = [backends[0].address, backends[1].address];
    let fixed = gateway(&addresses, "").await;
    let mut client = Client::connect(fixed.address(), "/?k=ann").await;
    let id = client.session_id().await;
    let target = format!("/v1/sessions/{id}/move");
    let answer = fixed.admin("POST", &target, "{}");
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(
        answer.body.contains("does not reconnect"),
        "{}",
        answer.body
    );
    client.echo("still here").await;

    let gateway = gateway(&addresses[..1], RECONNECT).await;
    let mut client = Client::connect(gateway.address(), "/?k=ann").await;
    let id = client.session_id().await;
    let target = format!("/v1/sessions/{id}/move");
    for body in ["{}", r#"{"backend":"nowhere:1"}"#] {
        let answer = gateway.admin("POST", &target, body);
        assert_eq!(answer.status, 409, "{answer:?}");
    }
    let absent = "/v1/sessions/01BX5ZZKBKACTAV9WEVGEMMVRZ/move";
    assert_eq!(gateway.admin("POST", absent, "{}").status, 404);
    assert_eq!(
        gateway.admin("POST", "/v1/sessions/x/move", "{}").status,
        400
    );
    client.echo("still here").await;
}

/// "Tell one user, or everyone on a route."
#[tokio::test]
async fn i10_messages_are_sent_to_either_side_and_are_counted() {
    let backend = Backend::echo().await;
    let gateway = gateway(&[backend.address], "").await;
    let mut one = Client::connect(gateway.address(), "/?k=1").await;
    let mut other = Client::connect(gateway.address(), "/?k=2").await;
    let (id, _) = (one.session_id().await, other.session_id().await);
    let target = format!("/v1/sessions/{id}/messages");
    let send = |target: &str, body: &str| gateway.admin("POST", target, body);
    let answer = send(&target, r#"{"text":"maintenance at 5"}"#);
    assert_eq!((answer.status, &answer.json()["bytes"]), (202, &json!(16)));
    assert_eq!(one.receive_text().await, "maintenance at 5");
    // The backend takes it for the client's, and echoes it.
    let answer = send(&target, r#"{"text":"who is there?","to":"backend"}"#);
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(one.receive_text().await, "who is there?");
    let answer = send(&target, r#"{"base64":"AAEC"}"#);
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(one.receive().await.into_data()[..], [0, 1, 2]);

    let answer = send(
        "/v1/sessions/messages?route=all",
        r#"{"text":"all of you"}"#,
    );
    let counts = json!({ "delivered": 2, "busy": 0, "gone": 0, "unfit": 0 });
    assert_eq!((answer.status, answer.json()), (202, counts));
    assert_eq!(one.receive_text().await, "all of you");
    assert_eq!(other.receive_text().await, "all of you");
    one.echo("still here").await;

    let long = json!({ "text": "x".repeat(9_000) }).to_string();
    for (target, body, status) in [
        (&*target, r#"{"text":"a","base64":"AA=="}"#, 400),
        (&target, "{}", 400),
        (&target, r#"{"base64":"?"}"#, 400),
        (&target, &long, 413),
        ("/v1/sessions/messages", r#"{"text":"a"}"#, 400),
        ("/v1/sessions/messages?rout=all", r#"{"text":"a"}"#, 400),
        (
            "/v1/sessions/01BX5ZZKBKACTAV9WEVGEMMVRZ/messages",
            r#"{"text":"a"}"#,
            404,
        ),
    ] {
        let answer = send(target, body);
        assert_eq!(answer.status, status, "{target} {body:.30} {answer:?}");
    }
    let operator = gateway.log();
    assert!(
        operator.contains("message sent by an operator"),
        "{operator}"
    );
    assert!(
        !operator.contains("maintenance at 5"),
        "the text is not logged"
    );
}

#[tokio::test]
async fn i8_a_client_that_reads_nothing_gets_few_messages() {
    let backend = Backend::echo().await;
    let gateway = gateway(&[backend.address], "").await;
    // A buffer that does not grow: otherwise the system may take what is held a moment later.
    let dial = Dial::new("/?k=1").receive_buffer(4096);
    let mut client = dial.connect(gateway.address()).await.expect("a session");
    let id = client.session_id().await;
    let target = format!("/v1/sessions/{id}/messages");
    let body = json!({ "text": "x".repeat(8 * 1024) }).to_string();
    // The system's buffers take some, then the session stores two at most.
    let mut sent = 0;
    let status = loop {
        let answer = gateway.admin("POST", &target, &body);
        if answer.status != 202 {
            break answer.status;
        }
        sent += 1;
        assert!(sent < 10_000, "it never ends");
    };
    assert_eq!(status, 429);
    let shown = gateway.get(&format!("/v1/sessions/{id}"));
    let held = shown["in_flight_to_client"]["held"]
        .as_u64()
        .expect("a number");
    assert!((1..=64 * 1024).contains(&held), "{shown}");
    let most = gateway.get("/v1/sessions?sort=-in_flight&limit=1");
    assert_eq!(most["items"][0]["id"], id);
    for _ in 0..sent {
        assert_eq!(client.receive_text().await.len(), 8 * 1024);
    }
}

#[tokio::test]
async fn sessions_that_match_are_closed() {
    let backend = Backend::echo().await;
    let gateway = gateway(&[backend.address], "").await;
    let mut one = Client::connect(gateway.address(), "/?k=1").await;
    let mut other = Client::connect(gateway.address(), "/?k=2").await;
    assert_eq!(gateway.admin("DELETE", "/v1/sessions", "").status, 400);
    let wrong = gateway.admin("DELETE", "/v1/sessions?rout=all", "");
    assert_eq!(wrong.status, 400, "{wrong:?}");
    let closed = gateway.admin("DELETE", "/v1/sessions?key=1&code=4001&reason=bye", "");
    assert_eq!((closed.status, &closed.json()["closing"]), (202, &json!(1)));
    assert_eq!(one.end().await, Some((4001, "bye".to_owned())));
    other.echo("still here").await;
    let closed = gateway.admin("DELETE", "/v1/sessions?all=true", "");
    assert_eq!(closed.json()["closing"], 1);
    assert_eq!(other.end().await.map(|(code, _)| code), Some(1008));
}
