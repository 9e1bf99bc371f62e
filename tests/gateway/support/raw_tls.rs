//! A client of wss whose ciphertext a test cuts where it likes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, ConnectionTrafficSecrets};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::raw::UPGRADE;
use super::soon;

/// A TLS connection by rustls, without an engine of its own.
pub struct RawTls {
    pub stream: TcpStream,
    tls: ClientConnection,
    /// Opened, and not yet taken by the test.
    buffer: Vec<u8>,
    /// Whether close_notify has come.
    closed: bool,
}

impl RawTls {
    /// Connects to `localhost` and upgrades. The system takes about so many bytes before they are
    /// read.
    pub async fn upgrade(
        address: SocketAddr,
        config: Arc<ClientConfig>,
        receive_buffer: Option<u32>,
    ) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes).expect("an open socket");
        }
        let stream = soon("a connection", socket.connect(address)).await;
        let stream = stream.expect("it accepts");
        stream.set_nodelay(true).expect("an open socket");
        let name = ServerName::try_from("localhost").expect("a name");
        let mut raw = Self {
            stream,
            tls: ClientConnection::new(config, name).expect("a configuration"),
            buffer: Vec::new(),
            closed: false,
        };
        while raw.tls.is_handshaking() {
            raw.flush().await;
            if raw.tls.is_handshaking() {
                raw.receive().await;
            }
        }
        raw.flush().await;
        raw.write(UPGRADE).await;
        while !raw.buffer.windows(4).any(|four| four == b"\r\n\r\n") {
            raw.receive().await;
        }
        let end = raw.buffer.windows(4).position(|four| four == b"\r\n\r\n");
        let head: Vec<u8> = raw.buffer.drain(..end.expect("just found") + 4).collect();
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{head:?}");
        raw
    }

    /// The records for these bytes, for [`RawTls::write_sealed`].
    pub fn seal(&mut self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        let mut sealed = Vec::new();
        for some in bytes.as_ref().chunks(32 * 1024) {
            self.tls.writer().write_all(some).expect("room");
            sealed.extend(self.take_sealed());
        }
        sealed
    }

    /// Asks for new keys in both directions, before the next record.
    pub fn seal_key_update(&mut self) -> Vec<u8> {
        self.tls.refresh_traffic_keys().expect("TLS 1.3");
        self.take_sealed()
    }

    fn take_sealed(&mut self) -> Vec<u8> {
        let mut sealed = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut sealed).expect("a vector takes all");
        }
        sealed
    }

    /// Part of what was sealed.
    pub async fn write_sealed(&mut self, sealed: &[u8]) {
        let write = self.stream.write_all(sealed);
        soon("a write", write)
            .await
            .expect("the connection is open");
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let sealed = self.seal(bytes);
        self.write_sealed(&sealed).await;
    }

    async fn flush(&mut self) {
        let sealed = self.take_sealed();
        self.write_sealed(&sealed).await;
    }

    /// Exactly this many bytes.
    pub async fn read(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            let before = self.buffer.len();
            self.receive().await;
            assert!(!self.closed, "closed after {before} of {count} bytes");
        }
        self.buffer.drain(..count).collect()
    }

    /// Everything up to close_notify, which has to come before the end of the connection.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        while !self.closed {
            self.receive().await;
        }
        std::mem::take(&mut self.buffer)
    }

    /// What the system has, opened.
    async fn receive(&mut self) {
        let mut bytes = vec![0; 16 * 1024];
        let read = soon("bytes", self.stream.read(&mut bytes)).await;
        let read = read.expect("the connection is open");
        assert!(read > 0, "the connection ended without close_notify");
        let mut rest = &bytes[..read];
        while !rest.is_empty() {
            self.tls.read_tls(&mut rest).expect("a slice is read");
            let state = self.tls.process_new_packets().expect("sound records");
            self.closed = state.peer_has_closed();
            loop {
                let mut plain = vec![0; 16 * 1024];
                match self.tls.reader().read(&mut plain) {
                    Ok(0) => break,
                    Ok(some) => self.buffer.extend(&plain[..some]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        // Answers to KeyUpdates.
        self.flush().await;
    }

    /// The same connection, which stays open as long as this.
    pub fn duplicate(&self) -> OwnedFd {
        let socket = self.stream.as_fd().try_clone_to_owned();
        socket.expect("a descriptor")
    }

    /// Ends the session and gives the keys that its records have: sending and receiving.
    pub fn into_keys(self) -> [ConnectionTrafficSecrets; 2] {
        let secrets = self.tls.dangerous_extract_secrets();
        let secrets = secrets.expect("the configuration allows it");
        [secrets.tx.1, secrets.rx.1]
    }
}
