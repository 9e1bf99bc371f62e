//! TLS at both sides of the gateway.

mod acme;
mod acme_lock;
mod authorities;
mod backends;
mod redirect;
mod resumption;

use std::sync::Arc;

use crate::support::certificates::Authority;
use crate::support::{Backend, Client, Dial, Gateway, config, eventually};
use rustls::{ClientConfig, ProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A TLS listener with these `(cert, key)` file names, which lie beside gateway.toml.
pub fn listener(files: &[&str], further: &str) -> String {
    let certificates: Vec<String> = files
        .iter()
        .map(|file| format!("{{ cert = \"{file}.crt\", key = \"{file}.key\" }}"))
        .collect();
    format!(
        "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
         tls.certificates = [{}]\n{further}\n\n",
        certificates.join(", ")
    )
}

/// A gateway with the TLS listener `edge` for `edge.test` and a backend that echoes.
struct World {
    gateway: Gateway,
    authority: Authority,
    _backend: Backend,
}

impl World {
    /// With this text in front of the listener, and these lines in it.
    async fn start(before: &str, further: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path());
        authority.issue("edge", &["edge.test"]);
        let backend = Backend::echo().await;
        let echo = config::echo(&[backend.address], "", "");
        let text = format!("{before}{}{echo}", listener(&["edge"], further));
        Self {
            gateway: Gateway::start_in(directory, &text).await,
            authority,
            _backend: backend,
        }
    }

    /// A session at the listener `edge`.
    async fn connect(&self) -> Client {
        let dial = Dial::new("/").host("edge.test");
        let address = self.gateway.listener("edge");
        let client = dial.connect_tls(address, self.authority.client()).await;
        client.unwrap()
    }
}

/// The leaf that a listener shows for a name, and the version that was spoken.
async fn shown(
    gateway: &Gateway,
    name: &str,
    config: Arc<ClientConfig>,
) -> Result<(Vec<u8>, ProtocolVersion), std::io::Error> {
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let name = name.to_owned().try_into().unwrap();
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().unwrap()[0].to_vec();
    Ok((leaf, session.protocol_version().unwrap()))
}

/// The leaf that a listener shows to a client that accepts it.
async fn leaf(gateway: &Gateway, name: &str, authority: &Authority) -> Vec<u8> {
    shown(gateway, name, authority.client()).await.unwrap().0
}

#[tokio::test]
async fn sessions_over_tls_at_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("edge", &["edge.test"]);
    let inner = authority.issue("inner", &["inner.test"]);
    let backend = Backend::echo_tls(authority.server(&inner)).await;
    let upstream = "tls = { ca = \"ca.pem\", server_name = \"inner.test\" }";
    let text = listener(&["edge"], "") + &config::echo(&[backend.address], upstream, "");
    let gateway = Gateway::start_in(directory, &text).await;
    let dial = Dial::new("/").host("edge.test");
    let client = dial.connect_tls(gateway.address(), authority.client());
    let mut client = client.await.unwrap();
    for length in [0, 1, 16_384, 16_385, 1 << 20] {
        client.echo(&"x".repeat(length)).await;
    }
    assert_eq!(
        backend.last_seen().header("x-forwarded-proto"),
        Some("https")
    );
    assert_eq!(
        client.close_with(4001, "bye").await,
        Some((4001, "bye".to_owned()))
    );
}

#[tokio::test]
async fn a_backend_with_the_wrong_name_gets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let inner = authority.issue("inner", &["other.test"]);
    let backend = Backend::echo_tls(authority.server(&inner)).await;
    let upstream = "tls = { ca = \"ca.pem\", server_name = \"inner.test\" }";
    let text = config::echo(&[backend.address], upstream, "");
    let gateway = Gateway::start_in(directory, &text).await;
    let refused = Dial::new("/")
        .connect(gateway.address())
        .await
        .err()
        .unwrap();
    assert!(matches!(refused.status, 502 | 503), "{refused:?}");
    assert_eq!(backend.seen().len(), 0);
}

#[tokio::test]
async fn the_certificate_is_chosen_by_name_and_the_first_is_the_default() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    authority.issue("first", &["first.test"]);
    authority.issue("second", &["second.test", "*.wild.test"]);
    let backend = Backend::echo().await;
    let text = listener(&["first", "second"], "") + &config::echo(&[backend.address], "", "");
    let gateway = Gateway::start_in(directory, &text).await;
    let first = leaf(&gateway, "first.test", &authority).await;
    let second = leaf(&gateway, "second.test", &authority).await;
    assert_ne!(first, second);
    let wild = leaf(&gateway, "a.wild.test", &authority).await;
    assert_eq!(wild, second);
    // The default does not fit this name, so this client refuses it.
    assert!(
        shown(&gateway, "stranger.test", authority.client())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn new_certificate_files_are_served_without_a_restart_and_without_an_end() {
    let world = World::start("[sources.file]\nwatch = true\n\n", "").await;
    let (gateway, authority) = (&world.gateway, &world.authority);
    let mut client = world.connect().await;
    let before = leaf(gateway, "edge.test", authority).await;
    authority.issue("edge", &["edge.test"]);
    eventually("the new certificate is shown", async || {
        matches!(shown(gateway, "edge.test", authority.client()).await, Ok((leaf, _)) if leaf != before)
    })
    .await;
    client.echo("the old session lives").await;
}

#[tokio::test]
async fn i4_a_certificate_that_does_not_fit_its_key_is_refused() {
    let world = World::start("", "").await;
    let (gateway, authority) = (&world.gateway, &world.authority);
    authority.issue("other", &["edge.test"]);
    let before = leaf(gateway, "edge.test", authority).await;
    std::fs::copy(
        gateway.directory().join("other.key"),
        gateway.directory().join("edge.key"),
    )
    .unwrap();
    let answer = gateway.reload();
    assert!((400..500).contains(&answer.status), "{}", answer.body);
    assert_eq!(leaf(gateway, "edge.test", authority).await, before);
}

#[tokio::test]
async fn versions_below_the_minimum_are_refused() {
    let world = World::start("", "tls.minimum = \"1.3\"").await;
    let (gateway, authority) = (&world.gateway, &world.authority);
    let (_, version) = shown(gateway, "edge.test", authority.client())
        .await
        .unwrap();
    assert_eq!(version, ProtocolVersion::TLSv1_3);
    let old = authority.client_of(&[&rustls::version::TLS12]);
    assert!(shown(gateway, "edge.test", old).await.is_err());
}

#[tokio::test]
async fn a_tls_handshake_that_never_ends_is_not_waited_for() {
    let world = World::start("", "timeouts = { tls_handshake = \"300ms\" }").await;
    let gateway = &world.gateway;
    let mut raw = crate::support::Raw::connect(gateway.address()).await;
    raw.write([0x16, 0x03, 0x01]).await;
    let start = std::time::Instant::now();
    raw.read_to_end().await;
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
    // Plain HTTP on a TLS port gets no answer and holds nothing.
    let mut raw = crate::support::Raw::connect(gateway.address()).await;
    raw.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(!raw.read_to_end().await.starts_with(b"HTTP/1.1 200"));
    let client = world.connect().await;
    client.close().await;
}

#[tokio::test]
async fn plain_and_tls_listeners_stand_side_by_side() {
    let plain = "[[listeners]]\nname = \"plain\"\nlisten = [\"127.0.0.1:0\"]\n\n";
    let world = World::start(plain, "").await;
    let gateway = &world.gateway;
    Client::connect(gateway.listener("plain"), "/")
        .await
        .echo("plain")
        .await;
    let mut client = world.connect().await;
    client.echo("secure").await;
}
