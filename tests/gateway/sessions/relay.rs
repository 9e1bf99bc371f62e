//! Between the 101 and the close: every byte, in order, and no more of it held than stated.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;

use crate::support::backend::{upgrade, wait_for_end};
use crate::support::raw::{masked, unmasked};
use crate::support::time::{is_held_up, pace, stands_still};
use crate::support::{Backend, Client, Dial, Gateway, Raw, config, eventually};

async fn gateway(backend: &Backend, route: &str) -> Gateway {
    Gateway::start(&config::echo(&[backend.address], "", route)).await
}

#[tokio::test]
async fn i10_payloads_of_every_length_form_are_unchanged() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let mut client = Client::connect(gateway.address(), "/").await;
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000, 16 << 20] {
        let payload: Vec<u8> = (0..length).map(|_| fastrand::u8(..)).collect();
        client.send(payload.clone()).await;
        assert!(
            client.receive().await.into_data() == payload,
            "{length} bytes came back changed"
        );
        let text = "ü".repeat(length / 2);
        client.echo(&text).await;
    }
    client.close().await;
}

#[tokio::test]
async fn i10_frames_split_anywhere_arrive_as_they_were_sent() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let mut raw = Raw::upgrade(gateway.address()).await;
    // A message in three fragments with a ping between them, a byte at a time.
    let bytes = [
        masked(0x01, b"one "),
        masked(0x89, b"ping"),
        masked(0x00, b"two "),
        masked(0x80, b"three"),
        masked(0x88, &[0x03, 0xe8]),
    ]
    .concat();
    for byte in bytes {
        raw.write([byte]).await;
    }
    let answer = raw.read_to_end().await;
    let wanted = [
        unmasked(0x8a, b"ping"),
        unmasked(0x81, b"one two three"),
        unmasked(0x88, &[0x03, 0xe8]),
    ];
    assert_eq!(answer, wanted.concat());
}

#[tokio::test]
async fn i10_close_codes_and_reasons_pass_in_both_directions() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let long = "x".repeat(123);
    let cases = [
        (1000, ""),
        (1001, "away"),
        (1008, "später"),
        (3000, "a"),
        (4999, long.as_str()),
    ];
    for (code, reason) in cases {
        let mut client = Client::connect(gateway.address(), "/").await;
        client.send(format!("!close {code} {reason}")).await;
        assert_eq!(client.end().await, Some((code, reason.to_owned())));

        let client = Client::connect(gateway.address(), "/").await;
        assert_eq!(
            client.close_with(code, reason).await,
            Some((code, reason.to_owned()))
        );
        let wanted = Some((code, reason.to_owned()));
        eventually("the backend sees it", async || {
            backend.ends().last() == Some(&wanted)
        })
        .await;
    }
}

#[tokio::test]
async fn i10_pings_are_answered_by_the_other_end_not_by_the_gateway() {
    let backend = Backend::scripted(|mut stream| async move {
        upgrade(&mut stream).await;
        // The ping comes as it was sent, and only this answers it.
        let mut ping = [0; 10];
        stream.read_exact(&mut ping).await.unwrap();
        assert_eq!(ping[..], masked(0x89, b"mine"));
        stream.write_all(&unmasked(0x8a, b"mine")).await.unwrap();
        wait_for_end(&mut stream).await;
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let mut raw = Raw::upgrade(gateway.address()).await;
    raw.write(masked(0x89, b"mine")).await;
    assert_eq!(raw.read(6).await, unmasked(0x8a, b"mine"));
}

#[tokio::test]
async fn i8_a_client_that_stops_reading_stops_its_backend() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let dial = Dial::new("/").receive_buffer(65_536);
    let mut client = dial.connect(gateway.address()).await.unwrap();
    client.echo("warm").await;
    let before = gateway.memory_kib("VmRSS");
    let (count, size) = (4_000, 65_536);
    client.send(format!("!flood {count} {size}")).await;
    let sent = stands_still("the backend stops", || backend.sent()).await;
    let grown = gateway.memory_kib("VmRSS").saturating_sub(before);
    assert!(sent < 32 << 20, "{sent} bytes went into buffers");
    assert!(grown < 4096, "the gateway grew by {grown} KiB");
    for _ in 0..count {
        assert_eq!(client.receive().await.len(), size);
    }
    client.echo("alive").await;
    client.close().await;
}

#[tokio::test]
async fn i8_a_backend_that_stops_reading_stops_its_client() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "timeouts = { close = \"200ms\" }").await;
    let mut client = Client::connect(gateway.address(), "/").await;
    client.echo("warm").await;
    let before = gateway.memory_kib("VmRSS");
    client.send("!sleep").await;
    let mut sent = 0_u64;
    let message = Message::binary(vec![0; 65_536]);
    while !is_held_up(client.socket.send(message.clone())).await {
        sent += 65_536;
        assert!(sent < 64 << 20, "the client was never held up");
    }
    let grown = gateway.memory_kib("VmRSS").saturating_sub(before);
    assert!(grown < 4096, "the gateway grew by {grown} KiB");
    drop(client);
    drop(backend);
}

#[tokio::test]
async fn a_client_that_closed_its_sending_half_still_gets_its_answer() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let mut raw = Raw::upgrade(gateway.address()).await;
    raw.write(masked(0x81, b"last words")).await;
    raw.stream.shutdown().await.unwrap();
    let answer = raw.read_to_end().await;
    assert!(
        answer.starts_with(&unmasked(0x81, b"last words")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn an_idle_session_is_closed_with_3008() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "timeouts = { idle = \"1s\" }").await;
    let mut client = Client::connect(gateway.address(), "/").await;
    // Each message begins the time anew: together they take longer than it.
    for _ in 0..12 {
        pace(Duration::from_millis(100)).await;
        client.echo("not idle").await;
    }
    let (code, reason) = client.end().await.unwrap();
    assert_eq!(code, 3008);
    assert!(!reason.is_empty());
    let record = gateway.wait_for_records(1).await.remove(0);
    assert_eq!(
        (record.ended_by.as_str(), record.close_code),
        ("gateway", Some(3008))
    );
}

#[tokio::test]
async fn a_session_ends_at_its_lifetime_though_it_is_busy() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "timeouts = { lifetime = \"500ms\" }").await;
    let mut client = Client::connect(gateway.address(), "/").await;
    let mut answers = 0;
    while client.socket.send(Message::text("busy")).await.is_ok() {
        match client.socket.next().await {
            Some(Ok(Message::Text(_))) => answers += 1,
            Some(Ok(Message::Close(frame))) => {
                assert!(!frame.unwrap().reason.is_empty());
                break;
            }
            other => panic!("{other:?} instead of a close"),
        }
    }
    assert!(answers > 0);
    assert_eq!(gateway.wait_for_records(1).await[0].ended_by, "gateway");
}

/// A backend that sends the header of a frame of 100 bytes and half of them, waits for `go`, and
/// sends the rest.
async fn half_a_frame(go: Arc<Notify>) -> Backend {
    Backend::scripted(move |mut stream| {
        let go = Arc::clone(&go);
        async move {
            upgrade(&mut stream).await;
            let frame = unmasked(0x82, &[b'x'; 100]);
            stream.write_all(&frame[..52]).await.unwrap();
            go.notified().await;
            stream.write_all(&frame[52..]).await.ok();
            wait_for_end(&mut stream).await;
        }
    })
    .await
}

#[tokio::test]
async fn i10_a_close_of_the_gateways_own_waits_for_the_frames_end() {
    let go = Arc::new(Notify::new());
    let backend = half_a_frame(Arc::clone(&go)).await;
    let gateway = gateway(&backend, "timeouts = { close = \"5s\" }").await;
    let mut raw = Raw::upgrade(gateway.address()).await;
    let begun = raw.read(52).await;
    let id = gateway.sessions()[0]["id"].as_str().unwrap().to_owned();
    let closed = gateway.admin("DELETE", &format!("/v1/sessions/{id}"), "");
    assert!((200..300).contains(&closed.status), "{closed:?}");
    go.notify_one();
    let rest = raw.read(50).await;
    assert_eq!([begun, rest].concat(), unmasked(0x82, &[b'x'; 100]));
    let head = raw.read(2).await;
    assert_eq!(head[0], 0x88, "no close frame after the frame's end");
}

#[tokio::test]
async fn i10_without_the_frames_end_no_close_frame_is_squeezed_in() {
    let go = Arc::new(Notify::new());
    let backend = half_a_frame(Arc::clone(&go)).await;
    let gateway = gateway(&backend, "timeouts = { close = \"300ms\" }").await;
    let mut raw = Raw::upgrade(gateway.address()).await;
    raw.read(52).await;
    let id = gateway.sessions()[0]["id"].as_str().unwrap().to_owned();
    gateway.admin("DELETE", &format!("/v1/sessions/{id}"), "");
    assert_eq!(
        raw.read_to_end().await,
        b"",
        "bytes inside a frame that are not its own"
    );
}
