//! Probes against real sockets that are served by a script.

mod scheduling;
mod websocket;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::base::addr::{BackendAddr, OwnAddresses};
use crate::config::snapshot::{Probe, ProbeKind, ProxyVersion};

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
async fn tcp_requires_a_connection() {
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
async fn the_proxy_header_of_a_probe_names_no_client() {
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
async fn http_requires_status_and_body() {
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
async fn a_probe_has_a_time_limit_and_reports_its_last_step() {
    let silent = || backend(async |mut stream| while stream.read_u8().await.is_ok() {});
    let mut probe = http(None);
    probe.timeout = Duration::from_millis(50);
    let reason = "timed out after 50ms while waiting for the answer";
    check(&probe, &silent().await, reason).await;
    let mut probe = websocket::as_websocket_probe(None, None, None);
    probe.timeout = Duration::from_millis(50);
    check(&probe, &silent().await, reason).await;
}
