//! Zones and priorities of backends from etcd, DNS and `sessile register`, and the example of the
//! docs.

use serde_json::{Value, json};

use super::{Zones, are_of, places};
use crate::etcd::register::Register;
use crate::support::dns::{DnsServer, ZONE};
use crate::support::etcd::Etcd;
use crate::support::etcd_world::{following, has_members, seed};
use crate::support::{Backend, Client, Gateway, eventually};

/// What a gateway shows of a backend: its zone, and its priority.
fn placed(gateway: &Gateway, backend: &Backend) -> (Value, Value) {
    let shown = gateway.backend("echo", backend.address);
    (shown["zone"].clone(), shown["priority"].clone())
}

#[tokio::test]
async fn documents_of_etcd_and_registrations_have_zones_and_priorities() {
    let [own, other, spare] = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let etcd = Etcd::start().await;
    seed(&etcd, &[]).await;
    let put = async |backend: &Backend, zone: &str, priority: u8| {
        let address = backend.address.to_string();
        let document = json!({ "address": address, "zone": zone, "priority": priority });
        etcd.put(&format!("backends/echo/{address}"), &document)
            .await;
    };
    put(&other, "b", 0).await;
    put(&spare, "a", 1).await;
    let address = own.address.to_string();
    let flags = ["--zone", "a", "--priority", "0"];
    let register = Register::start(&etcd, &address, &flags);
    let text = format!("# node: zone = \"a\"\n{}", following(&[etcd.url()], ""));
    let gateway = Gateway::start(&text).await;
    has_members(&gateway, &[&own, &other, &spare]).await;
    assert_eq!(placed(&gateway, &own), (json!("a"), json!(0)));
    assert_eq!(placed(&gateway, &spare), (json!("a"), json!(1)));
    let shown = gateway.get("/v1/upstreams/echo");
    let levels = shown["levels"].as_array().unwrap().iter();
    let names: Vec<_> = levels
        .map(|level| level["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["zone a", "other zones", "zone a, priority 1"]);
    assert!(are_of(&places(&gateway, 20), std::slice::from_ref(&own)));
    drop(register);
    // A document with a zone that is none is refused alone.
    let bad = json!({ "address": address, "zone": "a b" });
    etcd.put("backends/echo/bad", &bad).await;
    eventually("it is refused", async || {
        let shown = gateway.get("/v1/config").to_string();
        shown.contains("`a b` is not a zone")
    })
    .await;
}

#[tokio::test]
async fn priorities_of_services_are_tiers_of_which_the_next_takes_over() {
    let [first, second] = [Backend::echo().await, Backend::echo().await];
    let records = [
        format!(
            "_ws._tcp 1 SRV 20 10 {} late.{ZONE}.",
            second.address.port()
        ),
        format!("_ws._tcp 1 SRV 10 10 {} soon.{ZONE}.", first.address.port()),
        "soon 1 A 127.0.0.1".to_owned(),
        "late 1 A 127.0.0.1".to_owned(),
    ];
    let server = DnsServer::start(&records).await;
    let text = format!(
        "[sources.dns]\nservers = [\"{}\"]\n\n[upstreams.echo]\ndns = [\"_ws._tcp.{ZONE}\"]\n{}\n\n\
         [[routes]]\nname = \"all\"\nupstream = \"echo\"\naffinity = [\"query:k\"]\n",
        server.address(),
        super::PROBE,
    );
    let gateway = Gateway::start(&text).await;
    has_members(&gateway, &[&first, &second]).await;
    assert_eq!(placed(&gateway, &second), (Value::Null, json!(1)));
    let session = async |backend: &Backend| {
        let mut client = Client::connect(gateway.address(), "/?k=a").await;
        assert_eq!(client.backend().await, backend.address);
        client
    };
    let mut early = session(&first).await;
    first.set_healthy(false);
    gateway
        .wait_for_health("echo", first.address, "unhealthy")
        .await;
    let late = session(&second).await;
    let spilled = gateway.metric("sessile_sessions_spilled_total", &["to=\"priority\""]);
    assert_eq!(spilled, 1.0);
    early.echo("still here").await;
    first.set_healthy(true);
    gateway
        .wait_for_health("echo", first.address, "healthy")
        .await;
    let back = session(&first).await;
    for client in [early, late, back] {
        client.close().await;
    }
}

#[tokio::test]
async fn the_example_of_the_docs_prefers_its_zone_and_keeps_a_spare() {
    let zones = Zones::start(2, 2).await;
    let spare = Backend::echo().await;
    let page = include_str!("../../../docs/zones.md");
    let block = page.split("```toml\n").nth(1).expect("an example");
    let mut text = block.split("```").next().unwrap().to_owned();
    let backends = zones.a.iter().chain(&zones.b).chain([&spare]);
    let written = ["10.0.1.1", "10.0.1.2", "10.0.2.1", "10.0.2.2", "10.9.0.1"];
    for (written, backend) in written.iter().zip(backends) {
        let written = format!("{written}:9000");
        assert!(text.contains(&written), "{written} in {text}");
        text = text.replace(&written, &backend.address.to_string());
    }
    // The harness has tables of the node and of the listener of its own.
    let text = text
        .replace(
            "[node]\nzone = \"eu-west-1a\"\n",
            "# node: zone = \"eu-west-1a\"\n",
        )
        .replace(
            "listen = [\"127.0.0.1:8080\"]",
            "listen = [\"127.0.0.1:0\"]",
        );
    let gateway = Gateway::start(&text).await;
    let mut client = Client::connect(gateway.address(), "/ws/lobby").await;
    let at = client.backend().await;
    assert!(zones.a.iter().any(|backend| backend.address == at));
    let shown = gateway.get("/v1/upstreams/chat");
    let levels = shown["levels"].as_array().unwrap().iter();
    let names: Vec<_> = levels
        .map(|level| level["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["zone eu-west-1a", "other zones", "other zones, priority 1"]
    );
    client.close().await;
}
