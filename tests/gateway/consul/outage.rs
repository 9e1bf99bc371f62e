//! Consul in bad days. Sessions echo all the while, none is lost and none refused.

use std::time::Duration;

use serde_json::json;

use super::{fails, following, found, instances, is_well, status};
use crate::support::consul::{Consul, Mood, checked};
use crate::support::etcd_world::{Network, Traffic, has_members, members, restart};
use crate::support::prometheus::{AdminPort, Prometheus};
use crate::support::time::run_out;
use crate::support::{Backend, Client, Gateway, eventually};

#[tokio::test]
async fn i5_no_answer_empties_an_upstream() {
    let [first, second] = [Backend::echo().await, Backend::echo().await];
    let (server, gateway) = found(&[&first]).await;
    let traffic = Traffic::start(gateway.address());
    let kept = [first.address.to_string()];
    // No instance is registered; none passes its checks; none can be a backend.
    server.set("echo", &[]);
    fails(&gateway, "it has no instance that is ready").await;
    server.set("echo", &[checked("i0", first.address, "critical")]);
    fails(&gateway, "it has no instance that is ready").await;
    let mut odd = checked("i0", first.address, "passing");
    odd["Service"]["Address"] = json!("unix:/run/docker.sock");
    server.set("echo", &[odd]);
    fails(&gateway, "none of its 1 instances can be a backend").await;
    assert_eq!(members(&gateway, "echo"), kept);
    assert_eq!(
        gateway.metric("sessile_source_failing", &["source=\"consul\""]),
        1.0
    );
    server.set("echo", &instances(&[&first]));
    is_well(&gateway).await;
    for (mood, why) in [
        (Mood::Errors, "500 Internal Server Error: rpc error"),
        (Mood::Nonsense, "the answer is not as documented"),
        (Mood::NoIndex, "no X-Consul-Index"),
        (Mood::Endless, "longer than"),
        (Mood::Hangs, "no answer within"),
    ] {
        server.set_mood(mood);
        fails(&gateway, why).await;
        assert_eq!(members(&gateway, "echo"), kept, "{mood:?}");
        assert_eq!(status(&gateway)["services"][0]["backends"], 1);
        server.set_mood(Mood::Well);
        is_well(&gateway).await;
    }
    server.set("echo", &instances(&[&first, &second]));
    has_members(&gateway, &[&first, &second]).await;
    traffic.end().await;
}

#[tokio::test]
async fn i5_consul_is_gone_and_comes_back() {
    let [first, second] = [Backend::echo().await, Backend::echo().await];
    let (mut server, gateway) = found(&[&first]).await;
    let traffic = Traffic::start(gateway.address());
    server.stop();
    fails(&gateway, "").await;
    assert!(status(&gateway)["endpoint"].is_null());
    server.start_again();
    server.set("echo", &instances(&[&first, &second]));
    has_members(&gateway, &[&first, &second]).await;
    is_well(&gateway).await;
    traffic.end().await;
}

#[tokio::test]
async fn another_endpoint_is_asked_when_one_falls_silent() {
    let [first, second] = [Backend::echo().await, Backend::echo().await];
    let server = Consul::with(&instances(&[&first]));
    let port = server
        .url()
        .rsplit_once(':')
        .expect("a port")
        .1
        .parse()
        .expect("a port");
    let (one, two) = (Network::to(port).await, Network::to(port).await);
    let both = format!("{}\", \"{}", one.url(), two.url());
    let gateway = Gateway::start(&following(&both, "")).await;
    has_members(&gateway, &[&first]).await;
    let endpoint = status(&gateway)["endpoint"].clone();
    let (bad, good) = match endpoint == one.url() {
        true => (&one, &two),
        false => (&two, &one),
    };
    bad.lose_everything(true);
    server.set("echo", &instances(&[&first, &second]));
    has_members(&gateway, &[&first, &second]).await;
    eventually("the other is shown", async || {
        status(&gateway)["endpoint"] == good.url()
    })
    .await;
}

#[tokio::test]
async fn i5_without_a_leader_other_servers_answer_unless_they_heard_of_one_too_long_ago() {
    let [first, second, third] = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let server = Consul::with(&instances(&[&first]));
    let gateway = Gateway::start(&following(&server.url(), "stale_max = \"1m\"")).await;
    has_members(&gateway, &[&first]).await;
    let traffic = Traffic::start(gateway.address());
    server.set_mood(Mood::NoLeader(2_000));
    eventually("it is shown", async || {
        status(&gateway)["leaderless"] == true
    })
    .await;
    server.set("echo", &instances(&[&first, &second]));
    has_members(&gateway, &[&first, &second]).await;
    assert!(status(&gateway)["fault"].is_null(), "{}", status(&gateway));
    server.set_mood(Mood::NoLeader(61_000));
    fails(
        &gateway,
        "no leader is known, and the servers heard of one 1m 1s ago",
    )
    .await;
    has_members(&gateway, &[&first, &second]).await;
    // A server that is behind what was read with a leader is not believed.
    server.restore();
    server.set_mood(Mood::NoLeader(0));
    fails(&gateway, "this server is behind").await;
    server.set_mood(Mood::Well);
    server.set("echo", &instances(&[&first, &second, &third]));
    has_members(&gateway, &[&first, &second, &third]).await;
    eventually("it is over", async || {
        status(&gateway)["leaderless"] == false
    })
    .await;
    traffic.end().await;
}

#[tokio::test]
async fn an_index_that_goes_back_loses_no_change() {
    let [first, second] = [Backend::echo().await, Backend::echo().await];
    let (server, gateway) = found(&[&first]).await;
    let traffic = Traffic::start(gateway.address());
    server.restore();
    eventually("it is seen", async || status(&gateway)["resets"] == 1).await;
    assert_eq!(
        gateway.metric("sessile_source_resets_total", &["source=\"consul\""]),
        1.0
    );
    // The next index is still smaller than the one before.
    server.set("echo", &instances(&[&first, &second]));
    has_members(&gateway, &[&first, &second]).await;
    traffic.end().await;
}

#[tokio::test]
async fn i12_answers_that_come_at_once_are_not_asked_for_all_the_time() {
    let backend = Backend::echo().await;
    let (server, gateway) = found(&[&backend]).await;
    // An index of 0 would not wait: it counts as 1.
    server.set_mood(Mood::IndexZero);
    let before = server.asked().len();
    // Each write ends the query that waits.
    for _ in 0..20 {
        server.set("echo", &instances(&[&backend]));
        // The time between two writes: two seconds in all, in which the pace shows.
        run_out(Duration::from_millis(100)).await;
    }
    let asked = server.asked().len() - before;
    assert!((2..=10).contains(&asked), "{asked} in two seconds");
    assert!(server.asked().iter().any(|line| line.contains("index=1&")));
    server.set_mood(Mood::Well);
    is_well(&gateway).await;
}

#[tokio::test]
async fn i5_instances_that_leave_together_stay_while_they_live() {
    let old = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let new = Backend::echo().await;
    let of_old: Vec<_> = old.iter().collect();
    let (server, gateway) = found(&of_old).await;
    let traffic = Traffic::start(gateway.address());
    server.set("echo", &[checked("new", new.address, "passing")]);
    eventually("those that left are stale", async || {
        status(&gateway)["stale"] == 3
    })
    .await;
    let all: Vec<_> = old.iter().chain([&new]).collect();
    has_members(&gateway, &all).await;
    assert_eq!(
        gateway.metric("sessile_source_stale_members", &["source=\"consul\""]),
        3.0
    );
    traffic.end().await;
}

#[tokio::test]
async fn i5_a_start_without_consul_serves_what_it_answered_last() {
    let backend = Backend::echo().await;
    let (mut server, gateway) = found(&[&backend]).await;
    let text = following(&server.url(), "");
    eventually("it is remembered", async || {
        let file = gateway.directory().join("state/consul.last-known-good");
        std::fs::read_to_string(file).is_ok_and(|text| text.contains("backends/echo/i0@web"))
    })
    .await;
    server.stop();
    let gateway = restart(gateway, &text).await;
    let mut client = Client::connect(gateway.address(), "/?k=a").await;
    client.echo("hello").await;
    assert_eq!(status(&gateway)["from_last_known_good"], true);
    server.start_again();
    is_well(&gateway).await;
    eventually("it has been compared", async || {
        status(&gateway)["from_last_known_good"] == false
    })
    .await;
    client.echo("still here").await;
    client.close().await;
}

#[tokio::test]
async fn a_service_that_is_not_found_fires_its_alert() {
    let server = Consul::start();
    let gateway = Gateway::start(&following(&server.url(), "")).await;
    let port = AdminPort::of(&gateway);
    let prometheus = Prometheus::start(&[port.address]).await;
    let instance = port.instance();
    let wanted = [("SessileSourceFailing", "instance", instance.as_str())];
    prometheus.wait_until_fired(&wanted).await;
}
