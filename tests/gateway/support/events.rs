//! The stream of events of a gateway under test.

use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::soon;

/// One event of the stream.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What to resume with.
    pub id: Option<String>,
    /// `gap`, or nothing for an event.
    pub name: Option<String>,
    pub data: Value,
}

/// A client of the stream.
pub struct EventStream {
    lines: BufReader<UnixStream>,
    /// The id that was sent last.
    pub last_id: Option<String>,
}

impl EventStream {
    /// Opens the stream at the admin API's socket; `last` is the id of the last event that is
    /// known.
    pub async fn open(socket: &Path, target: &str, last: Option<&str>) -> Self {
        Self::open_as(socket, None, target, last).await
    }

    /// The same with a bearer token.
    pub async fn open_as(
        socket: &Path,
        token: Option<&str>,
        target: &str,
        last: Option<&str>,
    ) -> Self {
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let token = token.unwrap_or_default();
        let mut stream = UnixStream::connect(socket).await.expect("it accepts");
        let last = last.map(|id| format!("last-event-id: {id}\r\n"));
        let head = format!(
            "GET {target} HTTP/1.0\r\nhost: admin\r\n{token}{}\r\n",
            last.unwrap_or_default()
        );
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = lines.read_line(&mut head);
            let read = soon("a head", read).await.expect("text");
            assert!(read > 0, "{head}");
        }
        assert!(head.contains(" 200 "), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        let mut stream = Self {
            lines,
            last_id: None,
        };
        // The first sign of life has the id to resume with.
        stream.block().await.expect("it begins");
        stream
    }

    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Option<Sent> {
        loop {
            let sent = self.block().await?;
            if !sent.data.is_null() {
                return Some(sent);
            }
        }
    }

    /// The next event of this kind.
    pub async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let sent = self.next().await;
            let sent = sent.unwrap_or_else(|| panic!("the stream ended before {kind}"));
            if sent.data["kind"] == kind {
                return sent.data;
            }
        }
    }

    async fn block(&mut self) -> Option<Sent> {
        let mut sent = Sent {
            id: None,
            name: None,
            data: Value::Null,
        };
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line);
            let read = soon("a line of the stream", read).await.expect("text");
            if read == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("id", id)) => {
                    sent.id = Some(id.to_owned());
                    self.last_id.clone_from(&sent.id);
                }
                Some(("event", name)) => sent.name = Some(name.to_owned()),
                Some(("data", data)) => sent.data = serde_json::from_str(data).expect("JSON"),
                Some(_) => {}
                None => return Some(sent),
            }
        }
    }
}
