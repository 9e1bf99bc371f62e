//! Clients that only listen: server-sent events on the routes and groups of WebSockets.

use super::*;
use crate::support::certificates::Authority;
use crate::support::event_source::EventSource;
use crate::support::eventually;
use crate::support::tokens::{SECRET, claims, token};

use rustix::process::Signal;

async fn listen(gateway: &Gateway, target: &str) -> EventSource {
    let mut source = EventSource::connect(gateway.address(), target, "").await;
    assert_eq!(source.status, 200);
    assert_eq!(source.field("content-type"), Some("text/event-stream"));
    let first = source.next().await.expect("the time to come back after");
    assert!(first.retry.is_some(), "{first:?}");
    source
}

#[tokio::test]
async fn a_client_that_only_listens_gets_the_messages_of_its_groups() {
    let (gateway, backend) = gateway("sse = {}").await;
    let mut source = listen(&gateway, "/rooms/a").await;
    let id = source.field("sessile-session").expect("an id").to_owned();
    let (mut client, _) = enter(&gateway, "a").await;
    let answer = publish(&gateway, &json!({ "to": ["group:a"], "text": "one\ntwo" }));
    assert_eq!(counts(&answer), [2, 0, 0], "both clients of the room");
    assert_eq!(source.message().await, "one\ntwo");
    assert_eq!(client.receive_text().await, "one\ntwo");
    publish(
        &gateway,
        &json!({ "to": [format!("session:{id}")], "base64": "AP8=" }),
    );
    let event = source.event().await;
    assert_eq!(
        (event.kind.as_str(), event.data.as_str()),
        ("binary", "AP8=")
    );
    assert_eq!(backend.live(), 1, "only the WebSocket has a backend");
    let session = gateway.get(&format!("/v1/sessions/{id}"));
    assert_eq!(session["placement"]["choice"], "gateway", "{session}");
    assert_eq!(session["groups"], json!(["a"]), "{session}");

    let closed = gateway.admin(
        "DELETE",
        &format!("/v1/sessions/{id}?code=4001&reason=bye"),
        "",
    );
    assert_eq!(closed.status, 202, "{}", closed.body);
    let last = source.event().await;
    assert_eq!(last.kind, "close");
    assert_eq!(last.data, r#"{"code":4001,"reason":"bye"}"#);
    assert_eq!(source.next().await, None, "the connection ends");
    client.close().await;
    let records = gateway.wait_for_records(2).await;
    let record = records.iter().find(|one| one.id == id).expect("a record");
    assert_eq!(
        (record.close_code, record.backend.as_str()),
        (Some(4001), "gateway")
    );
    assert_eq!(record.published["sent"], 2);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_session() {
    let (gateway, _backend) = gateway("sse = {}").await;
    let source = listen(&gateway, "/rooms/a").await;
    drop(source);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(
        (record.ended_by.as_str(), record.close_code),
        ("client", None)
    );
    let answer = publish(&gateway, &json!({ "to": ["group:a"], "text": "late" }));
    assert_eq!(counts(&answer), [0, 0, 0]);
}

#[tokio::test]
async fn without_the_routes_consent_a_request_for_events_goes_to_a_backend() {
    let (gateway, _backend) = gateway("").await;
    let source = EventSource::connect(gateway.address(), "/rooms/a", "").await;
    assert_eq!(source.field("sessile-session"), None);
    assert_ne!(source.field("content-type"), Some("text/event-stream"));
}

#[tokio::test]
async fn credentials_origins_and_limits_hold_for_listeners_too() {
    let backend = Backend::echo().await;
    let more = "sse = {}\nauthenticate = [\"users\"]\norigins = [\"https://chat.example.com\"]\n\
                limits = { sessions_per_principal = 1 }";
    let users = format!("[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n");
    let text = format!("{}\n{users}", rooms(&[backend.address], more));
    let gateway = Gateway::start(&text).await;
    let connect =
        async |fields: &str| EventSource::connect(gateway.address(), "/rooms/a", fields).await;
    assert_eq!(connect("").await.status, 401);
    let token = token(&claims("ann"));
    let token = format!("Authorization: Bearer {token}\r\n");
    let foreign = format!("{token}Origin: https://other.example.com\r\n");
    assert_eq!(connect(&foreign).await.status, 403);
    let own = format!("{token}Origin: https://chat.example.com\r\n");
    let first = connect(&own).await;
    assert_eq!(first.status, 200);
    let allowed = first.field("access-control-allow-origin");
    assert_eq!(allowed, Some("https://chat.example.com"));
    assert_eq!(
        connect(&token).await.status,
        429,
        "one session of a principal"
    );
    drop(first);
    eventually("the place is free again", async || {
        connect(&token).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_silent_stream_has_heartbeats() {
    let (gateway, _backend) = gateway("sse = { heartbeat = \"1s\" }").await;
    let mut source = listen(&gateway, "/rooms/a").await;
    for _ in 0..2 {
        let next = source.next().await.expect("a comment");
        assert!(next.comment && next.data.is_empty(), "{next:?}");
    }
}

#[tokio::test]
async fn i8_a_listener_that_does_not_read_is_bounded_and_misses_nothing_that_was_accepted() {
    let (gateway, _backend) =
        gateway("sse = {}\nmessage_queue = { messages = 10, bytes = \"1 MiB\" }").await;
    let mut slow = EventSource::slow(gateway.address(), "/rooms/slow").await;
    let mut sent = 0;
    loop {
        let text = format!("{sent}:{}", "x".repeat(8192));
        let answer = publish(&gateway, &json!({ "to": ["group:slow"], "text": text }));
        if counts(&answer)[2] > 0 {
            break;
        }
        sent += 1;
        assert!(sent < 5000, "the queue never filled");
    }
    for expected in 0..sent {
        let text = slow.message().await;
        assert!(text.starts_with(&format!("{expected}:")), "{expected}");
    }
}

#[tokio::test]
async fn i1_listeners_live_through_hand_overs() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["127.0.0.1", "localhost"]);
    let backend = Backend::echo().await;
    let listener = "[[listeners]]\nname = \"plain\"\nlisten = [\"127.0.0.1:0\"]\n\
                    [[listeners]]\nname = \"tls\"\nlisten = [\"127.0.0.1:0\"]\n\
                    tls.certificates = [{ cert = \"edge.crt\", key = \"edge.key\" }]\n";
    let text = format!("{}\n{listener}", rooms(&[backend.address], "sse = {}"));
    let mut old = Gateway::start_with_handover_in(directory, &text).await;
    let (plain, address) = (old.listener("plain"), old.listener("tls"));
    let mut plain = EventSource::connect(plain, "/rooms/a", "").await;
    assert_eq!(plain.status, 200);
    let mut tls = EventSource::connect_tls(address, "/rooms/a", "", authority.client()).await;
    assert_eq!(tls.status, 200);
    for round in 0..2 {
        let new = old.succeed().await;
        assert!(old.wait_for_exit().await.success(), "{}", old.log());
        let status = new.get("/v1/status");
        assert_eq!(status["taken_over"]["sessions"], 2, "{status}");
        let text = format!("after {round}");
        let answer = publish(&new, &json!({ "to": ["group:a"], "text": text }));
        assert_eq!(counts(&answer), [2, 0, 0]);
        assert_eq!(plain.message().await, text);
        assert_eq!(tls.message().await, text);
        old = new;
    }
    old.signal(Signal::TERM);
    for source in [&mut plain, &mut tls] {
        let last = source.event().await;
        assert_eq!(last.kind, "close", "{last:?}");
        assert!(last.retry.is_some(), "when to come back: {last:?}");
        assert_eq!(source.next().await, None);
    }
    assert!(old.wait_for_exit().await.success(), "{}", old.log());
}
