//! One record for every request that became no session, whatever came of it.

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::support::backend::{read_head, wait_for_end};
use crate::support::raw::UPGRADE;
use crate::support::{Backend, Gateway, Raw, config, eventually};

/// A backend that reads requests and answers none.
async fn silent() -> Backend {
    Backend::scripted(|mut stream| async move { wait_for_end(&mut stream).await }).await
}

/// Status, reason and route of a record.
fn outcome(record: &Value) -> (u64, &str, &str) {
    (
        record["status"].as_u64().unwrap(),
        record["refusal"].as_str().unwrap_or_default(),
        record["route"].as_str().unwrap_or_default(),
    )
}

#[tokio::test]
async fn i6_a_client_that_leaves_before_its_answer_leaves_a_record() {
    let backend = silent().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let requests = [
        "GET /left?x=1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /left?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nall",
        &UPGRADE.replace("GET /", "GET /left?x=1"),
    ];
    for (number, request) in requests.into_iter().enumerate() {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(request).await;
        eventually("the backend is asked", async || {
            backend.accepted() == number + 1
        })
        .await;
        drop(raw);
        let records = gateway.wait_for_requests(number + 1).await;
        assert_eq!(
            outcome(&records[number]),
            (499, "client_gone", "all"),
            "{request}"
        );
        assert_eq!(records[number]["target"], "/left?x=1");
    }
    let counted = gateway.metric("sessile_refusals_total", &["reason=\"client_gone\""]);
    assert_eq!(counted, 3.0);
    assert!(gateway.records().is_empty(), "a session that never was");
}

#[tokio::test]
async fn i6_a_client_that_is_gone_before_it_is_served_leaves_a_record() {
    let backend = silent().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    for _ in 0..50 {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    }
    let records = gateway.wait_for_requests(50).await;
    for record in &records {
        let (status, reason, route) = outcome(record);
        assert_eq!((status, reason), (499, "client_gone"));
        // No route was looked for where the end was seen first.
        assert!(["", "all"].contains(&route), "{record}");
    }
}

#[tokio::test]
async fn i6_a_client_that_leaves_while_a_service_is_asked_leaves_a_record() {
    let backend = Backend::echo().await;
    let service = silent().await;
    let authenticator = format!(
        "[authenticators.decider]\ntype = \"forward\"\nurl = \"http://{}/\"\n\n",
        service.address
    );
    let text = config::echo(&[backend.address], "", "authenticate = [\"decider\"]");
    let gateway = Gateway::start(&(authenticator + &text)).await;
    for (number, request) in ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", UPGRADE]
        .into_iter()
        .enumerate()
    {
        let request = request.replacen("Host", "Authorization: x\r\nHost", 1);
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(request).await;
        eventually("the service is asked", async || service.accepted() > number).await;
        drop(raw);
        let records = gateway.wait_for_requests(number + 1).await;
        assert_eq!(outcome(&records[number]), (499, "client_gone", "all"));
    }
    assert_eq!(backend.accepted(), 0);
}

#[tokio::test]
async fn i6_a_101_that_cannot_be_delivered_leaves_one_record() {
    // Grants the session once its client has left.
    let gate = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = gate.local_addr().unwrap();
    let backend = Backend::scripted(move |mut stream| async move {
        let head = read_head(&mut stream).await;
        tokio::net::TcpStream::connect(open).await.ok();
        let answer = crate::support::backend::switching(&head);
        stream.write_all(answer.as_bytes()).await.ok();
        wait_for_end(&mut stream).await;
    })
    .await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    for number in 0..20 {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(UPGRADE).await;
        gate.accept().await.unwrap();
        raw.reset();
        // Whether the 101 left before the reset came is the system's to decide.
        eventually("a record", async || {
            gateway.requests().len() + gateway.records().len() > number
        })
        .await;
        assert_eq!(
            gateway.requests().len() + gateway.records().len(),
            number + 1
        );
    }
    for record in gateway.requests() {
        assert_eq!(outcome(&record), (499, "client_gone", "all"));
    }
}

#[tokio::test]
async fn i6_what_the_parser_refuses_leaves_a_record_with_its_status() {
    let backend = Backend::echo().await;
    let listener = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
        limits = { header_bytes = \"100 KiB\", headers_max = 5 }\n";
    let text = format!("{listener}\n{}", config::echo(&[backend.address], "", ""));
    let gateway = Gateway::start(&text).await;
    let many = "X: y\r\n".repeat(6);
    let long = "y".repeat(110_000);
    let cases = [
        ("nonsense\r\n\r\n".to_owned(), 400, "malformed"),
        (
            "GET /<b> HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            400,
            "malformed",
        ),
        (
            "GET /\"b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            400,
            "bad_target",
        ),
        (
            "GET /?q=<b> HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            400,
            "malformed",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"),
            431,
            "head_too_large",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
            431,
            "head_too_large",
        ),
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(70_000)),
            414,
            "target_too_long",
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505, "http2"),
    ];
    for (number, (request, status, reason)) in cases.into_iter().enumerate() {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(&request).await;
        assert_eq!(raw.status().await, Some(status), "{request}");
        let records = gateway.wait_for_requests(number + 1).await;
        let (told_status, told_reason, _) = outcome(&records[number]);
        assert_eq!(
            (told_status, told_reason),
            (u64::from(status), reason),
            "{request}"
        );
    }
    // The same behind a request that was served.
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write("GET / HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n")
        .await;
    assert_eq!(raw.status().await, Some(200));
    let records = gateway.wait_for_requests(10).await;
    assert_eq!(outcome(&records[8]), (200, "", "all"));
    assert_eq!(outcome(&records[9]), (400, "malformed", ""));
    // One each, and no more come once every connection has ended.
    eventually("no connections", async || gateway.connections() == 0).await;
    assert_eq!(gateway.requests().len(), 10);
}

#[tokio::test]
async fn i6_a_head_that_never_ends_leaves_a_record() {
    let backend = Backend::echo().await;
    let listener = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
        timeouts = { request_head = \"300ms\" }\n";
    let text = format!("{listener}\n{}", config::echo(&[backend.address], "", ""));
    let gateway = Gateway::start(&text).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write("GET / HTTP/1.1\r\nHo").await;
    assert_eq!(raw.status().await, Some(408));
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write("GET / HTTP/1.1\r\nHo").await;
    drop(raw);
    let records = gateway.wait_for_requests(2).await;
    assert_eq!(outcome(&records[0]), (408, "head_timed_out", ""));
    assert_eq!(outcome(&records[1]), (499, "client_gone", ""));
    // A connection on which nothing was asked is no request.
    let mut raw = Raw::connect(gateway.address()).await;
    assert_eq!(raw.read_to_end().await, b"");
    assert_eq!(gateway.requests().len(), 2);
}

#[tokio::test]
async fn between_two_requests_a_connection_has_a_time_of_its_own() {
    let backend = Backend::echo().await;
    let start = |timeouts: &str| {
        let listener = format!(
            "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\ntimeouts = {timeouts}\n"
        );
        let text = format!("{listener}\n{}", config::echo(&[backend.address], "", ""));
        async move { Gateway::start(&text).await }
    };
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let gateway = start("{ request_head = \"10s\", between_requests = \"300ms\" }").await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write(request).await;
    assert_eq!(raw.status().await, Some(200));
    raw.read_to_end().await;
    assert_eq!(gateway.requests().len(), 1);

    let gateway = start("{ request_head = \"300ms\", between_requests = \"1h\" }").await;
    let mut idle = Raw::connect(gateway.address()).await;
    idle.write(request).await;
    assert_eq!(idle.status().await, Some(200));
    // A connection that is opened later has been ended before the idle one.
    let mut fresh = Raw::connect(gateway.address()).await;
    assert_eq!(fresh.read_to_end().await, b"");
    idle.read("127.0.0.1:".len()).await;
    idle.write(request).await;
    eventually("the second answer", async || gateway.requests().len() == 2).await;
}
