//! Routes without a backend: what clients send is put at the broker, with its sender.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::*;
use crate::support::brokers::{BrokerServer, Publisher};
use crate::support::{eventually, http};

/// Rooms that live from the broker alone.
fn config(broker: &BrokerServer, kind: &str, more: &str) -> String {
    of_broker(&broker.config(), kind, more)
}

fn of_broker(broker: &str, kind: &str, more: &str) -> String {
    let name = match kind {
        "rabbitmq" => "rabbitmq:amq.topic/in.{room}".to_owned(),
        // Records with this key: clients choose no topic.
        "kafka" => "kafka:in/{room}".to_owned(),
        _ => format!("{kind}:in.{{room}}"),
    };
    format!(
        "{broker}[[routes]]\nname = \"rooms\"\npath = \"/rooms/{{room}}\"\nupstream = \"broker\"\n\
         publish = \"{name}\"\ngroups = [\"path:room\"]\n{more}\n\
         [[routes.subscribe]]\nfrom = \"{name}\"\n"
    )
}

async fn node(name: &str, broker: &BrokerServer, kind: &str) -> Gateway {
    let gateway = Gateway::start_named(name, &config(broker, kind, "")).await;
    wait_for_broker(&gateway, true).await;
    gateway
}

async fn wait_for_broker(gateway: &Gateway, connected: bool) {
    let wanted = if connected { 1.0 } else { 0.0 };
    eventually("the broker is there, or not", async || {
        gateway.metric("sessile_broker_connected", &[]) == wanted
    })
    .await;
}

async fn join(gateway: &Gateway, room: &str) -> Client {
    Client::connect(gateway.address(), &format!("/rooms/{room}")).await
}

/// Waits until a client hears what it sends, so that it is subscribed.
pub(super) async fn settle(client: &mut Client) {
    let mut sent = 0;
    let mut heard: Option<u32> = None;
    while heard.is_none() {
        client.send(format!("marker {sent}").as_str()).await;
        sent += 1;
        let came = tokio::time::timeout(Duration::from_millis(200), client.receive_text());
        heard = came.await.ok().and_then(|text| marker(&text));
    }
    while heard != Some(sent - 1) {
        heard = marker(&client.receive_text().await);
    }
}

fn marker(text: &str) -> Option<u32> {
    text.strip_prefix("marker ")?.parse().ok()
}

#[tokio::test]
async fn messages_are_at_the_broker_as_they_were_sent_with_their_sender() {
    let broker = BrokerServer::start("nats").await;
    let gateway = node("one", &broker, "nats").await;
    let mut service = broker.publisher();
    service.subscribe("in.a").expect("the broker is there");
    let mut client = join(&gateway, "a").await;
    let id = client.header("sessile-session").expect("an id").to_owned();
    client.send("größe").await;
    client.send(Message::binary(vec![0xff, 0])).await;
    // In two frames, with a ping between them.
    let part = |payload: &'static str, code, fin| Frame::message(payload, OpCode::Data(code), fin);
    client
        .send(Message::Frame(part("one ", Data::Text, false)))
        .await;
    client.send(Message::Ping("7".into())).await;
    client
        .send(Message::Frame(part("two", Data::Continue, true)))
        .await;
    for (payload, kind) in [
        ("größe".as_bytes(), "text"),
        (&[0xff, 0][..], "binary"),
        (b"one two", "text"),
    ] {
        let (headers, came) = service.next().expect("a message");
        assert_eq!(came, payload);
        let has = |line: String| assert!(headers.contains(&line), "{line} is not in {headers}");
        has(format!("Sessile-Session: {id}\r\n"));
        has(format!("Sessile-Message-Type: {kind}\r\n"));
        has("Sessile-Groups: a\r\n".to_owned());
        has("Sessile-Route: rooms\r\n".to_owned());
    }
    client.close().await;
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(record.to_backend.messages["text"], 2);
    assert_eq!(record.to_backend.messages["binary"], 1);
    let carried = gateway.metric(
        "sessile_broker_messages_total",
        &["direction=\"sent_by_clients\"", "outcome=\"carried\""],
    );
    assert_eq!(carried, 3.0);
}

/// Every broker gets the payload as it was sent; where it has no headers, the route may ask for an
/// envelope.
#[tokio::test]
async fn an_envelope_names_the_sender_where_a_broker_has_no_headers() {
    let broker = BrokerServer::start("redis").await;
    let enveloped = "[[routes]]\nname = \"named\"\npath = \"/named/{room}\"\nupstream = \"broker\"\n\
        publish = { to = \"redis:in.{room}\", envelope = true }\ngroups = [\"path:room\"]\n";
    let text = [&*config(&broker, "redis", ""), enveloped].concat();
    let gateway = Gateway::start_named("one", &text).await;
    wait_for_broker(&gateway, true).await;
    let mut listener = join(&gateway, "a").await;
    settle(&mut listener).await;
    let mut client = Client::connect(gateway.address(), "/named/a").await;
    let id = client.header("sessile-session").expect("an id").to_owned();
    client.send(Message::binary(vec![1, 2])).await;
    let heard = listener.receive_text().await;
    let envelope: Value = serde_json::from_str(&heard).expect("JSON");
    assert_eq!(envelope["session"], id.as_str());
    assert_eq!(envelope["groups"], json!(["a"]));
    assert_eq!(envelope["route"], "named");
    assert_eq!(envelope["base64"], STANDARD.encode([1, 2]));
}

/// With the memory broker the gateway alone is a chat.
#[tokio::test]
async fn the_memory_broker_carries_messages_between_the_clients_of_a_room() {
    let text = of_broker("[broker]\ntype = \"memory\"\n", "memory", "");
    let gateway = Gateway::start(&text).await;
    let mut rooms = Vec::new();
    for room in ["a", "b"] {
        rooms.push((room, join(&gateway, room).await, join(&gateway, room).await));
    }
    for (room, first, second) in &mut rooms {
        first.send(format!("hello {room}").as_str()).await;
        assert_eq!(first.receive_text().await, format!("hello {room}"));
        assert_eq!(second.receive_text().await, format!("hello {room}"));
        second.send(Message::binary(vec![0xff])).await;
        assert_eq!(first.receive().await, Message::binary(vec![0xff]));
    }
    let shown = gateway.sessions();
    assert!(
        shown.iter().all(|one| one["backend"] == "gateway"),
        "{shown:?}"
    );
    // No upstream is down for it.
    let status = gateway.admin("GET", "/v1/findings", "").body;
    assert!(!status.contains("upstream_down"), "{status}");
}

#[tokio::test]
async fn a_route_without_a_backend_is_an_end_of_the_connection() {
    let broker = "[broker]\ntype = \"memory\"\n";
    let more = "subprotocols = [\"chat.v2\", \"chat.v1\"]\n";
    let listening = "[[routes]]\nname = \"news\"\npath = \"/news\"\nupstream = \"broker\"\n\
        [[routes.subscribe]]\nfrom = \"memory:in.a\"\n";
    let text = [&*of_broker(broker, "memory", more), listening].concat();
    let gateway = Gateway::start(&text).await;
    let offering = async |room: &str| {
        let dial = Dial::new(&format!("/rooms/{room}"));
        let dial = dial.header("sec-websocket-protocol", "other, chat.v1, chat.v2");
        let dial = dial.header("sec-websocket-extensions", "permessage-deflate");
        dial.connect(gateway.address()).await
    };
    let mut client = offering("a").await.expect("a session");
    assert_eq!(client.header("sec-websocket-protocol"), Some("chat.v1"));
    assert_eq!(client.header("sec-websocket-extensions"), None);
    let mut listener = Client::connect(gateway.address(), "/news").await;
    client.send("for all").await;
    assert_eq!(listener.receive_text().await, "for all");
    assert_eq!(client.receive_text().await, "for all");
    // A client that may only listen is closed when it sends.
    listener.try_send("x").await;
    assert_eq!(listener.end().await.map(|(code, _)| code), Some(1008));
    let invalid = Frame::message(vec![0xff], OpCode::Data(Data::Text), true);
    client.try_send(Message::Frame(invalid)).await;
    assert_eq!(client.end().await.map(|(code, _)| code), Some(1007));
    let mut client = offering("a").await.expect("a session");
    client.try_send(Message::binary(vec![0; 1_000_001])).await;
    assert_eq!(client.end().await.map(|(code, _)| code), Some(1009));
    // Plain requests have nowhere to go.
    let plain = http::get(gateway.address(), "/news", &[]).await;
    assert_eq!(plain.status, 426);
    assert_eq!(plain.header("upgrade"), Some("websocket"));
}

/// Values that would name something else open no session, whatever the spelling.
#[tokio::test]
async fn i12_a_client_cannot_publish_under_another_name() {
    let broker = BrokerServer::start("nats").await;
    let gateway = node("one", &broker, "nats").await;
    let mut service = broker.publisher();
    service.subscribe(">").expect("the broker is there");
    let rooms = [
        "*",
        "%2A",
        "%3E",
        "a.b",
        "a%2Eb",
        "a%20b",
        "a%0D%0APUB%20x%200",
        "%00",
        "%ff",
        "a%09",
    ];
    for room in rooms {
        let dial = Dial::new(&format!("/rooms/{room}"));
        let refused = dial.connect(gateway.address()).await.err();
        let status = refused.map(|refused| refused.status);
        assert_eq!(status, Some(400), "{room}");
    }
    let mut good = join(&gateway, "a").await;
    good.send("hello").await;
    loop {
        let (_, payload) = service.next().expect("a message");
        if payload == b"hello" {
            break;
        }
        // What gateways say to one another.
        assert!(!payload.is_empty());
    }
}

/// The client is not read while the broker takes nothing, and closed with 1013 in the end.
#[tokio::test]
async fn i8_clients_wait_for_the_broker_and_are_closed_when_it_stays_away() {
    let mut broker = BrokerServer::start("nats").await;
    let drops = "[[routes]]\nname = \"lossy\"\npath = \"/lossy/{room}\"\nupstream = \"broker\"\n\
        publish = { to = \"nats:in.{room}\", wait = \"100ms\", when_not_carried = \"drop\" }\n";
    let text = [&*config(&broker, "nats", ""), drops].concat();
    let gateway = Gateway::start_named("one", &text).await;
    wait_for_broker(&gateway, true).await;
    let mut client = join(&gateway, "a").await;
    settle(&mut client).await;
    let mut lossy = Client::connect(gateway.address(), "/lossy/a").await;
    broker.kill();
    wait_for_broker(&gateway, false).await;
    client.send("never").await;
    let end = client.end().await.expect("a close frame");
    let reason = "the broker has not confirmed the message";
    assert_eq!((end.0, &*end.1), (1013, reason));
    assert_eq!(count(&gateway, "not_carried"), 1.0);
    for number in 0..3 {
        lossy.send(format!("{number}").as_str()).await;
    }
    eventually("all are counted", async || {
        count(&gateway, "not_carried") == 4.0
    })
    .await;
    broker.start_again().await;
    wait_for_broker(&gateway, true).await;
    let mut client = join(&gateway, "a").await;
    settle(&mut client).await;
    lossy.send("again").await;
    assert_eq!(client.receive_text().await, "again");
}

/// Messages that the gateway was asked to carry from clients.
fn count(gateway: &Gateway, outcome: &str) -> f64 {
    let outcome = format!("outcome=\"{outcome}\"");
    let labels = ["direction=\"sent_by_clients\"", &outcome];
    gateway.metric("sessile_broker_messages_total", &labels)
}

#[tokio::test]
async fn i1_a_session_without_a_backend_goes_along_in_a_hand_over() {
    let mut broker = BrokerServer::start("nats").await;
    let text = config(&broker, "nats", "");
    let mut old = Gateway::start_with_handover(&text).await;
    wait_for_broker(&old, true).await;
    let mut client = join(&old, "a").await;
    settle(&mut client).await;
    let mut waiting = join(&old, "b").await;
    settle(&mut waiting).await;
    // A part of a message is on the old process, and a message that no broker has been offered.
    let part = |payload: &'static str, code, fin| Frame::message(payload, OpCode::Data(code), fin);
    client
        .send(Message::Frame(part("one ", Data::Text, false)))
        .await;
    broker.kill();
    wait_for_broker(&old, false).await;
    waiting.send("waits").await;
    let new = old.succeed().await;
    assert!(old.wait_for_exit().await.success());
    broker.start_again().await;
    wait_for_broker(&new, true).await;
    client
        .send(Message::Frame(part("two", Data::Continue, true)))
        .await;
    settle_after(&mut client, "one two").await;
    settle_after(&mut waiting, "waits").await;
    assert_eq!(count(&new, "not_carried"), 0.0);
    client.close().await;
    waiting.close().await;
    new.wait_until_idle().await;
}

/// Waits until the client hears its markers. What it sent before may come first, and nothing else.
async fn settle_after(client: &mut Client, sent: &str) {
    let mut number = 0;
    loop {
        client.send(format!("marker {number}").as_str()).await;
        number += 1;
        let came = tokio::time::timeout(Duration::from_millis(200), client.receive_text());
        match came.await {
            Ok(text) if marker(&text).is_some() => break,
            Ok(text) => assert_eq!(text, sent),
            Err(_) => {}
        }
    }
}

/// What a client of either gateway sends comes to those of both, in order for each sender.
pub(super) async fn hear_one_another(kind: &'static str) {
    const MESSAGES: usize = 100;
    let broker = BrokerServer::start(kind).await;
    if kind == "kafka" {
        broker.create_topic("in");
    }
    let one = node("one", &broker, kind).await;
    let other = node("other", &broker, kind).await;
    let mut clients = [join(&one, "sum").await, join(&other, "sum").await];
    let mut stranger = join(&other, "difference").await;
    for client in clients.iter_mut().chain([&mut stranger]) {
        settle(client).await;
    }
    for number in 0..MESSAGES {
        for (sender, client) in clients.iter_mut().enumerate() {
            client.send(format!("{sender} {number}").as_str()).await;
        }
    }
    for client in &mut clients {
        let mut next = [0; 2];
        while next != [MESSAGES; 2] {
            let text = client.receive_text().await;
            let (sender, number) = text.split_once(' ').expect("two words");
            if sender != "marker" {
                let next = &mut next[sender.parse::<usize>().expect("a number")];
                assert_eq!(number, next.to_string(), "of {sender}");
                *next += 1;
            }
        }
    }
    for gateway in [&one, &other] {
        eventually("the gateway knows that all are carried", async || {
            count(gateway, "carried") >= MESSAGES as f64
        })
        .await;
        assert_eq!(count(gateway, "not_carried"), 0.0);
    }
    stranger.send("of another room").await;
    assert_eq!(stranger.receive_text().await, "of another room");
}

/// Numbered messages of clients over two gateways while the broker is killed and stopped: each
/// arrives at most once and in order, and those that do not are counted.
async fn loses_only_what_it_counts(kind: &'static str) {
    let mut broker = BrokerServer::start(kind).await;
    // Long enough for a machine that is busy.
    let patient = config(&broker, kind, "").replace(
        &format!("publish = \"{kind}:in.{{room}}\""),
        &format!("publish = {{ to = \"{kind}:in.{{room}}\", wait = \"60s\" }}"),
    );
    let one = Gateway::start_named("one", &patient).await;
    wait_for_broker(&one, true).await;
    let other = node("other", &broker, kind).await;
    let mut service: Publisher = broker.publisher();
    service.subscribe("in.sum").expect("the broker is there");
    let (mut first, mut second) = (join(&one, "sum").await, join(&other, "sum").await);
    for number in 0..300 {
        first.send(format!("first {number}").as_str()).await;
        second.send(format!("second {number}").as_str()).await;
    }
    let mut next = [0, 0];
    for _ in 0..600 {
        let (_, payload) = service.next().expect("a message");
        let text = String::from_utf8(payload).expect("text");
        let (who, number) = text.split_once(' ').expect("two words");
        let place = usize::from(who == "second");
        assert_eq!(number, next[place].to_string(), "{who}");
        next[place] += 1;
    }
    // A broker that hangs for less than clients wait loses nothing that it did not have.
    broker.signal(rustix::process::Signal::STOP);
    wait_for_broker(&one, false).await;
    wait_for_broker(&other, false).await;
    first.send("first 300").await;
    broker.signal(rustix::process::Signal::CONT);
    wait_for_broker(&one, true).await;
    let (_, payload) = service.next().expect("a message");
    assert_eq!(payload, b"first 300");
    // The service may have it before its gateway knows that the broker has.
    eventually("the gateway knows that it is carried", async || {
        count(&one, "carried") == 301.0
    })
    .await;
    broker.kill();
    wait_for_broker(&one, false).await;
    second.send("second 300").await;
    assert_eq!(second.end().await.map(|(code, _)| code), Some(1013));
    broker.start_again().await;
    wait_for_broker(&one, true).await;
    let mut service = broker.publisher();
    service.subscribe("in.sum").expect("the broker is there");
    first.send("first 301").await;
    let (_, payload) = service.next().expect("a message");
    assert_eq!(
        payload, b"first 301",
        "what was refused does not come after all"
    );
    assert_eq!(
        (count(&one, "carried"), count(&one, "not_carried")),
        (302.0, 0.0)
    );
    assert_eq!(
        (count(&other, "carried"), count(&other, "not_carried")),
        (300.0, 1.0)
    );
}

#[tokio::test]
async fn i5_nats_may_die_or_hang_and_messages_of_clients_are_there_once_or_counted() {
    loses_only_what_it_counts("nats").await;
}
