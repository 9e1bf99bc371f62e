//! A client that takes server-sent events.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::soon;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A response that is a stream of events, or any other.
pub struct EventSource {
    stream: BufReader<Box<dyn Stream>>,
    /// The status of the response.
    pub status: u16,
    head: String,
}

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type; empty for a message.
    pub kind: String,
    pub data: String,
    pub id: String,
    pub retry: Option<u64>,
    /// It is a comment only.
    pub comment: bool,
}

impl EventSource {
    /// Asks for events; `fields` are further lines of the head.
    pub async fn connect(address: SocketAddr, target: &str, fields: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("it accepts");
        Self::over(Box::new(stream), target, fields).await
    }

    /// The same for a client whose system takes few bytes before they are read.
    pub async fn slow(address: SocketAddr, target: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("an open socket");
        let stream = socket.connect(address).await.expect("it accepts");
        Self::over(Box::new(stream), target, "").await
    }

    /// The same over TLS.
    pub async fn connect_tls(
        address: SocketAddr,
        target: &str,
        fields: &str,
        config: Arc<ClientConfig>,
    ) -> Self {
        let stream = TcpStream::connect(address).await.expect("it accepts");
        let name = ServerName::try_from("localhost").expect("a name");
        let handshake = TlsConnector::from(config).connect(name, stream);
        let stream = soon("a TLS handshake", handshake).await.expect("TLS");
        Self::over(Box::new(stream), target, fields).await
    }

    async fn over(mut stream: Box<dyn Stream>, target: &str, fields: &str) -> Self {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{fields}\r\n"
        );
        let write = stream.write_all(head.as_bytes());
        soon("a write", write).await.expect("it takes a request");
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let line = stream.read_line(&mut head);
            let read = soon("a line", line).await.expect("a head");
            assert!(read > 0, "closed inside a head: {head:?}");
        }
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            stream,
            status: status.expect("a status"),
            head,
        }
    }

    /// A field of the response's head.
    pub fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value)
    }

    /// Whatever comes next, comments too; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = soon("a line", self.stream.read_line(&mut line)).await;
            if read.ok().is_none_or(|read| read == 0) {
                return None;
            }
            let line = line.trim_end_matches('\n');
            match line
                .split_once(':')
                .map(|(key, value)| (key, value.trim_start()))
            {
                None if line.is_empty() => break,
                Some(("", _)) => event.comment = true,
                Some(("event", value)) => value.clone_into(&mut event.kind),
                Some(("data", value)) => lines.push(value.to_owned()),
                Some(("id", value)) => value.clone_into(&mut event.id),
                Some(("retry", value)) => event.retry = value.parse().ok(),
                other => panic!("not a line of an event: {other:?}"),
            }
        }
        event.data = lines.join("\n");
        Some(event)
    }

    /// The next event that is no comment and has data.
    pub async fn event(&mut self) -> Event {
        loop {
            let event = self.next().await.expect("an event");
            if !event.data.is_empty() {
                return event;
            }
        }
    }

    /// The data of the next message.
    pub async fn message(&mut self) -> String {
        let event = self.event().await;
        assert_eq!(event.kind, "", "{event:?}");
        event.data
    }
}
