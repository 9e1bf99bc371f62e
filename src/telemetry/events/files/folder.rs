//! The folder of event files. Everything in it is opened relative to the folder, without following
//! links, and used only if it is a regular file of this user's or of root.

use std::fmt;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, open, openat};

use crate::telemetry::events::event::Class;

/// Its name in the state directory.
pub(super) const FOLDER: &str = "events";
/// Files that are looked at.
const FILES_MAX: usize = 4_096;
const SAFE: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// The name of a file: `changes-01700000000000.jsonl`. Names of a class are in the order in which
/// their files began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    class: u8,
    /// When it began, in milliseconds since 1970.
    pub(super) began: u64,
}

impl SegmentName {
    pub(super) fn new(class: Class, began: u64) -> Self {
        let class = class as u8;
        Self { class, began }
    }

    pub(super) fn is_of(self, class: Class) -> bool {
        self.class == class as u8
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = Class::ALL[usize::from(self.class)].as_str();
        write!(f, "{class}-{:014}.jsonl", self.began)
    }
}

impl FromStr for SegmentName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (class, began) = text.split_once('-').ok_or(())?;
        let class = class.parse().map_err(|_| ())?;
        let began = began.strip_suffix(".jsonl").ok_or(())?;
        let name = Self::new(class, began.parse().map_err(|_| ())?);
        // One spelling of each name.
        (name.to_string() == text).then_some(name).ok_or(())
    }
}

/// A file that is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) name: SegmentName,
    pub(super) bytes: u64,
    pub(super) written: SystemTime,
}

/// The folder, open.
pub(super) struct Folder(OwnedFd);

impl Folder {
    /// Opens it, and makes it if there is none, for this user only.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(FOLDER);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | SAFE;
        let folder = open(&path, flags, Mode::empty())?;
        is_own(rustix::fs::fstat(&folder)?.st_uid)?;
        Ok(Self(folder))
    }

    /// The files of events, by class and age.
    pub(super) fn list(&self) -> io::Result<Vec<Segment>> {
        let mut found = Vec::new();
        for entry in Dir::read_from(&self.0)?.take(FILES_MAX) {
            let entry = entry?;
            let name = entry.file_name().to_str().ok();
            let Some(name) = name.and_then(|name| name.parse::<SegmentName>().ok()) else {
                continue;
            };
            let stat = rustix::fs::statat(&self.0, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
            // Another process may have removed it meanwhile.
            let Ok(stat) = stat else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                let since = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
                found.push(Segment {
                    name,
                    bytes: u64::try_from(stat.st_size).unwrap_or(0),
                    written: SystemTime::UNIX_EPOCH + since,
                });
            }
        }
        found.sort_by_key(|one| one.name);
        Ok(found)
    }

    /// Opens a file for reading.
    pub(super) fn read(&self, name: SegmentName) -> io::Result<File> {
        self.file(name, OFlags::RDONLY)
    }

    /// Opens a file to go on with it, unless another process writes it; also whether its last line
    /// is whole.
    pub(super) fn append(&self, name: SegmentName) -> io::Result<Option<(File, bool)>> {
        let file = self.file(name, OFlags::RDWR | OFlags::APPEND)?;
        if !locked(&file)? {
            return Ok(None);
        }
        let mut last = [b'\n'];
        if let Some(at) = file.metadata()?.len().checked_sub(1) {
            file.read_exact_at(&mut last, at)?;
        }
        Ok(Some((file, last == [b'\n'])))
    }

    /// A new file, locked.
    pub(super) fn create(&self, name: SegmentName) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::APPEND;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(openat(&self.0, name.to_string(), flags | SAFE, mode)?);
        match locked(&file)? {
            true => Ok(file),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Removes a file, unless another process writes it; returns whether it is gone.
    pub(super) fn remove(&self, name: SegmentName) -> io::Result<bool> {
        let file = self.file(name, OFlags::RDONLY);
        if file
            .as_ref()
            .is_ok_and(|file| !matches!(locked(file), Ok(true)))
        {
            return Ok(false);
        }
        match rustix::fs::unlinkat(&self.0, name.to_string(), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn file(&self, name: SegmentName, flags: OFlags) -> io::Result<File> {
        let file = openat(&self.0, name.to_string(), flags | SAFE, Mode::empty())?;
        let file = File::from(file);
        let found = file.metadata()?;
        if !found.is_file() || found.nlink() > 1 {
            return Err(io::Error::other(format!("{name} is no regular file")));
        }
        is_own(found.uid())?;
        Ok(file)
    }
}

/// Locks a file for as long as it is open; false if another process has it.
fn locked(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_own(user: u32) -> io::Result<()> {
    match [0, rustix::process::geteuid().as_raw()].contains(&user) {
        true => Ok(()),
        false => Err(io::Error::other(
            "the files of events belong to another user",
        )),
    }
}
