//! The sockets of a session that has come from another process.

use std::io;

use crate::core::tls::UnsoundTls;
use crate::io::carrier::Carrier;
use crate::io::net::socket::Detached;
use crate::io::relay::Unsound;
use crate::live::EndTransfer;

/// No session can be made of a transfer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RebuildError {
    #[error("its state cannot be parsed: {0}")]
    NotUnderstood(#[from] serde_json::Error),
    #[error(transparent)]
    Unsound(#[from] Unsound),
    #[error("its sockets cannot be used: {0}")]
    Sockets(#[from] io::Error),
    #[error(transparent)]
    Tls(#[from] UnsoundTls),
    #[error("a session with this id already exists here")]
    Known,
}

/// Settles a socket from another process on this worker, with its TLS connection.
pub(super) fn attach(end: EndTransfer) -> Result<Carrier, RebuildError> {
    let EndTransfer { socket, tls } = end;
    let socket = socket2::Socket::from(socket);
    // Both processes share this setting; it is what it was.
    socket.set_nonblocking(true)?;
    let socket = match socket.domain()? {
        socket2::Domain::UNIX => Detached::Unix(socket.into()),
        _ => Detached::Tcp(socket.into()),
    };
    let socket = socket.attach()?;
    Ok(match tls {
        None => socket.into(),
        Some(packed) => Carrier::unpack(socket, &packed)?,
    })
}
