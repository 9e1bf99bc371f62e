//! Clients that authenticate by certificates: who is let in, which identity backends get, and what
//! never gets as far as a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, SanType};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Error;

use crate::support::certificates::{Authority, Files};
use crate::support::tokens::{SECRET, claims, token};
use crate::support::{Backend, Dial, Gateway, config, soon};

/// A gateway's directory with an authority, and another one that no client trusts.
struct World {
    directory: TempDir,
    ours: Authority,
    others: Authority,
    _elsewhere: TempDir,
}

impl World {
    fn new() -> Self {
        let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ours = Authority::new(directory.path());
        ours.issue("edge", &["localhost"]);
        let others = Authority::new(elsewhere.path());
        Self {
            directory,
            ours,
            others,
            _elsewhere: elsewhere,
        }
    }

    /// A certificate of this common name and nothing else, for now.
    fn of(&self, name: &str) -> Files {
        self.ours.issue_as(name, named(name))
    }
}

/// The subject of a certificate with this common name.
fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A listener that asks for certificates, and these routes.
fn edge(more: &str, rest: &str) -> String {
    format!(
        "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
         tls.certificates = [{{ cert = \"edge.crt\", key = \"edge.key\" }}]\n\
         tls.client_ca = \"ca.pem\"\n{more}\n\n\
         [authenticators.peers]\ntype = \"mtls\"\n\n{rest}"
    )
}

/// One that lets in by certificate alone.
fn peers(backend: &Backend, route: &str) -> String {
    let route = format!("authenticate = [\"peers\"]\n{route}");
    edge("", &config::echo(&[backend.address], "", &route))
}

/// A connection, as far as the client can know: of TLS 1.3 its side is done before the server has
/// looked at its certificate.
async fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Option<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let handshake = TlsConnector::from(Arc::clone(config)).connect(name, stream);
    soon("a TLS handshake", handshake).await.ok()
}

/// The status of an upgrade, and how the TLS handshake went; `None` where TLS gave no connection.
async fn knock(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> Option<(u16, Option<HandshakeKind>)> {
    let stream = connect(address, config).await?;
    let upgrade = Box::pin(tokio_tungstenite::client_async("ws://localhost/", stream));
    match soon("an answer", upgrade).await {
        Ok((mut socket, response)) => {
            let kind = socket.get_ref().get_ref().1.handshake_kind();
            socket.close(None).await.ok();
            Some((response.status().as_u16(), kind))
        }
        Err(Error::Http(response)) => Some((response.status().as_u16(), None)),
        Err(_) => None,
    }
}

async fn status(address: SocketAddr, config: &Arc<ClientConfig>) -> Option<u16> {
    knock(address, config).await.map(|(status, _)| status)
}

#[tokio::test]
async fn the_principal_is_the_subject_of_the_certificate() {
    let world = World::new();
    let backend = Backend::echo().await;
    let mut full = named("ann of accounts");
    full.subject_alt_names = vec![
        SanType::DnsName("ann.example.com".try_into().unwrap()),
        SanType::DnsName("a.example.com".try_into().unwrap()),
        SanType::Rfc822Name("ann@example.com".try_into().unwrap()),
        SanType::URI("spiffe://example.com/ann".try_into().unwrap()),
    ];
    full.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let full = world.ours.issue_as("full", full);
    let email = |more: &[SanType]| {
        let mut params = named("bob");
        params.subject_alt_names = more.to_vec();
        params
    };
    let dns = SanType::DnsName("bob.example.com".try_into().unwrap());
    let mail = SanType::Rfc822Name("bob@example.com".try_into().unwrap());
    let mail = world.ours.issue_as("mail", email(&[dns.clone(), mail]));
    let dns = world.ours.issue_as("dns", email(&[dns]));
    let cn = world.of("carol %\r\n");
    let mut routes = config::echo(&[backend.address], "", "authenticate = [\"peers\"]\n");
    for name in ["cn", "dns", "email", "uri"] {
        routes += &format!(
            "\n[authenticators.{name}]\ntype = \"mtls\"\nsubject = \"{name}\"\n\n\
             [[routes]]\nname = \"{name}\"\nupstream = \"echo\"\npath = \"/{name}\"\n\
             authenticate = [\"{name}\"]\nclaim_headers = {{ x-dns = \"claim:dns\" }}\n"
        );
    }
    let gateway = Gateway::start_in(world.directory, &edge("", &routes)).await;
    let cases = [
        ("/", &full, "spiffe://example.com/ann"),
        ("/cn", &full, "ann of accounts"),
        ("/dns", &full, "ann.example.com"),
        ("/email", &full, "ann@example.com"),
        ("/uri", &full, "spiffe://example.com/ann"),
        ("/", &mail, "bob@example.com"),
        ("/", &dns, "bob.example.com"),
        ("/", &cn, "carol %25%0D%0A"),
    ];
    for versions in [&[&TLS12], &[&TLS13]] {
        for (path, files, subject) in cases {
            let config = world.ours.client_showing(files, versions);
            let dial = Dial::new(path).header("sessile-subject", "root");
            let dial = dial.connect_tls(gateway.address(), config).await;
            let mut client = dial.unwrap();
            client.echo("in").await;
            let seen = backend.last_seen();
            assert_eq!(seen.header("sessile-subject"), Some(subject), "{path}");
            let session = &gateway.sessions()[0];
            assert_eq!(
                session["principal"],
                subject.replace("%25%0D%0A", "%\r\n"),
                "{path}"
            );
            assert!(session["expires"].is_string(), "it ends: {session}");
            if path == "/dns" {
                let names = "[\"ann.example.com\",\"a.example.com\"]";
                assert_eq!(seen.header("x-dns"), Some(names));
            }
            client.close().await;
            gateway.wait_until_idle().await;
        }
        // A certificate without the required name identifies no one.
        let config = world.ours.client_showing(&dns, versions);
        let dial = Dial::new("/uri").connect_tls(gateway.address(), config);
        assert_eq!(dial.await.err().unwrap().status, 401);
    }
    let records = gateway.wait_for_records(16).await;
    let seen = records[0].principal.as_deref();
    assert_eq!(seen, Some("spiffe://example.com/ann"));
}

#[tokio::test]
async fn i7_a_client_without_a_certificate_of_the_ca_gets_no_connection() {
    let world = World::new();
    let backend = Backend::echo().await;
    let good = world.of("ann");
    let old = {
        let mut params = named("old");
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        world.ours.issue_as("old", params)
    };
    let early = {
        let mut params = named("early");
        params.not_before = rcgen::date_time_ymd(4001, 1, 1);
        world.ours.issue_as("early", params)
    };
    let server = {
        let mut params = named("server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        world.ours.issue_as("server", params)
    };
    let foreign = world.others.issue_as("ann", named("ann"));
    let required = Gateway::start_in(world.directory, &peers(&backend, "")).await;
    for versions in [&[&TLS12], &[&TLS13]] {
        let none = world.ours.client_of(versions);
        assert_eq!(status(required.address(), &none).await, None, "none");
        let refused = [
            ("expired", &old),
            ("not valid yet", &early),
            ("for servers alone", &server),
            ("another authority's", &foreign),
        ];
        for (what, files) in refused {
            let config = world.ours.client_showing(files, versions);
            assert_eq!(status(required.address(), &config).await, None, "{what}");
        }
    }
    assert_eq!(backend.accepted(), 0, "a backend was connected to");
    for versions in [&[&TLS12], &[&TLS13]] {
        let config = world.ours.client_showing(&good, versions);
        assert_eq!(status(required.address(), &config).await, Some(101));
    }
}

#[tokio::test]
async fn where_certificates_are_optional_the_next_authenticator_is_asked() {
    let world = World::new();
    let backend = Backend::echo().await;
    let good = world.of("ann");
    let foreign = world.others.issue_as("ann", named("ann"));
    let routes = format!("[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\n")
        + &config::echo(
            &[backend.address],
            "",
            "authenticate = [\"peers\", \"users\"]\n",
        )
        + "\n[[routes]]\nname = \"peers\"\nupstream = \"echo\"\npath = \"/peers\"\n\
           authenticate = [\"peers\"]\n";
    let text = edge("tls.client_certificates = \"optional\"\n", &routes);
    let gateway = Gateway::start_in(world.directory, &text).await;
    for versions in [&[&TLS12], &[&TLS13]] {
        let none = world.ours.client_of(versions);
        let shown = world.ours.client_showing(&good, versions);
        let bearer = format!("Bearer {}", token(&claims("bob")));
        let cases = [
            ("/", &none, None, Err(401)),
            ("/", &none, Some(&bearer), Ok("bob")),
            ("/peers", &none, Some(&bearer), Err(401)),
            ("/peers", &shown, None, Ok("ann")),
            // The first that is there decides.
            ("/", &shown, Some(&bearer), Ok("ann")),
        ];
        for (path, config, bearer, expected) in cases {
            let mut dial = Dial::new(path);
            if let Some(bearer) = bearer {
                dial = dial.header("authorization", bearer);
            }
            let opened = dial.connect_tls(gateway.address(), Arc::clone(config));
            match (opened.await, expected) {
                (Ok(client), Ok(subject)) => {
                    let seen = backend.last_seen();
                    assert_eq!(seen.header("sessile-subject"), Some(subject), "{path}");
                    client.close().await;
                }
                (Err(refused), Err(status)) => assert_eq!(refused.status, status, "{path}"),
                (Ok(_), Err(status)) => panic!("{path} opened instead of {status}"),
                (Err(refused), Ok(_)) => panic!("{path}: {refused:?}"),
            }
        }
        // Optional is not "any": a client with a bad certificate is not let in as anonymous.
        let config = world.ours.client_showing(&foreign, versions);
        assert_eq!(status(gateway.address(), &config).await, None);
    }
}

#[tokio::test]
async fn a_session_ends_with_its_certificate_and_no_connection_outlives_it() {
    let world = World::new();
    let backend = Backend::echo().await;
    let mut params = named("ann");
    params.not_after = (SystemTime::now() + Duration::from_secs(6)).into();
    let short = world.ours.issue_as("short", params);
    let text = peers(&backend, "expiry = { leeway = \"0s\" }");
    let gateway = Gateway::start_in(world.directory, &text).await;
    let configs = [&[&TLS12], &[&TLS13]].map(|version| world.ours.client_showing(&short, version));
    for config in &configs {
        let first = knock(gateway.address(), config).await;
        assert_eq!(first, Some((101, Some(HandshakeKind::Full))));
        // A resumed connection is the same client's, although it showed nothing.
        let again = knock(gateway.address(), config).await;
        assert_eq!(again, Some((101, Some(HandshakeKind::Resumed))));
        let seen = backend.last_seen();
        assert_eq!(seen.header("sessile-subject"), Some("ann"));
    }
    let mut kept = connect(gateway.address(), &configs[0]).await.unwrap();
    assert_eq!(get(&mut kept).await, "200");
    let config = Arc::clone(&configs[1]);
    let session = Dial::new("/").connect_tls(gateway.address(), config).await;
    let end = session.unwrap().end().await;
    assert_eq!(end, Some((3000, "credential expired".to_owned())));
    assert_eq!(get(&mut kept).await, "401");
    for config in &configs {
        // Resumed or refused by TLS: neither is in.
        let late = status(gateway.address(), config).await;
        assert!(matches!(late, None | Some(401)), "{late:?}");
    }
    let records = gateway.wait_for_records(5).await;
    let expired = records.iter().filter(|one| one.cause == "expired");
    assert_eq!(expired.count(), 1);
}

/// The status of an ordinary request on a connection that stays open.
async fn get(stream: &mut TlsStream<TcpStream>) -> String {
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = soon("an answer", stream.read(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}
