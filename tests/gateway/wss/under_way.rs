//! A hand-over cuts through records: what is under way arrives unchanged.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::{ProtocolVersion, SupportedCipherSuite};
use serde_json::json;
use tokio::sync::Notify;

use super::LISTENER;
use super::handover::hand_over;
use crate::operations::handover::wait_until_still;
use crate::support::backend::{upgrade, wait_for_end};
use crate::support::certificates::Authority;
use crate::support::raw::{masked, unmasked};
use crate::support::raw_tls::RawTls;
use crate::support::{Backend, Gateway, config, eventually, soon};

const SUITES: [SupportedCipherSuite; 4] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];
/// A close frame without a code, from a client and from a backend.
const CLOSE: ([u8; 6], [u8; 2]) = ([0x88, 0x80, 0, 0, 0, 0], [0x88, 0]);

struct World {
    gateway: Gateway,
    authority: Authority,
    _backend: Backend,
}

/// A gateway with TLS at both sides, and these lines in its route.
async fn world(route: &str) -> World {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["localhost"]);
    let inner = authority.issue("inner", &["127.0.0.1"]);
    let backend = Backend::echo_tls(authority.server(&inner)).await;
    let routes = config::echo(&[backend.address], "tls = { ca = \"ca.pem\" }", route);
    let text = format!("{LISTENER}{routes}");
    World {
        gateway: Gateway::start_with_handover_in(directory, &text).await,
        authority,
        _backend: backend,
    }
}

impl World {
    async fn session(&self, suite: SupportedCipherSuite, buffer: Option<u32>) -> RawTls {
        let config = self.authority.client_with(suite);
        RawTls::upgrade(self.gateway.address(), config, buffer).await
    }
}

/// Whether the gateway has read everything that this client has sent.
fn is_read(gateway: SocketAddr, client: SocketAddr) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let ends = (
        format!(":{:04X}", gateway.port()),
        format!(":{:04X}", client.port()),
    );
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&ends.0)
            && fields[2].ends_with(&ends.1)
            && fields[4].ends_with(":00000000")
    })
}

#[tokio::test]
async fn i10_records_that_a_handover_cuts_arrive_whole() {
    let mut world = world("").await;
    let message = masked(0x81, b"in two pieces");
    let mut sessions = Vec::new();
    for suite in SUITES {
        // In the header, behind it, in the body, before its last byte; and between two records.
        for cut in [1, 4, 5, 6, 20, -1, 0] {
            let mut raw = world.session(suite, None).await;
            let mut sealed = Vec::new();
            // The first record is an order for new keys, where there is one.
            if suite.version().version == ProtocolVersion::TLSv1_3 {
                sealed = raw.seal_key_update();
            }
            sealed.extend(raw.seal(&message));
            let length = isize::try_from(sealed.len()).unwrap();
            let at = usize::try_from(if cut < 0 { length + cut } else { cut }).unwrap();
            raw.write_sealed(&sealed[..at]).await;
            sessions.push((raw, sealed.split_off(at)));
        }
    }
    let count = sessions.len();
    let address = world.gateway.address();
    eventually("all of it is read", async || {
        let mut sessions = sessions.iter();
        sessions.all(|(raw, _)| is_read(address, raw.stream.local_addr().unwrap()))
    })
    .await;
    hand_over(&mut world.gateway, count).await;
    for (raw, rest) in &mut sessions {
        raw.write_sealed(rest).await;
        let echo = unmasked(0x81, b"in two pieces");
        assert_eq!(raw.read(echo.len()).await, echo);
    }
    hand_over(&mut world.gateway, count).await;
    for (mut raw, _) in sessions {
        raw.write(&message).await;
        assert_eq!(raw.read(message.len() - 4).await[2..], *b"in two pieces");
        raw.write(CLOSE.0).await;
        assert_eq!(raw.read_to_end().await, CLOSE.1);
    }
    world.gateway.wait_for_records(count).await;
}

const BIG: usize = 10 << 20;

/// A frame of 10 MiB, whose payload differs at every place.
fn big(mask: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82, if mask.is_empty() { 127 } else { 0x80 | 127 }];
    frame.extend((BIG as u64).to_be_bytes());
    frame.extend(mask);
    frame.extend((0..BIG).map(|at| (at * 31 + at / 251) as u8));
    frame
}

#[tokio::test]
async fn i10_what_a_slow_reader_has_not_taken_follows_it() {
    let mut world = world("").await;
    for (round, suite) in [SUITES[0], SUITES[3]].into_iter().enumerate() {
        // Small enough that the gateway itself is left with records when the client does not read.
        let mut raw = world.session(suite, Some(64 * 1024)).await;
        let frame = big(&[0; 4]);
        let middle = BIG / 2;
        raw.write(&frame[..middle]).await;
        hand_over(&mut world.gateway, 1).await;
        raw.write(&frame[middle..]).await;
        let mut came = raw.read(1000).await;
        for _ in 0..2 {
            wait_until_still(&world.gateway).await;
            hand_over(&mut world.gateway, 1).await;
            came.extend(raw.read(1000).await);
        }
        let wanted = big(&[]);
        came.extend(raw.read(wanted.len() - came.len()).await);
        assert!(came == wanted, "the echo differs");
        raw.write(CLOSE.0).await;
        assert_eq!(raw.read_to_end().await, CLOSE.1);
        drop(raw);
        world.gateway.wait_for_records(round + 1).await;
    }
}

/// A record is longer than what the limit lets through at once. The rest is part of the state.
#[tokio::test]
async fn i10_what_a_limit_holds_back_of_a_record_follows() {
    let mut world = world("limits = { bytes_per_second = \"64 KiB\", over = \"slow\" }").await;
    let mut raw = world.session(SUITES[0], None).await;
    let payload: Vec<u8> = (0..60_000_u32)
        .map(|at| (at * 7 + at / 256) as u8)
        .collect();
    let frame = masked(0x82, &payload);
    let messages = 4;
    for _ in 0..messages {
        raw.write(&frame).await;
    }
    for handed_over in 0..2_u64 {
        eventually("some of it has passed", async || {
            let session = world.gateway.sessions().remove(0);
            session["to_backend"]["bytes"].as_u64() > Some((handed_over + 1) * 70_000)
        })
        .await;
        hand_over(&mut world.gateway, 1).await;
    }
    for _ in 0..messages {
        assert_eq!(raw.read(4).await, [0x82, 126, 0xea, 0x60]);
        assert!(raw.read(payload.len()).await == payload, "the echo differs");
    }
    raw.write(CLOSE.0).await;
    assert_eq!(raw.read_to_end().await, CLOSE.1);
    world.gateway.wait_for_records(1).await;
}

#[tokio::test]
async fn i6_a_session_that_a_forged_record_ended_stays_and_has_its_record() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["localhost"]);
    let ended = Arc::<Notify>::default();
    let ends = Arc::clone(&ended);
    let backend = Backend::scripted(move |mut stream| {
        let ends = Arc::clone(&ends);
        async move {
            upgrade(&mut stream).await;
            wait_for_end(&mut stream).await;
            ends.notify_one();
            // It keeps its own side open, so the session is not over yet.
            std::future::pending::<()>().await;
        }
    });
    let backend = backend.await;
    let close = "timeouts = { close = \"2s\" }";
    let text = format!("{LISTENER}{}", config::echo(&[backend.address], "", close));
    let mut gateway = Gateway::start_with_handover_in(directory, &text).await;
    let open = async || {
        let config = authority.client_with(SUITES[0]);
        RawTls::upgrade(gateway.address(), config, None).await
    };
    let (mut broken, whole) = (open().await, open().await);
    let forged = [&[0x17, 3, 3, 0, 32][..], &[7; 32]].concat();
    broken.write_sealed(&forged).await;
    soon("the backend sees the end", ended.notified()).await;
    let next = gateway.succeed().await;
    let taken_over = next.get("/v1/status")["taken_over"].clone();
    assert_eq!(taken_over["sessions"], 1, "{taken_over}");
    assert_eq!(taken_over["staying"], json!({ "ending": 1 }));
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    let records = next.wait_for_records(1).await;
    let ended = (&*records[0].ended_by, &*records[0].cause);
    assert_eq!(ended, ("client", "reset"), "{:?}", records[0]);
    drop(whole);
    next.wait_for_records(2).await;
}
