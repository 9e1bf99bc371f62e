//! Session records as the gateway wrote them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// One line with `kind = "session"`.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    pub id: String,
    pub route: String,
    pub upstream: String,
    pub backend: String,
    pub principal: Option<String>,
    pub client: String,
    pub started: String,
    pub duration_ms: f64,
    pub handshake_ms: f64,
    pub ended_by: String,
    pub close_code: Option<u16>,
    pub cause: String,
    pub clean: bool,
    pub reason: Option<String>,
    pub operator: Option<String>,
    pub revocation: Option<String>,
    pub resumes: u32,
    pub messages_lost: u64,
    pub bytes_lost: u64,
    /// Messages that were published to the client, where there were some.
    #[serde(default)]
    pub published: Value,
    pub to_backend: Traffic,
    pub to_client: Traffic,
}

/// What went one way.
#[derive(Clone, Debug, Deserialize)]
pub struct Traffic {
    pub bytes: u64,
    /// Counts by kind: `text`, `binary`, `ping`, `pong`, `close`.
    #[serde(flatten)]
    pub messages: BTreeMap<String, u64>,
}

impl Traffic {
    pub fn messages(&self, kind: &str) -> u64 {
        self.messages[kind]
    }
}

/// The request records among the lines of an access log, as they are.
pub fn requests(log: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| {
        serde_json::from_str::<Value>(line)
            .unwrap_or_else(|error| panic!("a record is not JSON ({error}): {line}"))
    });
    lines.filter(|line| line["kind"] == "request").collect()
}

/// The session records among the lines of an access log; other kinds are left out, a line that is
/// no JSON or lacks a field fails the test.
pub fn parse(log: &str) -> Vec<Record> {
    log.lines()
        .map(|line| {
            serde_json::from_str::<Value>(line)
                .unwrap_or_else(|error| panic!("a record is not JSON ({error}): {line}"))
        })
        .filter(|line| line["kind"] == "session")
        .map(|line| {
            serde_json::from_value(line.clone())
                .unwrap_or_else(|error| panic!("a record lacks something ({error}): {line}"))
        })
        .collect()
}
