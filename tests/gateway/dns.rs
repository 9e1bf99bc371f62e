//! Backends that are found by names in DNS, and what DNS may do without an outage: the table of
//! docs/dns.md, a test for each row. Sessions echo all the while, none is lost and none refused.

use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::dns::{DnsServer, ZONE};
use crate::support::etcd::Etcd;
use crate::support::etcd_world::{Traffic, has_members, members, restart};
use crate::support::prometheus::{AdminPort, Prometheus};
use crate::support::shell::sessile;
use crate::support::{Backend, Client, Gateway, eventually};

/// Names of services of all backends.
fn services(backends: &[&Backend]) -> Vec<String> {
    let each = backends.iter().enumerate().flat_map(|(number, backend)| {
        let (ip, port) = (backend.address.ip(), backend.address.port());
        [
            format!("_ws._tcp 1 SRV 1 10 {port} b{number}.{ZONE}."),
            format!("b{number} 1 A {ip}"),
        ]
    });
    each.collect()
}

/// An upstream whose backends are those of the name.
fn following(server: &str, name: &str, more: &str) -> String {
    format!(
        "[sources.dns]\nservers = [\"{server}\"]\ntimeout = \"500ms\"\nttl_min = \"100ms\"\n\
         ttl_max = \"1s\"\n{more}\n\n\
         [upstreams.echo]\ndns = [\"{name}\"]\n\n\
         [[routes]]\nname = \"all\"\nupstream = \"echo\"\naffinity = [\"query:k\"]\n"
    )
}

fn service() -> String {
    format!("_ws._tcp.{ZONE}")
}

/// A gateway that has found these backends.
async fn found(backends: &[&Backend]) -> (DnsServer, Gateway) {
    let server = DnsServer::start(&services(backends)).await;
    let gateway = Gateway::start(&following(&server.address(), &service(), "")).await;
    has_members(&gateway, backends).await;
    (server, gateway)
}

/// How DNS stands in `/v1/status`.
fn status(gateway: &Gateway) -> Value {
    gateway.get("/v1/status")["sources"]["dns"].clone()
}

/// Waits until the only name fails with this.
async fn fails(gateway: &Gateway, why: &str) {
    eventually(&format!("it fails: {why}"), async || {
        let fault = status(gateway)["names"][0]["fault"].clone();
        fault.as_str().is_some_and(|fault| fault.contains(why))
    })
    .await;
}

async fn is_found_again(gateway: &Gateway) {
    eventually("it is found", async || status(gateway)["failing"] == 0).await;
}

#[tokio::test]
async fn services_are_backends_with_their_ports_and_weights_and_follow_the_zone() {
    let [first, second, third] = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let (mut server, gateway) = found(&[&first, &second]).await;
    let mut client = Client::connect(gateway.address(), "/?k=a").await;
    client.echo("hello").await;
    let shown = gateway.get("/v1/upstreams/echo");
    let ids = shown["backends"].as_array().expect("a list").iter();
    let ids: Vec<_> = ids
        .map(|one| (one["id"].clone(), one["weight"].clone()))
        .collect();
    let id = |number, backend: &Backend| {
        let port = backend.address.port();
        (json!(format!("b{number}.{ZONE}:{port}")), json!(10))
    };
    assert_eq!(ids, [id(0, &first), id(1, &second)]);
    // One goes and one comes: the session stays where it is.
    let mut records = services(&[&first, &second, &third]);
    records.retain(|record| !record.contains(&format!(" {} ", second.address.port())));
    server.set(&records);
    has_members(&gateway, &[&first, &third]).await;
    client.echo("still here").await;
    // Another weight.
    for record in &mut records {
        *record = record.replace("SRV 1 10", "SRV 1 30");
    }
    server.set(&records);
    eventually("the weight is another one", async || {
        gateway.get("/v1/upstreams/echo")["backends"][0]["weight"] == 30
    })
    .await;
    client.echo("still here").await;
    client.close().await;
}

#[tokio::test]
async fn addresses_of_a_name_are_backends_at_its_port() {
    let first = Backend::echo().await;
    let port = first.address.port();
    let second = Backend::echo_at(SocketAddr::from(([127, 0, 0, 2], port))).await;
    let mut server = DnsServer::start(&["@ 1 A 127.0.0.1".to_owned()]).await;
    let name = format!("{ZONE}:{port}");
    let gateway = Gateway::start(&following(&server.address(), &name, "")).await;
    has_members(&gateway, &[&first]).await;
    server.set(&["@ 1 A 127.0.0.1", "@ 1 A 127.0.0.2"].map(str::to_owned));
    has_members(&gateway, &[&first, &second]).await;
    let shown = gateway.get("/v1/config");
    let documents = shown["documents"].as_array().expect("documents");
    assert_eq!(documents.len(), 2, "{documents:?}");
    assert!(
        documents.iter().all(|one| one["source"] == "dns"),
        "{documents:?}"
    );
}

#[tokio::test]
async fn i5_an_answer_without_backends_empties_no_upstream() {
    let backend = Backend::echo().await;
    let (mut server, gateway) = found(&[&backend]).await;
    let traffic = Traffic::start(gateway.address());
    // The name is no more; it has records of other kinds; its targets have no address.
    server.set(&[]);
    fails(&gateway, "NXDOMAIN").await;
    assert_eq!(gateway.metric("sessile_dns_names_failing", &[]), 1.0);
    server.set(&["_ws._tcp 1 TXT none".to_owned()]);
    fails(&gateway, "has no services").await;
    let port = backend.address.port();
    server.set(&[format!("_ws._tcp 1 SRV 1 10 {port} nowhere.{ZONE}.")]);
    fails(&gateway, "has an address").await;
    // RFC 2782: the service is decidedly not available.
    server.set(&["_ws._tcp 1 SRV 0 0 0 .".to_owned()]);
    fails(&gateway, "has no services").await;
    server.break_zone();
    fails(&gateway, "Server Failure").await;
    assert_eq!(members(&gateway, "echo"), [backend.address.to_string()]);
    let output = sessile(&["doctor"], gateway.directory());
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        said.contains("dns: names not found: 1; _ws._tcp.chat.test (upstream echo)"),
        "{said}"
    );
    let output = sessile(&["status"], gateway.directory());
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(said.contains("dns       1 name, 1 NOT FOUND"), "{said}");
    server.set(&services(&[&backend]));
    is_found_again(&gateway).await;
    traffic.end().await;
}

#[tokio::test]
async fn i5_a_server_that_is_gone_or_hangs_is_no_outage() {
    let [first, second] = [Backend::echo().await, Backend::echo().await];
    let (mut server, gateway) = found(&[&first]).await;
    let traffic = Traffic::start(gateway.address());
    server.signal(Signal::STOP);
    fails(&gateway, "").await;
    server.signal(Signal::CONT);
    is_found_again(&gateway).await;
    server.kill();
    fails(&gateway, "").await;
    server.start_again().await;
    server.set(&services(&[&first, &second]));
    has_members(&gateway, &[&first, &second]).await;
    is_found_again(&gateway).await;
    traffic.end().await;
}

#[tokio::test]
async fn i5_backends_that_leave_together_stay_while_they_live() {
    let old = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let new = Backend::echo().await;
    let of_old: Vec<_> = old.iter().collect();
    let (mut server, gateway) = found(&of_old).await;
    let traffic = Traffic::start(gateway.address());
    let records = [
        format!("_ws._tcp 1 SRV 1 10 {} n.{ZONE}.", new.address.port()),
        "n 1 A 127.0.0.1".to_owned(),
    ];
    server.set(&records);
    eventually("those that left are stale", async || {
        status(&gateway)["stale"] == 3
    })
    .await;
    let all: Vec<_> = old.iter().chain([&new]).collect();
    has_members(&gateway, &all).await;
    traffic.end().await;
    // An operator who knows better has no need to wait.
    assert_eq!(gateway.metric("sessile_dns_stale_members", &[]), 3.0);
}

#[tokio::test]
async fn i5_a_start_without_dns_serves_what_it_answered_last() {
    let backend = Backend::echo().await;
    let (mut server, gateway) = found(&[&backend]).await;
    let text = following(&server.address(), &service(), "");
    eventually("it is remembered", async || {
        let file = gateway.directory().join("state/dns.last-known-good");
        std::fs::read_to_string(file).is_ok_and(|text| text.contains("backends/echo/"))
    })
    .await;
    server.kill();
    let gateway = restart(gateway, &text).await;
    let mut client = Client::connect(gateway.address(), "/?k=a").await;
    client.echo("hello").await;
    assert_eq!(status(&gateway)["from_last_known_good"], true);
    server.start_again().await;
    is_found_again(&gateway).await;
    client.echo("still here").await;
    client.close().await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_at_the_start_is_waited_for_and_shown() {
    let backend = Backend::echo().await;
    let mut server = DnsServer::start(&[]).await;
    let gateway = Gateway::start(&following(&server.address(), &service(), "")).await;
    fails(&gateway, "NXDOMAIN").await;
    let shown = status(&gateway);
    let expected = (&json!(1), &json!("_ws._tcp.chat.test"), &Value::Null);
    let name = &shown["names"][0];
    assert_eq!(
        (&shown["failing"], &name["name"], &name["backends"]),
        expected
    );
    server.set(&services(&[&backend]));
    has_members(&gateway, &[&backend]).await;
    let mut client = Client::connect(gateway.address(), "/?k=a").await;
    client.echo("hello").await;
    client.close().await;
}

#[tokio::test]
async fn names_come_and_go_with_a_reload() {
    let [file, named] = [Backend::echo().await, Backend::echo().await];
    let server = DnsServer::start(&services(&[&named])).await;
    let with = following(&server.address(), &service(), "");
    let own = format!("[upstreams.echo]\nbackends = [\"{}\"]\n", file.address);
    let both = with.replace("[upstreams.echo]\n", &own);
    let without = both.replace(&format!("dns = [\"{}\"]", service()), "");
    let gateway = Gateway::start(&without).await;
    has_members(&gateway, &[&file]).await;
    assert_eq!(status(&gateway), Value::Null);
    gateway.write_config(&both);
    assert_eq!(gateway.reload().status, 200);
    has_members(&gateway, &[&file, &named]).await;
    gateway.write_config(&without);
    assert_eq!(gateway.reload().status, 200);
    has_members(&gateway, &[&file]).await;
    assert_eq!(status(&gateway), Value::Null);
}

#[tokio::test]
async fn etcd_overrides_what_dns_has() {
    let [named, registered] = [Backend::echo().await, Backend::echo().await];
    let server = DnsServer::start(&services(&[&named])).await;
    let etcd = Etcd::start().await;
    let text = following(&server.address(), &service(), "")
        + &format!("\n[sources.etcd]\nendpoints = [\"{}\"]\n", etcd.url());
    let gateway = Gateway::start(&text).await;
    has_members(&gateway, &[&named]).await;
    // Both name backends of the upstream; under one id the document of etcd is in force.
    let member = json!({ "address": registered.address.to_string() });
    etcd.put("backends/echo/more", &member).await;
    has_members(&gateway, &[&named, &registered]).await;
    let id = format!("b0.{ZONE}:{}", named.address.port());
    let drained = json!({ "address": named.address.to_string(), "state": "draining" });
    etcd.put(&format!("backends/echo/{id}"), &drained).await;
    eventually("it drains", async || {
        gateway.backend("echo", named.address)["state"] == "draining"
    })
    .await;
    etcd.delete(&format!("backends/echo/{id}")).await;
    eventually("it is as DNS has it", async || {
        gateway.backend("echo", named.address)["state"] == "active"
    })
    .await;
    // An upstream of a document may have names, too.
    etcd.put("upstreams/other", &json!({ "dns": [service()] }))
        .await;
    eventually("it has the backend", async || {
        members(&gateway, "other") == [named.address.to_string()]
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_not_found_fires_its_alert() {
    let server = DnsServer::start(&[]).await;
    let gateway = Gateway::start(&following(&server.address(), &service(), "")).await;
    let port = AdminPort::of(&gateway);
    let prometheus = Prometheus::start(&[port.address]).await;
    let instance = port.instance();
    let wanted = [("SessileDnsNameNotFound", "instance", instance.as_str())];
    prometheus.wait_until_fired(&wanted).await;
}
