//! Answers of backends that are odd: their end is ambiguous, missing, or comes too early.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::backend::{read_head, switching, wait_for_end};
use crate::support::raw::UPGRADE;
use crate::support::{Backend, Gateway, Raw, config, http};

/// A backend that answers the first request of each connection with these bytes, and no other.
async fn answering(answer: &str) -> Backend {
    let answer = answer.to_owned();
    Backend::scripted(move |mut stream| {
        let answer = answer.clone();
        async move {
            if !read_head(&mut stream).await.is_empty() {
                stream.write_all(answer.as_bytes()).await.ok();
                stream.shutdown().await.ok();
                wait_for_end(&mut stream).await;
            }
        }
    })
    .await
}

async fn gateway(backend: &Backend) -> Gateway {
    Gateway::start(&config::echo(&[backend.address], "", "")).await
}

/// Everything that a client of this request line gets, in text.
async fn ask(gateway: &Gateway, line: &str) -> String {
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write(format!(
        "{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ))
    .await;
    String::from_utf8(raw.read_to_end().await).unwrap()
}

/// Status line and body of an answer, and the values of a header in it.
fn taken_apart<'a>(answer: &'a str, name: &str) -> (&'a str, &'a str, Vec<&'a str>) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    let fields = lines.filter_map(|line| line.split_once(": "));
    let values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    (status, body, values.map(|(_, value)| value).collect())
}

#[tokio::test]
async fn an_answer_whose_end_is_ambiguous_is_a_502() {
    let chunks = "a\r\n0123456789\r\n0\r\n\r\n";
    let heads = [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 5",
        "Content-Length: +4",
        "Content-Length: 9223372036854775808",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "X-Folded: a\r\n Content-Length: 4",
        "Content-Length : 4",
    ];
    for head in heads {
        let backend = answering(&format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{chunks}")).await;
        let gateway = gateway(&backend).await;
        let answer = ask(&gateway, "GET / HTTP/1.1").await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{head}: {answer}");
        let answer = ask(&gateway, "HEAD / HTTP/1.1").await;
        assert!(
            answer.starts_with("HTTP/1.1 502 "),
            "{head} to HEAD: {answer}"
        );
        assert_eq!(
            gateway.metric("sessile_refusals_total", &["reason=\"bad_answer\""]),
            2.0,
            "{head}"
        );
    }
    let old = format!("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let backend = answering(&old).await;
    let answer = ask(&gateway(&backend).await, "GET / HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "chunks in HTTP/1.0");
}

#[tokio::test]
async fn the_framing_of_an_answer_is_written_anew() {
    let check = async |head: &str, line: &str, body: &str, lengths: &[&str]| {
        let backend = answering(&format!("HTTP/1.1 {head}\r\n\r\n0123456789")).await;
        let gateway = gateway(&backend).await;
        let answer = ask(&gateway, line).await;
        let (status, got, values) = taken_apart(&answer, "content-length");
        assert!(status.contains(&head[..3]), "{head}: {answer}");
        assert_eq!((got, &values[..]), (body, lengths), "{line}, {head}");
    };
    let get = "GET / HTTP/1.1";
    check(
        "200 OK\r\nContent-Length: 10, 10",
        get,
        "0123456789",
        &["10"],
    )
    .await;
    let twice = "200 OK\r\nContent-Length: 10\r\nContent-Length: 10";
    check(twice, get, "0123456789", &["10"]).await;
    check("200 OK\r\nContent-Length: 0010", get, "0123456789", &["10"]).await;
    check(twice, "HEAD / HTTP/1.1", "", &["10"]).await;
    check("204 No Content\r\nContent-Length: 10", get, "", &[]).await;
    check("200 OK\r\nContent-Length: 0", get, "", &["0"]).await;
}

#[tokio::test]
async fn a_connection_whose_204_had_a_body_is_not_used_again() {
    // The body is another answer, for the next request.
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let answer = format!(
        "HTTP/1.1 204 No Content\r\nContent-Length: {}\r\n\r\n",
        poison.len()
    );
    let backend = Backend::scripted(move |mut stream| {
        let answer = answer.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.ok();
            // What comes of a second request on this connection.
            if !read_head(&mut stream).await.is_empty() {
                stream.write_all(poison.as_bytes()).await.ok();
            }
            wait_for_end(&mut stream).await;
        }
    })
    .await;
    let gateway = gateway(&backend).await;
    for _ in 0..3 {
        assert_eq!(http::get(gateway.address(), "/", &[]).await.status, 204);
    }
    assert_eq!(backend.accepted(), 3);
}

#[tokio::test]
async fn a_backend_that_dies_during_an_upload_is_a_502_and_counts() {
    let backend = Backend::scripted(|mut stream| async move {
        read_head(&mut stream).await;
        stream.read_exact(&mut [0; 4]).await.ok();
        stream.set_zero_linger().unwrap();
    })
    .await;
    let upstream = "passive = { failures = 5, ejection = \"60s\", ejected_share_max = 1.0 }";
    let gateway = Gateway::start(&config::echo(&[backend.address], upstream, "")).await;
    for number in 1..=3 {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this")
            .await;
        assert_eq!(raw.status().await, Some(502));
        let records = gateway.wait_for_requests(number).await;
        assert_eq!(records[number - 1]["refusal"], "backend_broke");
    }
    assert_eq!(gateway.backend("echo", backend.address)["failures"], 3);
}

#[tokio::test]
async fn an_early_answer_arrives_though_its_client_goes_on_sending() {
    // Answers a request by its head alone; and some end the connection with the body unread.
    for ends in [false, true] {
        let backend = Backend::scripted(move |mut stream| async move {
            read_head(&mut stream).await;
            let answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\ntoo much";
            stream.write_all(answer).await.ok();
            if ends {
                // What was sent already is unread: the system resets the connection.
                stream.read_exact(&mut [0; 1]).await.ok();
            } else {
                stream.shutdown().await.ok();
                wait_for_end(&mut stream).await;
            }
        })
        .await;
        let gateway = gateway(&backend).await;
        let mut raw = Raw::connect(gateway.address()).await;
        let length = 8 << 20;
        raw.write(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
        ))
        .await;
        // This client reads when it has sent all; a reset would make a write fail, or the read.
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..length / piece.len() {
            raw.write(&piece).await;
        }
        let answer = String::from_utf8(raw.read_to_end().await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{ends}: {answer}");
        assert!(answer.ends_with("too much"), "{ends}: {answer}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_has_no_proper_end() {
    let cases = [
        ("Content-Length: 20", "0123456789", "HTTP/1.1"),
        ("Content-Length: 20", "0123456789", "HTTP/1.0"),
        (
            "Transfer-Encoding: chunked",
            "a\r\n0123456789\r\n",
            "HTTP/1.1",
        ),
        (
            "Transfer-Encoding: chunked",
            "a\r\n0123456789\r\n",
            "HTTP/1.0",
        ),
        (
            "Transfer-Encoding: chunked",
            "a\r\n0123456789\r\n-1\r\n",
            "HTTP/1.0",
        ),
    ];
    for (framing, body, version) in cases {
        let backend = answering(&format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{body}")).await;
        let gateway = gateway(&backend).await;
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(format!("GET / {version}\r\nHost: a\r\n\r\n"))
            .await;
        let head = raw.read_head().await.to_ascii_lowercase();
        assert!(head.contains(" 200 "), "{head}");
        let mut rest = Vec::new();
        let end = raw.stream.read_to_end(&mut rest).await;
        let text = String::from_utf8_lossy(&rest);
        let announced = if head.contains("content-length: 20") {
            rest.len() < 20
        } else if head.contains("chunked") {
            !text.contains("0\r\n\r\n")
        } else {
            end.is_err()
        };
        assert!(announced, "{framing} over {version}: {end:?} {text}");
        let records = gateway.wait_for_requests(1).await;
        assert_eq!(records[0]["refusal"], "backend_broke", "{framing}");
        assert_eq!(records[0]["status"], 200);
        // What is broken is not used again.
        raw = Raw::connect(gateway.address()).await;
        raw.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        raw.read_head().await;
        assert_eq!(backend.accepted(), 2);
    }
}

#[tokio::test]
async fn interim_answers_come_before_the_answer() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\n\
        HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n\
        HTTP/1.1 102 Processing\r\n\r\n";
    let (sender, receiver) = tokio::sync::watch::channel(false);
    let backend = Backend::scripted(move |mut stream| {
        let mut receiver = receiver.clone();
        async move {
            while !read_head(&mut stream).await.is_empty() {
                stream.write_all(interim.as_bytes()).await.ok();
                receiver.wait_for(|go| *go).await.ok();
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(answer).await.ok();
            }
        }
    })
    .await;
    let gateway = gateway(&backend).await;
    let mut raw = Raw::connect(gateway.address()).await;
    for round in 0..3 {
        raw.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let hints = raw.read_head().await.to_ascii_lowercase();
        assert_eq!(
            hints, "http/1.1 103 early hints\r\nlink: </style.css>\r\n\r\n",
            "{round}"
        );
        assert_eq!(raw.status().await, Some(102));
        // Only now does the backend go on.
        sender.send_replace(true);
        assert_eq!(raw.status().await, Some(200));
        assert_eq!(raw.read(2).await, b"ok");
    }
    // A client of HTTP/1.0 would not understand them.
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(raw.status().await, Some(200));
}

#[tokio::test]
async fn names_of_header_fields_keep_their_case() {
    let seen = Arc::new(Mutex::new(Vec::<String>::new()));
    let heads = Arc::clone(&seen);
    let backend = Backend::scripted(move |mut stream| {
        let heads = Arc::clone(&heads);
        async move {
            let head = read_head(&mut stream).await;
            let answer = match head.contains("Sec-WebSocket-Key") {
                true => switching(&head).replace("\r\n\r\n", "\r\nx-LOW: 1\r\n\r\n"),
                false => "HTTP/1.1 200 OK\r\nx-LOW: 1\r\nETag: \"1\"\r\nCONTENT-length: 0\r\n\r\n"
                    .to_owned(),
            };
            heads.lock().unwrap().push(head);
            stream.write_all(answer.as_bytes()).await.ok();
            wait_for_end(&mut stream).await;
        }
    })
    .await;
    let gateway = gateway(&backend).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write("GET / HTTP/1.1\r\nHOST: a\r\nX-MiXed: 1\r\nx-mixed: 2\r\nSOAPAction: x\r\n\r\n")
        .await;
    let head = raw.read_head().await;
    for line in [
        "\r\nx-LOW: 1\r\n",
        "\r\nETag: \"1\"\r\n",
        "\r\nCONTENT-length: 0\r\n",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    // The gateway's own are written as most servers write them.
    assert!(head.contains("\r\nDate: "), "{head}");
    let upgrade = UPGRADE.replace("Host", "X-MiXed: 1\r\nHost");
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write(upgrade).await;
    let head = raw.read_head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for line in [
        "Sec-WebSocket-Accept: ",
        "x-LOW: 1",
        "Upgrade: websocket",
        "Connection: Upgrade",
    ] {
        assert!(head.contains(&format!("\r\n{line}")), "{line}: {head}");
    }
    let seen = seen.lock().unwrap().clone();
    for (head, lines) in seen.iter().zip([
        &[
            "HOST: a",
            "X-MiXed: 1",
            "x-mixed: 2",
            "SOAPAction: x",
            "X-Forwarded-For: ",
        ][..],
        &["X-MiXed: 1", "Sec-WebSocket-Key: ", "Upgrade: websocket"][..],
    ]) {
        for line in lines {
            assert!(head.contains(&format!("\r\n{line}")), "{line}: {head}");
        }
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn i8_heads_of_answers_are_bounded() {
    let many = "X: y\r\n".repeat(20);
    let long = format!("X: {}\r\n", "y".repeat(20_000));
    let upstream = "response_limits = { header_bytes = \"16 KiB\", headers_max = 15 }";
    for (fields, status) in [(&many[..], 502), (&long, 502), (&many[..60], 200)] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
        let backend = answering(&answer).await;
        let gateway = Gateway::start(&config::echo(&[backend.address], upstream, "")).await;
        assert_eq!(http::get(gateway.address(), "/", &[]).await.status, status);
        if status == 502 {
            assert_eq!(
                gateway.wait_for_requests(1).await[0]["refusal"],
                "bad_answer"
            );
        }
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(UPGRADE).await;
        assert_eq!(raw.status().await, Some(status), "the answer to an upgrade");
    }
}

#[tokio::test]
async fn requests_behind_a_declined_upgrade_are_answered_in_turn() {
    let backend = Backend::echo().await;
    backend.refuse_with(403);
    let gateway = gateway(&backend).await;
    let mut raw = Raw::connect(gateway.address()).await;
    let next = "GET /status/201 HTTP/1.1\r\nHost: a\r\n\r\n";
    raw.write(format!("{UPGRADE}{next}{UPGRADE}{next}")).await;
    for status in [403, 201, 403, 201] {
        let head = raw.read_head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        raw.read(if status == 403 { 2 } else { 8 }).await;
    }
    assert_eq!(gateway.wait_for_requests(4).await.len(), 4);
}
