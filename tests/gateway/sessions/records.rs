//! What a session leaves behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::raw::{UPGRADE, masked};
use crate::support::time::pace;
use crate::support::{Backend, Client, Gateway, Raw, config};

#[tokio::test]
async fn a_record_has_the_outcome_of_its_session() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    let id = client.session_id().await;
    client.echo("four").await;
    client.send(vec![0; 100]).await;
    client.receive().await;
    client.close_with(4001, "bye").await;
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(record.id, id);
    assert_eq!(
        (record.route.as_str(), record.upstream.as_str()),
        ("all", "echo")
    );
    assert_eq!(record.backend, backend.address.to_string());
    assert!(record.client.starts_with("127.0.0.1"), "{}", record.client);
    assert!(record.started.starts_with("20") && record.started.ends_with('Z'));
    assert!(record.duration_ms > 0.0 && record.handshake_ms > 0.0);
    assert_eq!(
        (record.ended_by.as_str(), record.close_code),
        ("client", Some(4001))
    );
    assert_eq!(record.to_backend.messages("text"), 2);
    assert_eq!(record.to_backend.messages("binary"), 1);
    assert_eq!(record.to_client.messages("text"), 2);
    assert_eq!(record.to_client.messages("binary"), 1);
    assert_eq!(record.to_backend.messages("close"), 1);
    // On the wire: "!seen", "four", 100 bytes, and the close, each with header and mask.
    assert_eq!(
        record.to_backend.bytes,
        (6 + 5) + (6 + 4) + (6 + 100) + (6 + 5)
    );
}

#[tokio::test]
async fn the_record_names_the_side_that_ended_the_session() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let cases = [
        ("!close 4002 mine", "backend", Some(4002)),
        ("!end", "backend", Some(1011)),
    ];
    for (number, (command, ended_by, code)) in cases.into_iter().enumerate() {
        let mut client = Client::connect(gateway.address(), "/").await;
        client.send(command).await;
        client.end().await;
        let record = gateway.wait_for_records(number + 1).await.remove(number);
        assert_eq!(
            (record.ended_by.as_str(), record.close_code),
            (ended_by, code),
            "{command}"
        );
        assert!(!record.cause.is_empty());
    }
    Raw::upgrade(gateway.address()).await.reset();
    let record = gateway.wait_for_records(3).await.remove(2);
    assert_eq!(
        (record.ended_by.as_str(), record.close_code),
        ("client", None)
    );
}

/// How a session of the storm ends.
async fn end_somehow(gateway: &Gateway, kind: u8) {
    let address = gateway.address();
    match kind {
        0 => {
            // On a busy machine the answer may come when the time for it is over.
            Client::connect(address, "/")
                .await
                .close_with(1000, "")
                .await;
        }
        1 => drop(Client::connect(address, "/").await),
        2 => Raw::upgrade(address).await.reset(),
        3 => {
            // Gone before it learns of its session.
            let mut raw = Raw::connect(address).await;
            raw.write(UPGRADE).await;
            raw.status().await;
        }
        4 | 5 => {
            let mut client = Client::connect(address, "/").await;
            client
                .send(if kind == 4 { "!close 4000 x" } else { "!reset" })
                .await;
            client.end().await;
        }
        6 => {
            let mut client = Client::connect(address, "/").await;
            let id = client.session_id().await;
            gateway.admin("DELETE", &format!("/v1/sessions/{id}"), "");
            client.end().await;
        }
        7 => {
            let mut raw = Raw::upgrade(address).await;
            raw.write(masked(0x83, b"reserved")).await;
            raw.read_to_end().await;
        }
        8 => {
            // Both ends close at once.
            let mut client = Client::connect(address, "/").await;
            client.send("!close 4000 x").await;
            client.close_with(4001, "y").await;
        }
        _ => {
            // Nothing at all until the idle timeout.
            Client::connect(address, "/").await.end().await;
        }
    }
}

#[tokio::test]
async fn i6_five_hundred_endings_leave_five_hundred_records() {
    let backend = Backend::echo().await;
    let route = "timeouts = { idle = \"3s\", close = \"300ms\" }";
    let text = config::echo(&[backend.address], "", route);
    let gateway = std::sync::Arc::new(Gateway::start(&text).await);
    let mut storm = JoinSet::new();
    for number in 0..500_u32 {
        let gateway = std::sync::Arc::clone(&gateway);
        let kind = u8::try_from(number % 10).unwrap();
        storm.spawn(async move {
            pace(Duration::from_millis(u64::from(fastrand::u16(..1500)))).await;
            end_somehow(&gateway, kind).await;
        });
    }
    while let Some(end) = storm.join_next().await {
        end.expect("every session was had");
    }
    gateway.wait_until_idle().await;
    let records = gateway.wait_for_records(500).await;
    let ids: BTreeSet<_> = records.iter().map(|record| &record.id).collect();
    assert_eq!(ids.len(), 500, "an id twice");
    let mut by = BTreeMap::<&str, usize>::new();
    for record in &records {
        *by.entry(&record.ended_by).or_default() += 1;
        assert!(!record.cause.is_empty(), "{record:?}");
    }
    // Kinds 4 and 5 are the backend's, 6, 7 and 9 the gateway's; 8 is whose close came first.
    assert!(
        by["backend"] >= 100 && by["gateway"] >= 150 && by["client"] >= 200,
        "{by:?}"
    );
    assert_eq!(by["gateway"], 150, "{by:?}");
}
