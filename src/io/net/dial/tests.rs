use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, UnixListener};

use super::*;

fn options() -> DialOptions<'static> {
    DialOptions {
        timeout: Duration::from_secs(5),
        tuning: Tuning::Whole(Some(Duration::from_secs(77))),
        proxy_header: b"",
        tls: None,
        own: &NOTHING_OWN,
    }
}

static NOTHING_OWN: OwnAddresses = OwnAddresses::new(Vec::new());

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

#[tokio::test]
async fn the_proxy_header_goes_first() {
    let (listener, address) = listener().await;
    let to = BackendAddr::Ip(address);
    let mut carrier = dial(
        &to,
        DialOptions {
            proxy_header: b"PROXY UNKNOWN\r\n",
            ..options()
        },
    )
    .await
    .expect("a listener");
    carrier.write_all(b"hello").await.expect("a connection");
    let (mut accepted, _) = listener.accept().await.expect("a connection");
    let mut read = [0; 20];
    accepted.read_exact(&mut read).await.expect("twenty bytes");
    assert_eq!(&read, b"PROXY UNKNOWN\r\nhello");
    assert_eq!(carrier.peer_addr(), Some(address));
    assert!(!carrier.is_tls() && carrier.as_plain_fd().is_some());
}

#[tokio::test]
async fn names_and_unix_sockets_are_dialled() {
    let (_listener, address) = listener().await;
    let named = BackendAddr::Host("localhost".to_owned(), address.port());
    let carrier = dial(&named, options()).await.expect("localhost resolves");
    assert_eq!(carrier.peer_addr(), Some(address));

    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("backend.sock");
    let _listener = UnixListener::bind(&path).expect("a free path");
    let carrier = dial(&BackendAddr::Unix(path), options())
        .await
        .expect("a listener");
    assert!(matches!(carrier, Carrier::Plain(Socket::Unix(_))));
}

#[tokio::test]
async fn failures_name_the_backend() {
    let (listener, address) = listener().await;
    drop(listener);
    let check = async |to: BackendAddr, expected: &str| {
        let error = dial(&to, options()).await.expect_err("the port is closed");
        assert_eq!(error.to_string(), expected);
    };
    check(
        BackendAddr::Ip(address),
        &format!("{address} refused the connection"),
    )
    .await;
    check(
        "no-such-name.invalid:80".parse().expect("an address"),
        "no-such-name.invalid:80: no such name",
    )
    .await;
    check(
        BackendAddr::Unix("/nowhere.sock".into()),
        "cannot connect to unix:/nowhere.sock",
    )
    .await;
    // Which of localhost's addresses was the last, and how it failed, is the system's affair.
    let named = "localhost:1".parse().expect("an address");
    let error = dial(&named, options())
        .await
        .expect_err("the port is closed");
    assert!(error.to_string().contains("localhost:1 ("), "{error}");
}

#[tokio::test]
async fn a_silent_backend_times_out_and_the_step_is_reported() {
    let (_listener, address) = listener().await;
    let roots = rustls::RootCertStore::empty();
    let config = ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("versions")
    .with_root_certificates(roots)
    .with_no_client_auth();
    let tls = DialTls {
        config: Arc::new(config),
        name: ServerName::from(address.ip()),
    };
    let error = dial(
        &BackendAddr::Ip(address),
        DialOptions {
            timeout: Duration::from_millis(50),
            tls: Some(&tls),
            ..options()
        },
    )
    .await
    .expect_err("the handshake gets no answer");
    assert_eq!(
        error.to_string(),
        format!("{address} timed out after 50ms while in the TLS handshake")
    );
}

#[tokio::test]
async fn a_dead_address_does_not_keep_the_next_one_waiting() {
    let (_listener, alive) = listener().await;
    // From TEST-NET-1 (RFC 5737): it refuses, is unreachable, or swallows, as the network likes.
    let dead: SocketAddr = "192.0.2.1:9".parse().expect("an address");
    let stream = timeout(Duration::from_secs(5), race(&[dead, alive], STAGGER)).await;
    let stream = stream.expect("in time").expect("one is alive");
    assert_eq!(stream.peer_addr().ok(), Some(alive));
}

#[test]
fn what_this_machine_lacks_is_not_the_backends_fault() {
    let check = |code: i32, ours: bool| {
        let to = peer(&"b:1".parse().expect("an address"), None);
        let error = failed(to, io::Error::from_raw_os_error(code));
        assert_eq!(error.is_ours(), ours, "{error:?}");
    };
    check(24, true); // EMFILE
    check(99, true); // EADDRNOTAVAIL
    check(111, false); // ECONNREFUSED
    check(113, false); // EHOSTUNREACH
}

#[test]
fn families_take_turns() {
    let check = |found: &[&str], expected: &[&str]| {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts
                .iter()
                .map(|text| text.parse().expect("an address"))
                .collect()
        };
        assert_eq!(in_turn(parse(found).into_iter()), parse(expected));
    };
    check(&[], &[]);
    check(
        &["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"],
        &["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"],
    );
    check(&["1.1.1.1:1", "[::1]:1"], &["1.1.1.1:1", "[::1]:1"]);
}

/// The keepalive time of a carrier's socket, and whether it sends small messages at once.
fn options_of(carrier: &Carrier) -> (Option<Duration>, bool) {
    let socket = carrier.socket().expect("it has one");
    let Socket::Tcp(stream) = socket else {
        panic!("no TCP: {socket:?}");
    };
    let socket = socket2::SockRef::from(stream);
    let kept = socket.keepalive().expect("an option");
    let time = kept.then(|| socket.tcp_keepalive_time().expect("an option"));
    (time, socket.tcp_nodelay().expect("an option"))
}

#[tokio::test]
async fn options_are_set_at_once_or_put_off() {
    let (_listener, address) = listener().await;
    let to = BackendAddr::Ip(address);
    let whole = dial(&to, options()).await.expect("a listener");
    assert_eq!(options_of(&whole), (Some(Duration::from_secs(77)), true));

    let early = DialOptions {
        tuning: Tuning::Early,
        ..options()
    };
    let early = dial(&to, early).await.expect("a listener");
    assert_eq!(options_of(&early), (None, true));
    early.tune_late();
    assert_eq!(options_of(&early), (Some(Duration::from_secs(60)), true));
}
