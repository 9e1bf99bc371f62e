//! Certificates that the gateway orders by itself, from Let's Encrypt's test server.

use std::fs;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use crate::support::etcd::Etcd;
use crate::support::etcd_world::following;
use crate::support::pebble::Pebble;
use crate::support::time::holds_within;
use crate::support::{Backend, Client, Dial, Gateway, config, eventually, http};

pub const NAME: &str = "chat.acme.test";

/// A TLS listener at pebble's port with this certificate, and a plain one at the other.
pub fn listeners(pebble: &Pebble, ports: (u16, u16), more: &str) -> String {
    listeners_at(&pebble.url(), pebble, ports, more)
}

/// The same with another directory, whose server pebble's authority has certified.
pub fn listeners_at(directory: &str, pebble: &Pebble, ports: (u16, u16), more: &str) -> String {
    format!(
        "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:{}\"]\n\
         [listeners.tls.acme]\nnames = [\"{NAME}\", \"www.acme.test\"]\nterms_accepted = true\n\
         directory = \"{directory}\"\nca = \"{}\"\ncontact = [\"mailto:ops@acme.test\"]\n{more}\n\n\
         [[listeners]]\nname = \"plain\"\nlisten = [\"127.0.0.1:{}\"]\n\n",
        ports.0,
        pebble.ca().display(),
        ports.1,
    )
}

/// The root of what pebble issues.
pub async fn roots(pebble: &Pebble, gateway: &Gateway) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let root = pebble.write_root(gateway.directory()).await;
    roots.add(root).expect("a root");
    roots
}

/// A client that trusts what pebble issues.
pub async fn trusting(pebble: &Pebble, gateway: &Gateway) -> Arc<ClientConfig> {
    let roots = roots(pebble, gateway).await;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Waits until the gateway serves the certificate that it has ordered. Returns a client that trusts
/// what pebble issues.
pub async fn certified(pebble: &Pebble, gateway: &Gateway) -> Arc<ClientConfig> {
    let client = trusting(pebble, gateway).await;
    eventually("the certificate is served", async || {
        serves(gateway, &client, NAME).await
    })
    .await;
    client
}

/// Whether this client accepts the certificate that the listener `edge` shows for a name.
pub async fn serves(gateway: &Gateway, client: &Arc<ClientConfig>, name: &str) -> bool {
    let stream = tokio::net::TcpStream::connect(gateway.listener("edge"))
        .await
        .unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(client));
    let name = name.to_owned().try_into().unwrap();
    connector.connect(name, stream).await.is_ok()
}

/// The certificate of the listener `edge`, as status shows it.
pub fn shown(gateway: &Gateway) -> Value {
    let status = gateway.get("/v1/status");
    let certificates = status["certificates"].as_array().unwrap().clone();
    let edge = certificates
        .into_iter()
        .find(|one| one["listener"] == "edge");
    edge.unwrap_or_else(|| panic!("{status}"))
}

#[tokio::test]
async fn a_certificate_is_ordered_at_the_start_and_its_names_are_validated_by_tls() {
    let (pebble, backend) = (Pebble::start().await, Backend::echo().await);
    let text =
        listeners(&pebble, (pebble.tls_port, 0), "") + &config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&text).await;
    let client = trusting(&pebble, &gateway).await;
    eventually("the certificate is served", async || {
        serves(&gateway, &client, NAME).await && serves(&gateway, &client, "www.acme.test").await
    })
    .await;
    let mut session = Dial::new("/").host(NAME);
    session = session.header("x-test", "1");
    let mut session = session
        .connect_tls(gateway.listener("edge"), client)
        .await
        .unwrap();
    session.echo("over a certificate of pebble's").await;
    session.close().await;
    let shown = shown(&gateway);
    assert_eq!(shown["acme"]["failures"], 0, "{shown}");
    // The authority orders the names of a certificate as it likes.
    let names = shown["names"].as_array().unwrap();
    assert!(
        names.len() == 2 && names.iter().any(|name| name == NAME),
        "{shown}"
    );
    let left = gateway.metric(
        "sessile_certificate_expiry_timestamp_seconds",
        &["listener=\"edge\""],
    );
    assert!(left > 1.7e9, "{left}");
    let orders = gateway.metric("sessile_certificate_orders_total", &["outcome=\"ok\""]);
    assert!((orders - 1.0).abs() < f64::EPSILON);

    // A restart orders nothing: account and certificate are in the state directory.
    let state = gateway.directory().join("state");
    let files = fs::read_dir(&state).unwrap().map(|file| file.unwrap());
    let kept: Vec<_> = files
        .filter(|file| file.file_name().to_string_lossy().starts_with("acme-"))
        .collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    for file in kept {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn names_are_validated_over_http_before_any_route() {
    let (pebble, backend) = (Pebble::start().await, Backend::echo().await);
    let http01 = "challenge = \"http-01\"";
    let text = listeners(&pebble, (0, pebble.http_port), http01)
        // A tenant's route for the well-known path takes nothing away.
        + &config::echo(&[backend.address], "", "path = \"/.well-known/acme-challenge/{token}\"");
    let gateway = Gateway::start(&text).await;
    certified(&pebble, &gateway).await;
    assert_eq!(backend.seen().len(), 0, "the route saw a challenge");
    // For its own names the gateway alone answers; others are routed.
    let ask = async |host: &str| {
        let target = "/.well-known/acme-challenge/unknown";
        let request = hyper::Request::get(target).header("host", host);
        let request = request
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap();
        http::send(gateway.listener("plain"), request).await.status
    };
    assert_eq!(ask(NAME).await, 404);
    assert_eq!(backend.seen().len(), 0);
    ask("other.test").await;
    assert_eq!(backend.seen().len(), 1);
}

#[tokio::test]
async fn i5_without_the_authority_the_listener_starts_and_the_last_certificate_is_shown_on() {
    let (mut pebble, backend) = (Pebble::start().await, Backend::echo().await);
    let echo = config::echo(&[backend.address], "", "");
    let text = listeners(&pebble, (pebble.tls_port, 0), "") + &echo;
    let mut gateway = Gateway::start(&text).await;
    let client = certified(&pebble, &gateway).await;
    pebble.stop();
    gateway.signal(rustix::process::Signal::TERM);
    gateway.wait_for_exit().await;
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("state")).unwrap();
    for file in fs::read_dir(gateway.directory().join("state")).unwrap() {
        let file = file.unwrap();
        fs::copy(
            file.path(),
            directory.path().join("state").join(file.file_name()),
        )
        .unwrap();
    }
    drop(gateway);
    let gateway = Gateway::start_in(directory, &text).await;
    assert!(
        serves(&gateway, &client, NAME).await,
        "from the first moment on"
    );
    drop(gateway);

    // Nothing is kept here: the listener serves all the same, and status has the reason.
    let fresh = Gateway::start(&text).await;
    assert!(!serves(&fresh, &client, NAME).await);
    eventually("the failure is shown", async || {
        shown(&fresh)["acme"]["failures"].as_u64() > Some(0)
    })
    .await;
    let shown = shown(&fresh);
    assert!(
        shown["acme"]["fault"].as_str().unwrap().contains("refused"),
        "{shown}"
    );
    assert!(
        fresh.log().contains("a self-signed one is shown"),
        "{}",
        fresh.log()
    );
    let mut session = Client::connect(fresh.listener("plain"), "/").await;
    session.echo("other listeners").await;
    session.close().await;
}

#[tokio::test]
async fn gateways_of_one_etcd_order_once_and_all_serve_it() {
    let (pebble, backend, etcd) = (
        Pebble::start().await,
        Backend::echo().await,
        Etcd::start().await,
    );
    let echo = config::echo(&[backend.address], "", "");
    let text = |ports| following(&[etcd.url()], "") + &listeners(&pebble, ports, "") + &echo;
    let first = Gateway::start_named("one", &text((0, 0))).await;
    // The authority reaches this one, whichever orders.
    let second = Gateway::start_named("two", &text((pebble.tls_port, 0))).await;
    let client = trusting(&pebble, &first).await;
    eventually("both serve the certificate", async || {
        serves(&first, &client, NAME).await && serves(&second, &client, NAME).await
    })
    .await;
    let orders = || {
        let of = |gateway: &Gateway| {
            gateway.metric("sessile_certificate_orders_total", &["outcome=\"ok\""])
        };
        of(&first) + of(&second)
    };
    assert!((orders() - 1.0).abs() < f64::EPSILON, "{}", orders());
    let issued = |log: &str| log.matches("Issued certificate serial").count();
    assert_eq!(issued(&pebble.printed()), 1, "{}", pebble.printed());
}

#[tokio::test]
async fn a_certificate_is_renewed_without_the_end_of_a_session() {
    // Two thirds of the life are waited for: twelve seconds.
    let pebble = Pebble::issuing_for(18).await;
    let backend = Backend::echo().await;
    let text =
        listeners(&pebble, (pebble.tls_port, 0), "") + &config::echo(&[backend.address], "", "");
    let gateway = Gateway::start(&text).await;
    let client = certified(&pebble, &gateway).await;
    let dial = Dial::new("/").host(NAME);
    let session = dial
        .connect_tls(gateway.listener("edge"), Arc::clone(&client))
        .await;
    let mut session = session.unwrap();
    let before = shown(&gateway)["not_after"].clone();
    let renewed = async || shown(&gateway)["not_after"] != before;
    // Longer than a deadline of the harness.
    let is_renewed = holds_within(std::time::Duration::from_secs(60), async || {
        session.echo("meanwhile").await;
        renewed().await
    });
    assert!(is_renewed.await, "{}", gateway.log());
    session.echo("after the renewal").await;
    session.close().await;
    let orders = gateway.metric("sessile_certificate_orders_total", &["outcome=\"ok\""]);
    assert!(orders > 1.5, "{orders}");
}
