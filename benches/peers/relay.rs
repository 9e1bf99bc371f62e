//! The floor: a process that accepts, connects to the next backend and copies bytes, knowing
//! nothing of HTTP or WebSocket. It leaves out everything that makes a gateway useful.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use slab::Slab;
use socket2::{Domain, Socket, Type};

const LISTENER: u64 = u64::MAX;

/// Two connections. End `i` has the token `2 * place + i`.
struct Pair {
    ends: [End; 2],
}

struct End {
    socket: TcpStream,
    /// Came from the other end and does not fit into the socket yet.
    unsent: Vec<u8>,
    /// The peer will send no more.
    ended: bool,
}

struct Relay {
    epoll: OwnedFd,
    pairs: Slab<Pair>,
    buffer: Vec<u8>,
}

/// Runs until killed. `arguments` are the address to listen on and the backends'.
pub(crate) fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let address: SocketAddr = arguments
        .next()
        .context("no address to listen on")?
        .parse()?;
    let mut backends = Vec::new();
    for backend in arguments {
        backends.push(backend.parse::<SocketAddr>()?);
    }
    let mut backends = backends.iter().cycle();
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    let listener = TcpListener::from(socket);
    let mut relay = Relay {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        pairs: Slab::new(),
        buffer: vec![0; 64 * 1024],
    };
    relay.watch(&listener, LISTENER)?;
    let mut ready = Vec::with_capacity(256);
    loop {
        ready.clear();
        epoll::wait(&relay.epoll, spare_capacity(&mut ready), None)?;
        for event in &ready {
            let (token, flags) = (event.data.u64(), event.flags);
            if token == LISTENER {
                while let Ok((client, _)) = listener.accept() {
                    relay.pair(client, *backends.next().context("no backend")?)?;
                }
            } else {
                relay.serve(token, flags)?;
            }
        }
    }
}

impl Relay {
    fn watch(&self, socket: impl std::os::fd::AsFd, token: u64) -> Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::add(
            &self.epoll,
            socket,
            data,
            epoll::EventFlags::IN,
        )?)
    }

    fn pair(&mut self, client: TcpStream, backend: SocketAddr) -> Result<()> {
        client.set_nonblocking(true)?;
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None)?;
        let in_progress = rustix::io::Errno::INPROGRESS.raw_os_error();
        if let Err(error) = socket.connect(&backend.into())
            && error.raw_os_error() != Some(in_progress)
        {
            return Err(error.into());
        }
        let ends = [client, socket.into()].map(|socket| End {
            socket,
            unsent: Vec::new(),
            ended: false,
        });
        for end in &ends {
            end.socket.set_nodelay(true)?;
        }
        let place = self.pairs.insert(Pair { ends }) as u64;
        let [client, backend] = &self.pairs[place as usize].ends;
        self.watch(&client.socket, 2 * place)?;
        self.watch(&backend.socket, 2 * place + 1)
    }

    fn serve(&mut self, token: u64, flags: epoll::EventFlags) -> Result<()> {
        let (place, from) = ((token / 2) as usize, (token % 2) as usize);
        let Some(pair) = self.pairs.get_mut(place) else {
            return Ok(());
        };
        let [client, backend] = &mut pair.ends;
        let (end, other) = if from == 0 {
            (client, backend)
        } else {
            (backend, client)
        };
        let was = (end.waits(), other.waits());
        let mut alive = !flags.contains(epoll::EventFlags::ERR);
        if flags.contains(epoll::EventFlags::OUT) {
            let unsent = std::mem::take(&mut end.unsent);
            alive &= end.send(&unsent, other.ended);
        }
        if flags.intersects(!epoll::EventFlags::OUT) && !other.waits() && !end.ended {
            match end.socket.read(&mut self.buffer) {
                Ok(n) => {
                    end.ended = n == 0;
                    alive &= other.send(&self.buffer[..n], end.ended);
                }
                Err(error) => alive &= error.kind() == ErrorKind::WouldBlock,
            }
        }
        if !alive || (end.ended && other.ended && !end.waits() && !other.waits()) {
            self.pairs.remove(place);
            return Ok(());
        }
        let now = (end.waits(), other.waits());
        if was != now || end.ended {
            let sides = [(token, &*end, &*other), (token ^ 1, &*other, &*end)];
            for (token, this, that) in sides {
                let mut wanted = epoll::EventFlags::empty();
                wanted.set(epoll::EventFlags::OUT, this.waits());
                wanted.set(epoll::EventFlags::IN, !this.ended && !that.waits());
                let data = epoll::EventData::new_u64(token);
                epoll::modify(&self.epoll, &this.socket, data, wanted)?;
            }
        }
        Ok(())
    }
}

impl End {
    fn waits(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Writes what it can, keeps the rest, passes the end on after the last byte. False when the
    /// peer is gone.
    fn send(&mut self, bytes: &[u8], last: bool) -> bool {
        let mut at = 0;
        while at < bytes.len() {
            match self.socket.write(&bytes[at..]) {
                Ok(n) => at += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        self.unsent.extend_from_slice(&bytes[at..]);
        if last && !self.waits() {
            return self.socket.shutdown(Shutdown::Write).is_ok();
        }
        true
    }
}
