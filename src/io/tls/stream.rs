//! A TLS connection after its handshake, on a socket. What is opened and sealed goes through
//! buffers that all connections of the thread share, so that an idle one has none.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::{CommonState, HandshakeKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use zeroize::{Zeroize as _, Zeroizing};

use crate::core::tls::{
    BUFFER_BYTES, Connection, ContextCache, DATA_MAX, RECORD_MAX, RecordError, UnsoundTls,
};
use crate::io::net::socket::Socket;

/// Buffers of a thread.
struct Buffers {
    /// Records that are being opened.
    receive: Box<[u8]>,
    /// Records that have been sealed.
    send: Vec<u8>,
    /// Contexts of the connections that were used last.
    contexts: ContextCache,
}

/// Connections whose contexts a thread keeps between two calls of [`drop_contexts`].
const CONTEXTS_MAX: usize = 256;

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers {
        receive: vec![0; BUFFER_BYTES].into(),
        send: Vec::with_capacity(2 * RECORD_MAX),
        contexts: ContextCache::new(CONTEXTS_MAX),
    });
}

/// Drops what this thread keeps for connections that are in use. A worker calls it at each tick.
pub fn drop_contexts() {
    BUFFERS.with_borrow_mut(|buffers| buffers.contexts.clear());
}

/// What the handshake revealed of the peer.
#[derive(Default)]
pub(super) struct Peer {
    /// The leaf certificate (DER).
    pub(super) certificate: Option<Box<[u8]>>,
    /// The protocol that both agreed on (ALPN).
    pub(super) alpn: Option<Box<[u8]>>,
    /// The session continued an earlier one.
    pub(super) resumed: bool,
    /// Stores the tickets of a server.
    pub(super) tickets: Option<Box<KernelConnection<ClientConnectionData>>>,
}

impl Peer {
    /// Of a handshake that is over.
    pub(super) fn of(common: &CommonState) -> Self {
        let chain = common.peer_certificates();
        let leaf = chain.and_then(|chain| chain.first());
        Self {
            certificate: leaf.map(|leaf| leaf.as_ref().into()),
            alpn: common.alpn_protocol().map(Into::into),
            resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
            ..Self::default()
        }
    }
}

/// A connection whose records the gateway opens and seals itself.
pub struct TlsStream {
    socket: Socket,
    connection: Connection,
    /// Dropped when the stream is `settle`d.
    peer: Option<Box<Peer>>,
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("socket", &self.socket)
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

impl TlsStream {
    pub(super) fn new(socket: Socket, connection: Connection, peer: Peer) -> Self {
        Self {
            socket,
            connection,
            peer: Some(Box::new(peer)),
        }
    }

    /// The connection that another process packed.
    pub(in crate::io) fn unpack(socket: Socket, packed: &[u8]) -> Result<Self, UnsoundTls> {
        Ok(Self {
            socket,
            connection: Connection::unpack(packed)?,
            peer: None,
        })
    }

    /// See [`Connection::pack`].
    pub(in crate::io) fn pack(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.connection.pack()
    }

    /// See [`Connection::thaw`].
    pub(in crate::io) fn thaw(&mut self) {
        self.connection.thaw();
    }

    /// The socket.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The records of the connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The peer's certificate (DER), if it showed one; not after `settle`.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.peer.as_deref()?.certificate.as_deref()
    }

    /// The protocol that both agreed on (ALPN); not after `settle`.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.peer.as_deref()?.alpn.as_deref()
    }

    /// Whether the handshake continued an earlier session; not known after `settle`.
    pub fn resumed(&self) -> bool {
        self.peer.as_deref().is_some_and(|peer| peer.resumed)
    }

    /// Forgets what only the time before a session needs. Tickets that come later are dropped.
    pub fn settle(&mut self) {
        self.store_tickets();
        self.connection.ignore_tickets();
        self.peer = None;
    }

    /// Tickets of the server that came behind the handshake are for the next connections to it.
    fn store_tickets(&mut self) {
        for ticket in self.connection.take_tickets() {
            let peer = self.peer.as_deref_mut();
            if let Some(tickets) = peer.and_then(|peer| peer.tickets.as_mut()) {
                // A ticket that rustls does not understand is not used.
                let _ = tickets.handle_new_session_ticket(&ticket);
            }
        }
    }

    /// Brings to the socket what it did not take before.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.is_frozen() {
            return Poll::Pending;
        }
        while !self.connection.unsent().is_empty() {
            let unsent = self.connection.unsent();
            match ready!(Pin::new(&mut self.socket).poll_write(cx, unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.connection.sent(sent),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes records that were sealed just now, behind everything unsent; what the socket does not
    /// take is kept.
    fn write_sealed(&mut self, cx: &mut Context<'_>, sealed: &[u8]) -> io::Result<()> {
        let mut at = 0;
        while at < sealed.len() {
            match Pin::new(&mut self.socket).poll_write(cx, &sealed[at..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(sent)) => at += sent,
                Poll::Ready(Err(error)) => {
                    // Whatever is written later must not follow a part of a record.
                    self.connection.keep_unsent(&sealed[at..]);
                    return Err(error);
                }
                Poll::Pending => break,
            }
        }
        self.connection.keep_unsent(&sealed[at..]);
        Ok(())
    }

    /// Sends what is owed to the peer, so far as the socket takes it.
    fn poll_owed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        if !self.connection.owes() {
            return Poll::Ready(Ok(()));
        }
        let answered: Poll<io::Result<()>> =
            BUFFERS.with_borrow_mut(|Buffers { send, contexts, .. }| {
                send.clear();
                let Some(mut turn) = self.connection.turn_with(contexts) else {
                    return Poll::Pending;
                };
                // The alert of a key that has done its work is in the buffer.
                let answered = turn.answer(send);
                turn.keep(contexts);
                self.write_sealed(cx, send)?;
                Poll::Ready(answered.map_err(ended))
            });
        ready!(answered)?;
        self.poll_unsent(cx)
    }

    /// Reads from the socket, unless whole records wait. Ready with the bytes of data in `into`,
    /// which may be none.
    fn poll_records(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self {
            socket, connection, ..
        } = self;
        let waits = connection.has_record();
        BUFFERS.with_borrow_mut(|buffers| {
            let Buffers {
                receive, contexts, ..
            } = buffers;
            let mut filled = connection.load(receive);
            if !waits {
                // Not more than the reader has room for, so that little is stored.
                let most = receive.len().min(filled + into.len().max(RECORD_MAX));
                let mut room = ReadBuf::new(&mut receive[filled..most]);
                let read = Pin::new(socket).poll_read(cx, &mut room);
                let bytes = room.filled().len();
                match read {
                    Poll::Ready(Ok(())) if bytes > 0 => filled += bytes,
                    Poll::Pending => {
                        connection.unload(&receive[..filled]);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(())) => {
                        let why = "the peer ended the connection without close_notify";
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, why)));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
            let Some(mut turn) = connection.turn_with(contexts) else {
                connection.unload(&receive[..filled]);
                return Poll::Pending;
            };
            let data = turn.receive(&mut receive[..filled], into);
            turn.keep(contexts);
            Poll::Ready(Ok(data))
        })
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.connection.is_frozen() {
            return Poll::Pending;
        }
        loop {
            let into = buffer.initialize_unfilled();
            let mut data = this.connection.take_data(into);
            if data == 0 {
                if let Some(end) = this.connection.ended() {
                    // The alert, if there is one. It has been tried once; do not wait for a peer
                    // that broke the protocol.
                    let _ = this.poll_unsent(cx);
                    return Poll::Ready(end.map_err(broken));
                }
                let read = this.poll_records(cx, into);
                this.store_tickets();
                // What the socket did not take of an answer before goes now, too: no writer may
                // come. An error is the writer's to find: data that came must not be lost.
                if this.connection.owes() || !this.connection.unsent().is_empty() {
                    let _ = this.poll_owed(cx);
                }
                data = ready!(read)?;
            }
            if data > 0 {
                buffer.advance(data);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_unsent(cx))?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        BUFFERS.with_borrow_mut(|Buffers { send, contexts, .. }| {
            send.clear();
            let Some(mut turn) = this.connection.turn_with(contexts) else {
                return Poll::Pending;
            };
            let sealed = turn.send(bytes, send);
            turn.keep(contexts);
            // Even if the half ended just now: its alert is in the buffer.
            this.write_sealed(cx, send)?;
            Poll::Ready(sealed.map_err(ended))
        })
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // One record for all of it, where it fits: hyper gives head and body apart.
        let whole: usize = slices.iter().map(|slice| slice.len()).sum();
        let first = slices.iter().find(|slice| !slice.is_empty());
        match first {
            Some(first) if first.len() < whole => {
                let mut bytes = Vec::with_capacity(whole.min(DATA_MAX));
                for slice in slices {
                    let room = DATA_MAX - bytes.len();
                    bytes.extend_from_slice(&slice[..slice.len().min(room)]);
                }
                let written = self.poll_write(cx, &bytes);
                bytes.zeroize();
                written
            }
            first => {
                let bytes = first.map_or(&[][..], |first| first);
                self.poll_write(cx, bytes)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_owed(cx))?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_unsent(cx))?;
        let closed: Poll<io::Result<()>> = BUFFERS.with_borrow_mut(|Buffers { send, .. }| {
            send.clear();
            let Some(mut turn) = this.connection.turn() else {
                return Poll::Pending;
            };
            // Once: later calls append nothing.
            turn.close(send);
            Poll::Ready(this.write_sealed(cx, send))
        });
        ready!(closed)?;
        ready!(this.poll_unsent(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

fn broken(error: RecordError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn ended(error: crate::core::tls::SendError) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error)
}
