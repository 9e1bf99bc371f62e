//! Sessions without a backend are sessions like others: limits, keepalive, operators, shutdown,
//! hand-over with TLS, presence.

use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::brokered::settle;
use super::presence::{joins, leaves, next, watch};
use super::*;
use crate::support::certificates::Authority;
use crate::support::event_source::EventSource;
use crate::support::raw::{UPGRADE, masked, unmasked};
use crate::support::shell::sessile;
use crate::support::{Raw, eventually};

/// Rooms that live from the gateway alone; `more` are further lines of their route.
fn chat(more: &str) -> String {
    format!(
        "[broker]\ntype = \"memory\"\n\n[[routes]]\nname = \"rooms\"\npath = \"/rooms/{{room}}\"\n\
         upstream = \"broker\"\npublish = \"memory:in.{{room}}\"\ngroups = [\"path:room\"]\n{more}\n\
         [[routes.subscribe]]\nfrom = \"memory:in.{{room}}\"\n"
    )
}

/// A client that hears what is sent in the room.
async fn join(gateway: &Gateway) -> Client {
    let mut client = Client::connect(gateway.address(), "/rooms/a").await;
    settle(&mut client).await;
    client
}

/// The next message that is not a marker of another client.
async fn hear(client: &mut Client) -> String {
    loop {
        let text = client.receive_text().await;
        if !text.starts_with("marker ") {
            return text;
        }
    }
}

/// Sends a message, which comes back.
async fn talk(client: &mut Client, text: &str) {
    client.send(text).await;
    assert_eq!(hear(client).await, text);
}

#[tokio::test]
async fn limits_hold() {
    let limits = "limits = { sessions_per_address = 2, messages_per_second = 10 }";
    let gateway = Gateway::start(&chat(limits)).await;
    let (mut one, mut other) = (join(&gateway).await, join(&gateway).await);
    let refused = Dial::new("/rooms/a").connect(gateway.address()).await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(429));
    // Up to 16 KiB may be read before they are counted: many short messages would all pass.
    for number in 0..200 {
        one.try_send(Message::text(format!("{number:>1000}"))).await;
    }
    assert_eq!(one.end().await.map(|(code, _)| code), Some(1008));
    // Its answer to the close frame may still be unsent: the gateway would wait for it.
    drop(one);
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(
        (&*record.cause, &*record.backend),
        ("rate_limited", "gateway")
    );
    // The place of the session that ended is free, and its room goes on.
    let mut next = join(&gateway).await;
    next.send("last").await;
    let mut passed = 0;
    while other.receive_text().await != "last" {
        passed += 1;
    }
    assert!(passed < 100, "{passed} of 200 messages passed");
    while next.receive_text().await != "last" {}
}

#[tokio::test]
async fn i8_a_client_that_answers_no_ping_is_lost() {
    let keepalive = "keepalive = { interval = \"200ms\", timeout = \"2s\" }\n\
        timeouts = { close = \"300ms\" }";
    let gateway = Gateway::start(&chat(keepalive)).await;
    let mut alive = join(&gateway).await;
    let mut silent = Raw::connect(gateway.address()).await;
    silent
        .write(UPGRADE.replacen("GET /", "GET /rooms/b", 1))
        .await;
    silent.read_head().await;
    let record = loop {
        // A client that is asked reads, and so answers.
        talk(&mut alive, "here").await;
        if let Some(record) = gateway.records().pop() {
            break record;
        }
    };
    let ended = (&*record.ended_by, &*record.cause, record.close_code);
    assert_eq!(ended, ("gateway", "keepalive_timeout", Some(3008)));
    drop(silent);
    talk(&mut alive, "still here").await;
}

/// A client that pings and does not read is not read either: it fills no memory, and goes along in
/// a hand-over.
#[tokio::test]
async fn i8_a_client_that_pings_without_reading_makes_itself_wait() {
    const SENT_MAX: usize = 48 << 20;
    let mut old = Gateway::start_with_handover(&chat("")).await;
    let mut greedy = Raw::connect(old.address()).await;
    greedy
        .write(UPGRADE.replacen("GET /", "GET /rooms/b", 1))
        .await;
    greedy.read_head().await;
    let (ping, pong) = (masked(0x89, &[7; 125]), unmasked(0x8a, &[7; 125]));
    let pings = ping.repeat(500);
    let mut sent = 0;
    let pause = Duration::from_secs(1);
    while let Ok(some) = timeout(pause, greedy.stream.write(&pings[sent % ping.len()..])).await {
        sent += some.expect("the session lives");
        assert!(sent < SENT_MAX, "the gateway takes pings without end");
    }
    let new = old.succeed().await;
    assert_eq!(old.wait_for_exit().await.code(), Some(0));
    for _ in 0..sent / ping.len() {
        assert_eq!(greedy.read(pong.len()).await, pong);
    }
    let mut other = join(&new).await;
    talk(&mut other, "hello").await;
    drop((greedy, other));
}

#[tokio::test]
async fn operators_see_send_to_and_close_them() {
    let gateway = Gateway::start(&chat("")).await;
    let (mut one, mut other) = (join(&gateway).await, join(&gateway).await);
    talk(&mut one, "hello").await;
    assert_eq!(hear(&mut other).await, "hello");
    let id = one.header("sessile-session").expect("an id").to_owned();
    let run = |arguments: &[&str]| {
        let output = sessile(arguments, gateway.directory());
        String::from_utf8([output.stdout, output.stderr].concat()).expect("text")
    };
    let why = run(&["why", &id]);
    assert!(why.contains("gateway"), "{why}");
    assert_eq!(run(&["send", &id, "to you"]), "delivered\n");
    assert_eq!(hear(&mut one).await, "to you");
    let kicked = run(&["kick", &id, "--code", "4001", "--reason", "bye"]);
    assert_eq!(kicked, format!("closing {id} with 4001, bye\n"));
    assert_eq!(one.end().await, Some((4001, "bye".to_owned())));
    let moved = run(&["move", other.header("sessile-session").expect("an id")]);
    assert!(moved.contains("has no backend"), "{moved}");
    talk(&mut other, "alone now").await;
}

#[tokio::test]
async fn a_shutdown_closes_them_with_1001() {
    let mut gateway = Gateway::start(&chat("")).await;
    let mut client = join(&gateway).await;
    talk(&mut client, "hello").await;
    gateway.signal(Signal::TERM);
    assert_eq!(client.end().await.map(|(code, _)| code), Some(1001));
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    let record = gateway.records().remove(0);
    assert_eq!((&*record.cause, &*record.backend), ("shutdown", "gateway"));
}

#[tokio::test]
async fn i7_with_tls_they_go_on_in_the_next_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["edge.test"]);
    let text = format!(
        "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
         tls.certificates = [{{ cert = \"edge.crt\", key = \"edge.key\" }}]\n\n{}",
        chat("")
    );
    let mut gateway = Gateway::start_with_handover_in(directory, &text).await;
    let mut clients = Vec::new();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let dial = Dial::new("/rooms/a").host("edge.test");
        let config = authority.client_of(&[version]);
        let client = dial.connect_tls(gateway.address(), config).await;
        let mut client = client.expect("a session");
        settle(&mut client).await;
        clients.push(client);
    }
    for round in 0..2 {
        let next = gateway.succeed().await;
        assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
        gateway = next;
        for sender in 0..clients.len() {
            let text = format!("round {round} of {sender}");
            clients[sender].send(&*text).await;
            for client in &mut clients {
                assert_eq!(hear(client).await, text);
            }
        }
    }
}

/// Clients that only listen are members of their groups.
#[tokio::test]
async fn listeners_join_and_leave_groups() {
    let (gateway, _backend) = gateway("sse = {}").await;
    let mut first = EventSource::connect(gateway.address(), "/rooms/a", "").await;
    let id = |source: &EventSource| source.field("sessile-session").expect("an id").to_owned();
    first.next().await.expect("it is there");
    let (mut stream, known) = watch(&gateway, "a", 1).await;
    assert_eq!(known, [id(&first)].into());
    let mut second = EventSource::connect(gateway.address(), "/rooms/a", "").await;
    second.next().await.expect("it is there");
    assert_eq!(next(&mut stream).await, joins(&id(&second)));
    let left = id(&first);
    drop(first);
    assert_eq!(next(&mut stream).await, leaves(&left));
    let (mut socket, entered) = enter(&gateway, "a").await;
    assert_eq!(next(&mut stream).await, joins(&entered));
    publish(&gateway, &json!({ "to": ["group:a"], "text": "to both" }));
    assert_eq!(second.message().await, "to both");
    assert_eq!(socket.receive_text().await, "to both");
    eventually("two members are counted", async || {
        gateway.get("/v1/groups?prefix=a")["items"][0]["members"] == 2
    })
    .await;
    timeout(Duration::from_secs(60), socket.close())
        .await
        .expect("a close");
}
