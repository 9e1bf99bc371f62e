//! etcd behind TLS and behind a password.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::support::certificates::{Authority, Files};
use crate::support::etcd::Etcd;
use crate::support::etcd_world::{etcd_status, following, is_connected, members};
use crate::support::time::{DEADLINE, holds_within, run_out};
use crate::support::{Gateway, eventually};

fn path(file: &std::path::Path) -> String {
    file.to_str().unwrap().to_owned()
}

struct Secured {
    etcd: Etcd,
    authority: Authority,
    client: Files,
    _directory: TempDir,
}

/// An etcd with TLS; `mutual` asks for certificates of clients.
async fn secured(mutual: bool) -> Secured {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let server = authority.issue("server", &["127.0.0.1", "etcd.test"]);
    let client = authority.issue("client", &["gateway.test"]);
    let mut arguments = vec![
        format!("--cert-file={}", path(&server.cert)),
        format!("--key-file={}", path(&server.key)),
    ];
    if mutual {
        arguments.push("--client-cert-auth".to_owned());
        arguments.push(format!("--trusted-ca-file={}", path(&authority.path())));
    }
    let access = vec![
        format!("--cacert={}", path(&authority.path())),
        format!("--cert={}", path(&client.cert)),
        format!("--key={}", path(&client.key)),
    ];
    let etcd = Etcd::start_tls(arguments, access).await;
    etcd.ctl(&[
        "put",
        "/sessile/upstreams/echo",
        r#"{"backends":["127.0.0.1:9"]}"#,
    ]);
    Secured {
        etcd,
        authority,
        client,
        _directory: directory,
    }
}

/// Waits until the status shows this reason for the failed connection. With TLS 1.3 the server's
/// alert may lose the race against the end of the connection, so an attempt may show that instead.
async fn refused(text: &str, reason: &str) -> Gateway {
    refused_by_one_of(text, &[reason]).await
}

async fn refused_by_one_of(text: &str, reasons: &[&str]) -> Gateway {
    let gateway = Gateway::start(text).await;
    let mut last = String::new();
    let seen = holds_within(DEADLINE, async || {
        let status = etcd_status(&gateway);
        assert_eq!(status["connected"], false, "{status}");
        last = status["fault"].as_str().unwrap_or_default().to_owned();
        reasons.iter().any(|reason| last.contains(reason))
    });
    assert!(seen.await, "{reasons:?}, but: {last}");
    gateway
}

async fn arrives(gateway: &Gateway) {
    is_connected(gateway, true).await;
    assert_eq!(members(gateway, "echo"), ["127.0.0.1:9"]);
}

#[tokio::test]
async fn etcd_behind_tls_is_followed_if_its_certificate_is_trusted() {
    let secured = secured(false).await;
    let ca = path(&secured.authority.path());
    let tls = format!("tls = {{ ca = \"{ca}\" }}");
    let gateway = Gateway::start(&following(&[secured.etcd.url()], &tls)).await;
    arrives(&gateway).await;

    // This authority is not among the system's roots.
    let unknown = following(&[secured.etcd.url()], "");
    refused(&unknown, "UnknownIssuer").await;

    let named = format!("tls = {{ ca = \"{ca}\", server_name = \"etcd.test\" }}");
    let gateway = Gateway::start(&following(&[secured.etcd.url()], &named)).await;
    arrives(&gateway).await;
    let other = format!("tls = {{ ca = \"{ca}\", server_name = \"other.test\" }}");
    let other = following(&[secured.etcd.url()], &other);
    refused(&other, "other.test").await;
}

#[tokio::test]
async fn etcd_that_asks_for_a_certificate_gets_it() {
    let secured = secured(true).await;
    let ca = path(&secured.authority.path());
    let (cert, key) = (path(&secured.client.cert), path(&secured.client.key));
    let tls = format!("tls = {{ ca = \"{ca}\", cert = \"{cert}\", key = \"{key}\" }}");
    let gateway = Gateway::start(&following(&[secured.etcd.url()], &tls)).await;
    arrives(&gateway).await;
    let without = format!("tls = {{ ca = \"{ca}\" }}");
    let without = following(&[secured.etcd.url()], &without);
    // An alert, `BadCertificate` or `CertificateRequired` by the version of Go. What the gateway
    // sends before it reads the alert may be answered by a reset, which discards the alert.
    refused_by_one_of(&without, &["received fatal alert", "reset", "roken pipe"]).await;
}

#[tokio::test]
async fn i5_a_token_that_expires_is_renewed_and_no_change_is_lost() {
    let mut etcd = Etcd::start_with(&["--auth-token=simple", "--auth-token-ttl=1"]).await;
    etcd.ctl(&[
        "put",
        "/sessile/upstreams/echo",
        r#"{"backends":["127.0.0.1:9"]}"#,
    ]);
    for arguments in [
        &["user", "add", "root:secret"][..],
        &["role", "add", "root"],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "gateway"],
        &[
            "role",
            "grant-permission",
            "gateway",
            "--prefix=true",
            "read",
            "/sessile/",
        ],
        &["user", "add", "gateway:hunter2"],
        &["user", "grant-role", "gateway", "gateway"],
        &["auth", "enable"],
    ] {
        etcd.ctl(arguments);
    }
    etcd.set_access(&["--user=root:secret"]);
    let user = "username = \"gateway\"\npassword = \"hunter2\"";
    let gateway = Gateway::start(&following(&[etcd.url()], user)).await;
    arrives(&gateway).await;
    for port in 10..13 {
        // The token's time runs out between any two calls.
        run_out(Duration::from_millis(2500)).await;
        let document = json!({ "backends": [format!("127.0.0.1:{port}")] }).to_string();
        etcd.ctl(&["put", "/sessile/upstreams/echo", &document]);
        eventually("the change arrives", async || {
            members(&gateway, "echo") == [format!("127.0.0.1:{port}")]
        })
        .await;
    }
    // A new watch needs a new token: etcd keeps tokens in memory.
    etcd.stop();
    is_connected(&gateway, false).await;
    etcd.start_again().await;
    etcd.ctl(&[
        "put",
        "/sessile/upstreams/echo",
        r#"{"backends":["127.0.0.1:14"]}"#,
    ]);
    eventually("the change arrives", async || {
        members(&gateway, "echo") == ["127.0.0.1:14"]
    })
    .await;
    assert!(!gateway.log().contains("hunter2"), "i11: {}", gateway.log());

    let wrong = "username = \"gateway\"\npassword = \"wrong-one\"";
    let stranger = refused(&following(&[etcd.url()], wrong), "authentication failed").await;
    let fault = etcd_status(&stranger)["fault"].to_string();
    assert!(!fault.contains("wrong-one"), "i11: {fault}");
}
