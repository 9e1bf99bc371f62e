//! A cluster's API in bad days. Sessions echo all the while, none is lost and none refused.

use super::{fails, following, found, is_well, ready, status};
use crate::support::etcd_world::{Network, Traffic, has_members, members, restart};
use crate::support::kubernetes::{Cluster, Mood, Pod, pod};
use crate::support::{Backend, Client, Gateway, eventually};

#[tokio::test]
async fn i5_no_answer_empties_an_upstream() {
    let [first, second] = [Backend::echo().await, Backend::echo().await];
    let (cluster, gateway) = found(&[&first]).await;
    let traffic = Traffic::start(gateway.address());
    let kept = [first.address.to_string()];
    cluster.set(&[]);
    fails(&gateway, "it has no instance that is ready").await;
    cluster.set(&[pod("echo-0", first.address, Pod::Unready)]);
    fails(&gateway, "it has no instance that is ready").await;
    cluster.set(&[pod("echo-0", first.address, Pod::Terminating)]);
    fails(&gateway, "it has no instance that is ready").await;
    assert_eq!(members(&gateway, "echo"), kept);
    assert_eq!(
        gateway.metric("sessile_source_failing", &["source=\"kubernetes\""]),
        1.0
    );
    cluster.set(&ready(&[&first]));
    is_well(&gateway).await;
    for (mood, why) in [
        (
            Mood::Errors,
            "500 Internal Server Error: etcdserver: request timed out",
        ),
        (Mood::Nonsense, "the answer is not as documented"),
        (Mood::Endless, "longer than"),
        (Mood::Hangs, "no answer within"),
        (Mood::Silent, "no answer within"),
    ] {
        cluster.set_mood(mood);
        fails(&gateway, why).await;
        assert_eq!(members(&gateway, "echo"), kept, "{mood:?}");
        cluster.set_mood(Mood::Well);
        is_well(&gateway).await;
    }
    cluster.set(&ready(&[&first, &second]));
    has_members(&gateway, &[&first, &second]).await;
    traffic.end().await;
}

#[tokio::test]
async fn i5_the_api_is_gone_and_comes_back() {
    let [first, second] = [Backend::echo().await, Backend::echo().await];
    let (mut cluster, gateway) = found(&[&first]).await;
    let traffic = Traffic::start(gateway.address());
    cluster.stop();
    fails(&gateway, "").await;
    assert!(status(&gateway)["endpoint"].is_null());
    cluster.start_again();
    cluster.set(&ready(&[&first, &second]));
    has_members(&gateway, &[&first, &second]).await;
    is_well(&gateway).await;
    // The watch went on from the version that was known.
    let lists = cluster
        .asked()
        .iter()
        .filter(|line| line.contains("limit="))
        .count();
    assert_eq!(lists, 1, "{:?}", cluster.asked());
    traffic.end().await;
}

#[tokio::test]
async fn a_network_that_drops_bytes_silently_loses_no_change() {
    let [first, second] = [Backend::echo().await, Backend::echo().await];
    let cluster = Cluster::with(&ready(&[&first]));
    let port = cluster
        .url()
        .rsplit_once(':')
        .expect("a port")
        .1
        .parse()
        .expect("a port");
    let network = Network::to(port).await;
    let gateway = Gateway::start(&following(&network.url(), "")).await;
    has_members(&gateway, &[&first]).await;
    network.lose_everything(true);
    cluster.set(&ready(&[&first, &second]));
    fails(&gateway, "").await;
    network.lose_everything(false);
    has_members(&gateway, &[&first, &second]).await;
}

#[tokio::test]
async fn a_version_that_is_no_longer_kept_is_listed_again() {
    let [first, second, third] = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let (cluster, gateway) = found(&[&first]).await;
    let traffic = Traffic::start(gateway.address());
    // The watch that runs is behind.
    cluster.compact();
    eventually("it is listed again", async || {
        status(&gateway)["resets"] == 1
    })
    .await;
    // A page of the list is no longer kept either.
    cluster.expire_pages(2);
    cluster.compact();
    cluster.set(&ready(&[&first, &second, &third]));
    has_members(&gateway, &[&first, &second, &third]).await;
    is_well(&gateway).await;
    // Versions begin anew: the API does not know the one that is asked for.
    cluster.restore();
    cluster.set(&ready(&[&first, &third]));
    has_members(&gateway, &[&first, &third]).await;
    traffic.end().await;
}

#[tokio::test]
async fn i12_watches_that_end_at_once_are_not_begun_all_the_time() {
    let backend = Backend::echo().await;
    let (cluster, gateway) = found(&[&backend]).await;
    let begun = || {
        let asked = cluster.asked();
        asked.iter().filter(|line| line.contains("watch=1")).count()
    };
    cluster.set_mood(Mood::EndsAtOnce);
    let before = begun();
    eventually("they are begun again", async || begun() > before + 4).await;
    let counted = begun();
    // Two intervals.
    crate::support::time::run_out(std::time::Duration::from_secs(2)).await;
    assert!(begun() - counted <= 4, "{}", begun() - counted);
    assert!(status(&gateway)["fault"].is_null());
}

#[tokio::test]
async fn i5_pods_that_leave_together_stay_while_they_live() {
    let old = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let new = Backend::echo().await;
    let of_old: Vec<_> = old.iter().collect();
    let (cluster, gateway) = found(&of_old).await;
    let traffic = Traffic::start(gateway.address());
    cluster.set(&[pod("echo-9", new.address, Pod::Ready)]);
    eventually("those that left are stale", async || {
        status(&gateway)["stale"] == 3
    })
    .await;
    let all: Vec<_> = old.iter().chain([&new]).collect();
    has_members(&gateway, &all).await;
    traffic.end().await;
}

#[tokio::test]
async fn i5_a_start_without_the_api_serves_what_it_answered_last() {
    let backend = Backend::echo().await;
    let (mut cluster, gateway) = found(&[&backend]).await;
    let text = following(&cluster.url(), "");
    eventually("it is remembered", async || {
        let file = gateway.directory().join("state/kubernetes.last-known-good");
        std::fs::read_to_string(file).is_ok_and(|text| text.contains("backends/echo/echo-0"))
    })
    .await;
    cluster.stop();
    let gateway = restart(gateway, &text).await;
    let mut client = Client::connect(gateway.address(), "/?k=a").await;
    client.echo("hello").await;
    assert_eq!(status(&gateway)["from_last_known_good"], true);
    cluster.start_again();
    is_well(&gateway).await;
    client.echo("still here").await;
    client.close().await;
}

#[tokio::test]
async fn i5_a_start_without_the_api_and_without_a_state_serves_the_file_alone() {
    let backend = Backend::echo().await;
    let mut cluster = Cluster::with(&ready(&[&backend]));
    cluster.stop();
    let own = format!("[upstreams.echo]\nbackends = [\"{}\"]\n", backend.address);
    let text = following(&cluster.url(), "").replace("[upstreams.echo]\n", &own);
    let gateway = Gateway::start(&text).await;
    let mut client = Client::connect(gateway.address(), "/?k=a").await;
    client.echo("hello").await;
    client.close().await;
    fails(&gateway, "").await;
}
