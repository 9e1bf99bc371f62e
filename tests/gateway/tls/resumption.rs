//! A client that comes back resumes its TLS session: at the same gateway, at another one of the
//! fleet, after an upgrade. It resumes nowhere where other things are asked of it.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::certificates::Authority;
use crate::support::etcd::Etcd;
use crate::support::etcd_world::following;
use crate::support::s_client::SClient;
use crate::support::{Backend, Gateway, config, eventually, secrets};

use super::listener;

const NAME: &str = "edge.test";
const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

/// A key of tickets, as the file has it.
fn key(byte: u8) -> String {
    let key = STANDARD.encode([byte; 32]);
    secrets::register(&key);
    key
}

/// An authority and a certificate for [`NAME`] in a new directory.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    Authority::new(directory.path()).issue("edge", &[NAME]);
    directory
}

/// Another directory with the same certificates.
fn like(other: &Path) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for file in ["ca.pem", "edge.crt", "edge.key"] {
        fs::copy(other.join(file), directory.path().join(file)).unwrap();
    }
    directory
}

fn echo(backend: &Backend) -> String {
    config::echo(&[backend.address], "", "")
}

#[tokio::test]
async fn a_client_that_comes_back_resumes_and_0_rtt_is_never_offered() {
    let backend = Backend::echo().await;
    let text = listener(&["edge"], "") + &echo(&backend);
    let gateway = Gateway::start_in(directory(), &text).await;
    for version in VERSIONS {
        let client = SClient::new(gateway.directory(), version, NAME);
        let first = client.keep(gateway.address()).await;
        assert!(!first.resumed, "{version}");
        assert!(
            !first.output.contains("Max Early Data: 1"),
            "{}",
            first.output
        );
        assert!(client.resume(gateway.address()).await.resumed, "{version}");
    }
    let count = |kind: &str| {
        let kind = format!("kind=\"{kind}\"");
        gateway.metric(
            "sessile_tls_handshakes_total",
            &["listener=\"edge\"", &kind],
        )
    };
    assert!((count("full") - 2.0).abs() < f64::EPSILON);
    assert!((count("resumed") - 2.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn gateways_with_the_same_file_of_keys_resume_the_sessions_of_one_another() {
    let backend = Backend::echo().await;
    let text = listener(&["edge"], "tls.ticket_keys = { file = \"keys\" }") + &echo(&backend);
    let start = async |directory: tempfile::TempDir, keys: &[u8]| {
        let lines: Vec<_> = keys.iter().map(|byte| key(*byte)).collect();
        fs::write(directory.path().join("keys"), lines.join("\n")).unwrap();
        Gateway::start_in(directory, &text).await
    };
    let first = start(directory(), &[1, 2, 3]).await;
    // The rotation of the file has reached this one already.
    let second = start(like(first.directory()), &[2, 3, 4]).await;
    let stranger = start(like(first.directory()), &[5, 6, 7]).await;
    for version in VERSIONS {
        let client = SClient::new(first.directory(), version, NAME);
        assert!(!client.keep(first.address()).await.resumed);
        assert!(client.resume(second.address()).await.resumed, "{version}");
        assert!(
            !client.resume(stranger.address()).await.resumed,
            "{version}"
        );
        assert!(!client.keep(second.address()).await.resumed);
        assert!(client.resume(first.address()).await.resumed, "{version}");
    }
}

#[tokio::test]
async fn a_changed_file_of_keys_is_in_force_without_a_restart_and_a_broken_one_is_not() {
    let backend = Backend::echo().await;
    let text = listener(&["edge"], "tls.ticket_keys = { file = \"keys\" }") + &echo(&backend);
    let directory = directory();
    fs::write(directory.path().join("keys"), key(11)).unwrap();
    let gateway = Gateway::start_in(directory, &text).await;
    let client = SClient::new(gateway.directory(), "-tls1_3", NAME);
    client.keep(gateway.address()).await;

    let broken = "a slip of the pen that is no key";
    secrets::register(broken);
    fs::write(gateway.directory().join("keys"), broken).unwrap();
    eventually("the broken file is refused", async || {
        gateway.log().contains("the keys before it stay")
    })
    .await;
    assert!(client.resume(gateway.address()).await.resumed);
    assert_eq!(gateway.reload().status, 422, "a reload refuses it, too");

    let keys = [key(11), key(12), key(13)].join("\n");
    fs::write(gateway.directory().join("keys"), keys).unwrap();
    eventually("the new keys are in force", async || {
        gateway.log().contains("ticket keys were replaced")
    })
    .await;
    assert!(
        client.resume(gateway.address()).await.resumed,
        "the old key opens"
    );
    fs::write(gateway.directory().join("keys"), key(13)).unwrap();
    eventually("the old key no longer opens", async || {
        !client.resume(gateway.address()).await.resumed
    })
    .await;
}

#[tokio::test]
async fn a_client_resumes_after_an_upgrade_of_the_gateway() {
    let backend = Backend::echo().await;
    let text = listener(&["edge"], "") + &echo(&backend);
    let mut gateway = Gateway::start_with_handover_in(directory(), &text).await;
    let address = gateway.address();
    for version in VERSIONS {
        let client = SClient::new(gateway.directory(), version, NAME);
        client.keep(address).await;
    }
    for _ in 0..2 {
        let next = gateway.succeed().await;
        assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
        gateway = next;
        for version in VERSIONS {
            let client = SClient::new(gateway.directory(), version, NAME);
            assert!(client.resume(address).await.resumed, "{version}");
        }
    }
    // Another gateway has other keys.
    let other = Gateway::start_in(like(gateway.directory()), &text).await;
    let client = SClient::new(gateway.directory(), "-tls1_3", NAME);
    assert!(!client.resume(other.address()).await.resumed);
}

#[tokio::test]
async fn i7_a_ticket_opens_at_no_listener_that_asks_other_things_of_its_clients() {
    let backend = Backend::echo().await;
    let directory = directory();
    let other = |name: &str, more: &str| {
        listener(&["edge"], more).replace("\"edge\"\n", &format!("\"{name}\"\n"))
    };
    let text = listener(&["edge"], "")
        + &other("second", "")
        + &other(
            "asking",
            "tls.client_ca = \"ca.pem\"\ntls.client_certificates = \"optional\"",
        )
        + &echo(&backend);
    let gateway = Gateway::start_in(directory, &text).await;
    for version in VERSIONS {
        let client = SClient::new(gateway.directory(), version, NAME);
        client.keep(gateway.listener("edge")).await;
        assert!(client.resume(gateway.listener("edge")).await.resumed);
        assert!(
            !client.resume(gateway.listener("second")).await.resumed,
            "{version}"
        );
        assert!(
            !client.resume(gateway.listener("asking")).await.resumed,
            "{version}"
        );
    }
}

#[tokio::test]
async fn gateways_of_one_etcd_share_their_keys_and_rotate_them() {
    let backend = Backend::echo().await;
    let etcd = Etcd::start().await;
    let text = following(&[etcd.url()], "")
        + &listener(&["edge"], "tls.ticket_keys = \"etcd\"")
        + &echo(&backend);
    let first = Gateway::start_in(directory(), &text).await;
    let second = Gateway::start_in(like(first.directory()), &text).await;
    for version in VERSIONS {
        let client = SClient::new(first.directory(), version, NAME);
        eventually("the gateways share their keys", async || {
            client.keep(first.address()).await;
            client.resume(second.address()).await.resumed
        })
        .await;
    }
    let document = || async { etcd.get("/sessile/secrets/ticket-keys").await };
    let shared = document().await.unwrap();
    for key in keys_of(&shared) {
        secrets::register(&key);
    }
    assert_eq!(keys_of(&shared).len(), 2, "one that seals, and the next");

    // A key that has sealed for seven hours: a rotation is due, and one gateway writes it.
    let old = json!({ "keys": [{ "secret": key(21), "seals_from": hours_ago(7) }] });
    etcd.put("secrets/ticket-keys", &old).await;
    eventually("the next key is there, written once", async || {
        let now = document().await.unwrap_or_default();
        keys_of(&now).len() == 2 && keys_of(&now)[0] == key(21)
    })
    .await;
    let client = SClient::new(first.directory(), "-tls1_3", NAME);
    eventually("the key in etcd is in force", async || {
        client.keep(first.address()).await;
        client.resume(second.address()).await.resumed
    })
    .await;

    // What is no set of keys changes nothing, and etcd may be gone.
    etcd.put("secrets/ticket-keys", &json!({ "keys": [] }))
        .await;
    eventually("the document is refused", async || {
        first.log().contains("not a set of ticket keys")
            && second.log().contains("not a set of ticket keys")
    })
    .await;
    client.keep(first.address()).await;
    assert!(client.resume(second.address()).await.resumed);
    drop(etcd);
    client.keep(second.address()).await;
    assert!(client.resume(first.address()).await.resumed);
    let shown = first.get("/v1/config").to_string() + &first.get("/v1/status").to_string();
    assert!(!shown.contains("ticket-keys"), "{shown}");
}

fn keys_of(document: &str) -> Vec<String> {
    let document: serde_json::Value = serde_json::from_str(document).unwrap_or_default();
    let keys = document["keys"].as_array().cloned().unwrap_or_default();
    let secrets = keys.iter().filter_map(|key| key["secret"].as_str());
    secrets.map(str::to_owned).collect()
}

fn hours_ago(hours: u64) -> u64 {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap() - hours * 3_600_000
}
