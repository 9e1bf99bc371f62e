//! What a handshake comes to: group, suite, resumption.

use rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, HandshakeKind, NamedGroup, SupportedCipherSuite, SupportedProtocolVersion,
};

use super::*;

/// A client of these groups and suites, in its order of preference.
fn preferring(
    authority: &Authority,
    groups: &[&'static dyn SupportedKxGroup],
    suites: &[SupportedCipherSuite],
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).expect("a root");
    let client = CryptoProvider {
        kx_groups: groups.to_vec(),
        cipher_suites: suites.to_vec(),
        ..(*provider()).clone()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(client))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_early_data = true;
    Arc::new(config)
}

/// Connects, echoes, and answers what the handshake came to.
async fn negotiated(
    to: &BackendAddr,
    config: &Arc<ClientConfig>,
) -> (Option<NamedGroup>, CipherSuite, HandshakeKind) {
    let tls = DialTls {
        config: Arc::clone(config),
        name: "a.test".try_into().expect("a name"),
    };
    let mut carrier = call(to, &tls).await.expect("a handshake");
    carrier.write_all(b"ping").await.expect("a connection");
    let mut read = Vec::new();
    carrier.read_to_end(&mut read).await.expect("a clean end");
    let Carrier::TlsClient(stream) = &carrier else {
        panic!("not TLS")
    };
    let session = stream.get_ref().1;
    assert!(!session.is_early_data_accepted(), "0-RTT is off");
    (
        session
            .negotiated_key_exchange_group()
            .map(|group| group.name()),
        session.negotiated_cipher_suite().expect("one").suite(),
        session.handshake_kind().expect("it is over"),
    )
}

#[tokio::test]
async fn the_post_quantum_key_exchange_is_used_wherever_the_client_has_it() {
    let authority = Authority::new();
    let resolver = Arc::new(Resolver::new(vec![authority.load("a", &["a.test"])]));
    let to = serve(resolver, TlsVersion::V1_2).await;
    let all = [&TLS13, &TLS12];
    let suites = DEFAULT_CIPHER_SUITES;
    let check = async |groups: &[_], versions: &[_], group, kind| {
        let client = preferring(&authority, groups, suites, versions);
        let (used, _, came) = negotiated(&to, &client).await;
        assert_eq!((used, came), (Some(group), kind), "{groups:?}");
    };
    let (quantum, classical) = (NamedGroup::X25519MLKEM768, NamedGroup::X25519);
    let (full, retried) = (
        HandshakeKind::Full,
        HandshakeKind::FullWithHelloRetryRequest,
    );
    check(&[X25519MLKEM768, X25519], &all, quantum, full).await;
    // It is last on the client's list, which costs a round trip.
    check(&[X25519, SECP256R1, X25519MLKEM768], &all, quantum, retried).await;
    check(&[X25519], &all, classical, full).await;
    check(&[SECP256R1, X25519], &all, NamedGroup::secp256r1, full).await;
    // TLS 1.2 has no such group.
    check(&[X25519MLKEM768, X25519], &[&TLS12], classical, full).await;
}

#[tokio::test]
async fn of_the_suites_the_clients_first_is_taken_as_in_mozillas_intermediate() {
    let authority = Authority::new();
    let resolver = Arc::new(Resolver::new(vec![authority.load("a", &["a.test"])]));
    let to = serve(resolver, TlsVersion::V1_2).await;
    for suite in DEFAULT_CIPHER_SUITES {
        // The certificate is an ECDSA one.
        if format!("{:?}", suite.suite()).contains("_RSA_") {
            continue;
        }
        let mut suites = vec![*suite];
        suites.extend(DEFAULT_CIPHER_SUITES.iter().filter(|other| *other != suite));
        let versions: [&'static SupportedProtocolVersion; 1] = match suite.tls13() {
            Some(_) => [&TLS13],
            None => [&TLS12],
        };
        let client = preferring(&authority, &[X25519], &suites, &versions);
        assert_eq!(negotiated(&to, &client).await.1, suite.suite());
    }
    // Every suite is an ephemeral key exchange and an AEAD.
    for suite in provider().cipher_suites.iter().map(|suite| suite.suite()) {
        let name = format!("{suite:?}");
        assert!(
            name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_"),
            "{name}"
        );
        assert!(
            name.contains("_GCM_") || name.contains("_POLY1305_"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_session_is_resumed_and_no_data_goes_before_its_handshake() {
    let authority = Authority::new();
    let resolver = Arc::new(Resolver::new(vec![authority.load("a", &["a.test"])]));
    let to = serve(resolver, TlsVersion::V1_2).await;
    for version in [&TLS12, &TLS13] {
        let client = preferring(
            &authority,
            &[X25519MLKEM768, X25519],
            DEFAULT_CIPHER_SUITES,
            &[version],
        );
        assert_eq!(negotiated(&to, &client).await.2, HandshakeKind::Full);
        assert_eq!(negotiated(&to, &client).await.2, HandshakeKind::Resumed);
    }
}
