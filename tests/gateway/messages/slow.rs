//! Clients that do not read: bounded queues, policies, and no effect on others.

use super::*;
use crate::support::eventually;
use crate::support::time::run_out;

/// A client with a small receive buffer that reads nothing for now.
async fn slow(gateway: &Gateway) -> Client {
    let dial = Dial::new("/rooms/slow").receive_buffer(4096);
    dial.connect(gateway.address()).await.expect("a session")
}

/// Publishes numbered messages of 8 KiB until `stop` accepts an answer; returns how many.
fn flood(gateway: &Gateway, stop: impl Fn([u64; 3]) -> bool) -> usize {
    for number in 0..5000 {
        let text = format!("{number}:{}", "x".repeat(8192));
        let message = json!({ "to": ["group:slow"], "text": text });
        if stop(counts(&publish(gateway, &message))) {
            return number + 1;
        }
    }
    panic!("the queue never filled");
}

fn number(text: &str) -> usize {
    let (number, _) = text.split_once(':').expect("a number");
    number.parse().expect("a number")
}

#[tokio::test]
async fn i8_a_full_queue_drops_new_messages_and_others_are_not_slowed() {
    let (gateway, _backend) = gateway("message_queue = { messages = 10, bytes = \"1 MiB\" }").await;
    let mut slow = slow(&gateway).await;
    let (mut fast, _) = enter(&gateway, "fast").await;
    let sent = flood(&gateway, |[_, _, dropped]| dropped > 0);
    let answer = publish(&gateway, &json!({ "to": ["all"], "text": "for all" }));
    assert_eq!(counts(&answer), [1, 0, 1], "the fast one has it");
    assert_eq!(fast.receive_text().await, "for all");
    fast.echo("and its backend").await;
    // What was accepted arrives, in order and whole.
    for expected in 0..sent - 1 {
        assert_eq!(number(&slow.receive_text().await), expected);
    }
    slow.echo("its backend was not in the way").await;
    slow.close().await;
    fast.close().await;
    let records = gateway.wait_for_records(2).await;
    let of_slow = records.iter().find(|one| one.published["dropped"] == 2);
    let of_slow = of_slow.expect("a record with its losses");
    assert_eq!(of_slow.published["sent"], sent - 1);
    let of_fast = records.iter().find(|one| one.published["sent"] == 1);
    assert!(
        of_fast.is_some_and(|one| one.to_client.messages("text") == 1),
        "counted apart"
    );
}

#[tokio::test]
async fn the_oldest_messages_make_room_where_the_route_wants_that() {
    let queue = "message_queue = { messages = 10, bytes = \"1 MiB\", when_full = \"drop_oldest\" }";
    let (gateway, _backend) = gateway(queue).await;
    let mut slow = slow(&gateway).await;
    let filled = flood(&gateway, |[_, queued, _]| queued > 0);
    for _ in 0..30 {
        let more = json!({ "to": ["group:slow"], "text": format!("{}:", 10_000) });
        assert_eq!(counts(&publish(&gateway, &more)), [0, 1, 0]);
    }
    publish(&gateway, &json!({ "to": ["group:slow"], "text": "99999:" }));
    let mut came = Vec::new();
    while came.last() != Some(&99_999) {
        came.push(number(&slow.receive_text().await));
    }
    assert!(
        came.iter().filter(|number| **number == 10_000).count() <= 10,
        "{came:?}"
    );
    assert!(came.len() <= filled + 10 && came.is_sorted());
    // Their publishers have them as queued.
    let lost = filled + 31 - came.len();
    assert!(lost >= 20, "{lost}");
    let evicted = gateway.metric("sessile_deliveries_total", &["evicted"]);
    assert_eq!(evicted, lost as f64);
    slow.close().await;
    let published = &gateway.wait_for_records(1).await[0].published;
    assert_eq!(
        (&published["evicted"], &published["expired"]),
        (&json!(lost), &json!(0))
    );
    assert_eq!(published["dropped"], lost);
}

#[tokio::test]
async fn a_slow_client_is_closed_where_the_route_wants_that() {
    let queue = "message_queue = { messages = 5, bytes = \"1 MiB\", when_full = \"close\" }";
    let (gateway, _backend) = gateway(queue).await;
    let mut slow = slow(&gateway).await;
    flood(&gateway, |[_, _, dropped]| dropped > 0);
    let end = loop {
        match slow.text_or_end().await {
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    assert_eq!(end.map(|(code, _)| code), Some(1013));
    eventually("the record is there", async || {
        gateway
            .records()
            .iter()
            .any(|one| one.cause == "slow_consumer")
    })
    .await;
}

#[tokio::test]
async fn a_message_that_waits_too_long_is_not_delivered() {
    let (gateway, _backend) =
        gateway("message_queue = { messages = 1000, bytes = \"1 MiB\" }").await;
    let mut slow = slow(&gateway).await;
    let sent = flood(&gateway, |[_, queued, _]| queued > 0);
    let stale = json!({ "to": ["group:slow"], "text": "77777:", "ttl": "200ms" });
    assert_eq!(counts(&publish(&gateway, &stale)), [0, 1, 0]);
    let fresh = json!({ "to": ["group:slow"], "text": "88888:", "ttl": "1h" });
    assert_eq!(counts(&publish(&gateway, &fresh)), [0, 1, 0]);
    // The first message's `ttl`.
    run_out(std::time::Duration::from_millis(600)).await;
    for expected in 0..sent {
        assert_eq!(number(&slow.receive_text().await), expected);
    }
    assert_eq!(number(&slow.receive_text().await), 88_888);
    assert_eq!(
        gateway.metric("sessile_deliveries_total", &["expired"]),
        1.0
    );
    slow.close().await;
    let published = &gateway.wait_for_records(1).await[0].published;
    assert_eq!(
        (&published["evicted"], &published["expired"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(published["dropped"], 1);
}
