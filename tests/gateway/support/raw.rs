//! A client that sends exactly the given bytes, for what no well-behaved library would send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::soon;

/// A TCP connection.
pub struct Raw {
    pub stream: TcpStream,
    /// Read, and not yet taken by the test.
    buffer: Vec<u8>,
}

/// An upgrade request for `/` with the key of RFC 6455's example.
pub const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What that key is answered with.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("it accepts");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Connects, upgrades and checks the 101.
    pub async fn upgrade(address: SocketAddr) -> Self {
        Self::connect(address).await.upgraded().await
    }

    /// The same for a client whose system takes so many bytes before they are read.
    pub async fn upgrade_with_buffer(address: SocketAddr, bytes: u32) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(bytes).expect("an open socket");
        let stream = socket.connect(address).await.expect("it accepts");
        let raw = Self {
            stream,
            buffer: Vec::new(),
        };
        raw.upgraded().await
    }

    async fn upgraded(mut self) -> Self {
        let raw = &mut self;
        raw.write(UPGRADE).await;
        let head = raw.read_head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        self
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let write = self.stream.write_all(bytes.as_ref());
        soon("a write", write)
            .await
            .expect("the connection is open");
    }

    /// Up to and with the blank line.
    pub async fn read_head(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return String::from_utf8(head).expect("a head is ASCII");
            }
            let read = soon("a head", self.stream.read_buf(&mut self.buffer)).await;
            let read = read.expect("the connection is open");
            assert!(
                read > 0,
                "closed inside a head: {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        }
    }

    /// The status of the next head, or `None` if the connection ends without one.
    pub async fn status(&mut self) -> Option<u16> {
        loop {
            if self.buffer.windows(4).any(|four| four == b"\r\n\r\n") {
                let head = self.read_head().await;
                return head.split(' ').nth(1).and_then(|code| code.parse().ok());
            }
            match soon("a head", self.stream.read_buf(&mut self.buffer)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Exactly this many bytes.
    pub async fn read(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            let read = soon("bytes", self.stream.read_buf(&mut self.buffer)).await;
            let read = read.expect("the connection is open");
            assert!(
                read > 0,
                "closed after {} of {count} bytes",
                self.buffer.len()
            );
        }
        self.buffer.drain(..count).collect()
    }

    /// Everything up to the end of the connection, however it ends.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        while matches!(
            soon("the end", self.stream.read_buf(&mut self.buffer)).await,
            Ok(read) if read > 0
        ) {}
        std::mem::take(&mut self.buffer)
    }

    /// What was read behind the last head, for a test that goes on with the bare stream.
    pub fn take_read(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// The connection is reset as this end goes.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("an open socket");
    }
}

/// A client's frame with a short payload, masked with zeros, which leaves the payload readable.
pub fn masked(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first_byte];
    match u8::try_from(payload.len()) {
        Ok(length @ 0..=125) => frame.push(0x80 | length),
        _ => {
            let length = u16::try_from(payload.len()).expect("a short payload");
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A server's frame with a payload of up to 125 bytes.
pub fn unmasked(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short payload");
    assert!(length <= 125);
    [&[first_byte, length], payload].concat()
}
