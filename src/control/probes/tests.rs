//! Probes against real sockets behind which a script answers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::base::addr::{BackendAddr, OwnAddresses};
use crate::base::names::{BackendId, UpstreamName};
use crate::config::snapshot::{
    AdminState, Backend, Passive, Policy, Probe, ProbeKind, ProxyVersion, Upstream,
};

/// Serves one connection with `script`.
async fn backend<F>(script: impl FnOnce(TcpStream) -> F + Send + 'static) -> Target
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        script(stream).await;
    });
    Target {
        backend: BackendAddr::Ip(address),
        tls: None,
        proxy_protocol: None,
    }
}

/// Reads a request's head.
async fn head(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(stream.read_u8().await.expect("a whole head"));
    }
    String::from_utf8(read).expect("text")
}

/// A backend that answers any request with `answer` and ends the connection.
async fn answers(answer: impl Into<String>) -> Target {
    let answer = answer.into();
    backend(async move |mut stream| {
        head(&mut stream).await;
        stream
            .write_all(answer.as_bytes())
            .await
            .expect("a connection");
    })
    .await
}

fn as_probe(kind: ProbeKind) -> Probe {
    Probe {
        kind,
        interval: Duration::from_millis(10),
        timeout: Duration::from_secs(5),
        rise: 1,
        fall: 1,
    }
}

/// Probes once; `expected` is the reason, or "" for success.
async fn check(probe: &Probe, target: &Target, expected: &str) {
    let reason = match super::probe(probe, target, &OwnAddresses::default()).await {
        Ok(took) => {
            assert!(took < probe.timeout);
            String::new()
        }
        Err(fault) => fault.reason(),
    };
    let to = target.backend.to_string();
    assert_eq!(reason.replace(&to, "BACKEND"), expected);
}

#[tokio::test]
async fn tcp_wants_a_connection() {
    let probe = as_probe(ProbeKind::Tcp);
    let mut target = backend(async |stream| drop(stream)).await;
    check(&probe, &target, "").await;
    target = backend(async |_| ()).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    target.backend = BackendAddr::Ip(listener.local_addr().expect("bound"));
    drop(listener);
    check(&probe, &target, "BACKEND refused the connection").await;
}

#[tokio::test]
async fn a_probe_says_in_the_proxy_header_that_it_speaks_for_nobody() {
    let expect = [
        (ProxyVersion::V1, &b"PROXY UNKNOWN\r\n"[..]),
        (
            ProxyVersion::V2,
            b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x20\x00\x00\x00",
        ),
    ];
    for (version, bytes) in expect {
        let (tell, mut told) = mpsc::channel(1);
        let mut target = backend(async move |mut stream| {
            let mut read = Vec::new();
            stream.read_to_end(&mut read).await.expect("bytes");
            tell.send(read).await.expect("the test waits");
        })
        .await;
        target.proxy_protocol = Some(version);
        check(&as_probe(ProbeKind::Tcp), &target, "").await;
        assert_eq!(told.recv().await.as_deref(), Some(bytes));
    }
}

fn http(body: Option<&str>) -> Probe {
    as_probe(ProbeKind::Http {
        path: "/healthz?deep=1".to_owned().into(),
        host: None,
        status: vec![(200, 299), (418, 418)],
        body: body.map(str::to_owned),
    })
}

#[tokio::test]
async fn http_wants_status_and_body() {
    let good = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nready";
    check(&http(None), &answers(good).await, "").await;
    check(&http(Some("ready")), &answers(good).await, "").await;
    check(
        &http(Some("fine")),
        &answers(good).await,
        "the first 5 bytes of the body do not contain `fine`",
    )
    .await;
    check(&http(None), &answers("HTTP/1.1 418 Tea\r\n\r\n").await, "").await;
    check(
        &http(None),
        &answers("HTTP/1.1 503 Not now\r\n\r\n").await,
        "expected status 200-299, 418, got 503",
    )
    .await;
    check(
        &http(None),
        &answers("220 mail.example.com ESMTP\r\n").await,
        "failed while waiting for the answer: invalid HTTP version parsed",
    )
    .await;
    check(
        &http(Some("ready")),
        &answers("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nrea").await,
        "failed while reading the body: error reading a body from connection: \
         end of file before message length reached",
    )
    .await;
    check(
        &http(None),
        &answers("").await,
        "failed while waiting for the answer: connection closed before message completed",
    )
    .await;
}

#[tokio::test]
async fn http_reads_no_more_of_a_body_than_it_needs() {
    // The text comes in two pieces, and the body never ends.
    let target = backend(async |mut stream| {
        let asked = head(&mut stream).await;
        assert!(
            asked.starts_with("GET /healthz?deep=1 HTTP/1.1\r\nhost: 127.0.0.1:"),
            "{asked}"
        );
        let pieces = ["HTTP/1.1 200 OK\r\n\r\n", "re", "ady"];
        for piece in pieces {
            stream
                .write_all(piece.as_bytes())
                .await
                .expect("a connection");
            stream.flush().await.expect("a connection");
            tokio::task::yield_now().await;
        }
        // Until the probe hangs up.
        let _ = stream.read_u8().await;
    })
    .await;
    check(&http(Some("ready")), &target, "").await;

    let target = backend(async |mut stream| {
        head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'.'; 4096]).await.is_ok() {}
    })
    .await;
    check(
        &http(Some("ready")),
        &target,
        "the first 65536 bytes of the body do not contain `ready`",
    )
    .await;
}

#[tokio::test]
async fn the_time_of_a_probe_is_bounded_and_where_it_went_is_told() {
    let silent = || backend(async |mut stream| while stream.read_u8().await.is_ok() {});
    let mut probe = http(None);
    probe.timeout = Duration::from_millis(50);
    let reason = "timed out after 50ms while waiting for the answer";
    check(&probe, &silent().await, reason).await;
    let mut probe = websocket(None, None, None);
    probe.timeout = Duration::from_millis(50);
    check(&probe, &silent().await, reason).await;
}

fn websocket(subprotocol: Option<&str>, send: Option<&str>, expect: Option<&str>) -> Probe {
    as_probe(ProbeKind::WebSocket {
        path: "/ws".to_owned().into(),
        host: Some("chat.test".to_owned()),
        subprotocol: subprotocol.map(str::to_owned),
        send: send.map(str::to_owned),
        expect: expect.map(str::to_owned),
    })
}

/// Answers the upgrade with `extra` header lines after the accept key.
async fn upgrade(mut stream: TcpStream, extra: &str) -> WebSocketStream<TcpStream> {
    let asked = head(&mut stream).await;
    assert!(asked.contains("\r\nhost: chat.test\r\n"), "{asked}");
    let key = asked
        .lines()
        .find_map(|line| line.strip_prefix("sec-websocket-key: "))
        .expect("a key");
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Go\r\nupgrade: WebSocket\r\nconnection: keep-alive, Upgrade\r\n\
         sec-websocket-accept: {accept}\r\n{extra}\r\n"
    );
    stream
        .write_all(answer.as_bytes())
        .await
        .expect("a connection");
    WebSocketStream::from_raw_socket(stream, Role::Server, None).await
}

/// A backend that upgrades, answers texts with `answer` if there is one, and pings and the close as
/// tungstenite does.
async fn speaks(extra: &'static str, answer: Option<&'static str>) -> Target {
    backend(async move |stream| {
        let mut socket = upgrade(stream, extra).await;
        while let Some(Ok(message)) = socket.next().await {
            if let (Message::Text(_), Some(answer)) = (message, answer) {
                socket
                    .send(Message::text("hello"))
                    .await
                    .expect("a session");
                socket.send(Message::text(answer)).await.expect("a session");
            }
        }
    })
    .await
}

#[tokio::test]
async fn websocket_holds_a_whole_small_session() {
    check(&websocket(None, None, None), &speaks("", None).await, "").await;
    let named = "sec-websocket-protocol: chat.v2\r\n";
    let probe = websocket(Some("chat.v2"), Some("are you well?"), Some("well"));
    check(&probe, &speaks(named, Some("quite well")).await, "").await;
    check(
        &probe,
        &speaks("", None).await,
        "the 101 should have `sec-websocket-protocol: chat.v2`, got none",
    )
    .await;
    check(
        &probe,
        &speaks("sec-websocket-protocol: chat.v1\r\n", None).await,
        "the 101 should have `sec-websocket-protocol: chat.v2`, got `chat.v1`",
    )
    .await;
    let mut probe = websocket(None, Some("are you well?"), Some("well"));
    probe.timeout = Duration::from_millis(300);
    check(
        &probe,
        &speaks("", Some("\x1b[31msick")).await,
        "timed out after 300ms while waiting for a message with `well` \
         (last came `\\u{1b}[31msick`)",
    )
    .await;
}

#[tokio::test]
async fn i9_websocket_wants_an_upgrade_for_its_key() {
    let probe = websocket(None, None, None);
    check(
        &probe,
        &answers("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await,
        "expected status 101, got 200",
    )
    .await;
    let upgrade = "HTTP/1.1 101 Go\r\nupgrade: websocket\r\nconnection: upgrade\r\n";
    let mut target = answers(format!("{upgrade}sec-websocket-accept: AAAA\r\n\r\n")).await;
    let reason = super::probe(&probe, &target, &OwnAddresses::default())
        .await
        .expect_err("a wrong key")
        .reason();
    assert!(
        reason.starts_with("the 101 should have `sec-websocket-accept: "),
        "{reason}"
    );
    assert!(reason.ends_with("=`, got `AAAA`"), "{reason}");
    target = answers("HTTP/1.1 101 Go\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n").await;
    check(
        &probe,
        &target,
        "the 101 should have `upgrade: websocket`, got `h2c`",
    )
    .await;
}

#[tokio::test]
async fn websocket_wants_its_own_pong() {
    let mut probe = websocket(None, None, None);
    probe.timeout = Duration::from_millis(300);
    let target = backend(async |stream| {
        let mut socket = upgrade(stream, "").await;
        socket
            .send(Message::Pong("not yours".into()))
            .await
            .expect("a session");
        // Never reads, so it never answers the ping.
        std::future::pending().await
    })
    .await;
    check(
        &probe,
        &target,
        "timed out after 300ms while waiting for the pong (one came with another payload)",
    )
    .await;
}

/// A frame of a backend.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 127];
    frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    frame.extend_from_slice(payload);
    if payload.len() < 126 {
        frame.drain(2..10);
        frame[1] = payload.len() as u8;
    }
    frame
}

/// Upgrades, sends these bytes, then answers the ping and `ends` the connection in its own way.
async fn greets(greeting: Vec<u8>, closes: bool) -> Target {
    backend(async move |stream| {
        let mut stream = upgrade(stream, "").await.into_inner();
        stream.write_all(&greeting).await.expect("a session");
        let mut ping = [0; 14];
        stream.read_exact(&mut ping).await.expect("a ping");
        // Its key is zero.
        let pong = frame(0x8a, &ping[6..]);
        stream.write_all(&pong).await.expect("a session");
        if closes {
            stream.shutdown().await.expect("a connection");
        }
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
    })
    .await
}

#[tokio::test]
async fn what_sessions_get_through_with_is_no_fault() {
    let probe = websocket(None, None, None);
    // A message of 5 MiB, one in fragments with a pong between them, one that is no UTF-8.
    let mut long = frame(0x81, &vec![b'x'; 5 << 20]);
    long.extend(frame(0x01, &[b'y'; 70_000]));
    long.extend(frame(0x8a, b"by itself"));
    long.extend(frame(0x80, &[0xff; 70_000]));
    check(&probe, &greets(long, false).await, "").await;
    // Ends the connection instead of answering the close frame.
    check(&probe, &greets(Vec::new(), true).await, "").await;
    // Text that is expected lies on the border of two reads, deep in a long message.
    let mut said = vec![b'.'; 1 << 20];
    said.extend_from_slice(b"quite well");
    said.resize(2 << 20, b'.');
    let expects = websocket(None, None, Some("quite well"));
    check(&expects, &greets(frame(0x82, &said), false).await, "").await;
    // The head of an answer may have what traffic may have.
    let padding = format!("x-padding: {}\r\n", "p".repeat(20 << 10));
    let answer = format!("HTTP/1.1 200 OK\r\n{padding}content-length: 4\r\n\r\nwell");
    check(&http(Some("well")), &answers(answer).await, "").await;
    let many = "x-more: 1\r\n".repeat(300);
    let answer = format!("HTTP/1.1 200 OK\r\n{many}content-length: 4\r\n\r\nwell");
    check(&http(Some("well")), &answers(answer).await, "").await;
}

#[tokio::test]
async fn what_ends_sessions_is_a_fault() {
    let probe = websocket(None, None, None);
    let of = |what: &str| format!("failed while waiting for the pong: {what}");
    let masked = vec![0x81, 0x81, 0, 0, 0, 0, b'x'];
    let reason = of("frame of a server with mask");
    check(&probe, &greets(masked, false).await, &reason).await;
    let reason = of("continuation without a message");
    check(&probe, &greets(frame(0x80, b"x"), false).await, &reason).await;
    let reason = of("reserved bit set without an extension");
    check(&probe, &greets(frame(0xc1, b"x"), false).await, &reason).await;
}

#[tokio::test]
async fn websocket_wants_no_end_before_the_pong() {
    let probe = websocket(None, None, None);
    let target = backend(async |stream| {
        let mut stream = upgrade(stream, "").await.into_inner();
        stream.shutdown().await.expect("a connection");
        while stream.read_u8().await.is_ok() {}
    })
    .await;
    check(
        &probe,
        &target,
        "the backend ended the connection without a close frame while waiting for the pong",
    )
    .await;

    let target = backend(async |stream| {
        use tokio_tungstenite::tungstenite::protocol::CloseFrame;
        let mut socket = upgrade(stream, "").await;
        let frame = CloseFrame {
            code: 1013.into(),
            reason: "come back later".into(),
        };
        socket.close(Some(frame)).await.expect("a session");
        while socket.next().await.is_some() {}
    })
    .await;
    check(
        &probe,
        &target,
        "the backend closed with 1013 `come back later` while waiting for the pong",
    )
    .await;
}

/// Passes results on to the test.
struct Tell(mpsc::Sender<(String, Result<(), String>)>);

impl Observe for Tell {
    fn own(&self) -> &OwnAddresses {
        const NONE: &OwnAddresses = &OwnAddresses::new(Vec::new());
        NONE
    }

    fn observe(
        &self,
        upstream: &UpstreamName,
        backend: &BackendId,
        result: Result<Duration, ProbeFault>,
    ) -> Next {
        let result = result.map(drop).map_err(|fault| fault.reason());
        // A full channel is a test that has seen enough.
        let _ = self.0.try_send((format!("{upstream}/{backend}"), result));
        Next::InTurn
    }
}

fn upstream(name: &str, backends: &[BackendAddr], probe: Option<Probe>) -> Arc<Upstream> {
    let backend = |address: &BackendAddr| Backend {
        id: BackendId::new(address.to_string()),
        address: address.clone(),
        weight: 1,
        zone: None,
        labels: Default::default(),
        state: AdminState::Active,
    };
    Arc::new(Upstream {
        name: UpstreamName::from(name),
        policy: Policy::ConsistentHash,
        bounded_load: None,
        backends: backends.iter().map(backend).collect(),
        probe,
        passive: Passive {
            failures: 0,
            clients: 2,
            ejection: Duration::ZERO,
            ejection_max: Duration::ZERO,
            ejected_share_max: 0.0,
            early_close: Duration::ZERO,
        },
        panic_threshold: 0.0,
        tls: None,
        proxy_protocol: None,
        forwarded_header: false,
        connect_timeout: Duration::from_secs(1),
        attempts: 1,
        idle_connections: 0,
        response_limits: crate::config::snapshot::HeadLimits::default(),
        drain: crate::config::snapshot::Drain::default(),
        rebalance: crate::config::snapshot::Rebalance::default(),
        slow_start: None,
        sessions_per_backend: None,
    })
}

async fn next_of(
    results: &mut mpsc::Receiver<(String, Result<(), String>)>,
    of: &str,
) -> Result<(), String> {
    let wait = async {
        loop {
            let (who, result) = results.recv().await.expect("probes go on");
            if who == of {
                return result;
            }
        }
    };
    timeout(Duration::from_secs(5), wait)
        .await
        .expect("a result in time")
}

#[tokio::test]
async fn backends_are_probed_again_and_again_until_they_go() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let to = BackendAddr::Ip(address);
    let gone: BackendAddr = "127.0.0.1:1".parse().expect("an address");
    let (tell, mut results) = mpsc::channel(64);
    let mut probes = Probes::new(Arc::new(Tell(tell)));
    let chat = upstream(
        "chat",
        &[to.clone(), gone.clone()],
        Some(as_probe(ProbeKind::Tcp)),
    );
    let quiet = upstream("quiet", std::slice::from_ref(&to), None);
    probes.apply([(&chat, None), (&quiet, None)]);
    assert_eq!(probes.len(), 2);

    let (well, sick) = (format!("chat/{to}"), format!("chat/{gone}"));
    assert_eq!(next_of(&mut results, &well).await, Ok(()));
    assert_eq!(next_of(&mut results, &well).await, Ok(()));
    let refused = Err(format!("{gone} refused the connection"));
    assert_eq!(next_of(&mut results, &sick).await, refused);
    drop(listener);
    while next_of(&mut results, &well).await.is_ok() {}

    probes.apply([]);
    assert!(probes.is_empty());
    drop(probes);
    // The tasks held the only senders.
    let ended = async { while results.recv().await.is_some() {} };
    timeout(Duration::from_secs(5), ended)
        .await
        .expect("every task ends");
}

#[tokio::test]
async fn what_did_not_change_goes_on_undisturbed() {
    let (one, two): (BackendAddr, BackendAddr) = (
        "127.0.0.1:1".parse().expect("an address"),
        "127.0.0.1:2".parse().expect("an address"),
    );
    let (tell, _results) = mpsc::channel(64);
    let mut probes = Probes::new(Arc::new(Tell(tell)));
    let probe = as_probe(ProbeKind::Tcp);
    let both = [one.clone(), two.clone()];
    probes.apply([(&upstream("chat", &both, Some(probe.clone())), None)]);
    let before = probes.task_ids();

    let mut other = upstream("chat", &both, Some(probe.clone()));
    Arc::make_mut(&mut other).policy = Policy::Maglev;
    Arc::make_mut(&mut other).backends[0].weight = 7;
    probes.apply([(&other, None)]);
    assert_eq!(probes.task_ids(), before);

    Arc::make_mut(&mut other).backends[1].address = "127.0.0.1:3".parse().expect("an address");
    probes.apply([(&other, None)]);
    let moved = probes.task_ids();
    assert_eq!(moved[0], before[0]);
    assert_ne!(moved[1], before[1]);

    let slower = Probe {
        interval: Duration::from_secs(9),
        ..probe
    };
    probes.apply([(&upstream("chat", &[one], Some(slower)), None)]);
    let after = probes.task_ids();
    assert_eq!(after.len(), 1);
    assert_ne!(after[0], before[0]);
}
