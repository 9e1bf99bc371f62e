//! Nothing that a source, a preview or a stranger writes ends the process or holds it (I12).

use serde_json::json;

use crate::support::etcd_world::{etcd_status, followed, has_members, key_of, member};
use crate::support::raw::Raw;
use crate::support::{Backend, Client, Gateway, config, eventually};

/// A request along the path of a hostile route, as long as a head may be.
async fn walks_along(gateway: &Gateway) {
    let mut raw = Raw::connect(gateway.address()).await;
    let path = "/x".repeat(15_000);
    raw.write(format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ))
    .await;
    assert_eq!(raw.status().await, Some(200));
}

#[tokio::test]
async fn i12_documents_of_etcd_that_are_too_deep_are_refused_and_the_process_lives() {
    let backend = Backend::echo().await;
    let (etcd, gateway) = followed(&[&backend]).await;

    let deep = json!({ "upstream": "echo", "path": "/x".repeat(16_000) });
    etcd.put("routes/deep", &deep).await;
    let parameters: String = (0..5_000).map(|place| format!("/{{p{place}}}")).collect();
    let many = json!({ "upstream": "echo", "path": parameters });
    etcd.put("routes/many", &many).await;
    let hosts: Vec<_> = (0..5_000).map(|place| format!("h{place}")).collect();
    let wide = json!({ "upstream": "echo", "hosts": hosts });
    etcd.put("routes/wide", &wide).await;
    let nested = format!("{}1{}", "[".repeat(30_000), "]".repeat(30_000));
    etcd.client()
        .await
        .put("/sessile/routes/nested", nested, None)
        .await
        .unwrap();
    let fast = json!({ "probe": { "type": "tcp", "interval": "1ms" } });
    etcd.put("upstreams/fast", &fast).await;
    eventually("all five are refused", async || {
        etcd_status(&gateway)["refused"] == 5
    })
    .await;
    walks_along(&gateway).await;

    // What is good goes on being taken.
    let second = Backend::echo().await;
    etcd.put(&key_of(&second), &member(&second)).await;
    has_members(&gateway, &[&backend, &second]).await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    client.echo("alive").await;
    client.close().await;
}

#[tokio::test]
async fn i12_a_preview_of_anything_answers_and_the_process_lives() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let preview = |config: &str| {
        let body = json!({ "config": config, "name": "next.toml" }).to_string();
        gateway.admin("POST", "/v1/preview", &body)
    };
    let route = |path: &str| format!("[[routes]]\nname = \"deep\"\npath = \"{path}\"\n");
    for text in [
        route(&"/x".repeat(50_000)),
        route(
            &(0..10_000)
                .map(|place| format!("/{{p{place}}}"))
                .collect::<String>(),
        ),
        format!("a = {}", "[".repeat(50_000)),
        format!("a = {}", "{a=".repeat(30_000)),
        format!("{}a = 1", "a.".repeat(50_000)),
        "token ".repeat(15_000),
        "[[routes]]\nnam = 1\n".repeat(4_000),
    ] {
        let answer = preview(&text);
        assert!(
            (400..500).contains(&answer.status),
            "{} {}",
            answer.status,
            answer.body
        );
        assert!(answer.body.len() < 1 << 20);
    }
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    client.echo("alive").await;
    client.close().await;
}

#[tokio::test]
async fn i12_a_long_path_along_the_deepest_route_is_answered() {
    let backend = Backend::echo().await;
    let text = format!(
        "{}\n[[routes]]\nname = \"deep\"\npath = \"{}\"\nupstream = \"echo\"\n",
        config::echo(&[backend.address], "", ""),
        "/x".repeat(64)
    );
    let gateway = Gateway::start(&text).await;
    walks_along(&gateway).await;
}
