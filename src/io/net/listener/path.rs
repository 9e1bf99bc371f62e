//! The file of a listening unix socket: made with its permissions, removed at the end.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use socket2::{Domain, SockAddr, Socket as RawSocket, Type};

use crate::base::addr::ListenAddr;
use crate::io::net::listener::{BindError, Bound, ListenOptions, backlog};

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

/// A unix socket's file, removed at the end unless another process has put its own in place, or
/// has been given the socket.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    given: AtomicBool,
}

impl SocketFile {
    /// The file at `path`, for this process to remove.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            identity: identity(path)?,
            path: path.to_owned(),
            given: AtomicBool::new(false),
        })
    }

    /// Whether this process removes it in the end.
    pub(super) fn keep(&self, keep: bool) {
        self.given.store(!keep, Ordering::Relaxed);
    }

    /// Gives the file this mode. The umask may have taken bits away when it was made, and the
    /// process before this one may have had another mode.
    pub(super) fn set_mode(&self, mode: u32) -> io::Result<()> {
        // The path may be in a directory that others can write to. The file opened here is the one
        // changed below, and it is neither a link nor another user's file.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &self.path, flags, Mode::empty())?;
        let found = rustix::fs::fstat(&file)?;
        if (found.st_dev, found.st_ino) != self.identity {
            return Err(io::Error::other("another file has taken its place"));
        }
        if found.st_mode & 0o7777 == mode {
            return Ok(());
        }
        // chmod(2) takes no descriptor that was opened with O_PATH, but follows this link to it.
        let opened = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        rustix::fs::chmodat(CWD, opened, Mode::from_raw_mode(mode), AtFlags::empty())?;
        Ok(())
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = !self.given.load(Ordering::Relaxed);
        if ours && identity(&self.path).is_ok_and(|now| now == self.identity) {
            // There is no one left to report a failure to; the next start removes a stale file.
            let _ = fs::remove_file(&self.path);
        }
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
