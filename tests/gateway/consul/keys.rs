//! Keys of Consul as documents, in the layout of etcd.

use serde_json::{Value, json};

use super::{fails, is_well, source, status};
use crate::support::consul::{Consul, Mood};
use crate::support::etcd_world::{Traffic, has_members, members};
use crate::support::{Backend, Client, Gateway, eventually};

/// A Consul with a route for everything, an upstream and this backend.
fn seeded(backend: &Backend) -> Consul {
    let server = Consul::start();
    server.put("upstreams/echo", &json!({}));
    server.put(
        "backends/echo/a",
        &json!({ "address": backend.address.to_string() }),
    );
    server.put(
        "routes/all",
        &json!({ "upstream": "echo", "affinity": ["query:k"] }),
    );
    server
}

fn reading(server: &Consul, more: &str) -> String {
    source(&server.url(), &format!("prefix = \"sessile\"\n{more}"))
}

fn document(gateway: &Gateway, key: &str) -> Value {
    let shown = gateway.get("/v1/config");
    let documents = shown["documents"].as_array().expect("documents").iter();
    let mut documents = documents.filter(|one| one["key"] == key);
    documents.next().cloned().unwrap_or_default()
}

async fn stands(gateway: &Gateway, key: &str, status: &str) {
    eventually(&format!("{key} is {status}"), async || {
        document(gateway, key)["status"] == status
    })
    .await;
}

#[tokio::test]
async fn keys_are_documents_that_are_refused_alone() {
    let [first, second] = [Backend::echo().await, Backend::echo().await];
    let server = seeded(&first);
    let gateway = Gateway::start(&reading(&server, "")).await;
    has_members(&gateway, &[&first]).await;
    let mut client = Client::connect(gateway.address(), "/?k=a").await;
    client.echo("hello").await;
    server.put(
        "backends/echo/b",
        &json!({ "address": second.address.to_string() }),
    );
    has_members(&gateway, &[&first, &second]).await;
    // A version with a fault does not unseat the good one.
    server.put_text("routes/all", "{\"upstreem\": 1}", None);
    stands(&gateway, "routes/all", "refused").await;
    assert_eq!(status(&gateway)["refused"], 1);
    client.echo("still here").await;
    Client::connect(gateway.address(), "/?k=b")
        .await
        .close()
        .await;
    server.put_text("oddities/x", "{}", None);
    eventually("it is ignored", async || {
        status(&gateway)["ignored"] == json!(["oddities/x"])
    })
    .await;
    server.delete("backends/echo/b");
    has_members(&gateway, &[&first]).await;
    client.close().await;
}

#[tokio::test]
async fn i5_keys_that_are_suddenly_gone_stay_until_that_is_accepted() {
    let backend = Backend::echo().await;
    let server = seeded(&backend);
    let gateway = Gateway::start(&reading(&server, "")).await;
    has_members(&gateway, &[&backend]).await;
    let traffic = Traffic::start(gateway.address());
    server.delete("");
    eventually("it is doubted", async || {
        let doubted = status(&gateway)["doubted"].clone();
        doubted.as_array().is_some_and(|keys| keys.len() == 3)
    })
    .await;
    assert_eq!(members(&gateway, "echo"), [backend.address.to_string()]);
    assert_eq!(
        gateway.metric("sessile_source_documents_doubted", &["source=\"consul\""]),
        3.0
    );
    for mood in [Mood::Errors, Mood::Nonsense] {
        server.set_mood(mood);
        fails(&gateway, "keys: ").await;
        server.set_mood(Mood::Well);
        is_well(&gateway).await;
    }
    traffic.end().await;
    let accepted = gateway.admin("POST", "/v1/sources/consul/accept", "");
    assert_eq!(accepted.status, 202);
    eventually("they are gone", async || {
        members(&gateway, "echo").is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_key_of_a_session_goes_with_it_as_one_of_a_lease_does() {
    let [first, second, third] = [
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    ];
    let server = seeded(&first);
    for (id, backend) in [("b", &second), ("c", &third)] {
        let member = json!({ "address": backend.address.to_string() });
        server.put_held(&format!("backends/echo/{id}"), &member, Some("adf4238a"));
    }
    let gateway = Gateway::start(&reading(&server, "")).await;
    has_members(&gateway, &[&first, &second, &third]).await;
    server.delete("backends/echo/b");
    has_members(&gateway, &[&first, &third]).await;
    assert_eq!(status(&gateway)["stale"], 0);
}

#[tokio::test]
async fn what_the_file_protects_is_protected_from_keys() {
    let [own, strange] = [Backend::echo().await, Backend::echo().await];
    let server = Consul::start();
    let more = format!(
        "protect = [\"routes/all\", \"backends/echo/*\"]\n\n[upstreams.echo]\nbackends = [\"{}\"]\n\n\
         [[routes]]\nname = \"all\"\nupstream = \"echo\"\naffinity = [\"query:k\"]\n",
        own.address
    );
    let gateway = Gateway::start(&reading(&server, &more)).await;
    server.put(
        "backends/echo/x",
        &json!({ "address": strange.address.to_string() }),
    );
    server.put(
        "routes/all",
        &json!({ "upstream": "echo", "path": "/elsewhere" }),
    );
    stands(&gateway, "backends/echo/x", "refused").await;
    stands(&gateway, "routes/all", "refused").await;
    has_members(&gateway, &[&own]).await;
}

#[tokio::test]
async fn members_of_an_upstream_that_names_a_service_are_not_added_by_keys() {
    let [found, strange] = [Backend::echo().await, Backend::echo().await];
    let server = Consul::with(&super::instances(&[&found]));
    let more = "\n[upstreams.echo]\nconsul = \"echo\"\n\n\
                [[routes]]\nname = \"all\"\nupstream = \"echo\"\naffinity = [\"query:k\"]\n";
    let member = json!({ "address": strange.address.to_string() });
    server.put("backends/echo/i0@web", &member);
    server.put("backends/echo/more", &member);
    let gateway = Gateway::start(&reading(&server, more)).await;
    has_members(&gateway, &[&found]).await;
    // Without the service they count.
    let without = reading(&server, &more.replace("consul = \"echo\"\n", ""));
    gateway.write_config(&without);
    assert_eq!(gateway.reload().status, 200);
    eventually("the keys are members", async || {
        members(&gateway, "echo").len() == 2
            && !members(&gateway, "echo").contains(&found.address.to_string())
    })
    .await;
    gateway.write_config(&reading(&server, more));
    assert_eq!(gateway.reload().status, 200);
    has_members(&gateway, &[&found]).await;
}
