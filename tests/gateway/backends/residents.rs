//! Sessions of a backend that left its upstream: they are counted, shown and drained, and counted
//! on when the backend returns.

use serde_json::{Value, json};

use crate::support::etcd_world::{followed, has_members, key_of, member};
use crate::support::shell::sessile;
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

/// So many sessions on this backend.
async fn sessions_at(gateway: &Gateway, backend: &Backend, count: usize) -> Vec<Client> {
    let mut held = Vec::new();
    let mut key = 0;
    while held.len() < count {
        key += 1;
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        if client.backend().await == backend.address {
            held.push(client);
        } else {
            client.close().await;
        }
    }
    held
}

fn upstream(gateway: &Gateway) -> Value {
    gateway.get("/v1/upstreams/echo")
}

fn summary(gateway: &Gateway, name: &str) -> Value {
    let list = gateway.get("/v1/upstreams");
    let mut items = list["items"].as_array().expect("a list").iter();
    let found = items.find(|one| one["name"] == name);
    found.cloned().unwrap_or_default()
}

#[tokio::test]
async fn sessions_of_a_removed_backend_are_shown_drained_and_taken_up_again() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let (etcd, gateway) = followed(&[&first, &second]).await;
    let mut held = sessions_at(&gateway, &second, 9).await;
    held.extend(sessions_at(&gateway, &first, 5).await);
    eventually("all count", async || upstream(&gateway)["sessions"] == 14).await;

    etcd.delete(&key_of(&second)).await;
    has_members(&gateway, &[&first]).await;
    let id = second.address.to_string();
    let shown = upstream(&gateway);
    assert_eq!(shown["sessions"], 14, "{shown}");
    let removed = &shown["removed"][0];
    assert_eq!(
        (&removed["id"], &removed["state"]),
        (&json!(id), &json!("removed"))
    );
    assert_eq!(
        (&removed["address"], &removed["sessions"]),
        (&json!(id), &json!(9))
    );
    assert_eq!(summary(&gateway, "echo")["sessions"], 14);
    let metric = gateway.metric("sessile_backend_sessions", &[&id]);
    assert!((metric - 9.0).abs() < 0.1, "{metric}");

    // It comes back, and what it has counts.
    etcd.put(&key_of(&second), &member(&second)).await;
    has_members(&gateway, &[&first, &second]).await;
    assert_eq!(gateway.backend("echo", second.address)["sessions"], 9);
    assert_eq!(upstream(&gateway)["removed"], json!([]));

    for client in held {
        client.close().await;
    }
}

#[tokio::test]
async fn a_removed_backend_is_drained_like_any_other() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let (etcd, gateway) = followed(&[&first, &second]).await;
    let mut held = sessions_at(&gateway, &second, 9).await;
    held.extend(sessions_at(&gateway, &first, 5).await);
    let id = second.address.to_string();
    etcd.delete(&key_of(&second)).await;
    has_members(&gateway, &[&first]).await;
    let disabled = gateway.admin(
        "PATCH",
        &format!("/v1/upstreams/echo/backends/{id}"),
        &json!({"state": "disabled"}).to_string(),
    );
    assert_eq!(disabled.status, 409, "{}", disabled.body);
    let (drained_id, directory) = (id.clone(), gateway.directory().to_owned());
    // The clients go on meanwhile.
    let drained = tokio::task::spawn_blocking(move || {
        let arguments = ["drain", "echo", &drained_id, "--pace", "100/s", "--watch"];
        sessile(&arguments, &directory)
    });
    let drained = drained.await.unwrap();
    let text = String::from_utf8_lossy(&drained.stdout).into_owned();
    assert!(drained.status.success(), "{text}");
    assert!(
        text.contains("9 closed, 0 live") || text.contains("no sessions are left"),
        "{text}"
    );
    for mut client in held.drain(..9) {
        assert_eq!(
            client.end().await,
            Some((1012, "backend is draining".to_owned()))
        );
    }
    eventually("nothing is left of it", async || {
        upstream(&gateway)["removed"] == json!([])
    })
    .await;
    assert_eq!(upstream(&gateway)["sessions"], 5);
    let unknown = gateway.admin(
        "PATCH",
        &format!("/v1/upstreams/echo/backends/{id}"),
        &json!({"state": "draining"}).to_string(),
    );
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    // An order to drain it went with its sessions.
    etcd.put(&key_of(&second), &member(&second)).await;
    has_members(&gateway, &[&first, &second]).await;
    assert_eq!(gateway.backend("echo", second.address)["state"], "active");
    for client in held {
        client.close().await;
    }
}

#[tokio::test]
async fn limits_hold_over_a_backend_that_a_reload_takes_out_and_brings_back() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let limit = "sessions_per_backend = 2";
    let both = config::echo(&[first.address, second.address], limit, "");
    let gateway = Gateway::start(&both).await;
    let held = sessions_at(&gateway, &second, 2).await;
    gateway.write_config(&config::echo(&[first.address], limit, ""));
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(upstream(&gateway)["sessions"], 2);
    // Another upstream altogether, and back.
    let other = config::echo(&[first.address], limit, "").replace("echo", "other");
    gateway.write_config(&other);
    assert_eq!(gateway.reload().status, 200);
    let gone = summary(&gateway, "echo");
    assert_eq!(
        (&gone["policy"], &gone["sessions"]),
        (&json!("removed"), &json!(2))
    );
    assert_eq!(upstream(&gateway)["removed"][0]["sessions"], 2);
    gateway.write_config(&config::echo(&[second.address], limit, ""));
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(gateway.backend("echo", second.address)["sessions"], 2);
    let refused = Dial::new("/?k=more").connect(gateway.address()).await;
    let refused = refused.err().expect("the backend is full");
    assert_eq!(refused.status, 503);
    // Under the same id at another address it is the same backend.
    let moved = format!(
        "[upstreams.echo]\nbackends = [{{ id = \"{}\", address = \"{}\" }}]\n{limit}\n\n\
         [[routes]]\nname = \"all\"\nupstream = \"echo\"\naffinity = [\"query:k\"]\n",
        second.address, first.address
    );
    gateway.write_config(&moved);
    assert_eq!(gateway.reload().status, 200);
    let refused = Dial::new("/?k=more").connect(gateway.address()).await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(503));
    for client in held {
        client.close().await;
    }
    eventually("the sessions are over", async || {
        upstream(&gateway)["sessions"] == 0
    })
    .await;
    Client::connect(gateway.address(), "/?k=more")
        .await
        .close()
        .await;
}

#[tokio::test]
async fn sessions_of_a_removed_backend_count_in_the_process_that_takes_over() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let both = config::echo(&[first.address, second.address], "", "");
    let mut gateway = Gateway::start_with_handover(&both).await;
    let held = sessions_at(&gateway, &second, 3).await;
    gateway.write_config(&config::echo(&[first.address], "", ""));
    assert_eq!(gateway.reload().status, 200);
    let next = gateway.succeed().await;
    gateway.wait_for_exit().await;
    next.wait_until_taken_over().await;
    let shown = upstream(&next);
    assert_eq!(shown["removed"][0]["sessions"], 3, "{shown}");
    assert_eq!(shown["sessions"], 3, "{shown}");
    next.write_config(&both);
    assert_eq!(next.reload().status, 200);
    assert_eq!(next.backend("echo", second.address)["sessions"], 3);
    for client in held {
        client.close().await;
    }
    next.wait_until_idle().await;
}
