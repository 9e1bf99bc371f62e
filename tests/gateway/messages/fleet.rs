//! Two gateways and a broker: what is published at one reaches sessions of the other.

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
    for expected in ["once", "only there", "first"] {
        assert_eq!(next(&mut there).await, expected);
    }
    there.echo("nothing else came").await;
    here.close().await;
    there.close().await;
}

/// Numbered messages while the broker dies and comes back: sessions of the own node get all of
/// them, those of the other node at most once and in order, and the answers name those that the
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
    let mut came = Vec::new();
    while came.len() < 20 {
        came.push(next(&mut there).await.parse::<u32>().expect("a number"));
    }
    broker.kill();
    wait_for_broker(&one, false).await;
    assert!(
        (20..30).filter_map(send).next().is_none(),
        "the broker is gone"
    );
    let answer = publish(
        &one,
        &json!({ "to": ["group:b"], "text": "x", "id": "m-1" }),
    );
    assert!(
        answer["not_carried"]
            .as_str()
            .is_some_and(|why| why.contains("not connected"))
    );
    broker.start_again().await;
    wait_for_broker(&one, true).await;
    wait_for_broker(&other, true).await;
    // What was not carried may be sent again with its id.
    let again = publish(
        &one,
        &json!({ "to": ["group:b"], "text": "x", "id": "m-1" }),
    );
    assert_eq!(
        (&again["duplicate"], &again["carried"]),
        (&json!(false), &json!(true))
    );
    wait_for_subscription(&one, "a", &mut there).await;
    carried.extend((30..50).filter_map(send));
    for expected in 0..50_u32 {
        assert_eq!(next(&mut here).await, expected.to_string());
    }
    while came.last() != Some(&49) {
        came.push(next(&mut there).await.parse::<u32>().expect("a number"));
    }
    assert!(came.is_sorted_by(|one, other| one < other), "{came:?}");
    assert_eq!(came, carried);
    here.close().await;
    there.close().await;
}

#[tokio::test]
async fn a_message_reaches_the_other_node_over_nats() {
    reaches_the_other_node("nats").await;
}

#[tokio::test]
async fn a_message_reaches_the_other_node_over_redis() {
    reaches_the_other_node("redis").await;
}

#[tokio::test]
async fn i5_nats_may_die_and_the_publisher_knows_what_was_not_carried() {
    loses_only_what_it_says("nats").await;
}

#[tokio::test]
async fn i5_redis_may_die_and_the_publisher_knows_what_was_not_carried() {
    loses_only_what_it_says("redis").await;
}
