//! Pods of Services as members of upstreams.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sessile::config::yaml;
use tokio::task::JoinSet;

use super::{fails, following, found, is_well, ready, status};
use crate::support::certificates::Authority;
use crate::support::consul::{Consul, instance};
use crate::support::etcd::Etcd;
use crate::support::etcd_world::{has_members, members};
use crate::support::kubernetes::{Cluster, Pod, pod};
use crate::support::shell::sessile;
use crate::support::{Backend, Client, Gateway, eventually};

#[tokio::test]
async fn ready_pods_are_backends_by_their_names_and_follow_the_slices() {
    let [first, second, third] = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    // Three slices are two pages.
    let (cluster, gateway) = found(&[&first, &second, &third]).await;
    let mut client = Client::connect(gateway.address(), "/?k=a").await;
    client.echo("hello").await;
    let shown = gateway.get("/v1/upstreams/echo")["backends"].clone();
    let shown = shown.as_array().expect("a list");
    let ids: Vec<_> = shown.iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids, ["echo-0", "echo-1", "echo-2"]);
    assert_eq!(
        (&shown[0]["zone"], &shown[0]["labels"]["node"]),
        (&json!("zone-a"), &json!("node-1"))
    );
    let unready = [
        pod("echo-0", first.address, Pod::Ready),
        pod("echo-1", second.address, Pod::Unready),
        pod("echo-2", third.address, Pod::Ready),
    ];
    cluster.set(&unready);
    has_members(&gateway, &[&first, &third]).await;
    cluster.set(&ready(&[&first, &second]));
    has_members(&gateway, &[&first, &second]).await;
    client.echo("still here").await;
    client.close().await;
    let watches = cluster
        .asked()
        .iter()
        .filter(|line| line.contains("watch=1"))
        .count();
    let lists = cluster
        .asked()
        .iter()
        .filter(|line| line.contains("limit="))
        .count();
    assert!(watches >= 1 && lists == 2, "{:?}", cluster.asked());
    let documents = gateway.get("/v1/config")["documents"].clone();
    let documents = documents.as_array().expect("documents").iter();
    assert!(
        documents.clone().all(|one| one["source"] == "kubernetes"),
        "{documents:?}"
    );
}

#[tokio::test]
async fn a_terminating_pod_is_drained_at_its_pace_before_it_is_gone() {
    let [first, second] = [Backend::echo().await, Backend::echo().await];
    let cluster = Cluster::with(&ready(&[&first, &second]));
    let text = following(&cluster.url(), "").replace(
        "kubernetes = \"shop/echo:ws\"\n",
        "kubernetes = \"shop/echo:ws\"\ndrain = { pace = \"10/s\" }\n",
    );
    let gateway = Gateway::start(&text).await;
    has_members(&gateway, &[&first, &second]).await;
    // Ten sessions on the pod that goes, and one on the other.
    let (mut leaving, mut staying, mut key) = (JoinSet::new(), JoinSet::new(), 0);
    while leaving.len() < 10 || staying.is_empty() {
        key += 1;
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        let backend = client.backend().await;
        let clients = match backend == first.address {
            true => &mut leaving,
            false => &mut staying,
        };
        clients.spawn(async move { client.end().await });
    }
    let start = Instant::now();
    cluster.set(&[
        pod("echo-0", first.address, Pod::Terminating),
        pod("echo-1", second.address, Pod::Ready),
    ]);
    eventually("it drains", async || {
        gateway.backend("echo", first.address)["state"] == "draining"
    })
    .await;
    // It is a member still, and takes no new session.
    has_members(&gateway, &[&first, &second]).await;
    for number in 0..8 {
        let mut client = Client::connect(gateway.address(), &format!("/?k=new{number}")).await;
        assert_eq!(client.backend().await, second.address);
        client.close().await;
    }
    while let Some(end) = leaving.join_next().await {
        let expected = Some((1012, "backend is draining".to_owned()));
        assert_eq!(end.expect("a client"), expected);
    }
    assert!(
        start.elapsed() > Duration::from_millis(700),
        "{:?}",
        start.elapsed()
    );
    assert!(staying.try_join_next().is_none(), "no other session ends");
    // A pod that was draining is gone as soon as it leaves the slices.
    cluster.set(&[pod("echo-1", second.address, Pod::Ready)]);
    has_members(&gateway, &[&second]).await;
    assert!(staying.try_join_next().is_none(), "no other session ends");
    staying.shutdown().await;
}

#[tokio::test]
async fn a_number_is_the_port_of_the_service_and_not_of_its_pods() {
    let backend = Backend::echo().await;
    let cluster = Cluster::with(&ready(&[&backend]));
    let text = following(&cluster.url(), "").replace("shop/echo:ws", "shop/echo:80");
    let gateway = Gateway::start(&text).await;
    fails(&gateway, "services \"echo\" not found").await;
    cluster.set_service_port("ws", 81);
    fails(&gateway, "the Service has no port 80").await;
    cluster.set_service_port("ws", 80);
    has_members(&gateway, &[&backend]).await;
    is_well(&gateway).await;
}

#[tokio::test]
async fn a_service_without_pods_at_the_start_is_waited_for_and_shown() {
    let backend = Backend::echo().await;
    let cluster = Cluster::start();
    let gateway = Gateway::start(&following(&cluster.url(), "")).await;
    fails(&gateway, "shop/echo:ws: it has no instance that is ready").await;
    assert_eq!(status(&gateway)["services"][0]["backends"], Value::Null);
    let output = sessile(&["status"], gateway.directory());
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(said.contains("1 service, 1 NOT FOUND"), "{said}");
    let output = sessile(&["doctor"], gateway.directory());
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        said.contains("kubernetes: services not found: 1; shop/echo:ws (upstream echo)"),
        "{said}"
    );
    cluster.set(&ready(&[&backend]));
    has_members(&gateway, &[&backend]).await;
    is_well(&gateway).await;
}

#[tokio::test]
async fn the_strongest_source_has_a_backend_that_several_name() {
    let [in_pod, in_consul] = [Backend::echo().await, Backend::echo().await];
    let cluster = Cluster::with(&ready(&[&in_pod]));
    let consul = Consul::with(&[instance("i0", in_consul.address)]);
    let etcd = Etcd::start().await;
    let text = following(&cluster.url(), "").replace(
        "kubernetes = \"shop/echo:ws\"\n",
        "kubernetes = \"shop/echo:ws\"\nconsul = \"echo\"\n",
    ) + &format!(
        "\n[sources.consul]\nendpoints = [\"{}\"]\n\n[sources.etcd]\nendpoints = [\"{}\"]\n",
        consul.url(),
        etcd.url()
    );
    let gateway = Gateway::start(&text).await;
    // Members are those of all sources.
    has_members(&gateway, &[&in_pod, &in_consul]).await;
    for (id, backend) in [("echo-0", &in_pod), ("i0@web", &in_consul)] {
        let drained = json!({ "address": backend.address.to_string(), "state": "draining" });
        etcd.put(&format!("backends/echo/{id}"), &drained).await;
        eventually("etcd's is in force", async || {
            gateway.backend("echo", backend.address)["state"] == "draining"
        })
        .await;
        etcd.delete(&format!("backends/echo/{id}")).await;
        eventually("the registry's is in force", async || {
            gateway.backend("echo", backend.address)["state"] == "active"
        })
        .await;
    }
    etcd.put("upstreams/other", &json!({ "kubernetes": "shop/echo:ws" }))
        .await;
    eventually("a document names a Service", async || {
        members(&gateway, "other") == [in_pod.address.to_string()]
    })
    .await;
}

#[tokio::test]
async fn i11_a_token_is_read_again_from_its_file_and_never_shown() {
    let backend = Backend::echo().await;
    let cluster = Cluster::with(&ready(&[&backend]));
    cluster.require("t0ken-one");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    fs::write(&file, "t0ken-one\n").unwrap();
    let token = format!("token_file = \"{}\"", file.display());
    let gateway = Gateway::start(&following(&cluster.url(), &token)).await;
    has_members(&gateway, &[&backend]).await;
    // The cluster renews it; one that is refused is read again at once.
    cluster.require("t0ken-two");
    fails(&gateway, "401").await;
    assert_eq!(members(&gateway, "echo"), [backend.address.to_string()]);
    fs::write(&file, "t0ken-two\n").unwrap();
    is_well(&gateway).await;
    let shown = gateway.get("/v1/config").to_string() + &gateway.log();
    assert!(!shown.contains("t0ken"), "{shown}");
}

#[tokio::test]
async fn a_kubeconfig_names_the_cluster_with_its_roots_and_a_token() {
    let backend = Backend::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let files = authority.issue("api", &["127.0.0.1"]);
    let cluster = Cluster::start_tls(Some(authority.server(&files)));
    cluster.set(&ready(&[&backend]));
    cluster.require("from-kubeconfig");
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\ncontexts:\n- name: test\n  context:\n    \
         cluster: test\n    user: gateway\nclusters:\n- name: test\n  cluster:\n    server: {}\n    \
         certificate-authority: {}\nusers:\n- name: gateway\n  user:\n    token: from-kubeconfig\n",
        cluster.url(),
        authority.path().display()
    );
    let file = directory.path().join("kubeconfig");
    fs::write(&file, &config).unwrap();
    let server = format!("server = \"{}\"", cluster.url());
    let named = format!("kubeconfig = \"{}\"", file.display());
    let text = following(&cluster.url(), "").replace(&server, &named);
    let gateway = Gateway::start(&text).await;
    has_members(&gateway, &[&backend]).await;
    // Another authority is not trusted.
    let other = tempfile::tempdir().unwrap();
    let stranger = Authority::new(other.path());
    let ca = authority.path().display().to_string();
    fs::write(
        &file,
        config.replace(&ca, &stranger.path().display().to_string()),
    )
    .unwrap();
    let distrusting = Gateway::start(&text).await;
    fails(&distrusting, "certificate").await;
}

/// What a question needs, as roles call it.
fn right(line: &str) -> (&'static str, &'static str, &'static str) {
    let slices = ("discovery.k8s.io", "endpointslices");
    match line.split(' ').nth(1).expect("a target") {
        target if target.contains("&watch=1") => (slices.0, slices.1, "watch"),
        target if target.contains("/endpointslices?") => (slices.0, slices.1, "list"),
        target if target.starts_with("/api/v1/namespaces/shop/services/") => {
            ("", "services", "get")
        }
        target => panic!("{target}"),
    }
}

#[tokio::test]
async fn the_manifest_grants_what_the_gateway_asks_for_and_no_more() {
    let backend = Backend::echo().await;
    let cluster = Cluster::with(&ready(&[&backend]));
    cluster.set_service_port("ws", 80);
    let text = following(&cluster.url(), "").replace("shop/echo:ws", "shop/echo:80");
    let gateway = Gateway::start(&text).await;
    has_members(&gateway, &[&backend]).await;
    eventually("it watches", async || {
        cluster.asked().iter().any(|line| line.contains("&watch=1"))
    })
    .await;
    let asked = cluster.asked();
    let asked: BTreeSet<_> = asked.iter().map(|line| right(line)).collect();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes/rbac.yaml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let documents = manifest
        .split("\n---\n")
        .map(|text| yaml::read(text).expect("YAML"));
    let roles: Vec<_> = documents.filter(|one| one["kind"] == "Role").collect();
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().expect("a list").iter();
        list.map(|text| text.as_str().expect("a text").to_owned())
            .collect()
    };
    let mut granted = BTreeSet::new();
    for rule in roles[0]["rules"].as_array().expect("rules") {
        for verb in texts(&rule["verbs"]) {
            let resource = texts(&rule["resources"]).remove(0);
            granted.insert((texts(&rule["apiGroups"]).remove(0), resource, verb));
        }
    }
    let asked = asked.into_iter();
    let asked = asked.map(|(group, resource, verb)| (group.into(), resource.into(), verb.into()));
    assert_eq!((roles.len(), granted), (1, asked.collect()));
}
