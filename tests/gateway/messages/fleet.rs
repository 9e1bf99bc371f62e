//! Two gateways and a broker: what is published at one reaches sessions of the other.

use std::collections::BTreeSet;

use rustix::process::Signal;

use super::*;
use crate::support::brokers::BrokerServer;
use crate::support::eventually;

pub(super) async fn node(
    name: &str,
    backend: &Backend,
    broker: &BrokerServer,
    more: &str,
) -> Gateway {
    let text = format!("{}{}", broker.config(), rooms(&[backend.address], more));
    let gateway = Gateway::start_named(name, &text).await;
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

/// Waits until a message that is published at one reaches a client of the other.
pub(super) async fn wait_for_subscription(from: &Gateway, group: &str, client: &mut Client) {
    let marker = json!({ "to": [format!("group:{group}")], "text": "subscribed" });
    loop {
        publish(from, &marker);
        let came =
            tokio::time::timeout(std::time::Duration::from_millis(200), client.receive_text());
        if came.await.is_ok_and(|text| text == "subscribed") {
            return;
        }
    }
}

/// The next message that is no marker.
async fn next(client: &mut Client) -> String {
    loop {
        let text = client.receive_text().await;
        if text != "subscribed" {
            return text;
        }
    }
}

async fn reaches_the_other_node(kind: &'static str) {
    let backend = Backend::echo().await;
    let broker = BrokerServer::start(kind).await;
    let (one, other) = (
        node("one", &backend, &broker, "").await,
        node("other", &backend, &broker, "").await,
    );
    let (mut here, _) = enter(&one, "a").await;
    let (mut there, there_id) = enter(&other, "a").await;
    wait_for_subscription(&one, "a", &mut there).await;
    let answer = publish(&one, &json!({ "to": ["group:a"], "text": "to both" }));
    assert_eq!(
        (counts(&answer), &answer["carried"]),
        ([1, 0, 0], &json!(true))
    );
    assert_eq!(
        (next(&mut here).await, next(&mut there).await),
        ("to both".into(), "to both".into())
    );
    // By several topics, once; and to a session that only the other node has.
    let both =
        json!({ "to": ["group:a", "route:rooms", format!("session:{there_id}")], "text": "once" });
    publish(&one, &both);
    let only = json!({ "to": [format!("session:{there_id}")], "text": "only there" });
    assert_eq!(counts(&publish(&one, &only)), [0, 0, 0]);
    let again = json!({ "to": ["all"], "text": "first", "id": "m-1" });
    publish(&one, &again);
    eventually("the other node knows the id", async || {
        publish(&other, &again)["duplicate"] == true
    })
    .await;
    let but =
        json!({ "to": ["all"], "except": [format!("session:{there_id}")], "text": "not there" });
    publish(&one, &but);
    for expected in ["once", "first", "not there"] {
        assert_eq!(next(&mut here).await, expected);
    }
    // Their topics differ: each broker keeps the order within one.
    let mut came = BTreeSet::new();
    for _ in 0..3 {
        came.insert(next(&mut there).await);
    }
    assert_eq!(came, ["first", "once", "only there"].map(Into::into).into());
    there.echo("nothing else came").await;
    here.close().await;
    there.close().await;
}

/// What comes up to this number.
async fn numbers(client: &mut Client, last: u32) -> Vec<u32> {
    let mut came = Vec::new();
    while came.last() != Some(&last) {
        came.push(next(client).await.parse().expect("a number"));
    }
    came
}

/// Numbered messages while the broker dies, hangs and comes back: sessions of the own node get all
/// of them, those of the other node at most once and in order, and the answers name those that the
/// broker did not take.
async fn loses_only_what_it_says(kind: &'static str) {
    let backend = Backend::echo().await;
    let mut broker = BrokerServer::start(kind).await;
    let (one, other) = (
        node("one", &backend, &broker, "").await,
        node("other", &backend, &broker, "").await,
    );
    let (mut here, _) = enter(&one, "a").await;
    let (mut there, _) = enter(&other, "a").await;
    let wait_for_both = async |connected| {
        wait_for_broker(&one, connected).await;
        wait_for_broker(&other, connected).await;
    };
    wait_for_subscription(&one, "a", &mut there).await;
    let send = |number: u32| {
        let answer = publish(
            &one,
            &json!({ "to": ["group:a"], "text": number.to_string() }),
        );
        assert_eq!(counts(&answer)[2], 0, "local delivery goes on");
        (answer["carried"] == true).then_some(number)
    };
    let mut carried: Vec<_> = (0..20).filter_map(send).collect();
    assert_eq!(carried.len(), 20);
    let mut came = numbers(&mut there, 19).await;
    broker.kill();
    wait_for_broker(&one, false).await;
    assert!(
        (20..30).filter_map(send).next().is_none(),
        "the broker is gone"
    );
    let with_id = || {
        let message = json!({ "to": ["group:b"], "text": "x", "id": "m-1" });
        publish(&one, &message)
    };
    let why = with_id()["not_carried"].to_string();
    assert!(why.contains("not connected"), "{why}");
    broker.start_again().await;
    wait_for_both(true).await;
    // What was not carried may be sent again with its id.
    let again = with_id();
    assert_eq!(
        (&again["duplicate"], &again["carried"]),
        (&json!(false), &json!(true))
    );
    wait_for_subscription(&one, "a", &mut there).await;
    carried.extend((30..50).filter_map(send));
    came.extend(numbers(&mut there, 49).await);
    broker.signal(Signal::STOP);
    wait_for_both(false).await;
    assert!(
        (50..60).filter_map(send).next().is_none(),
        "the broker hangs"
    );
    broker.signal(Signal::CONT);
    wait_for_both(true).await;
    wait_for_subscription(&one, "a", &mut there).await;
    carried.extend((60..80).filter_map(send));
    for expected in 0..80_u32 {
        assert_eq!(next(&mut here).await, expected.to_string());
    }
    came.extend(numbers(&mut there, 79).await);
    assert_eq!((&came, came.len()), (&carried, 60));
    here.close().await;
    there.close().await;
}

/// The cases for one kind of broker.
macro_rules! fleet {
    ($kind:ident) => {
        mod $kind {
            const KIND: &str = stringify!($kind);

            #[tokio::test]
            async fn a_message_reaches_the_other_node() {
                super::reaches_the_other_node(KIND).await;
            }

            #[tokio::test]
            async fn i5_it_may_die_or_hang_and_the_publisher_knows_what_was_not_carried() {
                super::loses_only_what_it_says(KIND).await;
            }

            #[tokio::test]
            async fn the_answer_counts_all_nodes() {
                crate::messages::counted::counts_all_nodes(KIND).await;
            }

            #[tokio::test]
            async fn presence_is_that_of_the_fleet() {
                crate::messages::presence::follows_the_fleet(KIND).await;
            }

            #[tokio::test]
            async fn clients_of_routes_without_a_backend_hear_one_another() {
                crate::messages::brokered::hear_one_another(KIND).await;
            }
        }
    };
}

fleet!(kafka);
fleet!(nats);
fleet!(rabbitmq);
fleet!(redis);
