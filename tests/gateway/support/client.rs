//! A WebSocket client over TCP, TLS or a unix socket.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::HeaderMap;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::soon;

/// Any transport.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Transport for T {}

/// A request for a session, being put together.
pub struct Dial {
    uri: String,
    headers: Vec<(String, String)>,
    /// Goes out first: a PROXY header.
    prelude: Vec<u8>,
    receive_buffer: Option<u32>,
}

/// The answer was no 101.
#[derive(Debug)]
pub struct Refused {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Dial {
    /// For `ws://localhost` and this path and query.
    pub fn new(target: &str) -> Self {
        let uri = format!("ws://localhost{target}");
        Self {
            uri,
            headers: Vec::new(),
            prelude: Vec::new(),
            receive_buffer: None,
        }
    }

    /// For this host instead of `localhost`.
    pub fn host(mut self, host: &str) -> Self {
        self.uri = self.uri.replacen("localhost", host, 1);
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Bytes in front of everything else.
    pub fn prelude(mut self, bytes: &[u8]) -> Self {
        self.prelude = bytes.to_vec();
        self
    }

    /// A receive buffer of this size in the kernel, for clients that read slowly.
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Over TCP.
    ///
    /// # Errors
    /// Whatever the answer was instead of a 101.
    pub async fn connect(self, address: SocketAddr) -> Result<Client, Refused> {
        let stream = self.tcp(address).await;
        self.over(Box::new(stream)).await
    }

    /// Over TLS, with the dial's host as server name.
    ///
    /// # Errors
    /// Whatever the answer was instead of a 101.
    pub async fn connect_tls(
        self,
        address: SocketAddr,
        config: Arc<ClientConfig>,
    ) -> Result<Client, Refused> {
        let mut stream = self.tcp(address).await;
        stream.write_all(&self.prelude).await.expect("it accepts");
        let host = self.uri["ws://".len()..]
            .split(['/', ':'])
            .next()
            .expect("a first part");
        let name = ServerName::try_from(host.to_owned()).expect("a host");
        let handshake = TlsConnector::from(config).connect(name, stream);
        let stream = soon("a TLS handshake", handshake)
            .await
            .expect("a TLS handshake");
        Self {
            prelude: Vec::new(),
            ..self
        }
        .over(Box::new(stream))
        .await
    }

    /// Over a unix socket.
    ///
    /// # Errors
    /// Whatever the answer was instead of a 101.
    pub async fn connect_unix(self, path: &Path) -> Result<Client, Refused> {
        let stream = UnixStream::connect(path).await.expect("it accepts");
        self.over(Box::new(stream)).await
    }

    async fn tcp(&self, address: SocketAddr) -> TcpStream {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let socket = socket.expect("a socket");
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes).expect("an open socket");
        }
        let stream = soon("a connection", socket.connect(address))
            .await
            .expect("it accepts");
        stream.set_nodelay(true).expect("an open socket");
        stream
    }

    async fn over(self, mut stream: Box<dyn Transport>) -> Result<Client, Refused> {
        stream.write_all(&self.prelude).await.expect("it accepts");
        let mut request = self.uri.into_client_request().expect("a valid URI");
        for (name, value) in &self.headers {
            let name = name
                .parse::<hyper::header::HeaderName>()
                .expect("a header's name");
            request
                .headers_mut()
                .append(name, value.parse().expect("a header's value"));
        }
        let handshake = tokio_tungstenite::client_async_with_config(request, stream, config());
        match soon("an answer to the upgrade", handshake).await {
            Ok((socket, response)) => Ok(Client {
                socket,
                headers: response.into_parts().0.headers,
            }),
            Err(Error::Http(response)) => {
                let (parts, body) = response.into_parts();
                let body = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
                Err(Refused {
                    status: parts.status.as_u16(),
                    headers: parts.headers,
                    body,
                })
            }
            Err(error) => panic!("the handshake failed: {error}"),
        }
    }
}

fn config() -> Option<WebSocketConfig> {
    Some(
        WebSocketConfig::default()
            .read_buffer_size(1024)
            .write_buffer_size(0)
            .max_message_size(None)
            .max_frame_size(None),
    )
}

/// A session.
pub struct Client {
    pub socket: WebSocketStream<Box<dyn Transport>>,
    /// Of the 101.
    pub headers: HeaderMap,
}

impl Client {
    /// A session for this path and query that is accepted.
    pub async fn connect(address: SocketAddr, target: &str) -> Self {
        Dial::new(target)
            .connect(address)
            .await
            .unwrap_or_else(|refused| panic!("{target} was refused: {refused:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("a header is text"))
    }

    /// Sends a message, whether or not anybody takes it.
    pub async fn try_send(&mut self, message: impl Into<Message>) {
        soon("a message goes out", self.socket.send(message.into()))
            .await
            .ok();
    }

    pub async fn send(&mut self, message: impl Into<Message>) {
        let send = self.socket.send(message.into());
        soon("a message goes out", send)
            .await
            .expect("the session lives");
    }

    /// The next data message.
    pub async fn receive(&mut self) -> Message {
        loop {
            match soon("a message", self.socket.next()).await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => return message,
                other => panic!("{other:?} instead of a message"),
            }
        }
    }

    pub async fn receive_text(&mut self) -> String {
        self.receive().await.into_text().expect("text").to_string()
    }

    /// Sends a text and sees it come back.
    pub async fn echo(&mut self, text: &str) {
        self.send(text).await;
        assert_eq!(self.receive_text().await, text);
    }

    /// The next text, or how the session ended instead.
    ///
    /// # Errors
    /// As [`Client::end`] returns it.
    pub async fn text_or_end(&mut self) -> Result<String, Option<(u16, String)>> {
        match soon("a message", self.socket.next()).await {
            Some(Ok(Message::Text(text))) => Ok(text.to_string()),
            Some(Ok(Message::Close(Some(frame)))) => {
                Err(Some((u16::from(frame.code), frame.reason.to_string())))
            }
            _ => Err(None),
        }
    }

    /// Which backend this session is at.
    pub async fn backend(&mut self) -> SocketAddr {
        self.send("!who").await;
        self.receive_text()
            .await
            .parse()
            .expect("a backend's name is its address")
    }

    /// What the backend saw of the request: `target` and `headers`.
    pub async fn seen(&mut self) -> serde_json::Value {
        self.send("!seen").await;
        serde_json::from_str(&self.receive_text().await).expect("JSON")
    }

    /// The session's id, as the gateway sent it to the backend.
    pub async fn session_id(&mut self) -> String {
        let seen = self.seen().await;
        seen["headers"]["sessile-session"]
            .as_str()
            .expect("backends get the id")
            .to_owned()
    }

    /// Closes with 1000 and waits until the connection ends.
    pub async fn close(self) {
        let end = self.close_with(1000, "").await;
        assert_eq!(end.map(|(code, _)| code), Some(1000));
    }

    /// Closes with this and returns what the close was answered with.
    pub async fn close_with(mut self, code: u16, reason: &str) -> Option<(u16, String)> {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.to_owned().into(),
        };
        self.send(Message::Close(Some(frame))).await;
        self.end().await
    }

    /// Reads to the end: the close frame's code and reason, or `None` if there was no close frame.
    /// Messages on the way are thrown away.
    pub async fn end(&mut self) -> Option<(u16, String)> {
        let mut end = None;
        loop {
            match soon("the end", self.socket.next()).await {
                Some(Ok(Message::Close(frame))) => {
                    end = Some(frame.map_or((1005, String::new()), |frame| {
                        (u16::from(frame.code), frame.reason.to_string())
                    }));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return end,
            }
        }
    }
}
