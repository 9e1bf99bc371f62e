//! Documents of etcd that must not harm the others, nor what the file guards.

use serde_json::{Value, json};

use crate::support::certificates::Authority;
use crate::support::etcd::Etcd;
use crate::support::etcd_world::{
    etcd_status, following, has_members, key_of, member, members, seed,
};
use crate::support::tokens::SECRET;
use crate::support::{Backend, Dial, Gateway, eventually};

/// The document of this key in `/v1/config`.
fn document(gateway: &Gateway, key: &str) -> Value {
    let config = gateway.get("/v1/config");
    let documents = config["documents"].as_array().expect("a list");
    let mut documents = documents.iter();
    let found = documents.find(|one| one["key"] == key);
    found.cloned().unwrap_or_default()
}

#[tokio::test]
async fn i4_a_document_whose_tls_cannot_be_set_up_blocks_nothing_else() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let etcd = Etcd::start().await;
    seed(&etcd, &[&first]).await;
    let gateway = Gateway::start_without_roots(&following(&[etcd.url()], "")).await;
    has_members(&gateway, &[&first]).await;
    etcd.put("upstreams/secure", &json!({ "tls": {} })).await;
    eventually("it is refused", async || {
        document(&gateway, "upstreams/secure")["status"] == "refused"
    })
    .await;
    let shown = document(&gateway, "upstreams/secure").to_string();
    assert!(shown.contains("no root certificates"), "{shown}");
    // Membership, revocations and the file go on.
    etcd.put(&key_of(&second), &member(&second)).await;
    has_members(&gateway, &[&first, &second]).await;
    let revocation = json!({ "subject": "ann" });
    etcd.put("revocations/ann", &revocation).await;
    eventually("the revocation is in force", async || {
        document(&gateway, "revocations/ann")["status"] == "in_force"
    })
    .await;
    let reload = gateway.reload();
    assert_eq!(reload.status, 200, "{}", reload.body);
    assert_eq!(etcd_status(&gateway)["refused"], 1);
}

#[tokio::test]
async fn i4_a_ca_file_that_has_gone_blocks_nothing_and_its_upstream_stays() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let directory = tempfile::tempdir().unwrap();
    let ca = Authority::new(directory.path()).path();
    let etcd = Etcd::start().await;
    seed(&etcd, &[&first]).await;
    let files = format!("document_files = [{:?}]", directory.path());
    let gateway = Gateway::start(&following(&[etcd.url()], &files)).await;
    let secure = json!({ "tls": { "ca": ca }, "backends": ["127.0.0.1:9"] });
    etcd.put("upstreams/secure", &secure).await;
    eventually("it is in force", async || {
        members(&gateway, "secure").len() == 1
    })
    .await;
    std::fs::remove_file(&ca).unwrap();
    etcd.put(&key_of(&second), &member(&second)).await;
    has_members(&gateway, &[&first, &second]).await;
    let reload = gateway.reload();
    assert_eq!(reload.status, 200, "{}", reload.body);
    let shown = document(&gateway, "upstreams/secure");
    assert_eq!(shown["status"], "refused", "{shown}");
    assert!(!shown["in_force"].is_null(), "{shown}");
    assert_eq!(members(&gateway, "secure").len(), 1);
    etcd.delete(&key_of(&second)).await;
    has_members(&gateway, &[&first]).await;
}

/// A guarded route and an open one in the file.
fn guarded(etcd: &Etcd, backend: &Backend, protect: &str) -> String {
    let address = backend.address;
    format!(
        "{}\n[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\
         algorithms = [\"HS256\"]\n\n[upstreams.echo]\nbackends = [\"{address}\"]\n\n\
         [[routes]]\nname = \"admin\"\npath = \"/admin/{{*rest}}\"\nupstream = \"echo\"\n\
         authenticate = [\"users\"]\n\n[[routes]]\nname = \"open\"\nupstream = \"echo\"\n",
        following(&[etcd.url()], protect)
    )
}

async fn status_of(gateway: &Gateway, target: &str) -> u16 {
    match Dial::new(target).connect(gateway.address()).await {
        Ok(client) => {
            client.close().await;
            101
        }
        Err(refused) => refused.status,
    }
}

#[tokio::test]
async fn i12_a_document_cannot_open_a_route_that_the_file_protects() {
    let backend = Backend::echo().await;
    let etcd = Etcd::start().await;
    let protect = "protect = [\"routes/admin\"]";
    let gateway = Gateway::start(&guarded(&etcd, &backend, protect)).await;
    let documents = [
        (
            "routes/admin",
            json!({ "path": "/admin/{*rest}", "upstream": "echo" }),
        ),
        (
            "routes/sneak",
            json!({ "path": "/admin/keys", "upstream": "echo" }),
        ),
        ("authenticators/users", json!({ "type": "anonymous" })),
    ];
    for (key, value) in &documents {
        etcd.put(key, value).await;
    }
    eventually("all are refused", async || {
        etcd_status(&gateway)["refused"] == documents.len()
    })
    .await;
    for (key, _) in &documents {
        let shown = document(&gateway, key);
        assert_eq!(shown["status"], "refused", "{shown}");
        assert!(shown.to_string().contains("`protect` in"), "{shown}");
    }
    assert_eq!(status_of(&gateway, "/admin/keys").await, 401);
    assert_eq!(status_of(&gateway, "/admin/x").await, 401);
    assert_eq!(status_of(&gateway, "/x").await, 101);
}

#[tokio::test]
async fn i12_a_document_that_weakens_a_route_is_reported_and_a_reload_can_lock_it_out() {
    let backend = Backend::echo().await;
    let etcd = Etcd::start().await;
    let gateway = Gateway::start(&guarded(&etcd, &backend, "")).await;
    let sneak = json!({ "path": "/admin/keys", "upstream": "echo" });
    etcd.put("routes/sneak", &sneak).await;
    eventually("it is in force", async || {
        document(&gateway, "routes/sneak")["status"] == "in_force"
    })
    .await;
    let shown = document(&gateway, "routes/sneak");
    let weakens = "takes requests of the file's route `admin`";
    assert!(
        shown["diagnostics"].to_string().contains(weakens),
        "{shown}"
    );
    assert!(gateway.log().contains(weakens), "{}", gateway.log());
    assert_eq!(status_of(&gateway, "/admin/keys").await, 101);

    let locked = guarded(&etcd, &backend, "protect = [\"routes/*\"]");
    let candidate =
        json!({ "config": crate::support::config::complete(&locked, gateway.directory()) });
    let preview = gateway.admin("POST", "/v1/preview", &candidate.to_string());
    assert_eq!(preview.status, 200, "{}", preview.body);
    let documents = preview.json()["documents"].to_string();
    assert!(documents.contains(weakens), "{documents}");
    gateway.write_config(&locked);
    let reload = gateway.reload();
    assert_eq!(
        (reload.status, &reload.json()["restart_for"]),
        (200, &json!([]))
    );
    assert_eq!(document(&gateway, "routes/sneak")["status"], "refused");
    assert_eq!(status_of(&gateway, "/admin/keys").await, 401);
}
