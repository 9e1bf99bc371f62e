//! `/.well-known/sessile`: gateways that clients find by themselves.

use serde_json::{Value, json};

use crate::support::etcd::Etcd;
use crate::support::etcd_world::following;
use crate::support::http::get;
use crate::support::{Backend, Client, Gateway, config, eventually};

const PATH: &str = "/.well-known/sessile";

/// A gateway that lists itself at one of its listeners.
fn listing(backend: &Backend, name: &str, node: &str) -> String {
    format!(
        "# node: {node}\n[discovery]\nurl = \"wss://{name}.edge.test\"\nhosts = [\"*.edge.test\"]\n\n\
         [[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\ndiscovery = true\n\n\
         [[listeners]]\nname = \"closed\"\nlisten = [\"127.0.0.1:0\"]\n\n{}",
        config::echo(&[backend.address], "", "")
    )
}

async fn list(gateway: &Gateway) -> Value {
    let answer = get(gateway.address(), PATH, &[]).await;
    assert_eq!(answer.status, 200);
    serde_json::from_str(answer.text()).unwrap()
}

#[tokio::test]
async fn the_list_is_at_listeners_that_have_it_and_shows_the_load() {
    let backend = Backend::echo().await;
    let text = listing(&backend, "one", "sessions_max = 4\n# node: zone = \"a\"");
    let gateway = Gateway::start(&text).await;
    let client = Client::connect(gateway.address(), "/?k=1").await;
    let expected =
        json!({ "gateways": [{ "url": "wss://one.edge.test", "zone": "a", "load": 0.25 }] });
    eventually("it lists itself", async || list(&gateway).await == expected).await;
    let answer = get(gateway.address(), PATH, &[]).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    // Elsewhere it is a path like any other.
    let other = get(gateway.listener("closed"), PATH, &[]).await;
    assert!(!other.text().contains("edge.test"), "{}", other.text());
    assert_eq!(backend.last_seen().target, PATH);
    client.close().await;
}

#[tokio::test]
async fn i11_other_gateways_are_listed_by_their_public_addresses_alone() {
    let backend = Backend::echo().await;
    let etcd = Etcd::start().await;
    let start = async |name: &str| {
        let text = listing(&backend, name, "sessions_max = 4") + &following(&[etcd.url()], "");
        Gateway::start_named(name, &text).await
    };
    let one = start("one").await;
    let two = start("two").await;
    // A tenant of etcd that would have clients come to it.
    let hostile = json!({
        "node": "evil", "instance": "7", "phase": "ready", "url": "wss://evil.test", "load": 0.0,
        "admin": "10.9.8.7:9900", "digest": "", "version": "",
    });
    etcd.put("gateways/evil", &hostile).await;
    let client = Client::connect(one.address(), "/?k=1").await;
    eventually("both are there, the idle one first", async || {
        let all = list(&one).await;
        let urls = [&all["gateways"][0]["url"], &all["gateways"][1]["url"]];
        urls == ["wss://two.edge.test", "wss://one.edge.test"] && all["gateways"][1]["load"] == 0.25
    })
    .await;
    eventually("the fleet has all three", async || {
        one.get("/v1/status")["fleet"].as_array().unwrap().len() == 3
    })
    .await;
    let text = list(&one).await.to_string();
    for hidden in ["evil", "admin", "9900", "unix:", "127.0.0.1"] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
    client.close().await;
    drop(two);
    eventually("who leaves is not listed", async || {
        list(&one).await["gateways"].as_array().unwrap().len() == 1
    })
    .await;
}
