//! etcd's history: compacted, restored, written to at every moment, by many.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::etcd::Etcd;
use crate::support::etcd_world::{
    Network, Traffic, etcd_status, follow, followed, following, has_members, is_connected, key_of,
    member, members, seed,
};
use crate::support::time::pace;
use crate::support::{Backend, Client, Gateway, eventually};

/// apache/apisix#4732, #12167: a compaction means a full read and a difference, nothing more.
#[tokio::test]
async fn what_was_compacted_while_disconnected_is_read_in_full() {
    let (first, second, third) = (
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    );
    let etcd = Etcd::start().await;
    seed(&etcd, &[&first, &second]).await;
    let network = Network::to(etcd.port()).await;
    let text = following(&[network.url()], "");
    let gateway = Gateway::start(&text).await;
    has_members(&gateway, &[&first, &second]).await;
    let traffic = Traffic::start(gateway.address());
    let generation = gateway.generation();

    network.lose_everything(true);
    is_connected(&gateway, false).await;
    etcd.put(&key_of(&third), &member(&third)).await;
    etcd.delete(&key_of(&first)).await;
    etcd.compact().await;
    network.lose_everything(false);

    has_members(&gateway, &[&second, &third]).await;
    let status = etcd_status(&gateway);
    assert_eq!(
        (&status["rereads"], &status["restores"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(
        gateway.generation(),
        generation + 1,
        "one difference, one swap"
    );
    traffic.end().await;
}

#[tokio::test]
async fn an_older_snapshot_that_is_restored_is_noticed_and_followed() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let mut etcd = Etcd::start().await;
    seed(&etcd, &[&first]).await;
    let directory = tempfile::tempdir().unwrap();
    let snapshot = directory.path().join("snapshot.db");
    etcd.ctl(&["snapshot", "save", snapshot.to_str().unwrap()]);
    let gateway = follow(&etcd).await;
    has_members(&gateway, &[&first]).await;
    let traffic = Traffic::start(gateway.address());
    // One more member, and then history goes on differently.
    etcd.put(&key_of(&second), &member(&second)).await;
    has_members(&gateway, &[&first, &second]).await;
    etcd.restore(&snapshot).await;
    has_members(&gateway, &[&first]).await;
    assert_eq!(etcd_status(&gateway)["restores"], 1);
    assert_eq!(gateway.metric("sessile_etcd_restores_total", &[]), 1.0);
    etcd.put(&key_of(&second), &member(&second)).await;
    has_members(&gateway, &[&first, &second]).await;
    traffic.end().await;
}

/// The same where the restored etcd has been written to beyond what was known before: the revision
/// alone does not tell.
#[tokio::test]
async fn a_restore_whose_revision_has_overtaken_the_old_one_is_noticed_too() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let mut etcd = Etcd::start().await;
    seed(&etcd, &[&first]).await;
    let directory = tempfile::tempdir().unwrap();
    let snapshot = directory.path().join("snapshot.db");
    etcd.ctl(&["snapshot", "save", snapshot.to_str().unwrap()]);
    let network = Network::to(etcd.port()).await;
    let text = following(&[network.url()], "");
    let gateway = Gateway::start(&text).await;
    etcd.put(&key_of(&second), &member(&second)).await;
    has_members(&gateway, &[&first, &second]).await;
    network.lose_everything(true);
    is_connected(&gateway, false).await;
    etcd.restore(&snapshot).await;
    for number in 0..10 {
        etcd.put("upstreams/more", &json!({ "attempts": number + 1 }))
            .await;
    }
    network.lose_everything(false);
    has_members(&gateway, &[&first]).await;
    assert_eq!(etcd_status(&gateway)["restores"], 1);
}

/// apache/apisix#13067 → PR#13721: silence is no news, and moves no revision.
#[tokio::test]
async fn apisix_13067_a_write_after_a_long_silence_arrives() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let (etcd, gateway) = followed(&[&first]).await;
    let revision = etcd_status(&gateway)["revision"].clone();
    // Twice as long as silence may last, on an idle prefix of an etcd that is busy elsewhere.
    for number in 0..30 {
        etcd.ctl(&["put", "/elsewhere", &number.to_string()]);
        pace(Duration::from_millis(80)).await;
    }
    let status = etcd_status(&gateway);
    assert_eq!(status["watch_restarts"], 0, "signs of life came: {status}");
    assert_eq!(status["revision"], revision, "{status}");
    etcd.put(&key_of(&second), &member(&second)).await;
    has_members(&gateway, &[&first, &second]).await;
}

/// apache/apisix PR#13917, #9951: what is written during a start is not lost.
#[tokio::test]
async fn apisix_13917_writes_during_a_start_arrive() {
    let backends = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let etcd = Etcd::start().await;
    seed(&etcd, &[&backends[0]]).await;
    let writer = async {
        for round in 0..150 {
            let backend = &backends[1 + round % 2];
            etcd.put(&key_of(backend), &member(backend)).await;
            etcd.delete(&key_of(&backends[1 + (round + 1) % 2])).await;
        }
    };
    let starts = async {
        let mut gateways = Vec::new();
        for _ in 0..3 {
            gateways.push(follow(&etcd).await);
        }
        gateways
    };
    let ((), gateways) = tokio::join!(writer, starts);
    for gateway in &gateways {
        has_members(gateway, &[&backends[0], &backends[2]]).await;
    }
}

/// apache/apisix#2680: a watch that etcd ends is begun anew.
#[tokio::test]
async fn apisix_2680_a_member_that_is_restarted_over_and_over_ends_nothing() {
    let backend = Backend::echo().await;
    let (mut etcd, gateway) = followed(&[&backend]).await;
    let traffic = Traffic::start(gateway.address());
    for _ in 0..3 {
        etcd.signal(Signal::TERM);
        is_connected(&gateway, false).await;
        etcd.stop();
        etcd.start_again().await;
        is_connected(&gateway, true).await;
    }
    let mut client = Client::connect(gateway.address(), "/").await;
    client.echo("hello").await;
    client.close().await;
    traffic.end().await;
}

/// A writer's own keys, so that what it wrote last is what must be there.
async fn edit(etcd: &Etcd, writer: u64, edits: usize) -> BTreeMap<String, String> {
    let mut random = fastrand::Rng::with_seed(writer);
    let mut client = etcd.client().await;
    let mut written = BTreeMap::new();
    for _ in 0..edits {
        let id = format!("w{writer}-{}", random.u8(..25));
        let upstream = format!("u{}", random.u8(..6));
        let key = format!("/sessile/backends/{upstream}/{id}");
        if random.u8(..3) == 0 {
            client.delete(key, None).await.unwrap();
            written.remove(&format!("{upstream}/{id}"));
        } else {
            let address = format!("127.0.0.1:{}", random.u16(1024..));
            let value = json!({ "address": address, "weight": random.u32(1..9) });
            client.put(key, value.to_string(), None).await.unwrap();
            written.insert(format!("{upstream}/{id}"), address);
        }
    }
    written
}

#[tokio::test]
async fn i5_after_5_000_edits_by_three_writers_gateway_and_etcd_agree_exactly() {
    let backend = Backend::echo().await;
    let etcd = Etcd::start().await;
    seed(&etcd, &[&backend]).await;
    for number in 0..6 {
        etcd.put(&format!("upstreams/u{number}"), &json!({})).await;
    }
    let network = Network::to(etcd.port()).await;
    let text = following(&[network.url()], "");
    let gateway = Gateway::start(&text).await;
    is_connected(&gateway, true).await;
    let traffic = Traffic::start(gateway.address());
    let disturb = async {
        let edited = || etcd_status(&gateway)["revision"].as_u64().unwrap();
        let before = edited();
        eventually("edits arrive", async || edited() > before + 100).await;
        network.lose_everything(true);
        is_connected(&gateway, false).await;
        network.lose_everything(false);
        is_connected(&gateway, true).await;
    };
    let (one, two, three, ()) = tokio::join!(
        edit(&etcd, 1, 1_700),
        edit(&etcd, 2, 1_700),
        edit(&etcd, 3, 1_600),
        disturb
    );
    let mut model: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, address) in one.into_iter().chain(two).chain(three) {
        let (upstream, _) = key.split_once('/').unwrap();
        model.entry(upstream.to_owned()).or_default().push(address);
    }
    for (upstream, wanted) in &mut model {
        wanted.sort();
        eventually(&format!("{upstream} agrees"), async || {
            members(&gateway, upstream) == *wanted
        })
        .await;
    }
    let status = etcd_status(&gateway);
    assert_eq!(
        (&status["refused"], &status["restores"]),
        (&json!(0), &json!(0)),
        "{status}"
    );
    traffic.end().await;
}
