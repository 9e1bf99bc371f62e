//! The file of a listening unix socket: its mode, and its removal at the end.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

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
