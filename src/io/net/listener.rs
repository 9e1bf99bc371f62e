//! Binding of listening sockets: TCP and unix, new or from the process before this one.

mod accept;
mod bound;
mod inherit;
mod path;
mod socket_file;

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use crate::base::addr::ListenAddr;
use crate::io::net::listener::bound::{PRIVATE, backlog};
use crate::io::net::socket::{self, Tuning};

pub use accept::{AcceptError, Acceptor, Incoming};
pub use bound::{BindError, Bound, ListenOptions};
pub use inherit::{Inheritance, InheritedSocket, Owner};

/// Binds every address of one listener, or none. Sockets inherited from a predecessor are not bound
/// again.
///
/// `[::]` takes IPv4 clients too, unless `0.0.0.0` with the same port is listed too.
///
/// # Errors
/// That of the first address that cannot be listened on.
pub fn bind_all(
    listen: &[ListenAddr],
    options: ListenOptions,
    owner: &Owner,
    inheritance: &mut Inheritance,
) -> Result<Vec<Bound>, BindError> {
    let takes_v4 = |port: u16| {
        listen.iter().any(|other| match other {
            ListenAddr::Tcp(other) => {
                other.is_ipv4() && other.ip().is_unspecified() && other.port() == port && port != 0
            }
            ListenAddr::Unix(_) => false,
        })
    };
    listen
        .iter()
        .map(|listen| match (inheritance.take(owner, listen), listen) {
            (Some(left), _) => left.enter_upon(options),
            (None, ListenAddr::Tcp(address)) => {
                bind_tcp(*address, takes_v4(address.port()), options)
            }
            (None, ListenAddr::Unix(path)) => path::bind(path, options),
        })
        .collect()
}

/// Binds a unix socket that only this user reaches.
///
/// # Errors
/// When it cannot be listened on.
pub fn bind_private(path: &Path) -> Result<Bound, BindError> {
    path::bind(path, PRIVATE)
}

fn bind_tcp(
    address: SocketAddr,
    only_v6: bool,
    options: ListenOptions,
) -> Result<Bound, BindError> {
    let bound = || -> io::Result<Bound> {
        let domain = Domain::for_address(address);
        let socket = RawSocket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6)?;
        }
        // A restarted gateway must not wait for its old connections to leave TIME_WAIT.
        socket.set_reuse_address(true)?;
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        // Accepted connections inherit these, which saves a handful of calls on each.
        socket::tune(&socket, Tuning::Whole(options.keepalive))?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog(options))?;
        let real = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Bound {
            socket,
            asked: ListenAddr::Tcp(address),
            address: ListenAddr::Tcp(real),
            file: None,
        })
    };
    bound().map_err(|error| BindError::System(ListenAddr::Tcp(address), error))
}

#[cfg(test)]
mod tests;
