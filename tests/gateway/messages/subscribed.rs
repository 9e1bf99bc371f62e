//! What other services publish at a broker, delivered to the sessions of a route.

use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::support::brokers::{BrokerServer, Publisher};
use crate::support::eventually;

/// A gateway whose sessions of `/rooms/{room}` get `chat.{room}`.
async fn node(name: &str, backend: &Backend, broker: &BrokerServer, kind: &str) -> Gateway {
    let text = config(backend, broker, kind);
    let gateway = Gateway::start_named(name, &text).await;
    wait_for_broker(&gateway, true).await;
    gateway
}

/// Rooms, and beside them routes that want text or bytes only. There is no `[publish]`.
fn config(backend: &Backend, broker: &BrokerServer, kind: &str) -> String {
    let route = |name: &str, more: &str| {
        format!(
            "[[routes]]\nname = \"{name}\"\npath = \"/{name}/{{room}}\"\nupstream = \"echo\"\n\
             on_backend_loss = \"reconnect\"\n\
             [[routes.subscribe]]\nfrom = \"{kind}:chat.{{room}}\"\n{more}\n"
        )
    };
    [
        broker.config(),
        format!(
            "[upstreams.echo]\n{}\n",
            config::members(&[backend.address])
        ),
        route("rooms", ""),
        route("texts", "message_type = \"text\""),
        route("bytes", "message_type = \"binary\""),
    ]
    .concat()
}

async fn wait_for_broker(gateway: &Gateway, connected: bool) {
    let wanted = if connected { 1.0 } else { 0.0 };
    eventually("the broker is there, or not", async || {
        gateway.metric("sessile_broker_connected", &[]) == wanted
    })
    .await;
}

/// Publishes until a client gets it, and takes the markers of all clients.
async fn wait_for_subscriptions(publisher: &mut Publisher, room: &str, clients: &mut [Client]) {
    let name = format!("chat.{room}");
    for client in clients.iter_mut() {
        loop {
            publisher
                .publish(&name, b"subscribed")
                .expect("the broker is there");
            let came = tokio::time::timeout(Duration::from_millis(200), client.receive());
            if came.await.is_ok() {
                break;
            }
        }
    }
    publisher
        .publish(&name, b"settled")
        .expect("the broker is there");
    for client in clients {
        while client.receive().await.into_data() != b"settled"[..] {}
    }
}

async fn join(gateway: &Gateway, target: &str) -> Client {
    Client::connect(gateway.address(), target).await
}

async fn reaches_the_sessions_of_its_name(kind: &'static str) {
    let backend = Backend::echo().await;
    let broker = BrokerServer::start(kind).await;
    let (one, other) = (
        node("one", &backend, &broker, kind).await,
        node("other", &backend, &broker, kind).await,
    );
    let mut publisher = broker.publisher();
    let mut clients = [
        join(&one, "/rooms/a").await,
        join(&other, "/rooms/a").await,
        join(&other, "/texts/a").await,
        join(&other, "/bytes/a").await,
    ];
    let mut stranger = join(&one, "/rooms/b").await;
    wait_for_subscriptions(&mut publisher, "a", &mut clients).await;
    let [first, second, texts, bytes] = &mut clients;
    for payload in [&b"hello"[..], b"", b"\xff\x00", "größe".as_bytes(), b"end"] {
        publisher
            .publish("chat.a", payload)
            .expect("the broker is there");
        let text = std::str::from_utf8(payload).ok().map(Message::text);
        let binary = Message::binary(payload.to_vec());
        let either = text.clone().unwrap_or_else(|| binary.clone());
        assert_eq!(first.receive().await, either);
        assert_eq!(second.receive().await, either);
        assert_eq!(bytes.receive().await, binary);
        if let Some(text) = text {
            assert_eq!(texts.receive().await, text);
        }
    }
    stranger.echo("nothing else came").await;
    let labels = ["outcome=\"dropped\"", "route=\"texts\""];
    let dropped = other.metric("sessile_deliveries_total", &labels);
    assert_eq!(
        dropped, 1.0,
        "what is no text is dropped for those that take text"
    );
    let shown = one.sessions();
    let mut names = shown.iter().map(|one| one["subscriptions"][0].as_str());
    assert!(names.any(|name| name == Some("chat.a")), "{shown:?}");
}

#[tokio::test]
async fn what_nats_has_under_a_name_reaches_the_sessions_of_that_name() {
    reaches_the_sessions_of_its_name("nats").await;
}

#[tokio::test]
async fn what_redis_has_under_a_name_reaches_the_sessions_of_that_name() {
    reaches_the_sessions_of_its_name("redis").await;
}

/// Values of clients that would name something else make no subscription, and a metric shows it.
#[tokio::test]
async fn i12_a_client_cannot_choose_another_name() {
    let backend = Backend::echo().await;
    let broker = BrokerServer::start("nats").await;
    let gateway = node("one", &backend, &broker, "nats").await;
    let mut publisher = broker.publisher();
    let rooms = ["*", "%3E", "a.b", "a%2Eb", "a%20b"];
    let mut clients = Vec::new();
    for room in rooms {
        clients.push(join(&gateway, &format!("/rooms/{room}")).await);
    }
    let mut good = [join(&gateway, "/rooms/a").await];
    wait_for_subscriptions(&mut publisher, "a", &mut good).await;
    for name in ["chat.a.b", "chat.b", "x"] {
        publisher
            .publish(name, b"secret")
            .expect("the broker is there");
    }
    publisher
        .publish("chat.a", b"last")
        .expect("the broker is there");
    assert_eq!(good[0].receive_text().await, "last");
    for client in &mut clients {
        client.echo("nothing came before this").await;
    }
    let refused = gateway.metric(
        "sessile_subscriptions_refused_total",
        &["reason=\"value\"", "route=\"rooms\""],
    );
    assert_eq!(refused, rooms.len() as f64);
    for session in gateway.sessions() {
        let names = session["subscriptions"].as_array().map_or(0, Vec::len);
        let is_good = session["target"] == "/rooms/a";
        assert_eq!(names, usize::from(is_good), "{session}");
    }
}

#[tokio::test]
async fn i1_subscriptions_go_along_in_a_hand_over_and_to_another_backend() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let broker = BrokerServer::start("nats").await;
    let members = [first.address, second.address];
    let text = config(&first, &broker, "nats")
        .replace(&config::members(&members[..1]), &config::members(&members));
    let mut old = Gateway::start_with_handover(&text).await;
    wait_for_broker(&old, true).await;
    let mut publisher = broker.publisher();
    let mut clients = [join(&old, "/rooms/a").await];
    wait_for_subscriptions(&mut publisher, "a", &mut clients).await;
    let new = old.succeed().await;
    assert!(old.wait_for_exit().await.success());
    wait_for_subscriptions(&mut publisher, "a", &mut clients).await;
    let (lost, left) = match first.live() {
        0 => (second, first),
        _ => (first, second),
    };
    lost.stop().await;
    eventually("the other backend has it", async || left.live() == 1).await;
    publisher
        .publish("chat.a", b"after")
        .expect("the broker is there");
    assert_eq!(clients[0].receive_text().await, "after");
    let [mut client] = clients;
    client.echo("there").await;
    client.close().await;
    new.wait_until_idle().await;
}

/// Numbered messages while the broker dies, hangs and comes back: at most once, in order, and all
/// of those that were published while both gateways were subscribed.
async fn loses_only_what_was_published_meanwhile(kind: &'static str) {
    let backend = Backend::echo().await;
    let mut broker = BrokerServer::start(kind).await;
    let (one, other) = (
        node("one", &backend, &broker, kind).await,
        node("other", &backend, &broker, kind).await,
    );
    let mut clients = [join(&one, "/rooms/a").await, join(&other, "/rooms/a").await];
    let mut number = 0;
    for round in ["at first", "after a kill", "after a stop"] {
        let mut publisher = broker.publisher();
        wait_for_subscriptions(&mut publisher, "a", &mut clients).await;
        let first = number;
        while number < first + 500 {
            let text = number.to_string();
            publisher.publish("chat.a", text.as_bytes()).expect(round);
            number += 1;
        }
        for client in &mut clients {
            for expected in first..number {
                assert_eq!(client.receive_text().await, expected.to_string(), "{round}");
            }
        }
        match round {
            "at first" => {
                broker.kill();
                wait_for_broker(&one, false).await;
                wait_for_broker(&other, false).await;
                broker.start_again().await;
            }
            "after a kill" => {
                broker.signal(rustix::process::Signal::STOP);
                wait_for_broker(&one, false).await;
                wait_for_broker(&other, false).await;
                for client in &mut clients {
                    client.echo("sessions live meanwhile").await;
                }
                broker.signal(rustix::process::Signal::CONT);
            }
            _ => return,
        }
        wait_for_broker(&one, true).await;
        wait_for_broker(&other, true).await;
    }
}

#[tokio::test]
async fn i5_nats_may_die_or_hang_and_only_what_it_had_meanwhile_is_lost() {
    loses_only_what_was_published_meanwhile("nats").await;
}

#[tokio::test]
async fn i5_redis_may_die_or_hang_and_only_what_it_had_meanwhile_is_lost() {
    loses_only_what_was_published_meanwhile("redis").await;
}
