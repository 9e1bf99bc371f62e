//! etcd in bad days: gone, hung, cut off, empty. Sessions echo all the while, none is lost and none
//! refused.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::etcd::Etcd;
use crate::support::etcd_world::{
    Network, Traffic, etcd_status, followed, following, has_members, is_connected, key_of, member,
    restart, seed,
};
use crate::support::shell::sessile;
use crate::support::{Backend, Client, Gateway, config, eventually};

/// Longer than all timeouts that these gateways have.
const LONG: Duration = Duration::from_secs(4);

#[tokio::test]
async fn i5_etcd_is_killed_and_comes_back() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let (mut etcd, gateway) = followed(&[&first]).await;
    let traffic = Traffic::start(gateway.address());
    etcd.stop();
    is_connected(&gateway, false).await;
    assert_eq!(gateway.metric("sessile_etcd_connected", &[]), 0.0);
    etcd.start_again().await;
    etcd.put(&key_of(&second), &member(&second)).await;
    has_members(&gateway, &[&first, &second]).await;
    is_connected(&gateway, true).await;
    assert_eq!(etcd_status(&gateway)["restores"], 0);
    traffic.end().await;
}

#[tokio::test]
async fn i5_etcd_is_stopped_for_longer_than_every_timeout() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let (etcd, gateway) = followed(&[&first]).await;
    let traffic = Traffic::start(gateway.address());
    etcd.signal(Signal::STOP);
    is_connected(&gateway, false).await;
    // Not before: the gateway's own entry may have been on its way.
    let revision = etcd_status(&gateway)["revision"].clone();
    // By the gateway's own clock.
    eventually("etcd is silent for longer than every timeout", async || {
        gateway.metric("sessile_etcd_progress_age_seconds", &[]) > LONG.as_secs_f64()
    })
    .await;
    assert_eq!(
        etcd_status(&gateway)["revision"],
        revision,
        "elapsed time never advances the revision"
    );
    etcd.signal(Signal::CONT);
    etcd.put(&key_of(&second), &member(&second)).await;
    has_members(&gateway, &[&first, &second]).await;
    traffic.end().await;
}

/// apache/apisix#13067: a watch that neither side closed and nothing comes through.
#[tokio::test]
async fn a_network_that_drops_bytes_silently_loses_no_change() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let etcd = Etcd::start().await;
    seed(&etcd, &[&first]).await;
    let network = Network::to(etcd.port()).await;
    let gateway = Gateway::start(&following(&[network.url()], "")).await;
    has_members(&gateway, &[&first]).await;
    is_connected(&gateway, true).await;
    let traffic = Traffic::start(gateway.address());
    network.lose_everything(true);
    etcd.put(&key_of(&second), &member(&second)).await;
    is_connected(&gateway, false).await;
    eventually("the age of the last sign of life grows", async || {
        gateway.metric("sessile_etcd_progress_age_seconds", &[]) > 2.0
    })
    .await;
    network.lose_everything(false);
    has_members(&gateway, &[&first, &second]).await;
    assert!(gateway.metric("sessile_etcd_watch_restarts_total", &[]) >= 1.0);
    traffic.end().await;
}

#[tokio::test]
async fn another_endpoint_is_taken_when_one_falls_silent() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let etcd = Etcd::start().await;
    seed(&etcd, &[&first]).await;
    let (one, two) = (
        Network::to(etcd.port()).await,
        Network::to(etcd.port()).await,
    );
    let gateway = Gateway::start(&following(&[one.url(), two.url()], "")).await;
    has_members(&gateway, &[&first]).await;
    is_connected(&gateway, true).await;
    let endpoint = etcd_status(&gateway)["endpoint"].clone();
    let (bad, good) = if endpoint == one.url() {
        (&one, &two)
    } else {
        (&two, &one)
    };
    bad.lose_everything(true);
    etcd.put(&key_of(&second), &member(&second)).await;
    has_members(&gateway, &[&first, &second]).await;
    assert_eq!(etcd_status(&gateway)["endpoint"], good.url());
}

fn last_known_good(gateway: &Gateway) -> std::path::PathBuf {
    gateway.directory().join("state/etcd.last-known-good")
}

/// Waits until what is remembered holds this text.
async fn remembers(gateway: &Gateway, text: &str) {
    eventually("it is remembered", async || {
        fs::read_to_string(last_known_good(gateway)).is_ok_and(|all| all.contains(text))
    })
    .await;
}

#[tokio::test]
async fn i5_a_start_without_etcd_serves_from_last_known_good() {
    let backend = Backend::echo().await;
    let mut etcd = Etcd::start().await;
    seed(&etcd, &[&backend]).await;
    let text = following(&[etcd.url()], "");
    let gateway = Gateway::start(&text).await;
    has_members(&gateway, &[&backend]).await;
    // A version that is refused must not push out the good one, on disk either.
    etcd.ctl(&["put", "/sessile/routes/all", "nonsense"]);
    remembers(&gateway, "nonsense").await;
    etcd.stop();

    let gateway = restart(gateway, &text).await;
    let status = etcd_status(&gateway);
    assert_eq!(status["from_last_known_good"], true, "{status}");
    assert_eq!(status["connected"], false);
    assert_eq!(gateway.metric("sessile_etcd_last_known_good", &[]), 1.0);
    assert!(gateway.log().contains("last known good is in force"));
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    assert_eq!(client.backend().await, backend.address);

    etcd.start_again().await;
    is_connected(&gateway, true).await;
    let status = etcd_status(&gateway);
    assert_eq!(status["from_last_known_good"], false, "{status}");
    assert_eq!(status["refused"], 1, "{status}");
    client.echo("still here").await;
    client.close().await;
}

#[tokio::test]
async fn i5_what_was_in_force_without_etcd_is_remembered_too() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let mut etcd = Etcd::start().await;
    seed(&etcd, &[]).await;
    let lease = etcd.grant(600).await;
    for backend in &backends {
        let (key, member) = (key_of(backend), member(backend));
        etcd.put_leased(&key, &member, lease).await;
    }
    let text = following(&[etcd.url()], "");
    let gateway = Gateway::start(&text).await;
    has_members(&gateway, &[&backends[0], &backends[1]]).await;
    let mut client = etcd.client().await;
    client.lease_revoke(lease).await.unwrap();
    eventually("they are stale", async || {
        etcd_status(&gateway)["stale"] == 2
    })
    .await;
    // Something else that changes is remembered, and they with it, among what is absent.
    etcd.put("upstreams/other", &json!({})).await;
    eventually("it is remembered", async || {
        let text = fs::read_to_string(last_known_good(&gateway)).unwrap();
        let body = text.split_once('\n').unwrap().1;
        let remembered: serde_json::Value = serde_json::from_str(body).unwrap();
        remembered["absent"].as_array().unwrap().len() == 2
    })
    .await;
    etcd.stop();
    let gateway = restart(gateway, &text).await;
    has_members(&gateway, &[&backends[0], &backends[1]]).await;
    assert_eq!(etcd_status(&gateway)["stale"], 2);
    etcd.start_again().await;
    is_connected(&gateway, true).await;
    has_members(&gateway, &[&backends[0], &backends[1]]).await;
}

#[tokio::test]
async fn what_is_remembered_of_another_prefix_is_not_used() {
    let backend = Backend::echo().await;
    let mut etcd = Etcd::start().await;
    seed(&etcd, &[&backend]).await;
    let text = following(&[etcd.url()], "");
    let gateway = Gateway::start(&text).await;
    has_members(&gateway, &[&backend]).await;
    remembers(&gateway, "routes/all").await;
    etcd.stop();
    let text = following(&[etcd.url()], "prefix = \"/staging\"");
    let gateway = restart(gateway, &text).await;
    assert_eq!(etcd_status(&gateway)["from_last_known_good"], false);
    has_members(&gateway, &[]).await;
}

#[tokio::test]
async fn a_damaged_last_known_good_is_reported_and_put_aside() {
    let (files, etcds) = (Backend::echo().await, Backend::echo().await);
    let mut etcd = Etcd::start().await;
    seed(&etcd, &[&etcds]).await;
    let text = following(&[etcd.url()], "");
    let gateway = Gateway::start(&text).await;
    remembers(&gateway, "routes/all").await;
    let path = last_known_good(&gateway);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    etcd.stop();

    let file = config::echo(&[files.address], "", "");
    let gateway = restart(gateway, &format!("{text}\n{file}")).await;
    let status = etcd_status(&gateway);
    let fault = status["last_known_good_fault"].as_str().unwrap();
    assert!(fault.contains("checksum"), "{fault}");
    assert_eq!(status["from_last_known_good"], false);
    // Without etcd and without memory, the file is what there is.
    let mut client = Client::connect(gateway.address(), "/").await;
    assert_eq!(client.backend().await, files.address);
    client.close().await;
    let state = fs::read_dir(gateway.directory().join("state")).unwrap();
    let names: Vec<_> = state.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        names
            .iter()
            .any(|name| name.to_string_lossy().contains("damaged")),
        "{names:?}"
    );
}

#[tokio::test]
async fn i5_an_etcd_that_has_lost_its_data_is_doubted_until_it_is_accepted() {
    let backend = Backend::echo().await;
    let (mut etcd, gateway) = followed(&[&backend]).await;
    let traffic = Traffic::start(gateway.address());
    etcd.restart_empty().await;
    eventually("it is doubted", async || {
        etcd_status(&gateway)["doubted"]
            .as_array()
            .is_some_and(|all| all.len() == 3)
    })
    .await;
    is_connected(&gateway, true).await;
    assert_eq!(etcd_status(&gateway)["restores"], 1);
    has_members(&gateway, &[&backend]).await;
    traffic.end().await;

    // What comes back is doubted no more; the rest goes when an operator orders that.
    etcd.put("upstreams/echo", &json!({})).await;
    eventually("one came back", async || {
        etcd_status(&gateway)["doubted"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
    })
    .await;
    let accept = |flag: &str| {
        let output = sessile(&["etcd", "accept", flag], gateway.directory());
        let printed = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&printed).into_owned()
    };
    let printed = accept("--dry-run");
    assert!(
        printed.contains("- routes/") && !printed.contains("accepted"),
        "{printed}"
    );
    assert_eq!(
        etcd_status(&gateway)["doubted"].as_array().unwrap().len(),
        2
    );
    let printed = accept("--yes");
    assert!(printed.contains("accepted: 2 documents go"), "{printed}");
    has_members(&gateway, &[]).await;
    assert_eq!(etcd_status(&gateway)["doubted"], json!([]));
    assert!(accept("--yes").contains("nothing is doubted"));
}

#[tokio::test]
async fn a_start_with_neither_etcd_nor_memory_serves_the_file() {
    let backend = Backend::echo().await;
    let mut etcd = Etcd::start().await;
    etcd.stop();
    let file = config::echo(&[backend.address], "", "");
    // The start does not wait where nothing answers.
    let source = following(&[etcd.url()], "").replace("answer = \"1s\"", "answer = \"1h\"");
    let gateway = Gateway::start(&format!("{source}\n{file}")).await;
    let status = etcd_status(&gateway);
    assert_eq!(
        (&status["connected"], &status["revision"]),
        (&json!(false), &json!(0))
    );
    assert!(gateway.log().contains("etcd has not answered"));
    let mut client = Client::connect(gateway.address(), "/").await;
    client.echo("hello").await;
    client.close().await;
}

#[tokio::test]
async fn a_start_that_has_nothing_to_serve_waits_for_etcd() {
    let backend = Backend::echo().await;
    let mut etcd = Etcd::start().await;
    seed(&etcd, &[&backend]).await;
    etcd.stop();
    let source = following(&[etcd.url()], "").replace("answer = \"1s\"", "answer = \"1h\"");
    // In place of etcd, until the gateway has tried to reach it.
    let silent = TcpListener::bind(("127.0.0.1", etcd.port())).unwrap();
    // On a thread, because the start of a gateway blocks this one.
    let again = std::thread::spawn(move || {
        let tried = silent.accept().unwrap();
        drop((tried, silent));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            etcd.start_again().await;
            etcd
        })
    });
    let gateway = Gateway::start(&source).await;
    let _etcd = again.join().unwrap();
    let mut client = Client::connect(gateway.address(), "/").await;
    client.echo("what etcd said").await;
    client.close().await;
}
