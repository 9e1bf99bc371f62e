//! Services of Consul as members of upstreams.

use serde_json::{Value, json};

use super::{fails, following, found, instances, is_well, source, status};
use crate::support::certificates::Authority;
use crate::support::consul::{Consul, Mood, checked, instance};
use crate::support::etcd::Etcd;
use crate::support::etcd_world::{has_members, members};
use crate::support::shell::sessile;
use crate::support::{Backend, Client, Gateway, eventually};

fn backends(gateway: &Gateway) -> Vec<Value> {
    let shown = gateway.get("/v1/upstreams/echo");
    shown["backends"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn instances_are_backends_with_their_weights_and_follow_the_catalog() {
    let [first, second, third] = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let (server, gateway) = found(&[&first, &second]).await;
    let mut client = Client::connect(gateway.address(), "/?k=a").await;
    client.echo("hello").await;
    let ids: Vec<_> = backends(&gateway)
        .iter()
        .map(|one| one["id"].clone())
        .collect();
    assert_eq!(ids, ["i0@web", "i1@web"]);
    // One comes: the session stays where it is, and so do the others' ids.
    server.set("echo", &instances(&[&first, &second, &third]));
    has_members(&gateway, &[&first, &second, &third]).await;
    client.echo("still here").await;
    let mut heavy = instance("i0", first.address);
    heavy["Service"]["Weights"]["Passing"] = json!(30);
    heavy["Service"]["Meta"] = json!({ "version": "1.4", "zone": "a" });
    server.set(
        "echo",
        &[
            heavy,
            instance("i1", second.address),
            instance("i2", third.address),
        ],
    );
    eventually("the weight is another one", async || {
        backends(&gateway)[0]["weight"] == 30
    })
    .await;
    let shown = &backends(&gateway)[0];
    assert_eq!(
        (&shown["zone"], &shown["labels"]["version"]),
        (&json!("a"), &json!("1.4"))
    );
    client.echo("still here").await;
    client.close().await;
    let shown = status(&gateway);
    let service = &shown["services"][0];
    assert_eq!(
        (&service["service"], &service["backends"]),
        (&json!("echo"), &json!(3))
    );
    let documents = gateway.get("/v1/config")["documents"].clone();
    let documents = documents.as_array().expect("documents").iter();
    assert!(
        documents.clone().all(|one| one["source"] == "consul"),
        "{documents:?}"
    );
}

#[tokio::test]
async fn only_instances_whose_checks_pass_are_backends_and_one_can_be_drained_by_its_meta() {
    let [first, second, third] = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let (server, gateway) = found(&[&first, &second, &third]).await;
    let sick = [
        checked("i0", first.address, "critical"),
        instance("i1", second.address),
        instance("i2", third.address),
    ];
    server.set("echo", &sick);
    has_members(&gateway, &[&second, &third]).await;
    let mut leaving = instance("i1", second.address);
    leaving["Service"]["Meta"] = json!({ "state": "draining" });
    server.set("echo", &[leaving, instance("i2", third.address)]);
    eventually("it drains", async || {
        gateway.backend("echo", second.address)["state"] == "draining"
    })
    .await;
}

#[tokio::test]
async fn a_service_with_a_tag_has_the_instances_with_that_tag() {
    let [first, second] = [Backend::echo().await, Backend::echo().await];
    let mut tagged = instance("i1", second.address);
    tagged["Service"]["Tags"] = json!(["v2", "canary"]);
    let server = Consul::with(&[instance("i0", first.address), tagged]);
    let text =
        following(&server.url(), "").replace("consul = \"echo\"", "consul = \"echo?tag=v2\"");
    let gateway = Gateway::start(&text).await;
    has_members(&gateway, &[&second]).await;
}

#[tokio::test]
async fn a_service_that_is_not_there_at_the_start_is_waited_for_and_shown() {
    let backend = Backend::echo().await;
    let server = Consul::start();
    let gateway = Gateway::start(&following(&server.url(), "")).await;
    fails(&gateway, "echo: it has no instance that is ready").await;
    let shown = status(&gateway);
    assert_eq!(
        (&shown["failing"], &shown["services"][0]["backends"]),
        (&json!(1), &Value::Null)
    );
    let output = sessile(&["status"], gateway.directory());
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(said.contains("1 service, 1 NOT FOUND"), "{said}");
    let output = sessile(&["doctor"], gateway.directory());
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        said.contains("consul: services not found: 1; echo (upstream echo)"),
        "{said}"
    );
    server.set("echo", &instances(&[&backend]));
    has_members(&gateway, &[&backend]).await;
    is_well(&gateway).await;
    let mut client = Client::connect(gateway.address(), "/?k=a").await;
    client.echo("hello").await;
    client.close().await;
}

#[tokio::test]
async fn services_come_and_go_with_a_reload() {
    let [file, named] = [Backend::echo().await, Backend::echo().await];
    let server = Consul::with(&instances(&[&named]));
    let own = format!("[upstreams.echo]\nbackends = [\"{}\"]\n", file.address);
    let both = following(&server.url(), "").replace("[upstreams.echo]\n", &own);
    let without = both.replace("consul = \"echo\"\n", "");
    let gateway = Gateway::start(&without).await;
    has_members(&gateway, &[&file]).await;
    assert_eq!(status(&gateway)["count"], 0);
    gateway.write_config(&both);
    assert_eq!(gateway.reload().status, 200);
    has_members(&gateway, &[&file, &named]).await;
    gateway.write_config(&without);
    assert_eq!(gateway.reload().status, 200);
    has_members(&gateway, &[&file]).await;
}

#[tokio::test]
async fn etcd_overrides_what_consul_has() {
    let [named, registered] = [Backend::echo().await, Backend::echo().await];
    let server = Consul::with(&instances(&[&named]));
    let etcd = Etcd::start().await;
    let text = following(&server.url(), "")
        + &format!("\n[sources.etcd]\nendpoints = [\"{}\"]\n", etcd.url());
    let gateway = Gateway::start(&text).await;
    has_members(&gateway, &[&named]).await;
    // Both name backends of the upstream; under one id the document of etcd is in force.
    let member = json!({ "address": registered.address.to_string() });
    etcd.put("backends/echo/more", &member).await;
    has_members(&gateway, &[&named, &registered]).await;
    let drained = json!({ "address": named.address.to_string(), "state": "draining" });
    etcd.put("backends/echo/i0@web", &drained).await;
    eventually("it drains", async || {
        gateway.backend("echo", named.address)["state"] == "draining"
    })
    .await;
    etcd.delete("backends/echo/i0@web").await;
    eventually("it is as Consul has it", async || {
        gateway.backend("echo", named.address)["state"] == "active"
    })
    .await;
    // An upstream of a document may name a service, too.
    etcd.put("upstreams/other", &json!({ "consul": "echo" }))
        .await;
    eventually("it has the backend", async || {
        members(&gateway, "other") == [named.address.to_string()]
    })
    .await;
}

#[tokio::test]
async fn i11_the_token_is_sent_and_never_shown_and_a_wrong_one_is_no_outage() {
    let backend = Backend::echo().await;
    let server = Consul::with(&instances(&[&backend]));
    server.require("b1gs33cr3t-consul");
    let gateway = Gateway::start(&following(&server.url(), "token = \"b1gs33cr3t-consul\"")).await;
    has_members(&gateway, &[&backend]).await;
    assert!(
        server
            .asked()
            .iter()
            .all(|line| !line.contains("b1gs33cr3t"))
    );
    server.require("another");
    fails(&gateway, "403 Forbidden: Permission denied").await;
    server.require("b1gs33cr3t-consul");
    is_well(&gateway).await;
    // An answer that lacks what the token may not read is no answer.
    server.set_mood(Mood::Filtered);
    fails(&gateway, "the token may not read all of it").await;
    assert_eq!(members(&gateway, "echo"), [backend.address.to_string()]);
    let shown = gateway.get("/v1/config").to_string() + &gateway.log();
    assert!(!shown.contains("b1gs33cr3t"), "{shown}");
}

#[tokio::test]
async fn consul_behind_tls_is_followed_if_its_certificate_is_trusted() {
    let backend = Backend::echo().await;
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let files = authority.issue("consul", &["127.0.0.1"]);
    let server = Consul::start_tls(Some(authority.server(&files)));
    server.set("echo", &instances(&[&backend]));
    let ca = format!("tls = {{ ca = \"{}\" }}", authority.path().display());
    let gateway = Gateway::start(&following(&server.url(), &ca)).await;
    has_members(&gateway, &[&backend]).await;
    let other = tempfile::tempdir().unwrap();
    let stranger = Authority::new(other.path());
    let ca = format!("tls = {{ ca = \"{}\" }}", stranger.path().display());
    let distrusting = Gateway::start(&following(&server.url(), &ca)).await;
    fails(&distrusting, "certificate").await;
}

#[tokio::test]
async fn nothing_is_asked_where_nothing_is_named() {
    let server = Consul::start();
    let gateway = Gateway::start(&source(&server.url(), "")).await;
    assert_eq!(status(&gateway)["fault"], Value::Null);
    assert_eq!(server.asked(), [""; 0]);
}
