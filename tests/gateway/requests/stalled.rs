//! Bytes that do not move: what a peer that does not read, or does not send, makes the gateway
//! hold, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::backend::{read_head, wait_for_end};
use crate::support::time::{pace, stands_still};
use crate::support::{Backend, Gateway, Raw, config, eventually};

/// A backend that answers with many megabytes.
async fn generous(bytes: usize) -> Backend {
    Backend::scripted(move |mut stream| async move {
        if read_head(&mut stream).await.is_empty() {
            return;
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.ok();
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..bytes / piece.len() {
            if stream.write_all(&piece).await.is_err() {
                return;
            }
        }
        wait_for_end(&mut stream).await;
    })
    .await
}

/// A backend that reads a request's head and no more of it, until the connection is reset.
async fn unreading() -> Backend {
    Backend::scripted(|mut stream| async move {
        read_head(&mut stream).await;
        while stream.write_all(b"").await.is_ok() {
            let mut byte = [0];
            // Peeking does not make room for more.
            if !matches!(stream.peek(&mut byte).await, Ok(1..)) {
                return;
            }
            pace(Duration::from_millis(50)).await;
        }
    })
    .await
}

/// A client that reads nothing makes its sender stop: this much may be taken for it. The system's
/// socket buffers grow as far as its own settings allow; the gateway's are far below a megabyte.
fn taken_max() -> usize {
    let largest = |setting: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{setting}")).unwrap();
        text.split_whitespace()
            .last()
            .unwrap()
            .parse::<usize>()
            .unwrap()
    };
    largest("tcp_wmem") + largest("tcp_rmem") + (1 << 20)
}

#[tokio::test]
async fn i8_a_client_that_does_not_read_makes_its_backend_stop() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let backend = Backend::scripted(move |mut stream| {
        let sent = Arc::clone(&counted);
        async move {
            // The backend's own share of what waits is small.
            let socket = socket2::SockRef::from(&stream);
            socket.set_send_buffer_size(16 * 1024).unwrap();
            read_head(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
            stream.write_all(head).await.ok();
            while let Ok(bytes) = stream.write(&[b'x'; 16 * 1024]).await {
                sent.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    })
    .await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.read(1).await;
    let written = || sent.load(Ordering::Relaxed) as u64;
    let taken = stands_still("the backend stops", written).await as usize;
    eprintln!(
        "{} KiB are taken for a client that does not read",
        taken >> 10
    );
    assert!(taken < taken_max(), "{taken} bytes");
}

/// What the gateway holds for each of many exchanges that stand still, in KiB.
async fn held(gateway: &Gateway, requests: &[u8]) -> u64 {
    const CLIENTS: u64 = 150;
    let first = gateway.memory_kib("VmRSS");
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut raw = Raw::connect(gateway.address()).await;
        // What the buffers of the system and of the gateway take, and no more.
        let mut rest = requests;
        eventually("nothing more is taken", async || {
            let write = raw.stream.write(rest);
            match tokio::time::timeout(Duration::from_millis(20), write).await {
                Ok(taken) => rest = &rest[taken.unwrap()..],
                Err(_) => return true,
            }
            rest.is_empty()
        })
        .await;
        clients.push(raw);
    }
    stands_still("memory stands still", || gateway.memory_kib("VmRSS")).await;
    assert_eq!(gateway.connections(), CLIENTS);
    gateway.memory_kib("VmHWM").saturating_sub(first) / CLIENTS
}

#[tokio::test]
async fn i8_unread_answers_hold_little() {
    let backend = generous(8 << 20).await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let each = held(&gateway, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eprintln!("{each} KiB for each answer that is not read");
    assert!(each < 192, "{each} KiB for each answer that is not read");
}

#[tokio::test]
async fn i8_unread_uploads_hold_little() {
    let backend = unreading().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let mut upload = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 33554432\r\n\r\n".to_vec();
    upload.resize(upload.len() + (32 << 20), b'x');
    let each = held(&gateway, &upload).await;
    eprintln!("{each} KiB for each upload that is not read");
    assert!(each < 192, "{each} KiB for each upload that is not read");
}

#[tokio::test]
async fn i8_a_client_that_does_not_read_loses_its_answer_in_time() {
    let backend = generous(64 << 20).await;
    for (timeouts, reason) in [
        ("{ progress = \"500ms\" }", "client_stalled"),
        ("{ idle = \"500ms\", progress = \"1h\" }", "idle_timeout"),
    ] {
        let route = format!("timeouts = {timeouts}");
        let gateway = Gateway::start(&config::echo(&[backend.address], "", &route)).await;
        for line in ["GET / HTTP/1.1", "GET / HTTP/1.0"] {
            let mut raw = Raw::connect(gateway.address()).await;
            raw.write(format!("{line}\r\nHost: a\r\n\r\n")).await;
            assert_eq!(raw.status().await, Some(200));
            eventually("the gateway lets go", async || gateway.connections() == 0).await;
            // Reading on shows that the answer is not whole.
            let rest = raw.stream.read_to_end(&mut Vec::new()).await;
            assert!(rest.is_err(), "the end looks proper: {rest:?}");
        }
        let records = gateway.wait_for_requests(2).await;
        for record in records {
            assert_eq!(
                (&record["status"], &record["refusal"]),
                (&200.into(), &reason.into())
            );
            assert!(record["bytes_out"].as_u64().unwrap() < 64 << 20);
        }
        let counted = format!("reason=\"{reason}\"");
        assert_eq!(gateway.metric("sessile_refusals_total", &[&counted]), 2.0);
    }
}

#[tokio::test]
async fn i8_a_client_that_stops_its_upload_is_answered_408() {
    let backend = Backend::echo().await;
    let upstream = "passive = { failures = 1, ejection = \"60s\", ejected_share_max = 1.0 }";
    let route = "timeouts = { progress = \"2s\", response = \"1h\" }";
    let silent = Backend::scripted(|mut stream| async move {
        wait_for_end(&mut stream).await;
    })
    .await;
    let gateway = Gateway::start(&config::echo(&[silent.address], upstream, route)).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this")
        .await;
    assert_eq!(raw.status().await, Some(408));
    let records = gateway.wait_for_requests(1).await;
    assert_eq!(records[0]["refusal"], "client_stalled");
    assert_eq!(records[0]["bytes_in"], 9);
    let shown = gateway.backend("echo", silent.address);
    assert_eq!(shown["failures"], 0, "the client's fault");

    // Likewise while an answer comes already.
    let gateway = Gateway::start(&config::echo(&[backend.address], upstream, route)).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this")
        .await;
    assert_eq!(raw.status().await, Some(200));
    raw.read_to_end().await;
    let records = gateway.wait_for_requests(1).await;
    assert_eq!(
        (&records[0]["status"], &records[0]["refusal"]),
        (&200.into(), &"client_stalled".into())
    );
}

#[tokio::test]
async fn i8_a_backend_that_does_not_read_an_upload_is_a_504() {
    let backend = unreading().await;
    let upstream = "passive = { failures = 5, ejection = \"60s\", ejected_share_max = 1.0 }";
    let route = "timeouts = { progress = \"500ms\", response = \"1h\" }";
    let gateway = Gateway::start(&config::echo(&[backend.address], upstream, route)).await;
    let raw = Raw::connect(gateway.address()).await;
    let (mut reader, mut writer) = raw.stream.into_split();
    let upload = tokio::spawn(async move {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
        writer.write_all(head.as_bytes()).await.ok();
        let piece = vec![b'x'; 64 * 1024];
        while writer.write_all(&piece).await.is_ok() {}
    });
    let mut start = [0; 12];
    reader.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 504");
    upload.abort();
    let records = gateway.wait_for_requests(1).await;
    assert_eq!(records[0]["refusal"], "backend_stalled");
    assert_eq!(gateway.backend("echo", backend.address)["failures"], 1);
}

#[tokio::test]
async fn an_upload_that_moves_may_take_longer_than_an_answer() {
    let backend = Backend::echo().await;
    let route = "timeouts = { response = \"300ms\", progress = \"10s\" }";
    let silent = Backend::scripted(|mut stream| async move {
        read_head(&mut stream).await;
        stream.read_exact(&mut [0; 5]).await.ok();
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer).await.ok();
        wait_for_end(&mut stream).await;
    })
    .await;
    drop(backend);
    let gateway = Gateway::start(&config::echo(&[silent.address], "", route)).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        .await;
    for _ in 0..5 {
        // The client is as slow as that: five times 100 ms are more than 300 ms.
        pace(Duration::from_millis(100)).await;
        raw.write("x").await;
    }
    assert_eq!(raw.status().await, Some(200));
}
