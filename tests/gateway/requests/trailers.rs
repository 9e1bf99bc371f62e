//! Trailers of requests and answers: which are passed on, and that a body with them ends like any
//! other.

use std::fs;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::backend::{read_head, wait_for_end};
use crate::support::tokens::SECRET;
use crate::support::{Backend, Gateway, Raw, config, eventually};

#[tokio::test]
async fn trailers_that_mean_something_reach_no_backend() {
    let backend = Backend::scripted(|mut stream| async move {
        let mut text = read_head(&mut stream).await;
        while !text.ends_with("0\r\n\r\n") && !text.ends_with("x-sum: 1\r\n\r\n") {
            let mut bytes = [0; 1024];
            let count = stream.read(&mut bytes).await.unwrap_or(0);
            if count == 0 {
                return;
            }
            text += &String::from_utf8_lossy(&bytes[..count]).to_ascii_lowercase();
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
        stream.write_all((head + &text).as_bytes()).await.ok();
    })
    .await;
    let claims = "authenticate = [\"users\"]\nclaim_headers = { x-user-name = \"claim:name\" }";
    let text = format!(
        "[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n\n{}\n\
         [[routes]]\nname = \"claims\"\npath = \"/claims\"\nupstream = \"echo\"\n{claims}\n",
        config::echo(&[backend.address], "", "path = \"/open\"")
    );
    let gateway = Gateway::start(&text).await;
    let mut raw = Raw::connect(gateway.address()).await;
    let names = "X-User-Name, X_User_Name, Authorization, X-Real-IP, Sessile-Subject, X-Sum";
    raw.write(format!(
        "POST /open HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
         Trailer: {names}\r\n\r\n1\r\na\r\n0\r\nX-User-Name: root\r\nX_User_Name: root\r\n\
         Authorization: root\r\nX-Real-IP: root\r\nSessile-Subject: root\r\nX-Sum: 1\r\n\r\n"
    ))
    .await;
    let seen = String::from_utf8(raw.read_to_end().await).unwrap();
    assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
    assert!(!seen.contains("root"), "{seen}");
    assert!(seen.contains("x-sum: 1"), "{seen}");
    let announced = seen
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("trailer:"));
    let announced = announced.map(str::to_ascii_lowercase);
    assert_eq!(announced.as_deref(), Some("trailer: x-sum"), "{seen}");
}

/// The record of the only request.
async fn record(gateway: &Gateway) -> Value {
    let log = gateway.directory().join("access.log");
    let mut text = String::new();
    eventually("a record", async || {
        text = fs::read_to_string(&log).unwrap_or_default();
        text.ends_with('\n')
    })
    .await;
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

#[tokio::test]
async fn i6_an_answer_with_trailers_is_a_whole_one() {
    let backend = Backend::scripted(|mut stream| async move {
        while !read_head(&mut stream).await.is_empty() {
            let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                          2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.ok();
        }
    })
    .await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    for _ in 0..2 {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        let answer = String::from_utf8(raw.read_to_end().await).unwrap();
        assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
        let record = record(&gateway).await;
        assert_eq!(record["status"], 200, "{record}");
        assert_eq!(record["refusal"], Value::Null, "{record}");
    }
    assert_eq!(backend.accepted(), 1, "its connection was kept");
}

#[tokio::test]
async fn i8_a_request_with_trailers_has_an_end_from_which_its_answer_has_a_time() {
    let backend = Backend::scripted(|mut stream| async move {
        read_head(&mut stream).await;
        wait_for_end(&mut stream).await;
    })
    .await;
    let route = "timeouts = { response = \"300ms\", progress = \"300ms\" }";
    let gateway = Gateway::start(&config::echo(&[backend.address], "", route)).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n",
    )
    .await;
    assert_eq!(raw.status().await, Some(504));
    assert_eq!(record(&gateway).await["refusal"], "timed_out");
}
