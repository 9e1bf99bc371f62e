//! Binding of unix sockets: the file has its permissions from its first moment, and a file that a
//! dead process left is replaced.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::Mode;
use socket2::{Domain, SockAddr, Socket as RawSocket, Type};

use crate::base::addr::ListenAddr;
use crate::io::net::listener::bound::{BindError, Bound, ListenOptions, backlog};
use crate::io::net::listener::socket_file::SocketFile;

/// Binds a unix socket whose file has the mode of `options` from its first moment.
pub(super) fn bind(path: &Path, options: ListenOptions) -> Result<Bound, BindError> {
    let refused = |error| BindError::System(ListenAddr::Unix(path.to_owned()), error);
    let at = SockAddr::unix(path).map_err(refused)?;
    if let Ok(found) = fs::symlink_metadata(path) {
        remove_stale(path, &at, &found)?;
    }
    let bound = || -> io::Result<Bound> {
        let socket = unheard(&at, options.mode)?;
        let file = SocketFile::of(path)?;
        file.set_mode(options.mode)?;
        socket.listen(backlog(options))?;
        Ok(Bound {
            socket,
            asked: ListenAddr::Unix(path.to_owned()),
            address: ListenAddr::Unix(path.to_owned()),
            file: Some(Arc::new(file)),
        })
    };
    bound().map_err(refused)
}

/// A socket with a file, to which nothing can connect before `listen`.
///
/// The kernel gives the file the mode of the socket's own inode, less the umask (unix(7),
/// `unix_bind`). Setting that mode before `bind` leaves no moment at which the file is more open.
fn unheard(at: &SockAddr, mode: u32) -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))?;
    socket.bind(at)?;
    Ok(socket)
}

/// Removes the socket file that a dead process left behind: nothing accepts on it.
fn remove_stale(path: &Path, at: &SockAddr, found: &Metadata) -> Result<(), BindError> {
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    let removed = || -> io::Result<bool> {
        let caller = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
        // Not blocking, since a live process with a full backlog would keep us waiting.
        caller.set_nonblocking(true)?;
        match caller.connect(at) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map(|()| true)
            }
            _ => Ok(false),
        }
    };
    match removed() {
        Ok(true) => Ok(()),
        Ok(false) => Err(BindError::Alive(path.to_owned())),
        Err(error) => Err(BindError::System(ListenAddr::Unix(path.to_owned()), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt as _;
        fs::symlink_metadata(path)
            .expect("a file")
            .permissions()
            .mode()
            & 0o7777
    }

    #[test]
    fn a_socket_is_never_more_open_than_its_mode() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("first.sock");
        // Nothing has changed the mode after `bind` yet; the umask alone would leave 0755 or so.
        let _socket = unheard(&SockAddr::unix(&path).expect("a path"), 0o600).expect("a socket");
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn the_umask_takes_no_bits_away() {
        let directory = tempfile::tempdir().expect("a directory");
        for wanted in [0o600, 0o660, 0o666, 0o777] {
            let path = directory.path().join(format!("{wanted:o}.sock"));
            let options = ListenOptions {
                backlog: 1,
                reuse_port: false,
                keepalive: None,
                mode: wanted,
            };
            let bound = bind(&path, options).expect("a socket");
            assert_eq!(mode(&path), wanted);
            drop(bound);
            assert!(!path.exists());
        }
    }

    #[test]
    fn only_the_sockets_own_file_is_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, other) = (
            directory.path().join("a.sock"),
            directory.path().join("secret"),
        );
        fs::write(&other, "").expect("a file");
        let before = mode(&other);
        let _socket = unheard(&SockAddr::unix(&path).expect("a path"), 0o600).expect("a socket");
        let file = SocketFile::of(&path).expect("a file");
        fs::remove_file(&path).expect("our file");
        std::os::unix::fs::symlink(&other, &path).expect("a link");
        assert!(file.set_mode(0o666).is_err());
        assert_eq!(mode(&other), before);
    }
}
