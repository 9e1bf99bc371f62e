//! Listening sockets inherited from the previous process, with the clients in their queues.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use socket2::Socket as RawSocket;

use crate::base::addr::ListenAddr;
use crate::base::names::ListenerName;
use crate::io::net::listener::bound::{BindError, Bound, ListenOptions, PRIVATE, backlog};
use crate::io::net::listener::socket_file::SocketFile;
use crate::io::net::socket::{self, Tuning};

/// The purpose of a socket; it identifies the socket together with the configured address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// Clients, by this listener.
    Listener(ListenerName),
    /// Operators.
    Admin,
    /// Services that publish messages.
    Publish,
    /// The next process.
    Handover,
}

/// A listening socket that the process before this one left.
#[derive(Debug)]
pub struct InheritedSocket {
    /// What for.
    pub owner: Owner,
    /// As that process' configuration had it.
    pub asked: ListenAddr,
    socket: RawSocket,
    address: ListenAddr,
}

impl InheritedSocket {
    /// Takes a descriptor received from another process.
    ///
    /// # Errors
    /// When it is not a socket that listens at `asked`.
    pub fn new(owner: Owner, asked: ListenAddr, descriptor: OwnedFd) -> io::Result<Self> {
        let socket = RawSocket::from(descriptor);
        let wrong = || io::Error::other("the descriptor is no listening socket for this address");
        let real = socket.local_addr()?;
        let address = match &asked {
            ListenAddr::Tcp(address) => {
                let real = real.as_socket().ok_or_else(wrong)?;
                let same = real.ip() == address.ip() && [0, real.port()].contains(&address.port());
                same.then_some(ListenAddr::Tcp(real)).ok_or_else(wrong)?
            }
            ListenAddr::Unix(path) => {
                let same = real.as_pathname() == Some(path.as_path());
                same.then(|| asked.clone()).ok_or_else(wrong)?
            }
        };
        if !socket.is_listener()? {
            return Err(wrong());
        }
        Ok(Self {
            owner,
            asked,
            socket,
            address,
        })
    }

    /// Listens on, as before.
    ///
    /// # Errors
    /// The system's own.
    pub fn listen_on(self) -> Result<Bound, BindError> {
        self.enter_upon(PRIVATE)
    }

    /// Listens on, with these options; clients in the queue stay in it.
    pub(super) fn enter_upon(self, options: ListenOptions) -> Result<Bound, BindError> {
        let Self {
            asked,
            socket,
            address,
            owner: _,
        } = self;
        let entered = || -> io::Result<Option<Arc<SocketFile>>> {
            socket.set_nonblocking(true)?;
            let file = match &address {
                ListenAddr::Tcp(_) => {
                    socket::tune(&socket, Tuning::Whole(options.keepalive))?;
                    None
                }
                // Its file may have been removed by hand; connected clients stay connected. The
                // other process may go on: until `keep_file` the file is that one's to remove.
                ListenAddr::Unix(path) => match SocketFile::of(path) {
                    Ok(file) => {
                        file.keep(false);
                        file.set_mode(options.mode)?;
                        Some(Arc::new(file))
                    }
                    Err(_) => None,
                },
            };
            socket.listen(backlog(options))?;
            Ok(file)
        };
        match entered() {
            Ok(file) => Ok(Bound {
                socket,
                asked,
                address,
                file,
            }),
            Err(error) => Err(BindError::System(asked, error)),
        }
    }
}

/// All sockets of the previous process. Those that are not taken are closed here.
#[derive(Debug, Default)]
pub struct Inheritance(Vec<InheritedSocket>);

impl Inheritance {
    /// Adds one.
    pub fn add(&mut self, left: InheritedSocket) {
        self.0.push(left);
    }

    /// The first of an owner's sockets, wherever it listens.
    pub fn take_for(&mut self, owner: &Owner) -> Option<InheritedSocket> {
        let place = self.0.iter().position(|left| left.owner == *owner);
        place.map(|place| self.0.remove(place))
    }

    /// Whether everything has been taken, or there was nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The socket for this address. A listener that was renamed takes it too, unless its port is
    /// one that the system chose.
    pub fn take(&mut self, owner: &Owner, asked: &ListenAddr) -> Option<InheritedSocket> {
        let chosen = matches!(asked, ListenAddr::Tcp(address) if address.port() == 0);
        let exact = |left: &InheritedSocket| left.asked == *asked && left.owner == *owner;
        let place = self.0.iter().position(exact).or_else(|| {
            let same =
                |left: &InheritedSocket| left.address == *asked && left.owner != Owner::Handover;
            self.0.iter().position(same).filter(|_| !chosen)
        });
        place.map(|place| self.0.remove(place))
    }
}
