//! Ordinary HTTP beside the sockets: streamed, unchanged, and never misread.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use tokio::sync::mpsc;

use crate::support::backend::{read_head, wait_for_end};
use crate::support::{Backend, Gateway, Raw, config, http, soon};
use tokio::io::AsyncWriteExt as _;

async fn gateway(backend: &Backend, route: &str) -> Gateway {
    Gateway::start(&config::echo(&[backend.address], "", route)).await
}

#[tokio::test]
async fn requests_and_responses_pass_with_their_form() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    for status in [200, 201, 404, 418, 500] {
        let answer = http::get(gateway.address(), &format!("/status/{status}"), &[]).await;
        assert_eq!((answer.status, answer.text()), (status, "as asked"));
    }
    for status in [204, 304] {
        let answer = http::get(gateway.address(), &format!("/status/{status}"), &[]).await;
        assert_eq!((answer.status, answer.text()), (status, ""));
    }
    let request = Request::head("/status/200")
        .header("host", "x")
        .body(Full::<Bytes>::default());
    let answer = http::send(gateway.address(), request.unwrap()).await;
    assert_eq!((answer.status, answer.text()), (200, ""));
    assert_eq!(answer.header("content-length"), Some("8"));
}

#[tokio::test]
async fn bodies_stream_in_both_directions_at_once_with_trailers() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let (sender, receiver) = mpsc::channel::<Frame<Bytes>>(1);
    let frames = stream::unfold(receiver, |mut receiver| async {
        Some((Ok::<_, Infallible>(receiver.recv().await?), receiver))
    });
    let request = Request::post("/echo")
        .header("host", "localhost")
        .header("te", "trailers")
        .header("trailer", "x-sum")
        .body(StreamBody::new(frames));
    let mut connection = http::connect(gateway.address()).await;
    sender.send(Frame::data("first".into())).await.unwrap();
    let response = soon("a head", connection.send_request(request.unwrap()))
        .await
        .unwrap();
    let mut body = response.into_body();
    for piece in ["first", "second", "third"] {
        if piece != "first" {
            sender.send(Frame::data(piece.into())).await.unwrap();
        }
        let frame = soon("a piece", body.frame()).await.unwrap().unwrap();
        assert_eq!(
            frame.into_data().unwrap(),
            piece,
            "held back until more comes"
        );
    }
    let trailers = [("x-sum".parse().unwrap(), "42".parse().unwrap())]
        .into_iter()
        .collect();
    sender.send(Frame::trailers(trailers)).await.unwrap();
    drop(sender);
    let last = soon("trailers", body.frame()).await.unwrap().unwrap();
    assert_eq!(last.into_trailers().unwrap()["x-sum"], "42");
}

#[tokio::test]
async fn a_large_body_passes_whole_without_being_held() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    http::get(gateway.address(), "/", &[]).await;
    let before = gateway.memory_kib("VmRSS");
    let piece = Bytes::from(vec![7; 65_536]);
    let pieces =
        stream::iter((0..1024).map(move |_| Ok::<_, Infallible>(Frame::data(piece.clone()))));
    let request = Request::post("/echo").header("host", "localhost");
    let request = request.body(StreamBody::new(pieces)).unwrap();
    let mut connection = http::connect(gateway.address()).await;
    let response = soon("a head", connection.send_request(request))
        .await
        .unwrap();
    let mut length = 0;
    let mut body = response.into_body().into_data_stream();
    while let Some(data) = body.next().await {
        length += data.unwrap().len();
    }
    assert_eq!(length, 64 << 20);
    let grown = gateway.memory_kib("VmHWM").saturating_sub(before);
    assert!(grown < 16 * 1024, "the gateway grew by {grown} KiB");
}

#[tokio::test]
async fn server_sent_events_come_one_by_one() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let request = Request::get("/events").header("host", "localhost");
    let mut connection = http::connect::<Full<Bytes>>(gateway.address()).await;
    let response = connection.send_request(request.body(Full::default()).unwrap());
    let mut body = soon("a head before the first event", response)
        .await
        .unwrap()
        .into_body();
    for number in 0..3 {
        backend.publish(&number.to_string());
        let frame = soon("the event", body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("data: {number}\n\n"));
    }
}

#[tokio::test]
async fn a_body_is_asked_for_before_it_is_sent() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write(
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    )
    .await;
    assert_eq!(raw.status().await, Some(100));
    raw.write("body").await;
    assert_eq!(raw.status().await, Some(200));
}

#[tokio::test]
async fn hop_by_hop_headers_stay_on_their_hop() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let headers = [
        ("connection", "x-hop, keep-alive"),
        ("x-hop", "gone"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "Basic eA=="),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip"),
        ("upgrade", "h2c"),
        ("x-kept", "here"),
    ];
    http::get(gateway.address(), "/headers", &headers).await;
    let seen = backend.last_seen();
    let hop = [
        "x-hop",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "upgrade",
    ];
    for name in hop {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("x-kept"), Some("here"));
}

#[tokio::test]
async fn forwarded_fields_of_untrusted_peers_are_dropped() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let lies = [
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "bank.example"),
        ("x-forwarded-port", "443"),
        ("x-real-ip", "1.2.3.4"),
        ("forwarded", "for=1.2.3.4"),
        ("x-request-id", "mine"),
        ("sessile-session", "mine"),
        ("sessile-subject", "root"),
    ];
    http::get(gateway.address(), "/", &lies).await;
    let seen = backend.last_seen();
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("localhost"));
    // The gateway writes neither of these itself.
    for name in ["x-forwarded-port", "x-real-ip"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    for name in [
        "forwarded",
        "x-request-id",
        "sessile-session",
        "sessile-subject",
    ] {
        let lie = lies
            .iter()
            .find(|(lied, _)| *lied == name)
            .map(|(_, value)| *value);
        assert_ne!(seen.header(name), lie, "{name}");
    }
}

#[tokio::test]
async fn forwarded_fields_of_trusted_proxies_are_used() {
    let backend = Backend::echo().await;
    let listener = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
        trusted_proxies = [\"127.0.0.0/8\"]\n";
    let text = format!("{listener}\n{}", config::echo(&[backend.address], "", ""));
    let gateway = Gateway::start(&text).await;
    let fields = [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "from-the-edge"),
    ];
    http::get(gateway.address(), "/", &fields).await;
    let seen = backend.last_seen();
    assert_eq!(
        seen.header("x-forwarded-for"),
        Some("203.0.113.7, 127.0.0.1")
    );
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-request-id"), Some("from-the-edge"));
}

#[tokio::test]
async fn connections_to_backends_are_kept_and_used_again() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let mut connection = http::connect::<Full<Bytes>>(gateway.address()).await;
    for _ in 0..20 {
        connection.ready().await.unwrap();
        let request = Request::get("/")
            .header("host", "localhost")
            .body(Full::default());
        let response = connection.send_request(request.unwrap()).await.unwrap();
        assert_eq!(http::read(response).await.status, 200);
    }
    assert_eq!(backend.accepted(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_the_backend_closed_costs_no_request() {
    // Answers one request a connection, and closes without `connection: close`.
    let backend = Backend::scripted(|mut stream| async move {
        if !read_head(&mut stream).await.is_empty() {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.ok();
        }
    })
    .await;
    let gateway = gateway(&backend, "").await;
    for _ in 0..30 {
        assert_eq!(http::get(gateway.address(), "/", &[]).await.status, 200);
    }
}

#[tokio::test]
async fn a_backend_that_does_not_answer_is_a_504() {
    let backend = Backend::scripted(|mut stream| async move {
        wait_for_end(&mut stream).await;
    })
    .await;
    let gateway = gateway(&backend, "timeouts = { response = \"300ms\" }").await;
    assert_eq!(http::get(gateway.address(), "/", &[]).await.status, 504);
}

/// What follows `Host` in a request that two readers would cut in two ways.
const AMBIGUOUS: [(&str, &str); 15] = [
    (
        "both lengths",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        "Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
    ),
    ("a list of lengths", "Content-Length: 4, 5\r\n\r\nbody"),
    ("a signed length", "Content-Length: +4\r\n\r\nbody"),
    ("a length in hex", "Content-Length: 0x4\r\n\r\nbody"),
    (
        "a length beyond 63 bits",
        "Content-Length: 9223372036854775808\r\n\r\nbody",
    ),
    (
        "a length of all nines",
        "Content-Length: 9999999999999999999\r\n\r\nbody",
    ),
    (
        "chunked not last",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked twice",
        "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "an unknown coding",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a space before the colon",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a folded header",
        "X-Folded: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a bare line feed in a value",
        "X-Bare: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a NUL in a value",
        "X-Nul: a\0b\r\nContent-Length: 0\r\n\r\n",
    ),
    ("two hosts", "Host: other\r\nContent-Length: 0\r\n\r\n"),
];

#[tokio::test]
async fn forms_that_two_readers_read_differently_are_refused() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (what, rest) in AMBIGUOUS {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(format!(
            "POST /echo HTTP/1.1\r\nHost: localhost\r\n{rest}{smuggled}"
        ))
        .await;
        assert_eq!(raw.status().await, Some(400), "{what}");
    }
    let sick_chunks = [
        "4x\r\nbody\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "4\r\nbodyX\r\n0\r\n\r\n",
    ];
    for chunks in sick_chunks {
        let mut raw = Raw::connect(gateway.address()).await;
        let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        raw.write(format!("{head}{chunks}{smuggled}")).await;
        let rest = raw.read_to_end().await;
        assert!(
            !String::from_utf8_lossy(&rest).contains(&backend.address.to_string()),
            "{chunks}"
        );
    }
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(raw.status().await, Some(400), "no host at all");
    assert!(
        backend.seen().iter().all(|seen| seen.target != "/smuggled"),
        "smuggled"
    );
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request_to_the_backend() {
    let (ended, mut seen) = mpsc::channel::<()>(1);
    let backend = Backend::scripted(move |mut stream| {
        let ended = ended.clone();
        async move {
            wait_for_end(&mut stream).await;
            ended.send(()).await.ok();
        }
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    crate::support::eventually("the backend is asked", async || backend.accepted() == 1).await;
    drop(raw);
    tokio::time::timeout(Duration::from_secs(5), seen.recv())
        .await
        .expect("the backend is let go");
}

#[tokio::test]
async fn clients_that_break_their_uploads_off_do_not_eject_the_backend() {
    let backend = Backend::echo().await;
    let upstream = "passive = { failures = 2, ejection = \"60s\", ejected_share_max = 1.0 }";
    let gateway = Gateway::start(&config::echo(&[backend.address], upstream, "")).await;
    for _ in 0..10 {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this")
            .await;
        // The backend has the head, and has begun to answer.
        raw.read_head().await;
        raw.reset();
    }
    crate::support::eventually("all ten are over", async || gateway.connections() == 0).await;
    let shown = gateway.backend("echo", backend.address);
    assert_eq!(
        (&shown["failures"], &shown["ejected"]),
        (&0.into(), &serde_json::Value::Null)
    );
}
