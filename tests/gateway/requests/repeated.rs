//! What is sent to a backend again, and what never is: nothing that one may have acted on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::backend::{read_head, switching, wait_for_end};
use crate::support::raw::UPGRADE;
use crate::support::{Backend, Gateway, Raw, config, http};

/// The start of an answer.
const START: &[u8] = b"HTTP/1.1 2";

/// A backend that ends its first handshake with `last` and grants the others; both count in `seen`.
async fn dying(seen: &Arc<AtomicUsize>, last: &'static [u8]) -> Backend {
    let seen = Arc::clone(seen);
    Backend::scripted(move |mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            let head = read_head(&mut stream).await;
            if head.is_empty() {
                return;
            }
            if seen.fetch_add(1, Ordering::SeqCst) == 0 {
                stream.write_all(last).await.ok();
                return;
            }
            stream.write_all(switching(&head).as_bytes()).await.ok();
            wait_for_end(&mut stream).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_handshake_goes_to_another_backend_only_without_a_byte_of_an_answer() {
    for (last, status, handshakes) in [(&b""[..], 101, 2), (START, 502, 1)] {
        let seen = Arc::new(AtomicUsize::new(0));
        let (one, other) = (dying(&seen, last).await, dying(&seen, last).await);
        let text = config::echo(&[one.address, other.address], "", "");
        let gateway = Gateway::start(&text).await;
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(UPGRADE).await;
        assert_eq!(raw.status().await, Some(status), "{last:?}");
        assert_eq!(seen.load(Ordering::SeqCst), handshakes, "{last:?}");
    }
}

/// A backend that answers the first request of its first connection, reads the second one, says
/// `last` and ends that connection; it answers all others.
async fn closing(seen: &Arc<Mutex<Vec<String>>>, last: &'static [u8]) -> Backend {
    let seen = Arc::clone(seen);
    let answer = async |stream: &mut TcpStream| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer).await.ok();
    };
    Backend::scripted(move |mut stream| {
        let seen = Arc::clone(&seen);
        async move {
            let mut served = 0;
            loop {
                let head = read_head(&mut stream).await;
                let Some(line) = head.lines().next() else {
                    return;
                };
                if line.starts_with("POST") {
                    stream.read_exact(&mut [0; 4]).await.ok();
                }
                let before = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(line.to_owned());
                    seen.len() - 1
                };
                if served == 1 && before == 1 {
                    stream.write_all(last).await.ok();
                    return;
                }
                answer(&mut stream).await;
                served += 1;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_request_over_a_kept_connection_is_sent_again_only_if_it_has_no_effect() {
    let post = "POST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
    let get = "GET /two HTTP/1.1\r\nHost: a\r\n\r\n";
    let delete = "DELETE /two HTTP/1.1\r\nHost: a\r\n\r\n";
    for (request, last, status, requests) in [
        (get, &b""[..], 200, 3),
        (get, START, 502, 2),
        (post, b"", 502, 2),
        (delete, b"", 502, 2),
    ] {
        let seen = Arc::default();
        let backend = closing(&seen, last).await;
        // One worker has one set of kept connections.
        let text = config::echo(&[backend.address], "", "");
        let gateway = Gateway::start(&text).await;
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write("GET /one HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(raw.status().await, Some(200));
        raw.read(2).await;
        raw.write(request).await;
        assert_eq!(raw.status().await, Some(status), "{request} {last:?}");
        assert_eq!(seen.lock().unwrap().len(), requests, "{request} {last:?}");
    }
}

#[tokio::test]
async fn connections_are_kept_behind_an_answer_that_came_before_its_request_had_ended() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&seen);
    let backend = Backend::scripted(move |mut stream| {
        let lines = Arc::clone(&lines);
        async move {
            loop {
                let head = read_head(&mut stream).await;
                let Some(line) = head.lines().next() else {
                    return;
                };
                lines.lock().unwrap().push(line.to_owned());
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(answer).await.ok();
                if head.contains("ength: 10") {
                    stream.read_exact(&mut [0; 10]).await.ok();
                }
            }
        }
    })
    .await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let mut raw = Raw::connect(gateway.address()).await;
    for round in 0..3 {
        raw.write("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
            .await;
        assert_eq!(raw.status().await, Some(200), "{round}");
        assert_eq!(raw.read(2).await, b"ok");
        raw.write("56789GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
            .await;
        assert_eq!(raw.status().await, Some(200), "{round}");
        assert_eq!(raw.read(2).await, b"ok");
    }
    let expected = ["POST /up HTTP/1.1", "GET /next HTTP/1.1"].repeat(3);
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_body_that_no_backend_will_get_is_not_asked_for() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "path = \"/echo\"")).await;
    let expect = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
    };
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write(expect("/elsewhere")).await;
    let received = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(received.starts_with("HTTP/1.1 404 "), "{received}");
    assert!(!received.contains("100 Continue"), "{received}");
    // A backend never sees the expectation: the gateway has met it.
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write(expect("/echo")).await;
    assert_eq!(raw.status().await, Some(100));
    raw.write("body").await;
    assert_eq!(raw.status().await, Some(200));
    assert_eq!(raw.read(4).await, b"body");
    assert_eq!(backend.last_seen().header("expect"), None);
    assert_eq!(http::get(gateway.address(), "/echo", &[]).await.status, 200);
}
