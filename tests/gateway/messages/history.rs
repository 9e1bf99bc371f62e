//! Messages that are kept, and clients that come back for them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::support::brokers::BrokerServer;
use crate::support::event_source::EventSource;
use crate::support::eventually;

/// A gateway that keeps messages of all rooms, and takes listeners.
async fn keeping(history: &str) -> (Gateway, Backend) {
    let backend = Backend::echo().await;
    let text = rooms(&[backend.address], "sse = {}");
    let history = format!("history = [{{ groups = [\"*\"], {history} }}]\n");
    let text = text.replacen("[publish]\n", &format!("[publish]\n{history}"), 1);
    (Gateway::start(&text).await, backend)
}

pub(super) async fn resume(gateway: &Gateway, room: &str, last: &str) -> EventSource {
    let field = format!("Last-Event-ID: {last}\r\n");
    let source = EventSource::connect(gateway.address(), &format!("/rooms/{room}"), &field).await;
    assert_eq!(source.status, 200);
    source
}

pub(super) fn tell(gateway: &Gateway, room: &str, text: &str) {
    let message = json!({ "to": [format!("group:{room}")], "text": text });
    publish(gateway, &message);
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed_once_and_in_order() {
    let (gateway, _backend) = keeping("messages = 100").await;
    let mut first = resume(&gateway, "a", "").await;
    tell(&gateway, "a", "before");
    let seen = first.event().await;
    assert_eq!(seen.data, "before");
    drop(first);
    for text in ["one", "two"] {
        tell(&gateway, "a", text);
        tell(&gateway, "b", "of another room");
    }
    let to = ["group:a", "group:b"];
    publish(&gateway, &json!({ "to": to, "text": "for both" }));
    let mut second = resume(&gateway, "a", &seen.id).await;
    tell(&gateway, "a", "live");
    for expected in ["one", "two", "for both", "live"] {
        assert_eq!(second.message().await, expected);
    }
}

#[tokio::test]
async fn nothing_is_missed_or_doubled_while_messages_flow() {
    const MESSAGES: usize = 600;
    let (gateway, _backend) = keeping("messages = 1000").await;
    let mut source = resume(&gateway, "a", "0-0").await;
    let gateway = Arc::new(gateway);
    let publisher = {
        let gateway = Arc::clone(&gateway);
        thread::spawn(move || {
            for number in 0..MESSAGES {
                tell(&gateway, "a", &number.to_string());
            }
        })
    };
    let mut event = source.event().await;
    assert_eq!(event.kind, "gap", "`0-0` is older than the gateway");
    for expected in 0..MESSAGES {
        event = source.event().await;
        assert_eq!(event.data, expected.to_string());
        if expected % 20 == 0 {
            source = resume(&gateway, "a", &event.id).await;
        }
    }
    publisher.join().expect("it publishes all");
    drop(source);
}

#[tokio::test]
async fn a_websocket_may_ask_for_what_it_missed() {
    let (gateway, _backend) = keeping("messages = 100").await;
    for text in ["one", "two"] {
        tell(&gateway, "a", text);
    }
    let mut client = Client::connect(gateway.address(), "/rooms/a?since=0").await;
    tell(&gateway, "a", "live");
    for expected in ["one", "two", "live"] {
        assert_eq!(client.receive_text().await, expected);
    }
    client.echo("and its backend").await;
    client.close().await;
    let mut fresh = Client::connect(gateway.address(), "/rooms/a").await;
    fresh.echo("nothing old").await;
    fresh.close().await;
}

#[tokio::test]
async fn a_client_is_told_that_messages_may_be_missing() {
    let (gateway, _backend) = keeping("messages = 2").await;
    let mut first = resume(&gateway, "a", "").await;
    tell(&gateway, "a", "0");
    let seen = first.event().await.id;
    drop(first);
    for number in 1..5 {
        tell(&gateway, "a", &number.to_string());
    }
    let mut second = resume(&gateway, "a", &seen).await;
    assert_eq!(second.event().await.kind, "gap");
    for expected in ["3", "4"] {
        assert_eq!(second.message().await, expected);
    }
}

#[tokio::test]
async fn messages_that_are_not_for_a_client_do_not_keep_it_from_those_that_are() {
    let (gateway, _backend) = keeping("messages = 1000").await;
    for number in 0..200 {
        let to =
            json!({ "to": ["group:a"], "except": ["route:rooms"], "text": number.to_string() });
        publish(&gateway, &to);
    }
    tell(&gateway, "a", "kept");
    let mut client = Client::connect(gateway.address(), "/rooms/a?since=0").await;
    assert_eq!(client.receive_text().await, "kept");
    tell(&gateway, "a", "live");
    assert_eq!(client.receive_text().await, "live");
    client.close().await;
}

#[tokio::test]
async fn i12_what_is_no_id_asks_for_nothing() {
    let (gateway, _backend) = keeping("messages = 100").await;
    tell(&gateway, "a", "old");
    for last in ["x", "-1", "1-1-1", "99999999999999999999999-0", "%00"] {
        let mut source = resume(&gateway, "a", last).await;
        tell(&gateway, "a", last);
        assert_eq!(source.message().await, last);
    }
}

#[tokio::test]
async fn i1_the_history_goes_along_in_a_hand_over_and_live_clients_miss_nothing() {
    let backend = Backend::echo().await;
    let text = rooms(&[backend.address], "sse = {}");
    let history = "history = [{ groups = [\"*\"], messages = 1000 }]\n";
    let text = text.replacen("[publish]\n", &format!("[publish]\n{history}"), 1);
    let mut old = Gateway::start_with_handover(&text).await;
    let mut staying = EventSource::connect(old.address(), "/rooms/a", "").await;
    let mut leaving = EventSource::connect(old.address(), "/rooms/a", "").await;
    tell(&old, "a", "0");
    let seen = leaving.event().await.id;
    assert_eq!(staying.message().await, "0");
    drop(leaving);
    let large = "x".repeat(20_000);
    for number in 1..=80 {
        tell(&old, "a", &format!("{number} {large}"));
    }
    let new = old.succeed().await;
    assert!(old.wait_for_exit().await.success(), "{}", old.log());
    tell(&new, "a", "81 ");
    let mut back = resume(&new, "a", &seen).await;
    for source in [&mut staying, &mut back] {
        for expected in 1..=81 {
            let text = source.message().await;
            assert!(
                text.starts_with(&format!("{expected} ")),
                "{expected}: {:.20}",
                text
            );
        }
    }
    drop((staying, back));
}

#[tokio::test]
async fn i8_a_client_that_does_not_read_what_it_missed_gets_it_page_by_page() {
    let (gateway, _backend) = keeping("messages = 1000").await;
    let large = "x".repeat(8192);
    for number in 0..500 {
        tell(&gateway, "slow", &format!("{number} {large}"));
    }
    let mut slow = EventSource::slow(gateway.address(), "/rooms/slow?since=0").await;
    assert_eq!(
        slow.event().await.kind,
        "gap",
        "the time is before the gateway's begin"
    );
    let id = slow.field("sessile-session").expect("an id").to_owned();
    let session = gateway.get(&format!("/v1/sessions/{id}"));
    let held = session["in_flight_to_client"]["held"].as_u64();
    let held = held.expect("bytes that wait");
    assert!((1..=64 * 9000).contains(&held), "a page at most: {session}");
    tell(&gateway, "slow", "500 live");
    for expected in 0..=500 {
        let text = slow.message().await;
        assert!(
            text.starts_with(&format!("{expected} ")),
            "{expected}: {text:.20}"
        );
    }
    drop(slow);
}

/// What waits for a client that comes back is bounded by its route, as all that is published.
#[tokio::test]
async fn i8_a_page_of_what_was_missed_fits_into_the_queue_of_the_route() {
    const MESSAGES: usize = 130;
    let backend = Backend::echo().await;
    let queue = "sse = {}\nmessage_queue = { messages = 4, bytes = \"64 KiB\" }";
    let history = "history = [{ groups = [\"*\"], messages = 1000 }]\n";
    let text = rooms(&[backend.address], queue);
    let text = text.replacen("[publish]\n", &format!("[publish]\n{history}"), 1);
    let gateway = Gateway::start(&text).await;
    let large = "x".repeat(30_000);
    for number in 0..MESSAGES {
        tell(&gateway, "slow", &format!("{number} {large}"));
    }
    let mut slow = EventSource::slow(gateway.address(), "/rooms/slow?since=0").await;
    assert_eq!(slow.event().await.kind, "gap");
    let id = slow.field("sessile-session").expect("an id").to_owned();
    let session = gateway.get(&format!("/v1/sessions/{id}"));
    let held = session["in_flight_to_client"]["held"].as_u64();
    // Two fit into the queue, and one is on its way through the buffers.
    let held = held.expect("bytes that wait");
    assert!(
        (1..=4 * 31_000).contains(&held),
        "a page at most: {session}"
    );
    for expected in 0..MESSAGES {
        let text = slow.message().await;
        let start = format!("{expected} ");
        assert!(text.starts_with(&start), "{expected}: {text:.20}");
    }
    tell(&gateway, "slow", "live");
    assert_eq!(slow.message().await, "live");
    drop(slow);
}

/// The clocks of gateways differ, so an id may be of the future.
#[tokio::test]
async fn i12_a_client_that_asks_behind_the_future_gets_what_is_published_now() {
    let (gateway, _backend) = keeping("messages = 100").await;
    tell(&gateway, "a", "old");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a time");
    let future = now.as_millis() + 50_000;
    let mut source = resume(&gateway, "a", &format!("{future}-0")).await;
    let target = format!("/rooms/a?since={future}");
    let mut client = Client::connect(gateway.address(), &target).await;
    client.echo("it is here").await;
    for text in ["one", "two"] {
        tell(&gateway, "a", text);
    }
    for text in ["one", "two"] {
        loop {
            let event = source.event().await;
            if event.kind != "gap" {
                assert_eq!(event.data, text);
                break;
            }
        }
        assert_eq!(client.receive_text().await, text);
    }
    client.close().await;
    drop(source);
}

/// Both processes get the messages of the broker, each under ids of its own.
#[tokio::test]
async fn i1_in_a_fleet_no_message_comes_twice_through_a_hand_over() {
    let backend = Backend::echo().await;
    let broker = BrokerServer::start("nats").await;
    let text = rooms(
        &[backend.address],
        "sse = {}\nmessage_queue = { messages = 100000, bytes = \"16 MiB\" }",
    );
    let history = "history = [{ groups = [\"*\"], messages = 10000 }]\n";
    let text = text.replacen("[publish]\n", &format!("[publish]\n{history}"), 1);
    let text = format!("{}{text}", broker.config());
    let other = Arc::new(Gateway::start_named("other", &text).await);
    let mut gateway = Gateway::start_with_handover(&text).await;
    let reached = |gateway: &Gateway| gateway.metric("sessile_broker_nodes", &[]) == 2.0;
    eventually("they know each other", async || {
        reached(&gateway) && reached(&other)
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(EventSource::connect(gateway.address(), "/rooms/a", "").await);
    }
    // It is subscribed when a message of the other gateway comes.
    eventually("the room is subscribed", async || {
        tell(&other, "a", "probe");
        let deliveries = gateway.metric("sessile_deliveries_total", &["delivered"]);
        deliveries >= clients.len() as f64
    })
    .await;
    let over = Arc::new(AtomicBool::new(false));
    let publisher = {
        let (other, over) = (Arc::clone(&other), Arc::clone(&over));
        thread::spawn(move || {
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                tell(&other, "a", &sent.to_string());
                sent += 1;
            }
            sent
        })
    };
    for _ in 0..2 {
        let next = gateway.succeed().await;
        assert!(gateway.wait_for_exit().await.success());
        gateway = next;
    }
    over.store(true, Ordering::Relaxed);
    let sent: usize = publisher.join().expect("it publishes all");
    tell(&gateway, "a", "end");
    let mut places = Vec::new();
    for client in &mut clients {
        let came = numbers_up_to_end(client).await;
        let in_order = came.is_sorted_by(|(one, _), (next, _)| one < next);
        assert!(in_order, "{came:?}");
        assert!(came.len() > sent / 2, "{} of {sent}", came.len());
        places = came;
    }
    // Of all three processes. The last messages of one may have come earlier to the next one.
    let number = |id: &str| id.split_once('-').expect("two numbers").1.parse::<u64>();
    let mark = |id: &str| number(id).expect("a number") as u32;
    let early = places
        .windows(20)
        .filter(|some| mark(&some[0].1) == mark(&some[19].1));
    let early: Vec<_> = early.map(|some| &some[0]).collect();
    for (number, id) in early.iter().step_by(early.len() / 40 + 1) {
        let mut back = resume(&gateway, "a", id).await;
        let rest = numbers_up_to_end(&mut back).await;
        let mut rest: Vec<_> = rest.into_iter().map(|(number, _)| number).collect();
        rest.sort_unstable();
        let expected: Vec<_> = (number + 1..sent).collect();
        assert_eq!(rest, expected, "behind {number} with {id}");
    }
    drop(clients);
}

/// The numbers that come before `end`, with their ids.
async fn numbers_up_to_end(client: &mut EventSource) -> Vec<(usize, String)> {
    let mut came = Vec::new();
    loop {
        let event = client.event().await;
        assert_eq!(event.kind, "", "after {:?}", came.last());
        match event.data.parse() {
            Ok(number) => came.push((number, event.id)),
            Err(_) if event.data == "end" => return came,
            Err(_) => {}
        }
    }
}

/// A gateway of a fleet whose rooms have a history.
async fn node(name: &str, backend: &Backend, broker: &BrokerServer) -> Gateway {
    let text = rooms(&[backend.address], "sse = {}");
    let history = "history = [{ groups = [\"*\"], messages = 1000 }]\n";
    let text = text.replacen("[publish]\n", &format!("[publish]\n{history}"), 1);
    let gateway = Gateway::start_named(name, &format!("{}{text}", broker.config())).await;
    eventually("the log takes messages", async || {
        let probe = json!({ "to": ["group:probe"], "text": "probe" });
        publish(&gateway, &probe)["carried"] == true
    })
    .await;
    gateway
}

#[tokio::test]
async fn a_client_of_a_fleet_gets_what_it_missed_from_any_gateway() {
    const MESSAGES: usize = 200;
    let backend = Backend::echo().await;
    let broker = BrokerServer::start("redis").await;
    let one = Arc::new(node("one", &backend, &broker).await);
    let other = Arc::new(node("other", &backend, &broker).await);
    let mut source = EventSource::connect(one.address(), "/rooms/a", "").await;
    let publishers = [&one, &other].map(|gateway| {
        let (gateway, name) = (Arc::clone(gateway), gateway.address().port());
        thread::spawn(move || {
            for number in 0..MESSAGES {
                tell(&gateway, "a", &format!("{name} {number}"));
            }
        })
    });
    let mut next = HashMap::new();
    for count in 1..=2 * MESSAGES {
        let event = source.event().await;
        let (publisher, number) = event.data.split_once(' ').expect("two words");
        let expected = next.entry(publisher.to_owned()).or_insert(0);
        assert_eq!(number, expected.to_string(), "of {publisher}");
        *expected += 1;
        if count % 10 == 0 {
            let gateway = if count % 20 == 0 { &one } else { &other };
            source = resume(gateway, "a", &event.id).await;
        }
    }
    for publisher in publishers {
        publisher.join().expect("it publishes all");
    }
    assert_eq!(next.len(), 2);
    // A gateway that starts later has it too.
    let late = node("late", &backend, &broker).await;
    let mut client = Client::connect(late.address(), "/rooms/a?since=0").await;
    for _ in 0..2 * MESSAGES {
        client.receive_text().await;
    }
    client.echo("no more").await;
    client.close().await;
    drop(source);
}

#[tokio::test]
async fn i5_without_the_log_the_sessions_of_the_gateway_get_messages_that_are_not_kept() {
    let backend = Backend::echo().await;
    let mut broker = BrokerServer::start("redis").await;
    let gateway = node("one", &backend, &broker).await;
    let mut source = EventSource::connect(gateway.address(), "/rooms/a", "").await;
    tell(&gateway, "a", "kept");
    let kept = source.event().await;
    broker.kill();
    let message = json!({ "to": ["group:a"], "text": "not kept", "id": "m-1" });
    eventually("the log is gone", async || {
        publish(&gateway, &json!({ "to": ["group:probe"], "text": "probe" }))["carried"] == false
    })
    .await;
    let answer = publish(&gateway, &message);
    assert_eq!(
        (counts(&answer), &answer["carried"]),
        ([1, 0, 0], &json!(false))
    );
    let event = source.event().await;
    assert_eq!((event.data.as_str(), event.id.as_str()), ("not kept", ""));
    broker.start_again().await;
    eventually("the log is back", async || {
        publish(&gateway, &json!({ "to": ["group:probe"], "text": "probe" }))["carried"] == true
    })
    .await;
    // Sent again, it is kept now, and its session gets it no second time.
    assert_eq!(counts(&publish(&gateway, &message)), [0, 0, 0]);
    tell(&gateway, "a", "live");
    assert_eq!(source.message().await, "live");
    let mut back = resume(&gateway, "a", &kept.id).await;
    assert_eq!(back.event().await.kind, "gap", "Redis has lost its log");
    for expected in ["not kept", "live"] {
        assert_eq!(back.message().await, expected);
    }
}
