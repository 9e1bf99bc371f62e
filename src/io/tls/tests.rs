use std::fs;
use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::version::TLS12;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::base::addr::{BackendAddr, OwnAddresses};
use crate::base::clock;
use crate::config::snapshot::{CertificateFiles, TlsRecords, TlsVersion, UpstreamTls};
use crate::core::tls::Version;
use crate::io::carrier::Carrier;
use crate::io::net::dial::{DialError, DialOptions, DialTls, dial};
use crate::io::net::socket::{Socket, Tuning};
use crate::io::tls::certs::{CertError, Certificate};
use crate::io::tls::client::ClientTls;
use crate::io::tls::server::{Resolver, ServerTls, ServerTlsSettings, SniMap};
use crate::io::tls::stream::TlsStream;
use crate::io::tls::tickets::TicketKeys;

mod negotiation;

/// An authority that signs certificates into a directory.
struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a root");
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("ca.crt"), issuer.pem()).expect("a directory");
        Self { directory, issuer }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn sign(&self, file: &str, names: &[&str]) -> CertificateFiles {
        self.sign_until(file, names, 2199)
    }

    fn sign_until(&self, file: &str, names: &[&str], year: i32) -> CertificateFiles {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        let files = CertificateFiles {
            cert: self.path().join(file).with_extension("crt"),
            key: self.path().join(file).with_extension("key"),
        };
        fs::write(&files.cert, cert.pem()).expect("a directory");
        fs::write(&files.key, key.serialize_pem()).expect("a directory");
        files
    }

    fn load(&self, file: &str, names: &[&str]) -> Certificate {
        certs::load(&self.sign(file, names)).expect("a pair")
    }

    fn upstream(&self, server_name: Option<&str>) -> UpstreamTls {
        UpstreamTls {
            ca: Some(self.path().join("ca.crt")),
            server_name: server_name.map(str::to_owned),
        }
    }
}

#[test]
fn the_names_and_the_expiry_of_a_certificate_are_read() {
    let authority = Authority::new();
    let read = authority.load("a", &["Chat.example.com", "*.example.org", "10.0.0.1"]);
    assert_eq!(read.names, ["chat.example.com", "*.example.org"]);
    assert_eq!(clock::rfc3339(read.not_after), "2199-01-01T00:00:00.000Z");
    assert!(read.valid_at(clock::wall()));
    let old = certs::load(&authority.sign_until("b", &["b"], 1999)).expect("a pair");
    assert!(!old.valid_at(clock::wall()));
}

#[test]
fn faults_of_a_certificate_and_its_key_name_the_file() {
    let authority = Authority::new();
    let good = authority.sign("good", &["a"]);
    let other = authority.sign("other", &["a"]);
    let file = |name: &str, text: &str| {
        let path = authority.path().join(name);
        fs::write(&path, text).expect("a directory");
        path
    };
    let text = fs::read_to_string(&good.cert).expect("a file");
    let check = |cert: &Path, key: &Path, expected: &str| {
        let (cert, key) = (cert.to_owned(), key.to_owned());
        let error: CertError = certs::load(&CertificateFiles { cert, key }).expect_err(expected);
        let directory = format!("{}/", authority.path().display());
        assert_eq!(error.to_string().replace(&directory, ""), expected);
    };
    check(
        &authority.path().join("none.crt"),
        &good.key,
        "cannot read none.crt",
    );
    check(
        &good.key,
        &good.key,
        "good.key holds a private key, and no certificate; name the certificate's file here; \
         the key has a setting of its own",
    );
    check(
        &good.cert,
        &good.cert,
        "good.crt holds a certificate, and no private key; name the key's file here; \
         the certificate has a setting of its own",
    );
    check(
        &good.cert,
        &other.key,
        "the key in other.key does not belong to the first certificate in good.crt",
    );
    check(
        &file("cut.crt", &text[..text.len() / 2]),
        &good.key,
        "cut.crt is damaged: a section has no `END` line",
    );
    check(
        &file(
            "junk.crt",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ),
        &good.key,
        "the first certificate in junk.crt does not parse",
    );
    check(
        &good.cert,
        &file(
            "junk.key",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ),
        "the key in junk.key cannot be used: unexpected error: \
         failed to parse private key as RSA, ECDSA, or EdDSA",
    );
}

#[test]
fn sni_finds_exact_names_then_wildcards_then_the_first() {
    let authority = Authority::new();
    let map = SniMap::new(vec![
        authority.load("default", &["default.test"]),
        authority.load("wild", &["*.example.com"]),
        authority.load("exact", &["chat.example.com", "example.com"]),
        authority.load("later", &["chat.example.com"]),
    ]);
    let check = |name: Option<&str>, expected: usize| {
        let found = map.find(name, |_| true).expect("there is a default");
        assert!(found.same_as(&map.certificates()[expected]), "{name:?}");
    };
    check(None, 0);
    check(Some("unknown.test"), 0);
    check(Some("chat.example.com"), 2);
    check(Some("CHAT.Example.com"), 2);
    check(Some("example.com"), 2);
    check(Some("game.example.com"), 1);
    check(Some("a.game.example.com"), 0);
    check(Some("*.example.com"), 1);
    // A client that cannot use the first certificate for a name gets the second.
    let later = &map.certificates()[3];
    let fits = |key: &rustls::sign::CertifiedKey| key.cert == later.key.cert;
    let found = map
        .find(Some("chat.example.com"), fits)
        .expect("a certificate");
    assert!(found.same_as(later));
    assert!(SniMap::new(Vec::new()).find(None, |_| true).is_none());
}

fn server_tls(resolver: &Arc<Resolver>, minimum: TlsVersion) -> ServerTls {
    let settings = ServerTlsSettings {
        records: TlsRecords::Gateway,
        listener: "edge",
        minimum,
        clients: None,
        authorities: 0,
        ticket_keys: Arc::new(TicketKeys::random()),
        challenges: None,
    };
    ServerTls::new(resolver, settings).expect("a configuration")
}

/// Serves TLS to one connection after another: an echo of four bytes.
async fn serve(resolver: Arc<Resolver>, minimum: TlsVersion) -> BackendAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let tls = Arc::new(server_tls(&resolver, minimum));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let tls = Arc::clone(&tls);
            tokio::spawn(async move {
                let mut carrier = Carrier::accept_tls(Socket::Tcp(stream), &tls).await?;
                let mut read = [0; 4];
                carrier.read_exact(&mut read).await?;
                carrier.write_all(&read).await?;
                carrier.shutdown().await
            });
        }
    });
    BackendAddr::Ip(address)
}

async fn call(to: &BackendAddr, tls: &DialTls) -> Result<Carrier, DialError> {
    let options = DialOptions {
        timeout: Duration::from_secs(10),
        tuning: Tuning::Whole(None),
        proxy_header: b"",
        tls: Some(tls),
        own: &OwnAddresses::default(),
    };
    dial(to, options).await
}

/// The record layer of a carrier.
fn records(carrier: &Carrier) -> &TlsStream {
    match carrier {
        Carrier::Tls(stream) => stream,
        other => panic!("not TLS: {other:?}"),
    }
}

/// The certificate that the server showed.
fn shown(carrier: &Carrier) -> Vec<u8> {
    carrier.peer_certificate().expect("a certificate").to_vec()
}

#[tokio::test]
async fn bytes_go_through_tls_both_ways() {
    let authority = Authority::new();
    let resolver = Arc::new(Resolver::new(vec![authority.load("a", &["localhost"])]));
    let to = serve(resolver, TlsVersion::V1_2).await;
    let tls = ClientTls::new(&authority.upstream(Some("localhost"))).expect("roots");
    let tls = tls.to(&to).expect("a name");
    let mut carrier = call(&to, &tls).await.expect("a handshake");
    assert!(carrier.is_tls() && carrier.as_plain_fd().is_none());
    carrier.write_all(b"ping").await.expect("a connection");
    carrier.flush().await.expect("a connection");
    let mut read = Vec::new();
    carrier.read_to_end(&mut read).await.expect("a clean end");
    assert_eq!(read, b"ping");
    assert_eq!(records(&carrier).alpn(), Some(ALPN_HTTP_1));
}

#[tokio::test]
async fn each_handshake_sees_the_certificates_of_its_moment() {
    let authority = Authority::new();
    let (old, new) = (
        authority.load("old", &["a.test"]),
        authority.load("new", &["a.test"]),
    );
    let resolver = Arc::new(Resolver::new(vec![old.clone()]));
    let to = serve(Arc::clone(&resolver), TlsVersion::V1_2).await;
    let tls = ClientTls::new(&authority.upstream(Some("a.test"))).expect("roots");
    let tls = tls.to(&to).expect("a name");

    let mut before = call(&to, &tls).await.expect("a handshake");
    assert_eq!(shown(&before), old.key.cert[0].to_vec());
    resolver.replace(vec![new.clone()]);
    // Without a ticket, which would bring the old session back.
    let fresh = ClientTls::new(&authority.upstream(Some("a.test"))).expect("roots");
    let after = call(&to, &fresh.to(&to).expect("a name"))
        .await
        .expect("a handshake");
    assert_eq!(shown(&after), new.key.cert[0].to_vec());
    before
        .write_all(b"ping")
        .await
        .expect("the old connection lives on");
    let mut read = [0; 4];
    before.read_exact(&mut read).await.expect("an echo");
}

#[tokio::test]
async fn a_backend_needs_a_certificate_for_its_name() {
    let authority = Authority::new();
    let resolver = Arc::new(Resolver::new(vec![authority.load("a", &["a.test"])]));
    let to = serve(resolver, TlsVersion::V1_2).await;
    let check = async |tls: &UpstreamTls, expected: &str| {
        let tls = ClientTls::new(tls).expect("roots").to(&to).expect("a name");
        let error = call(&to, &tls).await.expect_err(expected);
        assert_eq!(error.to_string(), format!("TLS handshake with {to} failed"));
        let source = std::error::Error::source(&error)
            .expect("a cause")
            .to_string();
        assert!(source.contains(expected), "{source}");
    };
    check(
        &authority.upstream(Some("b.test")),
        "not valid for name \"b.test\"",
    )
    .await;
    check(
        &authority.upstream(None),
        "not valid for name \"127.0.0.1\"",
    )
    .await;
    // Another authority that goes by the same name.
    check(&Authority::new().upstream(Some("a.test")), "BadSignature").await;
}

#[tokio::test]
async fn the_oldest_version_is_the_listeners_to_choose() {
    let authority = Authority::new();
    let resolver = Arc::new(Resolver::new(vec![authority.load("a", &["a.test"])]));
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).expect("a root");
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12])
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut config = config;
    config.enable_secret_extraction = true;
    let tls = DialTls {
        config: Arc::new(config),
        name: "a.test".try_into().expect("a name"),
    };
    let old = serve(Arc::clone(&resolver), TlsVersion::V1_2).await;
    let carrier = call(&old, &tls).await.expect("1.2 is allowed");
    let version = records(&carrier).connection().version();
    assert_eq!(version, Version::V1_2);
    let new = serve(resolver, TlsVersion::V1_3).await;
    assert!(matches!(call(&new, &tls).await, Err(DialError::Tls { .. })));
}

#[tokio::test]
async fn i8_a_reader_that_stops_makes_a_tls_writer_stop() {
    let authority = Authority::new();
    let resolver = Arc::new(Resolver::new(vec![authority.load("a", &["a.test"])]));
    let served = server_tls(&resolver, TlsVersion::V1_3);
    let (client, server) = tcp_pair().await;
    let tls = ClientTls::new(&authority.upstream(Some("a.test"))).expect("roots");
    let tls = tls.to(&"b:1".parse().expect("an address")).expect("a name");
    let (client, server) = tokio::join!(
        Carrier::connect_tls(client, tls.config, tls.name),
        Carrier::accept_tls(server, &served)
    );
    let (_client, mut server) = (client.expect("a handshake"), server.expect("a handshake"));
    let chunk = vec![0; 1 << 20];
    let mut taken = 0;
    let mut write = async |room: usize| {
        let mut buffer = &chunk[..room];
        while !buffer.is_empty() {
            let sent = server.write(buffer).await.expect("a connection");
            buffer = &buffer[sent..];
            taken += sent;
        }
    };
    // Loopback buffers take a few MiB; 64 MiB fit nowhere.
    let all = async {
        for _ in 0..64 {
            write(1 << 20).await;
        }
    };
    tokio::time::timeout(Duration::from_millis(500), all)
        .await
        .expect_err("the peer does not read");
    let unsent = records(&server).connection().unsent();
    assert!(
        (1..=20 * 1024).contains(&unsent.len()),
        "{} held",
        unsent.len()
    );
    assert!(taken < 64 << 20);
}

async fn tcp_pair() -> (Socket, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    let accepted = accepted.expect("a connection").0;
    (
        Socket::Tcp(dialled.expect("a connection")),
        Socket::Tcp(accepted),
    )
}

#[tokio::test]
async fn a_client_that_does_not_speak_tls_is_told_at_once() {
    let authority = Authority::new();
    let resolver = Arc::new(Resolver::new(vec![authority.load("a", &["a.test"])]));
    let tls = server_tls(&resolver, TlsVersion::V1_2);
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"[..],
        // A record that is longer than any.
        &[22, 3, 1, 0x60, 0][..],
    ] {
        let (client, server) = tcp_pair().await;
        let Socket::Tcp(mut client) = client else {
            unreachable!("over TCP")
        };
        client.write_all(bytes).await.expect("room");
        let refused = Carrier::accept_tls(server, &tls).await;
        let error = refused.expect_err("no hello").to_string();
        assert!(error.contains("corrupt message"), "{error}");
        let mut alert = Vec::new();
        client.read_to_end(&mut alert).await.ok();
        assert_eq!(alert.first(), Some(&21), "{alert:?}");
    }
}

#[tokio::test]
async fn a_hello_of_many_records_is_read_to_its_end() {
    let authority = Authority::new();
    let resolver = Arc::new(Resolver::new(vec![authority.load("a", &["a.test"])]));
    let tls = server_tls(&resolver, TlsVersion::V1_2);
    let asked = ClientTls::new(&authority.upstream(Some("a.test"))).expect("roots");
    let mut dial = asked
        .to(&"b:1".parse().expect("an address"))
        .expect("a name");
    for protocols in [20, 80, 200] {
        let mut config = (*dial.config).clone();
        // 250 bytes each.
        let names = (0..protocols).map(|number| format!("{number:0250}").into_bytes());
        config.alpn_protocols = names.chain([ALPN_HTTP_1.to_vec()]).collect();
        dial.config = Arc::new(config);
        let (client, server) = tcp_pair().await;
        let (client, server) = tokio::join!(
            Carrier::connect_tls(client, Arc::clone(&dial.config), dial.name.clone()),
            Carrier::accept_tls(server, &tls)
        );
        let mut client = client.expect("a handshake");
        let mut server = server.expect("a handshake");
        client.write_all(b"ping").await.expect("room");
        let mut read = [0; 4];
        server.read_exact(&mut read).await.expect("a message");
        assert_eq!(&read, b"ping");
    }
}
