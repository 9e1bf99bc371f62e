//! A right that is taken away, on one gateway and on all of them, and through restarts.

use std::fs;

use serde_json::{Value, json};

use crate::support::etcd::Etcd;
use crate::support::etcd_world::{following, is_connected, restart};
use crate::support::tokens::{SECRET, claims, token};
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};

fn users(backend: &Backend) -> String {
    format!("[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\n")
        + &config::echo(&[backend.address], "", "authenticate = [\"users\"]")
}

fn with_etcd(etcd: &Etcd, backend: &Backend) -> String {
    following(&[etcd.url()], "") + &users(backend)
}

fn dial(subject: &str) -> Dial {
    let token = token(&claims(subject));
    Dial::new("/").header("authorization", &format!("Bearer {token}"))
}

async fn connect(gateway: &Gateway, subject: &str) -> Client {
    let opened = dial(subject).connect(gateway.address()).await;
    opened.unwrap_or_else(|refused| panic!("{subject}: {}", refused.status))
}

/// The status with which a handshake is refused.
async fn refused(gateway: &Gateway, subject: &str) -> Option<u16> {
    match dial(subject).connect(gateway.address()).await {
        Ok(client) => {
            // It may be revoked at this very moment.
            client.close_with(1000, "").await;
            None
        }
        Err(refused) => Some(refused.status),
    }
}

async fn is_let_in(gateway: &Gateway, subject: &str) {
    eventually("let in", async || refused(gateway, subject).await.is_none()).await;
}

fn in_force(gateway: &Gateway, origin: &str) -> f64 {
    let label = format!("origin=\"{origin}\"");
    gateway.metric("sessile_revocations", &[&label])
}

fn document(gateway: &Gateway, key: &str) -> Value {
    let shown = gateway.get("/v1/config");
    let documents = shown["documents"].as_array().expect("documents").iter();
    let found = documents.into_iter().find(|one| one["key"] == key);
    found.cloned().unwrap_or_default()
}

fn ended() -> Option<(u16, String)> {
    Some((3000, "credential revoked".to_owned()))
}

#[tokio::test]
async fn a_revocation_in_etcd_ends_the_sessions_of_its_subject_on_every_node_and_no_others() {
    let backend = Backend::echo().await;
    let etcd = Etcd::start().await;
    let text = with_etcd(&etcd, &backend);
    let nodes = [Gateway::start(&text).await, Gateway::start(&text).await];
    let mut anns = Vec::new();
    let mut bobs = Vec::new();
    for node in &nodes {
        anns.push(connect(node, "ann").await);
        bobs.push(connect(node, "bob").await);
    }
    let withdrawal = json!({ "subject": "ann", "reason": "left the company" });
    etcd.put("revocations/ann-left", &withdrawal).await;
    for ann in &mut anns {
        assert_eq!(ann.end().await, ended());
    }
    for (node, bob) in nodes.iter().zip(&mut bobs) {
        bob.echo("still here").await;
        assert_eq!(refused(node, "ann").await, Some(401));
        assert_eq!(in_force(node, "etcd"), 1.0);
        let listed = node.get("/v1/revocations");
        assert_eq!(listed["items"][0]["id"], "ann-left", "{listed}");
        assert_eq!(listed["items"][0]["reason"], "left the company");
        assert_eq!(listed["items"][0]["until"], Value::Null);
        let shown = document(node, "revocations/ann-left");
        assert_eq!(shown["status"], "in_force", "{shown}");
        let records = node.wait_for_records(1).await;
        assert_eq!(&*records[0].cause, "revoked");
        assert_eq!(records[0].revocation.as_deref(), Some("ann-left"));
        assert_eq!(records[0].reason.as_deref(), Some("left the company"));
    }
    etcd.delete("revocations/ann-left").await;
    for (node, bob) in nodes.iter().zip(bobs) {
        is_let_in(node, "ann").await;
        assert_eq!(in_force(node, "etcd"), 0.0);
        bob.close().await;
    }
}

#[tokio::test]
async fn what_one_admin_api_revokes_is_revoked_on_every_node() {
    let backend = Backend::echo().await;
    let mut etcd = Etcd::start().await;
    let text = with_etcd(&etcd, &backend);
    let nodes = [Gateway::start(&text).await, Gateway::start(&text).await];
    let mut ann = connect(&nodes[1], "ann").await;
    let mut bob = connect(&nodes[1], "bob").await;
    let body = json!({ "id": "r1", "subject": "ann", "ttl": "1h" }).to_string();
    let answer = nodes[0].admin("POST", "/v1/revocations", &body);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let shown = answer.json();
    assert_eq!(
        (&shown["origin"], &shown["lasting"]),
        (&json!("etcd"), &json!(true))
    );
    assert_eq!(ann.end().await, ended());
    bob.echo("still here").await;
    for node in &nodes {
        assert_eq!(refused(node, "ann").await, Some(401));
    }
    // It goes by itself, some time after it is over.
    let leases = etcd.ctl(&["lease", "list"]);
    assert!(leases.contains("found"), "{leases}");
    assert_eq!(
        nodes[1].admin("DELETE", "/v1/revocations/r1", "").status,
        200
    );
    for node in &nodes {
        is_let_in(node, "ann").await;
    }
    assert_eq!(etcd.get("/sessile/revocations/r1").await, None);

    etcd.stop();
    let answer = nodes[0].admin("POST", "/v1/revocations", &body);
    assert_eq!(answer.status, 502, "{}", answer.body);
    assert_eq!(
        refused(&nodes[0], "ann").await,
        None,
        "it was said that nothing has changed"
    );
    let body = json!({ "id": "r1", "subject": "ann", "scope": "node" }).to_string();
    let answer = nodes[0].admin("POST", "/v1/revocations", &body);
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(refused(&nodes[0], "ann").await, Some(401));
    assert_eq!(refused(&nodes[1], "ann").await, None);
    bob.close().await;
}

#[tokio::test]
async fn i5_revocations_survive_a_restart_without_etcd() {
    let backend = Backend::echo().await;
    let mut etcd = Etcd::start().await;
    let text = with_etcd(&etcd, &backend);
    let gateway = Gateway::start(&text).await;
    etcd.put("revocations/ann", &json!({ "subject": "ann" }))
        .await;
    let own = json!({ "subject": "cid", "scope": "node" }).to_string();
    assert_eq!(gateway.admin("POST", "/v1/revocations", &own).status, 201);
    let remembered = gateway.directory().join("state/etcd.last-known-good");
    eventually("it is remembered", async || {
        fs::read_to_string(&remembered).is_ok_and(|all| all.contains("revocations/ann"))
    })
    .await;
    etcd.stop();
    let gateway = restart(gateway, &text).await;
    assert_eq!(refused(&gateway, "ann").await, Some(401));
    assert_eq!(refused(&gateway, "cid").await, Some(401));
    assert_eq!(refused(&gateway, "bob").await, None);
    etcd.start_again().await;
    is_connected(&gateway, true).await;
    etcd.delete("revocations/ann").await;
    is_let_in(&gateway, "ann").await;
    assert_eq!(refused(&gateway, "cid").await, Some(401));
}

#[tokio::test]
async fn i4_a_bad_revocation_is_refused_alone_and_one_that_is_over_does_nothing() {
    let backend = Backend::echo().await;
    let etcd = Etcd::start().await;
    let text = with_etcd(&etcd, &backend);
    let gateway = Gateway::start(&text).await;
    let over = json!({ "subject": "cid", "until": "2020-01-31T12:00:00Z" });
    etcd.put("revocations/over", &over).await;
    let two = json!({ "subject": "bob", "token_id": "t1" });
    etcd.put("revocations/two", &two).await;
    let ttl = json!({ "subject": "bob", "ttl": "1h", "until": "tomorrow" });
    etcd.put("revocations/ttl", &ttl).await;
    etcd.put("revocations/good", &json!({ "subject": "ann" }))
        .await;
    eventually("the good one", async || {
        refused(&gateway, "ann").await == Some(401)
    })
    .await;
    let withdrawal = |key: &str| {
        let shown = document(&gateway, key);
        assert_eq!(shown["status"], "refused", "{shown}");
        shown["diagnostics"].to_string()
    };
    assert!(withdrawal("revocations/two").contains("give one of"));
    assert!(
        withdrawal("revocations/ttl").contains("ttl"),
        "{}",
        withdrawal("revocations/ttl")
    );
    assert_eq!(document(&gateway, "revocations/over")["status"], "over");
    assert_eq!(in_force(&gateway, "etcd"), 1.0);
    for subject in ["bob", "cid"] {
        assert_eq!(refused(&gateway, subject).await, None);
    }
    // A good one stays in force when it is overwritten by a bad one.
    etcd.put("revocations/good", &two).await;
    eventually("the bad version", async || {
        document(&gateway, "revocations/good")["status"] == "refused"
    })
    .await;
    assert_eq!(refused(&gateway, "ann").await, Some(401));
}

#[tokio::test]
async fn the_file_revokes_too() {
    let backend = Backend::echo().await;
    let text = users(&backend);
    let gateway = Gateway::start(&text).await;
    let mut ann = connect(&gateway, "ann").await;
    let revoked = format!("{text}\n[revocations.ann]\nsubject = \"ann\"\n");
    gateway.write_config(&revoked);
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(ann.end().await, ended());
    assert_eq!(refused(&gateway, "ann").await, Some(401));
    let answer = gateway.admin("DELETE", "/v1/revocations/ann", "");
    assert_eq!(answer.status, 409, "{}", answer.body);
    gateway.write_config(&text);
    assert_eq!(gateway.reload().status, 200);
    assert_eq!(refused(&gateway, "ann").await, None);
}

#[tokio::test]
async fn without_etcd_revocations_are_handed_over() {
    let backend = Backend::echo().await;
    let text = users(&backend);
    let mut gateway = Gateway::start_with_handover(&text).await;
    let revoke = |gateway: &Gateway, subject: &str| {
        let body = json!({ "subject": subject, "id": subject }).to_string();
        let answer = gateway.admin("POST", "/v1/revocations", &body);
        assert_eq!(answer.status, 201, "{}", answer.body);
        assert_eq!(answer.json()["lasting"], true);
    };
    revoke(&gateway, "ann");
    revoke(&gateway, "bob");
    assert_eq!(
        gateway.admin("DELETE", "/v1/revocations/bob", "").status,
        200
    );
    // As where there is no state directory.
    let file = gateway.directory().join("state/revocations");
    fs::remove_file(&file).expect("it was written");
    let next = gateway.succeed().await;
    gateway.wait_for_exit().await;
    drop(gateway);
    assert_eq!(refused(&next, "ann").await, Some(401));
    assert_eq!(refused(&next, "bob").await, None);
    eventually("it is written again", async || file.exists()).await;
    let again = restart(next, &text).await;
    assert_eq!(refused(&again, "ann").await, Some(401));
    assert_eq!(refused(&again, "bob").await, None);
}
