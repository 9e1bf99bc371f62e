//! Clients in rooms, and the backend behind the contestant, in one thread with one epoll. Each
//! byte that a client receives is compared.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use sessile::base::clock::now;
use slab::Slab;
use socket2::{Domain, Socket, Type};

use crate::wire::{self, Response, head_len};

/// Every message: 256 bytes of text.
pub(crate) const PAYLOAD: &str = "published published published published published published published published \
    published published published published published published published published \
    published published published published published published published published \
    published publis";
const LISTENER: u64 = u64::MAX;
/// Handshakes under way at once.
const OPENING_MAX: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);

/// The clients, the backend and their event loop.
pub(crate) struct Load {
    epoll: OwnedFd,
    listener: TcpListener,
    conns: Slab<Conn>,
    frame: Vec<u8>,
    buffer: Vec<u8>,
    ready: Vec<epoll::Event>,
    /// Clients whose upgrade was accepted.
    pub(crate) open: usize,
    /// Whole messages that clients have received.
    pub(crate) delivered: u64,
}

struct Conn {
    socket: TcpStream,
    is_client: bool,
    is_open: bool,
    /// What came of HTTP.
    head: Vec<u8>,
    /// Bytes of the current frame that have come.
    place: usize,
}

impl Load {
    pub(crate) fn new() -> Result<Self> {
        let listener = TcpListener::from(socket()?);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, data, epoll::EventFlags::IN)?;
        let length = u16::try_from(PAYLOAD.len())?.to_be_bytes();
        Ok(Self {
            epoll,
            listener,
            conns: Slab::new(),
            frame: [&[0x81, 126], &length[..], PAYLOAD.as_bytes()].concat(),
            buffer: vec![0; 256 * 1024],
            ready: Vec::with_capacity(256),
            open: 0,
            delivered: 0,
        })
    }

    /// Where the backend listens.
    pub(crate) fn backend(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Opens `count` clients, the first `size` of them in the room `r0`, the next in `r1`.
    pub(crate) fn enter(&mut self, to: SocketAddr, count: usize, size: usize) -> Result<()> {
        let deadline = now() + PATIENCE;
        let mut begun = 0;
        while self.open < count {
            while begun < count && begun - self.open < OPENING_MAX {
                let room = begun / size;
                let request = wire::upgrade_request(&format!("/rooms/r{room}"));
                let mut socket = TcpStream::connect(to)?;
                socket.write_all(request.as_bytes())?;
                self.insert(socket, true)?;
                begun += 1;
            }
            self.poll(Duration::from_millis(100))?;
            ensure!(
                now() < deadline,
                "only {} clients of {count} are open",
                self.open
            );
        }
        Ok(())
    }

    /// Waits until clients have received so many messages in all, and no more.
    pub(crate) fn wait_for(&mut self, delivered: u64) -> Result<()> {
        self.wait_until(delivered)?;
        ensure!(self.delivered == delivered, "more came than was sent");
        Ok(())
    }

    /// Waits until clients have received so many messages in all, or more.
    pub(crate) fn wait_until(&mut self, delivered: u64) -> Result<()> {
        let deadline = now() + PATIENCE;
        while self.delivered < delivered {
            self.poll(Duration::from_millis(100))?;
            let came = self.delivered;
            ensure!(now() < deadline, "only {came} messages of {delivered} came");
        }
        Ok(())
    }

    /// Receives what is there, for a moment.
    pub(crate) fn turn(&mut self) -> Result<()> {
        self.poll(Duration::from_millis(1))
    }

    /// Sends a message from `count` of the backend's ends, those of the clients from `first` on:
    /// what a backend behind a relay has to do.
    pub(crate) fn push(&mut self, first: usize, count: usize) -> Result<()> {
        let ends = self.conns.iter_mut().map(|(_, conn)| conn);
        let ends = ends.filter(|conn| !conn.is_client && conn.is_open);
        for conn in ends.skip(first).take(count) {
            conn.socket.write_all(&self.frame)?;
        }
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> Result<()> {
        let timeout = Timespec::try_from(timeout)?;
        self.ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            result => drop(result?),
        }
        for index in 0..self.ready.len() {
            match self.ready[index].data.u64() {
                LISTENER => self.accept()?,
                place => self.read(usize::try_from(place)?)?,
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((socket, _)) => self.insert(socket, false)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("the backend cannot accept"),
            }
        }
    }

    fn insert(&mut self, socket: TcpStream, is_client: bool) -> Result<()> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let entry = self.conns.vacant_entry();
        let data = epoll::EventData::new_u64(entry.key() as u64);
        epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
        entry.insert(Conn {
            socket,
            is_client,
            is_open: false,
            head: Vec::new(),
            place: 0,
        });
        Ok(())
    }

    fn read(&mut self, place: usize) -> Result<()> {
        let Some(conn) = self.conns.get_mut(place) else {
            return Ok(());
        };
        let count = match conn.socket.read(&mut self.buffer) {
            Ok(0) if conn.is_client => bail!("a client was cut off"),
            Ok(0) => {
                self.conns.remove(place);
                return Ok(());
            }
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if conn.is_client => return Err(error.into()),
            Err(_) => {
                self.conns.remove(place);
                return Ok(());
            }
        };
        let bytes = &self.buffer[..count];
        if conn.is_open && conn.is_client {
            self.delivered += conn.take(bytes, &self.frame)?;
            return Ok(());
        }
        if conn.is_open {
            return Ok(());
        }
        conn.head.extend_from_slice(bytes);
        if conn.is_client {
            let Some(end) = head_len(&conn.head) else {
                return Ok(());
            };
            let head = std::mem::take(&mut conn.head);
            wire::verify_upgrade(&head[..end])?;
            conn.is_open = true;
            self.open += 1;
            self.delivered += conn.take(&head[end..], &self.frame)?;
            return Ok(());
        }
        conn.serve()
    }
}

impl Conn {
    /// A client's part: compares what came, and returns how many messages are whole.
    fn take(&mut self, mut bytes: &[u8], frame: &[u8]) -> Result<u64> {
        let mut whole = 0;
        while !bytes.is_empty() {
            let rest = &frame[self.place..];
            let count = rest.len().min(bytes.len());
            ensure!(rest[..count] == bytes[..count], "something else arrived");
            bytes = &bytes[count..];
            self.place = (self.place + count) % frame.len();
            whole += u64::from(self.place == 0);
        }
        Ok(whole)
    }

    /// The backend's part: accepts upgrades, and subscribes clients of Pushpin, which asks by a
    /// request for each event of theirs.
    fn serve(&mut self) -> Result<()> {
        while let Some(end) = head_len(&self.head) {
            let head = std::str::from_utf8(&self.head[..end]).context("a head is text")?;
            if head.starts_with("GET ") {
                let Response::Upgrade(answer) = wire::respond(head.as_bytes())? else {
                    bail!("a request that is no upgrade");
                };
                self.is_open = true;
                self.head.clear();
                return Ok(self.socket.write_all(answer.as_bytes())?);
            }
            let length = wire::field(head, "content-length").unwrap_or("0");
            let length: usize = length.parse()?;
            if self.head.len() < end + length {
                return Ok(());
            }
            let path = head.split(' ').nth(1).unwrap_or_default();
            let path = path.split('?').next().unwrap_or_default();
            let room = path.rsplit('/').next().unwrap_or_default();
            let control = format!(r#"c:{{"type":"subscribe","channel":"{room}"}}"#);
            let body = format!("OPEN\r\nTEXT {:x}\r\n{control}\r\n", control.len());
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/websocket-events\r\n\
                 Sec-WebSocket-Extensions: grip\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            self.head.drain(..end + length);
            self.socket.write_all(answer.as_bytes())?;
        }
        Ok(())
    }
}

fn socket() -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(4096)?;
    Ok(socket)
}
