//! Every TLS stack as a client, and every one as a backend.

use std::fmt::Write as _;
use std::net::SocketAddr;

use futures_util::future::join_all;

use super::LISTENER;
use crate::support::certificates::{Authority, Files};
use crate::support::peers::{Language, Server};
use crate::support::wss::{Stack, WssClient};
use crate::support::{Gateway, config};

/// Each client, and the version and cipher suite that it must have negotiated.
const CLIENTS: [(Stack, &str, &str); 15] = [
    (Stack::Python(&[]), "TLSv1.3", ""),
    (
        Stack::Python(&["1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"]),
        "TLSv1.2",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
    ),
    (
        Stack::Python(&["1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"]),
        "TLSv1.2",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ),
    (
        Stack::OpenSsl("1.3", "TLS_AES_128_GCM_SHA256"),
        "TLSv1.3",
        "TLS_AES_128_GCM_SHA256",
    ),
    (
        Stack::OpenSsl("1.3", "TLS_AES_256_GCM_SHA384"),
        "TLSv1.3",
        "TLS_AES_256_GCM_SHA384",
    ),
    (
        Stack::OpenSsl("1.3", "TLS_CHACHA20_POLY1305_SHA256"),
        "TLSv1.3",
        "TLS_CHACHA20_POLY1305_SHA256",
    ),
    (
        Stack::OpenSsl("1.2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        "TLSv1.2",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    ),
    (
        Stack::OpenSsl("1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        "TLSv1.2",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
    ),
    (
        Stack::OpenSsl("1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        "TLSv1.2",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ),
    (Stack::Node(&[]), "TLSv1.3", ""),
    (Stack::Node(&["1.2"]), "TLSv1.2", ""),
    (Stack::Go(&[]), "TLSv1.3", ""),
    (
        Stack::Go(&["1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]),
        "TLSv1.2",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    ),
    (
        Stack::Go(&["1.2", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"]),
        "TLSv1.2",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    ),
    (Stack::Chromium, "TLS 1.3", ""),
];

/// Messages of one round: each size at least once.
const ROUND: usize = 14;

/// A backend of each stack; `None` has no TLS.
fn backends(files: &Files) -> Vec<Server> {
    let (cert, key) = (files.cert.to_str().unwrap(), files.key.to_str().unwrap());
    let server = |language, options: &[&str]| {
        Server::start(language, "server", &[&[cert, key], options].concat())
    };
    vec![
        Server::start(Language::Node, "server", &[]),
        server(Language::Node, &["1.3"]),
        server(Language::Node, &["1.2"]),
        server(Language::Python, &["1.3"]),
        server(Language::Python, &["1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"]),
        server(Language::Python, &["1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"]),
        server(Language::Go, &["1.3"]),
        server(Language::Go, &["1.2"]),
    ]
}

/// A route `/N` and an upstream for each; all but the first backend speak TLS.
fn routes(backends: &[SocketAddr]) -> String {
    let mut text = String::from(LISTENER);
    for (index, backend) in backends.iter().enumerate() {
        let members = config::members(&[*backend]);
        let tls = if index == 0 {
            ""
        } else {
            "tls = { ca = \"ca.pem\" }"
        };
        write!(
            text,
            "[upstreams.u{index}]\n{members}\n{tls}\n\n\
             [[routes]]\nname = \"r{index}\"\npath = \"/{index}\"\nupstream = \"u{index}\"\n\n"
        )
        .unwrap();
    }
    text
}

#[tokio::test]
async fn every_tls_stack_reaches_every_other_and_every_close_is_clean() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["127.0.0.1"]);
    let inner = authority.issue("inner", &["127.0.0.1"]);
    let servers = backends(&inner);
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let gateway = Gateway::start_in(directory, &routes(&addresses)).await;
    let ca = authority.path();
    let url = |index: usize| {
        let route = index % addresses.len();
        format!("wss://{}/{route}", gateway.address())
    };
    let sessions = CLIENTS.iter().enumerate().map(async |(index, client)| {
        let (stack, version, suite) = *client;
        let mut session = WssClient::open(stack, &url(index), &ca).await;
        assert_eq!(session.version, version, "{stack:?}");
        assert!(suite.is_empty() || session.suite == suite, "{stack:?}");
        session.talk(ROUND).await;
        if matches!(stack, Stack::OpenSsl("1.3", _)) {
            for both in [false, true, true, false] {
                session.update_keys(both).await;
                session.talk(ROUND / 2).await;
            }
        }
        session.close().await;
        // At another backend, which closes.
        let mut session = WssClient::open(stack, &url(index + 1), &ca).await;
        session.talk(3).await;
        session.be_restarted().await;
    });
    join_all(sessions).await;
    for record in gateway.wait_for_records(2 * CLIENTS.len()).await {
        assert_eq!(record.cause, "close_frame", "{record:?}");
    }
}

/// OpenSSL, Go and browsers never update a server's keys by themselves; this backend does all the
/// time, and asks the gateway to do the same.
#[tokio::test]
async fn a_backend_that_updates_its_keys_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["127.0.0.1"]);
    let inner = authority.issue("inner", &["127.0.0.1"]);
    let (cert, key) = (inner.cert.to_str().unwrap(), inner.key.to_str().unwrap());
    let backend = Server::start(Language::Python, "updating_server", &[cert, key]);
    let text = config::echo(&[backend.address], "tls = { ca = \"ca.pem\" }", "");
    let gateway = Gateway::start_in(directory, &format!("{LISTENER}{text}")).await;
    let url = format!("wss://{}/", gateway.address());
    for stack in [Stack::Python(&[]), Stack::Go(&["1.2"])] {
        let mut session = WssClient::open(stack, &url, &authority.path()).await;
        // Python's AES is slow: nothing beyond 64 KiB.
        session.talk(10).await;
        session.close().await;
        let mut session = WssClient::open(stack, &url, &authority.path()).await;
        session.talk(5).await;
        session.be_restarted().await;
    }
    gateway.wait_for_records(4).await;
}
