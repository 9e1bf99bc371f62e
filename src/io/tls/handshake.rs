//! A handshake by rustls, up to the point where the gateway continues with records of its own.
//!
//! rustls sees one whole record more at a time, and nothing once the handshake is over: what comes
//! behind it stays with the caller. So rustls never opens a record with data, and no byte of one is
//! lost inside it.

use std::io;
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{Acceptor, ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{
    ClientConfig, CommonState, ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion,
    ServerConfig,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::core::tls::{Connection, Established, HalfKeys, RECORD_MAX, Role, Suite, Version};
use crate::io::net::socket::Socket;
use crate::io::tls::secrets::TrafficSecrets;
use crate::io::tls::server::ServerTls;
use crate::io::tls::stream::{Peer, TlsStream};

/// Bytes of the header of a record.
const HEADER: usize = 5;
/// Bytes of one read. A handshake fits in a few.
const READ: usize = 4096;
/// Bytes of a handshake message that rustls takes, and of the records that carry it.
const INCOMING_MAX: usize = 2 * 64 * 1024;

/// Runs the handshake with a client.
///
/// # Errors
/// When the peer ends or breaks the handshake; the message is rustls' own.
pub(in crate::io) async fn accept(mut socket: Socket, tls: &ServerTls) -> io::Result<TlsStream> {
    let (config, incoming) = read_hello(&mut socket, tls).await?;
    let connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
    let (steps, connection) = Steps::run(socket, incoming, connection).await?;
    let peer = Peer::of(&connection);
    let version = connection.protocol_version();
    let extracted = connection.dangerous_into_kernel_connection();
    let (extracted, _) = extracted.map_err(io::Error::other)?;
    steps.finish(Role::Server, version, extracted, peer)
}

/// Reads the client's hello. Returns the configuration for this client and all that came.
async fn read_hello(
    socket: &mut Socket,
    tls: &ServerTls,
) -> io::Result<(Arc<ServerConfig>, Vec<u8>)> {
    let mut acceptor = Acceptor::default();
    let mut incoming = Vec::new();
    loop {
        let from = incoming.len();
        read_some(socket, &mut incoming).await?;
        let mut unseen = &incoming[from..];
        // The acceptor takes some kilobytes at once.
        while !unseen.is_empty() {
            acceptor.read_tls(&mut unseen)?;
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => return Ok((tls.choose(&accepted.client_hello()), incoming)),
                // The handshake comes to the same error, and has an alert for it.
                Err(_) => return Ok((tls.any(), incoming)),
            }
        }
    }
}

/// Reads what there is, up to a bound, and waits for something.
async fn read_some(socket: &mut Socket, incoming: &mut Vec<u8>) -> io::Result<()> {
    if incoming.len() > INCOMING_MAX {
        return Err(io::Error::other("a handshake longer than any"));
    }
    incoming.reserve(READ);
    // A peer that sends data behind its handshake must not fill what the vector grew to.
    if socket.take(READ as u64).read_buf(incoming).await? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "tls handshake eof",
        ));
    }
    Ok(())
}

/// Runs the handshake with a server, which must prove that it is `name`.
///
/// # Errors
/// When the peer ends or breaks the handshake, or is not `name`.
pub(in crate::io) async fn connect(
    socket: Socket,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> io::Result<TlsStream> {
    let connection = UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?;
    let (steps, connection) = Steps::run(socket, Vec::new(), connection).await?;
    let mut peer = Peer::of(&connection);
    let version = connection.protocol_version();
    let extracted = connection.dangerous_into_kernel_connection();
    let (extracted, kernel) = extracted.map_err(io::Error::other)?;
    // With TLS 1.2 the ticket came in the handshake.
    peer.tickets = (version == Some(ProtocolVersion::TLSv1_3)).then(|| Box::new(kernel));
    steps.finish(Role::Client, version, extracted, peer)
}

/// A connection of rustls whose records are shown by hand.
trait Unbuffered {
    type Data;
    fn common(&self) -> &CommonState;
    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8])
    -> UnbufferedStatus<'c, 'i, Self::Data>;
}

/// rustls has the method on each of the two types, and no trait for both.
macro_rules! unbuffered {
    ($connection:ty, $data:ty) => {
        impl Unbuffered for $connection {
            type Data = $data;

            fn common(&self) -> &CommonState {
                self
            }

            fn process<'c, 'i>(
                &'c mut self,
                records: &'i mut [u8],
            ) -> UnbufferedStatus<'c, 'i, $data> {
                self.process_tls_records(records)
            }
        }
    };
}

unbuffered!(UnbufferedServerConnection, ServerConnectionData);
unbuffered!(UnbufferedClientConnection, ClientConnectionData);

/// What rustls needs after a step.
enum Wanted {
    /// Another step.
    Step,
    /// The bytes that it made to leave.
    Transmit,
    /// Another record.
    Record,
    /// It is done, if the handshake is.
    Nothing,
}

/// A handshake under way.
struct Steps {
    socket: Socket,
    /// What came and is not discarded.
    incoming: Vec<u8>,
    /// Bytes of it that rustls has seen: whole records.
    shown: usize,
    outgoing: Vec<u8>,
    secrets: TrafficSecrets,
}

impl Steps {
    /// Runs a handshake to its end.
    async fn run<C: Unbuffered>(
        socket: Socket,
        incoming: Vec<u8>,
        mut connection: C,
    ) -> io::Result<(Self, C)> {
        let mut steps = Self {
            socket,
            incoming,
            shown: 0,
            outgoing: Vec::new(),
            secrets: TrafficSecrets::default(),
        };
        loop {
            let wanted = match steps.step(&mut connection) {
                Ok(wanted) => wanted,
                Err(error) => {
                    steps.send_alert(&mut connection).await;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            };
            match wanted {
                Wanted::Step => {}
                Wanted::Transmit => steps.transmit().await?,
                Wanted::Nothing if !connection.common().is_handshaking() => break,
                Wanted::Nothing | Wanted::Record => steps.show().await?,
            }
        }
        if steps.shown > 0 {
            return Err(io::Error::other("a handshake left a part of a record over"));
        }
        Ok((steps, connection))
    }

    /// Lets rustls work on what it has seen.
    fn step<C: Unbuffered>(&mut self, connection: &mut C) -> Result<Wanted, rustls::Error> {
        let Self {
            incoming,
            shown,
            outgoing,
            secrets,
            ..
        } = self;
        let records = &mut incoming[..*shown];
        let UnbufferedStatus { discard, state, .. } =
            secrets.during(|| connection.process(records));
        let wanted = match state? {
            ConnectionState::EncodeTlsData(mut encode) => {
                append(outgoing, |room| encode.encode(room));
                Wanted::Step
            }
            ConnectionState::TransmitTlsData(transmit) => {
                transmit.done();
                Wanted::Transmit
            }
            ConnectionState::BlockedHandshake => Wanted::Record,
            ConnectionState::WriteTraffic(_) => Wanted::Nothing,
            // The peer ended the connection, or sent data before its handshake was over.
            _ => return Err(rustls::Error::HandshakeNotComplete),
        };
        incoming.drain(..discard);
        *shown -= discard;
        Ok(wanted)
    }

    async fn transmit(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.outgoing).await?;
        self.socket.flush().await?;
        self.outgoing.clear();
        Ok(())
    }

    /// The alert with the reason; best effort.
    async fn send_alert<C: Unbuffered>(&mut self, connection: &mut C) {
        // Not beyond that: without anything to send rustls panics here.
        while connection.common().wants_write() {
            let UnbufferedStatus { discard, state, .. } =
                connection.process(&mut self.incoming[..self.shown]);
            let Ok(ConnectionState::EncodeTlsData(mut encode)) = state else {
                break;
            };
            append(&mut self.outgoing, |room| encode.encode(room));
            self.incoming.drain(..discard);
            self.shown -= discard;
        }
        // The error of the handshake is what the caller reports.
        let _ = self.transmit().await;
    }

    /// Shows rustls one record more, once it is whole.
    async fn show(&mut self) -> io::Result<()> {
        loop {
            let rest = &self.incoming[self.shown..];
            if let Some(header) = rest.first_chunk() {
                let whole = shown_bytes(*header);
                if rest.len() >= whole {
                    self.shown += whole;
                    return Ok(());
                }
            }
            read_some(&mut self.socket, &mut self.incoming).await?;
        }
    }

    /// Continues without rustls.
    fn finish(
        self,
        role: Role,
        version: Option<ProtocolVersion>,
        extracted: ExtractedSecrets,
        peer: Peer,
    ) -> io::Result<TlsStream> {
        let version = match version {
            Some(ProtocolVersion::TLSv1_2) => Version::V1_2,
            _ => Version::V1_3,
        };
        let TrafficSecrets { client, server } = &self.secrets;
        let (theirs, ours) = match role {
            Role::Server => (client, server),
            Role::Client => (server, client),
        };
        let (suite, receive) = half(&extracted.rx, theirs.as_deref())?;
        let (_, send) = half(&extracted.tx, ours.as_deref())?;
        let established = Established {
            role,
            version,
            suite,
            receive,
            send,
        };
        let connection = Connection::new(established, self.incoming).map_err(io::Error::other)?;
        Ok(TlsStream::new(self.socket, connection, peer))
    }
}

/// Bytes that rustls is shown of a record: all of it, or a header that no record has, for which
/// rustls has an alert. Waiting for the rest would take until the time is over.
fn shown_bytes([kind, major, _, high, low]: [u8; HEADER]) -> usize {
    let whole = HEADER + usize::from(u16::from_be_bytes([high, low]));
    // change_cipher_spec to heartbeat (RFC 8446, section 5.1).
    let sound = (20..=24).contains(&kind) && major == 3 && whole < RECORD_MAX;
    if sound { whole } else { HEADER }
}

/// The keys of one half, as the record layer takes them.
fn half<'a>(
    (sequence, secrets): &'a (u64, ConnectionTrafficSecrets),
    secret: Option<&'a Vec<u8>>,
) -> io::Result<(Suite, HalfKeys<'a>)> {
    use ConnectionTrafficSecrets as Secrets;
    let (suite, key, iv) = match secrets {
        Secrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
        Secrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
        Secrets::Chacha20Poly1305 { key, iv } => (Suite::Chacha20Poly1305, key, iv),
        _ => return Err(io::Error::other("the cipher of the handshake is not known")),
    };
    let half = HalfKeys {
        key: key.as_ref(),
        iv: iv.as_ref(),
        sequence: *sequence,
        secret: secret.map(Vec::as_slice),
    };
    Ok((suite, half))
}

/// Appends what `encode` makes. Without room it returns the length that it needs.
fn append(out: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let begin = out.len();
    let written = match encode(&mut []) {
        Err(EncodeError::InsufficientSize(needed)) => {
            out.resize(begin + needed.required_size, 0);
            encode(&mut out[begin..]).unwrap_or(0)
        }
        Ok(written) => written,
        Err(EncodeError::AlreadyEncoded) => 0,
    };
    out.truncate(begin + written);
}
