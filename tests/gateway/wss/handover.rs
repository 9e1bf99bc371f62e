//! wss sessions live through hand-overs, as plain ones do.

use std::sync::Arc;

use futures_util::future::join_all;
use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::cipher_suite;
use tokio::task::JoinSet;

use super::LISTENER;
use crate::support::certificates::Authority;
use crate::support::numbered::{Tally, talk};
use crate::support::peers::{Language, Server};
use crate::support::wss::{Stack, WssClient};
use crate::support::{Backend, Dial, Gateway, config, raise_open_files};

const SESSIONS: usize = 1_000;
const PHASES: [&str; 4] = ["begin", "one hand-over", "table swap", "two hand-overs"];
/// Of the rustls clients, in turn: a third of them TLS 1.2, with both kinds of suites.
const SUITES: [SupportedCipherSuite; 6] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
];
/// One of each other kind.
const OTHERS: [Stack; 10] = [
    Stack::Python(&[]),
    Stack::Python(&["1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"]),
    Stack::OpenSsl("1.3", "TLS_AES_256_GCM_SHA384"),
    Stack::OpenSsl("1.3", "TLS_CHACHA20_POLY1305_SHA256"),
    Stack::OpenSsl("1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    Stack::Node(&[]),
    Stack::Node(&["1.2"]),
    Stack::Go(&[]),
    Stack::Go(&["1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]),
    Stack::Chromium,
];

/// Puts the next process in the place of this one, with as many sessions; the old one ends.
pub async fn hand_over(gateway: &mut Gateway, sessions: usize) {
    let next = gateway.succeed().await;
    let status = gateway.wait_for_exit().await;
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
    let status = next.get("/v1/status");
    assert_eq!(status["taken_over"]["sessions"], sessions, "{status}");
    *gateway = next;
}

/// Messages there and back with every client, and new keys where the client has a command for that.
async fn talk_all(others: &mut [WssClient], both: bool) {
    join_all(others.iter_mut().map(async |client| {
        client.talk(4).await;
        if matches!(client.stack, Stack::OpenSsl("1.3", _)) {
            client.update_keys(both).await;
            client.talk(3).await;
        }
    }))
    .await;
}

#[tokio::test]
async fn i1_i6_a_thousand_wss_sessions_live_through_three_handovers_and_a_table_swap() {
    raise_open_files();
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["127.0.0.1", "localhost"]);
    let inner = authority.issue("inner", &["127.0.0.1"]);
    let (cert, key) = (inner.cert.to_str().unwrap(), inner.key.to_str().unwrap());
    let rustls = Backend::echo_tls(authority.server(&inner)).await;
    let node = Server::start(Language::Node, "server", &[cert, key, "1.2"]);
    let go = Server::start(Language::Go, "server", &[cert, key, "1.3"]);
    let text = |further: &str| {
        let tls = format!("tls = {{ ca = \"ca.pem\" }}\n{further}");
        let backends = [rustls.address, node.address, go.address];
        format!(
            "# log: level = \"debug\"\n{LISTENER}{}",
            config::echo(&backends, &tls, "")
        )
    };
    let mut gateway = Gateway::start_with_handover_in(directory, &text("")).await;
    let tally = Tally::new(SESSIONS, &PHASES, 3_000);
    let mut talks = JoinSet::new();
    let configs = SUITES.map(|suite| authority.client_with(suite));
    for index in 0..SESSIONS {
        let dial = Dial::new(&format!("/?k={index}"));
        let config = Arc::clone(&configs[index % configs.len()]);
        let client = dial.connect_tls(gateway.address(), config).await.unwrap();
        talks.spawn(talk(index, client, Arc::clone(&tally)));
    }
    let url = format!("wss://{}/", gateway.address());
    let ca = authority.path();
    let opened = OTHERS.iter().enumerate().map(async |(index, stack)| {
        WssClient::open(*stack, &format!("{url}?k={index}"), &ca).await
    });
    let mut others = join_all(opened).await;
    let all = SESSIONS + others.len();

    // The backends share a name and no keys: a ticket of one is worth nothing to another.
    let log = gateway.log();
    assert!(!log.contains("backend not reached"), "{log}");
    talk_all(&mut others, true).await;
    tally.enter(1).await;
    hand_over(&mut gateway, all).await;
    talk_all(&mut others, true).await;
    tally.enter(2).await;
    gateway.write_config(&text("attempts = 5"));
    assert_eq!(gateway.reload().status, 200);
    tally.enter(3).await;
    for both in [false, true] {
        hand_over(&mut gateway, all).await;
        talk_all(&mut others, both).await;
        tally.settle().await;
    }
    assert_eq!(gateway.sessions_live(), all as u64);
    join_all(others.into_iter().map(WssClient::close)).await;
    let (sum, _) = tally.finish(talks).await;
    assert_eq!((sum.dropped, sum.wrong), (0, 0), "{sum:?}");
    assert_eq!(sum.sent, sum.received, "all of them came back");
    for record in gateway.wait_for_records(all).await {
        let ended = (&*record.ended_by, &*record.cause);
        assert_eq!(ended, ("client", "close_frame"), "{record:?}");
    }
}
