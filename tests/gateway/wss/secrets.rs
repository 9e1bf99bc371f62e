//! Keys of TLS sessions and of certificates show nowhere.

use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::{ConnectionTrafficSecrets, SupportedCipherSuite};

use super::LISTENER;
use crate::support::certificates::Authority;
use crate::support::raw::{masked, unmasked};
use crate::support::raw_tls::RawTls;
use crate::support::{Backend, Gateway, config, secrets};

const SUITES: [SupportedCipherSuite; 6] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// A gateway whose log leaves out nothing, with TLS at both sides.
async fn talkative() -> (Gateway, Authority, Backend) {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["localhost"]);
    let inner = authority.issue("inner", &["127.0.0.1"]);
    let mut server = authority.server(&inner).as_ref().clone();
    server.key_log = authority.key_log();
    let backend = Backend::echo_tls(server.into()).await;
    let routes = config::echo(&[backend.address], "tls = { ca = \"ca.pem\" }", "");
    let text = format!("# log: level = \"trace\"\n{LISTENER}{routes}");
    let gateway = Gateway::start_with_handover_in(directory, &text).await;
    (gateway, authority, backend)
}

async fn echo(raw: &mut RawTls) {
    raw.write(masked(0x81, b"hello")).await;
    let echo = unmasked(0x81, b"hello");
    assert_eq!(raw.read(echo.len()).await, echo);
}

/// Key and initialization vector, as texts could show them.
fn register(keys: &ConnectionTrafficSecrets) {
    secrets::register_bytes(key_of(keys));
}

fn key_of(keys: &ConnectionTrafficSecrets) -> &[u8] {
    match keys {
        ConnectionTrafficSecrets::Aes128Gcm { key, .. }
        | ConnectionTrafficSecrets::Aes256Gcm { key, .. }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, .. } => key.as_ref(),
        _ => panic!("a cipher that rustls does not have"),
    }
}

#[tokio::test]
async fn i11_keys_of_tls_sessions_show_nowhere() {
    let (gateway, authority, _backend) = talkative().await;
    let mut sessions = Vec::new();
    for suite in SUITES.into_iter().cycle().take(2 * SUITES.len()) {
        let config = authority.client_revealing(suite);
        let mut raw = RawTls::upgrade(gateway.address(), config, None).await;
        echo(&mut raw).await;
        sessions.push(raw);
    }
    // Half of them break the protocol, which is logged; the others just go.
    for raw in &mut sessions[..SUITES.len()] {
        let mut record = raw.seal(b"damaged");
        *record.last_mut().unwrap() ^= 1;
        raw.write_sealed(&record).await;
    }
    for raw in sessions {
        raw.into_keys().iter().for_each(register);
    }
    gateway.wait_for_records(2 * SUITES.len()).await;
    // As the gateway ends, all that it ever wrote is searched.
    let config = gateway.admin("GET", "/v1/config", "").body;
    assert!(config.contains("\"level\":\"trace\""), "{config}");
}
