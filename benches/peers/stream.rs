//! A non-blocking connection of the load generator, plain or with TLS on top. It leaves out when
//! to read or write, which the engine decides.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Result;
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, NamedGroup, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use socket2::{Domain, Socket, Type};

use crate::wire::HOST;

/// One TCP connection.
pub(crate) struct Stream {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Stream {
    /// Starts to connect; what is written before it succeeds reports `WouldBlock`.
    pub(crate) fn connect(to: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None)?;
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error.into()),
            _ => {}
        }
        let mut stream = Self::accepted(socket.into())?;
        if let Some(config) = tls {
            let name = ServerName::try_from(HOST).expect("a constant name");
            let connection = ClientConnection::new(Arc::clone(config), name)?;
            stream.tls = Some(Box::new(connection));
        }
        Ok(stream)
    }

    /// Takes over a connection that a listener gave.
    pub(crate) fn accepted(socket: TcpStream) -> Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, tls: None })
    }

    /// What epoll watches.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether a read that filled less than the buffer may have left something behind.
    pub(crate) fn may_hold_more(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether bytes wait here for the socket.
    pub(crate) fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// As `Read::read`: zero at the end, `WouldBlock` when nothing is there.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.read(buffer);
        };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            if tls.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
            push(tls, &self.socket)?;
        }
    }

    /// As `Write::write`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.socket.write(bytes);
        };
        let taken = tls.writer().write(bytes)?;
        push(tls, &self.socket)?;
        Ok(taken)
    }

    /// Queues `close_notify` if the TLS handshake is over; returns whether it is.
    pub(crate) fn end_after_handshake(&mut self) -> bool {
        let tls = self.tls.as_mut().filter(|tls| !tls.is_handshaking());
        tls.map(|tls| tls.send_close_notify()).is_some()
    }

    /// Whether its TLS handshake resumed an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        let tls = self.tls.as_ref();
        tls.and_then(|tls| tls.handshake_kind()) == Some(HandshakeKind::Resumed)
    }

    /// Writes what TLS holds back, as far as the socket takes it.
    pub(crate) fn push(&mut self) -> io::Result<()> {
        self.tls
            .as_mut()
            .map_or(Ok(()), |tls| push(tls, &self.socket))
    }
}

const EINPROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

fn push(tls: &mut ClientConnection, mut socket: &TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(&mut socket) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// TLS as every contestant has to speak it: 1.3, X25519, AES-128-GCM.
pub(crate) struct Tls {
    /// A full handshake each time.
    pub(crate) full: Arc<ClientConfig>,
    /// Resumed with the tickets of earlier sessions.
    pub(crate) resumed: Arc<ClientConfig>,
}

/// Trusts this certificate alone.
pub(crate) fn tls_configs(certificate: CertificateDer<'static>) -> Result<Tls> {
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::store(Arc::new(Tickets::default()));
    let resumed = Arc::new(config.clone());
    config.resumption = Resumption::disabled();
    Ok(Tls {
        full: Arc::new(config),
        resumed,
    })
}

/// Tickets for every connection of a row at once; rustls' own store keeps eight for a server.
#[derive(Debug, Default)]
struct Tickets(Mutex<VecDeque<Tls13ClientSessionValue>>);

/// Tickets that are kept.
const TICKETS_MAX: usize = 256;

impl Tickets {
    fn all(&self) -> MutexGuard<'_, VecDeque<Tls13ClientSessionValue>> {
        self.0.lock().expect("one thread")
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut all = self.all();
        all.push_back(value);
        if all.len() > TICKETS_MAX {
            all.pop_front();
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.all().pop_back()
    }
}
