//! The load generator: one thread, one epoll, and both ends of every session in it, the clients
//! and the two backends. It verifies each byte that arrives and reports events to the workloads,
//! which decide what to do then.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustls::ClientConfig;
use slab::Slab;
use socket2::{Domain, Socket, Type};

use crate::stream::Stream;
use crate::wire::{
    self, BINARY, CLIENT_CLOSE, CLOSE, Response, SERVER_CLOSE, Stamp, Template, head_len,
};

/// Tokens from here on are the backends' listeners; below are places of connections.
const LISTENER: u64 = 1 << 32;

/// What happened to a client's connection, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Its upgrade was accepted, or its TLS handshake is over if it connected for nothing else.
    Open(usize),
    /// A message or plain answer arrived, and it was the right one.
    Answer(usize),
    /// Close frames were exchanged and the connection ended.
    Closed(usize),
}

/// What a client connects for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Messages of its own, echoed.
    Echo,
    /// Messages that the backend begins.
    Push,
    /// GET requests, answered one at a time.
    Plain,
    /// A TLS handshake; then it ends the connection.
    Handshake,
}

/// Clients, backends and their event loop.
pub(crate) struct Engine {
    epoll: OwnedFd,
    listeners: [TcpListener; 2],
    conns: Slab<Conn>,
    script: Script,
    ready: Vec<epoll::Event>,
    read_buffer: Vec<u8>,
    events: Vec<Event>,
}

/// The messages of a workload.
struct Script {
    to_backend: Template,
    to_client: Template,
}

struct Conn {
    stream: Stream,
    role: Role,
    phase: Phase,
    /// Messages sent so far.
    sent: u32,
    /// Messages received so far.
    received: u32,
    /// Received and not yet whole.
    inbox: Vec<u8>,
    /// To be sent from `written` on.
    outbox: Vec<u8>,
    written: usize,
    watches_writable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Backend,
    Client(Kind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// HTTP, or not connected yet.
    Head,
    /// Frames. The first one of a pushed client names its pusher.
    Open { pusher: Option<u32> },
    /// The close frame has come.
    Closing,
}

impl Engine {
    /// Starts two backends for messages of `size` bytes.
    pub(crate) fn new(size: usize) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let listeners = [listen()?, listen()?];
        for (token, listener) in (LISTENER..).zip(&listeners) {
            let data = epoll::EventData::new_u64(token);
            epoll::add(&epoll, listener, data, epoll::EventFlags::IN)?;
        }
        Ok(Self {
            epoll,
            listeners,
            conns: Slab::new(),
            script: Script {
                to_backend: Template::masked(size),
                to_client: Template::plain(size),
            },
            ready: Vec::with_capacity(256),
            read_buffer: vec![0; 256 * 1024],
            events: Vec::new(),
        })
    }

    /// Where the backends listen.
    pub(crate) fn backends(&self) -> Result<[SocketAddr; 2]> {
        let [a, b] = &self.listeners;
        Ok([a.local_addr()?, b.local_addr()?])
    }

    /// Places of the backends' ends of sessions.
    pub(crate) fn backend_sessions(&self) -> Vec<usize> {
        let open = |conn: &Conn| matches!(conn.phase, Phase::Open { .. });
        let mut places = Vec::new();
        for (place, conn) in &self.conns {
            if conn.role == Role::Backend && open(conn) {
                places.push(place);
            }
        }
        places
    }

    /// Starts a client. `Kind::Plain` sends its first request at once.
    pub(crate) fn connect(
        &mut self,
        to: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        kind: Kind,
    ) -> Result<usize> {
        let place = self.insert(Stream::connect(to, tls)?, Role::Client(kind))?;
        match kind {
            Kind::Plain => self.send(place, 1)?,
            Kind::Handshake => self.flush(place)?,
            Kind::Echo | Kind::Push => {
                let conn = &mut self.conns[place];
                conn.outbox
                    .extend(wire::upgrade_request("/bench").into_bytes());
                self.flush(place)?;
            }
        }
        Ok(place)
    }

    /// Sends `count` messages, or one plain request, in a single write if the socket takes it. From
    /// a backend's end this pushes.
    pub(crate) fn send(&mut self, place: usize, count: u32) -> Result<()> {
        let conn = &mut self.conns[place];
        for _ in 0..count {
            let stamp = conn.stamp(place);
            match conn.role {
                Role::Backend => self.script.to_client.put(stamp, &mut conn.outbox),
                Role::Client(Kind::Plain) => {
                    conn.outbox.extend(wire::plain_request(stamp).into_bytes());
                }
                Role::Client(_) => self.script.to_backend.put(stamp, &mut conn.outbox),
            }
            conn.sent += 1;
        }
        self.flush(place)
    }

    /// Whether all that the client sent was answered.
    pub(crate) fn is_answered(&self, place: usize) -> bool {
        let conn = &self.conns[place];
        conn.sent == conn.received
    }

    /// Whether the client's TLS handshake resumed an earlier session.
    pub(crate) fn is_resumed(&self, place: usize) -> bool {
        self.conns[place].stream.is_resumed()
    }

    /// Sends the client's close frame.
    pub(crate) fn close(&mut self, place: usize) -> Result<()> {
        self.conns[place].outbox.extend(CLIENT_CLOSE);
        self.flush(place)
    }

    /// Waits for at most `timeout` and moves everything that can move.
    pub(crate) fn poll(&mut self, timeout: Duration) -> Result<Vec<Event>> {
        let timeout = Timespec::try_from(timeout)?;
        self.ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            result => drop(result?),
        }
        for index in 0..self.ready.len() {
            let (token, flags) = (self.ready[index].data.u64(), self.ready[index].flags);
            if token >= LISTENER {
                self.accept((token - LISTENER) as usize)?;
                continue;
            }
            let place = token as usize;
            if flags.contains(epoll::EventFlags::OUT) && self.conns.contains(place) {
                self.flush(place)?;
            }
            if flags.intersects(!epoll::EventFlags::OUT) {
                self.read(place)?;
            }
        }
        Ok(std::mem::take(&mut self.events))
    }

    fn accept(&mut self, which: usize) -> Result<()> {
        loop {
            match self.listeners[which].accept() {
                Ok((socket, _)) => drop(self.insert(Stream::accepted(socket)?, Role::Backend)?),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("a backend cannot accept"),
            }
        }
    }

    fn insert(&mut self, stream: Stream, role: Role) -> Result<usize> {
        let entry = self.conns.vacant_entry();
        let place = entry.key();
        let data = epoll::EventData::new_u64(place as u64);
        epoll::add(&self.epoll, stream.fd(), data, epoll::EventFlags::IN)?;
        entry.insert(Conn {
            stream,
            role,
            phase: Phase::Head,
            sent: 0,
            received: 0,
            inbox: Vec::new(),
            outbox: Vec::new(),
            written: 0,
            watches_writable: false,
        });
        Ok(place)
    }

    fn read(&mut self, place: usize) -> Result<()> {
        let Some(conn) = self.conns.get_mut(place) else {
            return Ok(());
        };
        loop {
            match conn.stream.read(&mut self.read_buffer) {
                Ok(0) => return self.ended(place),
                Ok(n) => {
                    conn.take(
                        &self.read_buffer[..n],
                        place,
                        &self.script,
                        &mut self.events,
                    )
                    .with_context(|| format!("{:?} {place}", conn.role))?;
                    if n < self.read_buffer.len() && !conn.stream.may_hold_more() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    let lost = error.kind() == ErrorKind::ConnectionReset;
                    if lost && conn.role == Role::Backend {
                        return self.ended(place);
                    }
                    return Err(error).with_context(|| format!("{:?} {place}", conn.role));
                }
            }
        }
        self.flush(place)
    }

    fn ended(&mut self, place: usize) -> Result<()> {
        let conn = self.conns.remove(place);
        match (conn.role, conn.phase) {
            (Role::Client(_), Phase::Closing) => self.events.push(Event::Closed(place)),
            (Role::Backend, Phase::Head | Phase::Closing) => {}
            (role, phase) => bail!("{role:?} {place} was cut off in {phase:?}"),
        }
        Ok(())
    }

    fn flush(&mut self, place: usize) -> Result<()> {
        let conn = &mut self.conns[place];
        if conn.role == Role::Client(Kind::Handshake)
            && conn.phase == Phase::Head
            && conn.stream.end_after_handshake()
        {
            conn.phase = Phase::Closing;
            self.events.push(Event::Open(place));
        }
        conn.write()
            .with_context(|| format!("{:?} {place}", conn.role))?;
        let unsent = !conn.outbox.is_empty() || conn.stream.wants_write();
        if !unsent && conn.role == Role::Backend && conn.phase == Phase::Closing {
            self.conns.remove(place);
        } else if unsent != conn.watches_writable {
            conn.watches_writable = unsent;
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, unsent);
            let data = epoll::EventData::new_u64(place as u64);
            epoll::modify(&self.epoll, conn.stream.fd(), data, flags)?;
        }
        Ok(())
    }
}

impl Conn {
    fn stamp(&self, place: usize) -> Stamp {
        Stamp {
            owner: u32::try_from(place).expect("fewer connections than descriptors"),
            number: self.sent,
        }
    }

    fn write(&mut self) -> Result<()> {
        while self.written < self.outbox.len() {
            match self.stream.write(&self.outbox[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        if self.written == self.outbox.len() {
            self.outbox.clear();
            self.written = 0;
        }
        self.stream.push()?;
        Ok(())
    }

    /// Takes what arrived in, piece by piece; keeps the rest for later.
    fn take(
        &mut self,
        bytes: &[u8],
        place: usize,
        script: &Script,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let mut inbox = std::mem::take(&mut self.inbox);
        if !inbox.is_empty() {
            inbox.extend_from_slice(bytes);
        }
        let input = if inbox.is_empty() { bytes } else { &inbox };
        let mut at = 0;
        while at < input.len() {
            let rest = &input[at..];
            let used = match self.role {
                Role::Backend => self.serve(rest, script)?,
                Role::Client(_) => self.receive(rest, place, script, events)?,
            };
            if used == 0 {
                break;
            }
            at += used;
        }
        if inbox.is_empty() {
            inbox.extend_from_slice(&bytes[at..]);
        } else {
            inbox.drain(..at);
        }
        self.inbox = inbox;
        Ok(())
    }

    /// A backend's part; the bytes used, zero while more are needed.
    fn serve(&mut self, bytes: &[u8], script: &Script) -> Result<usize> {
        if self.phase == Phase::Head {
            let Some(len) = head_len(bytes) else {
                return Ok(0);
            };
            match wire::respond(&bytes[..len])? {
                Response::Plain(text) => self.outbox.extend(text.into_bytes()),
                Response::Upgrade(text) => {
                    self.outbox.extend(text.into_bytes());
                    self.phase = Phase::Open { pusher: None };
                }
            }
            return Ok(len);
        }
        let Some(frame) = whole_frame(bytes, &script.to_backend, &CLIENT_CLOSE)? else {
            return Ok(0);
        };
        if frame[0] == CLOSE {
            self.outbox.extend(SERVER_CLOSE);
            self.phase = Phase::Closing;
        } else {
            let stamp = script.to_backend.verify(frame)?;
            script.to_client.put(stamp, &mut self.outbox);
        }
        Ok(frame.len())
    }

    /// A client's part; the bytes used, zero while more are needed.
    fn receive(
        &mut self,
        bytes: &[u8],
        place: usize,
        script: &Script,
        events: &mut Vec<Event>,
    ) -> Result<usize> {
        let expected = Stamp {
            owner: place as u32,
            number: self.received,
        };
        let pusher = match self.phase {
            Phase::Head if self.role == Role::Client(Kind::Plain) => {
                let used = wire::verify_plain(bytes, expected)?.unwrap_or(0);
                if used > 0 {
                    self.received += 1;
                    events.push(Event::Answer(place));
                }
                return Ok(used);
            }
            Phase::Head => {
                let len = head_len(bytes).unwrap_or(0);
                if len > 0 {
                    wire::verify_upgrade(&bytes[..len])?;
                    self.phase = Phase::Open { pusher: None };
                    events.push(Event::Open(place));
                }
                return Ok(len);
            }
            Phase::Open { pusher } => pusher,
            // A peer may answer a connection that ends without a request.
            Phase::Closing if self.role == Role::Client(Kind::Handshake) => return Ok(bytes.len()),
            Phase::Closing => bail!("bytes after the close frame"),
        };
        let Some(frame) = whole_frame(bytes, &script.to_client, &SERVER_CLOSE)? else {
            return Ok(0);
        };
        if frame[0] == CLOSE {
            self.phase = Phase::Closing;
            return Ok(frame.len());
        }
        let stamp = script.to_client.verify(frame)?;
        if self.role == Role::Client(Kind::Push) {
            let owner = pusher.unwrap_or(stamp.owner);
            ensure!(
                stamp == Stamp { owner, ..expected },
                "a push went astray: {stamp:?}"
            );
            self.phase = Phase::Open {
                pusher: Some(owner),
            };
        } else {
            ensure!(
                stamp == expected,
                "an answer went astray: {stamp:?}, not {expected:?}"
            );
        }
        self.received += 1;
        events.push(Event::Answer(place));
        Ok(frame.len())
    }
}

/// The first frame if all of it is here: a message of the template's length or the close frame.
fn whole_frame<'a>(bytes: &'a [u8], message: &Template, close: &[u8]) -> Result<Option<&'a [u8]>> {
    let len = match bytes[0] {
        BINARY => message.len(),
        CLOSE => close.len(),
        other => bail!("unexpected first byte of a frame: {other:#x}"),
    };
    let frame = bytes.get(..len);
    if let Some(frame) = frame.filter(|frame| frame[0] == CLOSE) {
        ensure!(frame == close, "unexpected close frame: {frame:?}");
    }
    Ok(frame)
}

fn listen() -> Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}
