//! How much one client and one principal may send and ask for.

use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tokio_tungstenite::tungstenite::Message;

use crate::support::tokens::{SECRET, in_seconds};
use crate::support::{Backend, Client, Dial, Gateway, config};

async fn gateway(backend: &Backend, limits: &str) -> Gateway {
    let route = format!("limits = {{ {limits} }}");
    Gateway::start(&config::echo(&[backend.address], "", &route)).await
}

/// The same for users, who show a token.
async fn gateway_of_users(backend: &Backend, limits: &str) -> Gateway {
    let route = format!("authenticate = [\"users\"]\nlimits = {{ {limits} }}");
    let text = format!(
        "[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\nalgorithms = [\"HS256\"]\n\n{}",
        config::echo(&[backend.address], "", &route)
    );
    Gateway::start(&text).await
}

async fn session_of(gateway: &Gateway, subject: &str) -> Result<Client, u16> {
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let claims = format!("{{\"sub\":\"{subject}\",\"exp\":{}}}", in_seconds(600));
    let signed = format!("{}.{}", encode("{\"alg\":\"HS256\"}"), encode(&claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    let dial = Dial::new("/").header("authorization", &format!("Bearer {signed}.{signature}"));
    let client = dial.connect(gateway.address()).await;
    client.map_err(|refused| refused.status)
}

#[tokio::test]
async fn a_client_that_sends_too_many_messages_is_closed_with_1008() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "messages_per_second = 10").await;
    let mut client = Client::connect(gateway.address(), "/").await;
    let mut other = Client::connect(gateway.address(), "/").await;
    for _ in 0..10 {
        client.echo("within").await;
    }
    for _ in 0..200 {
        client.try_send("beyond").await;
    }
    assert_eq!(client.end().await.unwrap().0, 1008);
    other.echo("another's rate is its own").await;
    other.close().await;
    let records = gateway.wait_for_records(2).await;
    let ended: Vec<_> = records.iter().map(|record| record.cause.as_str()).collect();
    assert!(ended.contains(&"rate_limited"), "{ended:?}");
    assert!(
        backend
            .ends()
            .iter()
            .flatten()
            .any(|(code, _)| *code == 1008)
    );
}

#[tokio::test]
async fn a_client_that_is_slowed_down_loses_nothing() {
    let backend = Backend::echo().await;
    for limits in ["messages_per_second = 40", "bytes_per_second = \"4 KiB\""] {
        let gateway = gateway(&backend, &format!("{limits}, over = \"slow\"")).await;
        let mut client = Client::connect(gateway.address(), "/").await;
        let start = Instant::now();
        let text = "x".repeat(90);
        // A piece's worth goes through before it is counted; what follows waits for it.
        for n in 0..100 {
            client.send(format!("{n} {text}")).await;
        }
        for n in 0..100 {
            assert_eq!(client.receive_text().await, format!("{n} {text}"));
        }
        client.echo("behind what was too much").await;
        // A hundred messages, or ten kilobytes, at that rate, less what may come at once.
        assert!(
            start.elapsed() > Duration::from_millis(1000),
            "{limits}: {:?}",
            start.elapsed()
        );
        client.close().await;
    }
}

#[tokio::test]
async fn a_principals_sessions_share_its_rate() {
    let backend = Backend::echo().await;
    let limits = "principal_messages_per_second = 20, burst = \"2s\"";
    let gateway = gateway_of_users(&backend, limits).await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(session_of(&gateway, "ann").await.unwrap());
    }
    let mut other = session_of(&gateway, "bob").await.unwrap();
    let mut over = 0;
    for client in &mut sessions {
        for _ in 0..30 {
            client.try_send("x").await;
        }
    }
    for client in &mut sessions {
        client.try_send(Message::Close(None)).await;
        over += usize::from(matches!(client.end().await, Some((1008, _))));
    }
    assert!(over >= 1, "four times thirty are more than forty");
    for _ in 0..30 {
        other.echo("another's rate is its own").await;
    }
    other.close().await;
}

#[tokio::test]
async fn a_principal_has_so_many_sessions_and_handshakes() {
    let backend = Backend::echo().await;
    let gateway = gateway_of_users(&backend, "sessions_per_principal = 1").await;
    let first = session_of(&gateway, "ann").await.unwrap();
    assert_eq!(session_of(&gateway, "ann").await.err(), Some(429));
    session_of(&gateway, "bob").await.unwrap().close().await;
    let shown = gateway.get("/v1/quotas")["largest"].to_string();
    assert!(shown.contains("users/ann on route `all`"), "{shown}");
    first.close().await;

    let gateway = gateway_of_users(&backend, "handshakes_per_principal = \"2/h\"").await;
    for _ in 0..2 {
        session_of(&gateway, "ann").await.unwrap().close().await;
    }
    let reached = backend.accepted();
    assert_eq!(session_of(&gateway, "ann").await.err(), Some(429));
    assert_eq!(backend.accepted(), reached);
    session_of(&gateway, "bob").await.unwrap().close().await;
}

#[tokio::test]
async fn a_slowed_client_that_is_closed_is_not_waited_for() {
    let backend = Backend::echo().await;
    let route = "limits = { messages_per_second = 1, over = \"slow\" }\n\
        timeouts = { close = \"60s\" }";
    let gateway = Gateway::start(&config::echo(&[backend.address], "", route)).await;
    let mut client = Client::connect(gateway.address(), "/").await;
    for _ in 0..200 {
        client.send("beyond").await;
    }
    let id = gateway.sessions()[0]["id"].as_str().unwrap().to_owned();
    let start = Instant::now();
    let closed = gateway.admin("DELETE", &format!("/v1/sessions/{id}"), "");
    assert!((200..300).contains(&closed.status), "{closed:?}");
    assert_eq!(client.end().await.map(|(code, _)| code), Some(1008));
    drop(client);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(&*record.cause, "kicked");
    assert!(start.elapsed() < Duration::from_secs(15), "it waited");
    let ends = backend.ends();
    assert_eq!(ends.last().unwrap().as_ref().map(|end| end.0), Some(1008));
}
