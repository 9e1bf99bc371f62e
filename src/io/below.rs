//! Opens files below a directory, for readers who choose the name: neither `..` nor a symbolic link
//! leads out, and nothing but a regular file is read. The calls block; workers make them aside.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// Tries to open a name while directories on its way are renamed.
const TRIES: usize = 8;
/// Bytes read at once.
pub const PIECE: u64 = 64 << 10;

/// A directory that files are opened below. What its path leads to is found out once; what lies in
/// it, each time that a file is opened.
#[derive(Debug)]
pub struct Directory(OwnedFd);

/// What a name leads to.
#[derive(Debug)]
pub enum Entry {
    /// A regular file.
    File(File, Metadata),
    /// A directory.
    Directory,
}

impl Directory {
    /// Opens a directory.
    ///
    /// # Errors
    /// When it is not there or no directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    /// What `name` leads to; none if it is not there, leads out, may not be read, or is neither a
    /// file nor a directory.
    ///
    /// # Errors
    /// When the system cannot open files at all.
    pub fn find(&self, name: &str) -> io::Result<Option<Entry>> {
        let opened = match beneath(self.0.as_fd(), name) {
            // Before Linux 5.6, or forbidden by a filter of system calls.
            Err(Errno::NOSYS | Errno::PERM) => step_by_step(self.0.as_fd(), name),
            opened => opened,
        };
        let file = match opened {
            Ok(file) => File::from(file),
            Err(error) if is_absent(error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let found = file.metadata()?;
        Ok(if found.is_file() {
            Some(Entry::File(file, found))
        } else {
            found.is_dir().then_some(Entry::Directory)
        })
    }
}

/// Neither blocks on a pipe nor takes a terminal over.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Links are followed as long as they stay below.
fn beneath(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let name = if name.is_empty() { "." } else { name };
    for _ in 0..TRIES {
        match openat2(directory, name, READ, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            opened => return opened,
        }
    }
    Err(Errno::NOENT)
}

/// The same where the system does not check; no link is followed.
fn step_by_step(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let last = READ | OFlags::NOFOLLOW;
    let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut at = openat(directory, ".", way, Mode::empty())?;
    let mut segments = name.split('/').filter(|one| !one.is_empty()).peekable();
    while let Some(segment) = segments.next() {
        if matches!(segment, "." | "..") {
            return Err(Errno::NOENT);
        }
        let flags = if segments.peek().is_some() { way } else { last };
        at = openat(&at, segment, flags, Mode::empty())?;
    }
    match name.is_empty() {
        true => openat(&at, ".", READ, Mode::empty()),
        false => Ok(at),
    }
}

/// Whether a client is told no more than that there is nothing.
fn is_absent(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT
            | Errno::NOTDIR
            | Errno::XDEV
            | Errno::LOOP
            | Errno::ACCESS
            | Errno::PERM
            | Errno::NAMETOOLONG
            | Errno::INVAL
            | Errno::NXIO
            | Errno::NODEV
    )
}

/// Reads at most [`PIECE`] of `left` bytes at `offset`.
///
/// # Errors
/// When reading fails, or the file has become shorter.
pub fn read_piece(file: &File, offset: u64, left: u64) -> io::Result<Bytes> {
    let length = usize::try_from(left.min(PIECE)).expect("a piece fits into memory");
    let mut piece = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut piece[filled..], offset + filled as u64) {
            Ok(0) if filled == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    piece.truncate(filled);
    Ok(piece.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{FileType, mknodat};

    use super::*;

    /// A directory `site` with a file, links and a pipe, beside a file `secret`.
    fn site() -> (tempfile::TempDir, Directory) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        fs::create_dir_all(path("site/sub")).expect("directories");
        fs::write(path("secret"), "secret").expect("a file");
        fs::write(path("site/a.txt"), "text").expect("a file");
        fs::write(path("site/sub/b.txt"), "b").expect("a file");
        symlink("../secret", path("site/out")).expect("a link");
        symlink(path("secret"), path("site/absolute")).expect("a link");
        symlink("..", path("site/sub/up")).expect("a link");
        symlink("../..", path("site/sub/over")).expect("a link");
        symlink("a.txt", path("site/inside")).expect("a link");
        symlink("/proc/self/root", path("site/magic")).expect("a link");
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, path("site/pipe"), FileType::Fifo, mode, 0).expect("a pipe");
        let site = Directory::open(&path("site")).expect("it opens");
        (directory, site)
    }

    fn shown(found: io::Result<Option<Entry>>) -> String {
        match found.expect("the system opens files") {
            Some(Entry::File(file, found)) => {
                let bytes = read_piece(&file, 0, found.len()).expect("it reads");
                String::from_utf8(bytes.to_vec()).expect("text")
            }
            Some(Entry::Directory) => "a directory".to_owned(),
            None => "nothing".to_owned(),
        }
    }

    #[test]
    fn i12_nothing_leads_out_of_the_directory() {
        let (_directory, site) = site();
        for name in [
            "out",
            "absolute",
            "../secret",
            "sub/../../secret",
            "sub/over/secret",
            "/etc/passwd",
            "magic/etc/passwd",
            "pipe",
            "absent",
            "a.txt/x",
            "a\0b",
        ] {
            assert_eq!(shown(site.find(name)), "nothing", "{name}");
        }
        for (name, expected) in [
            ("a.txt", "text"),
            ("sub/b.txt", "b"),
            ("inside", "text"),
            ("sub/up/a.txt", "text"),
            ("", "a directory"),
            ("sub", "a directory"),
        ] {
            assert_eq!(shown(site.find(name)), expected, "{name}");
        }
    }

    #[test]
    fn i12_without_the_systems_check_no_link_is_followed() {
        let (_directory, site) = site();
        let find = |name| step_by_step(site.0.as_fd(), name);
        for name in [
            "out",
            "absolute",
            "inside",
            "sub/up/a.txt",
            "sub/over/secret",
            "../secret",
            "sub/../a.txt",
            "magic/etc/passwd",
        ] {
            let error = find(name).expect_err("it is refused");
            assert!(is_absent(error), "{name}: {error}");
        }
        let file = File::from(find("sub/b.txt").expect("it opens"));
        assert_eq!(&*read_piece(&file, 0, 1).expect("it reads"), b"b");
        let itself = File::from(find("").expect("it opens"));
        assert!(itself.metadata().expect("metadata").is_dir());
    }

    #[test]
    fn pieces_are_read_where_they_are_asked_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let length = PIECE + 3;
        let content: Vec<_> = (0..length)
            .map(|at| u8::try_from(at % 251).expect("a byte"))
            .collect();
        fs::write(directory.path().join("large"), &content).expect("a file");
        let site = Directory::open(directory.path()).expect("it opens");
        let Ok(Some(Entry::File(file, _))) = site.find("large") else {
            panic!("no file");
        };
        let piece = |offset, left| read_piece(&file, offset, left).expect("it reads");
        assert_eq!(piece(0, length).len() as u64, PIECE);
        assert_eq!(*piece(PIECE, 3), content[content.len() - 3..]);
        assert_eq!(*piece(1, 2), content[1..3]);
        let beyond = read_piece(&file, length, 1).expect_err("nothing is there");
        assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
    }
}
