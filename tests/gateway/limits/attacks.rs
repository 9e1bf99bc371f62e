//! What an attacker tries at the front door and has no test of its own elsewhere; docs/security.md
//! lists them all.

use std::fs;

use crate::support::raw::UPGRADE;
use crate::support::{Backend, Gateway, Raw, config, eventually};

#[tokio::test]
async fn h2c_is_neither_spoken_nor_passed_on() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write(
        "GET /h2c HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
    )
    .await;
    assert_eq!(
        raw.status().await,
        Some(200),
        "an ordinary answer, no switch"
    );
    let seen = backend.last_seen();
    assert_eq!(
        (seen.header("upgrade"), seen.header("http2-settings")),
        (None, None)
    );
    // With prior knowledge: what follows on the connection is not read as requests.
    let reached = backend.accepted();
    let mut raw = Raw::connect(gateway.address()).await;
    raw.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    let answer = String::from_utf8_lossy(&raw.read_to_end().await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
    assert!(!answer.contains("200 OK"), "{answer}");
    assert_eq!(backend.accepted(), reached);
}

#[tokio::test]
async fn an_upgrade_with_a_body_is_no_upgrade() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    for framing in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(UPGRADE.replacen("\r\n\r\n", &format!("\r\n{framing}"), 1))
            .await;
        assert_eq!(raw.status().await, Some(400), "{framing}");
    }
    assert_eq!(backend.accepted(), 0);
}

#[tokio::test]
async fn nothing_that_a_client_writes_begins_a_line_of_the_log_or_the_records() {
    let backend = Backend::echo().await;
    for format in ["text", "json"] {
        let text = format!("# log: level = \"debug\"\n# log: format = \"{format}\"\n")
            + &config::echo(&[backend.address], "", "");
        let gateway = Gateway::start(&text).await;
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(
            "GET /a%0d%0aFORGED?b=%1b[31mFORGED HTTP/1.1\r\nHost: a\r\nX-Request-Id: FORGED\r\n\r\n",
        )
        .await;
        raw.status().await;
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(UPGRADE.replacen("GET /", "GET /?x=%0aFORGED%22", 1))
            .await;
        raw.status().await;
        drop(raw);
        let path = gateway.directory().join("access.log");
        let records = || fs::read_to_string(&path).unwrap_or_default();
        eventually("two records", async || records().lines().count() >= 2).await;
        for line in records().lines().chain(gateway.log().lines()) {
            assert!(!line.trim_start().starts_with("FORGED"), "{line}");
            let obeyed = |letter: char| letter.is_control() && letter != '\t';
            assert!(!line.contains(obeyed), "a terminal would obey: {line:?}");
        }
    }
}
