//! WebSocket probes against backends that keep or break the protocol.

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

pub(super) fn as_websocket_probe(
    subprotocol: Option<&str>,
    send: Option<&str>,
    expect: Option<&str>,
) -> Probe {
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
async fn websocket_completes_a_small_session() {
    check(
        &as_websocket_probe(None, None, None),
        &speaks("", None).await,
        "",
    )
    .await;
    let named = "sec-websocket-protocol: chat.v2\r\n";
    let probe = as_websocket_probe(Some("chat.v2"), Some("are you well?"), Some("well"));
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
    let mut probe = as_websocket_probe(None, Some("are you well?"), Some("well"));
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
async fn i9_websocket_requires_an_upgrade_for_its_key() {
    let probe = as_websocket_probe(None, None, None);
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
async fn websocket_requires_the_pong_to_its_ping() {
    let mut probe = as_websocket_probe(None, None, None);
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
async fn deviations_that_sessions_tolerate_are_no_faults() {
    let probe = as_websocket_probe(None, None, None);
    // A message of 5 MiB, one in fragments with a pong between them, one that is no UTF-8.
    let mut long = frame(0x81, &vec![b'x'; 5 << 20]);
    long.extend(frame(0x01, &[b'y'; 70_000]));
    long.extend(frame(0x8a, b"by itself"));
    long.extend(frame(0x80, &[0xff; 70_000]));
    check(&probe, &greets(long, false).await, "").await;
    // Ends the connection instead of answering the close frame.
    check(&probe, &greets(Vec::new(), true).await, "").await;
    // Text that is expected lies on the border of two reads, deep in a long message.
    let mut sent = vec![b'.'; 1 << 20];
    sent.extend_from_slice(b"quite well");
    sent.resize(2 << 20, b'.');
    let expects = as_websocket_probe(None, None, Some("quite well"));
    check(&expects, &greets(frame(0x82, &sent), false).await, "").await;
    // The head of an answer may have what traffic may have.
    let padding = format!("x-padding: {}\r\n", "p".repeat(20 << 10));
    let answer = format!("HTTP/1.1 200 OK\r\n{padding}content-length: 4\r\n\r\nwell");
    check(&http(Some("well")), &answers(answer).await, "").await;
    let many = "x-more: 1\r\n".repeat(300);
    let answer = format!("HTTP/1.1 200 OK\r\n{many}content-length: 4\r\n\r\nwell");
    check(&http(Some("well")), &answers(answer).await, "").await;
}

#[tokio::test]
async fn violations_that_end_sessions_are_faults() {
    let probe = as_websocket_probe(None, None, None);
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
async fn an_end_before_the_pong_is_a_fault() {
    let probe = as_websocket_probe(None, None, None);
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
