//! A file of records: opened again on request, and rotated by size and age. Two processes may
//! append to it during a hand-over, which libraries for rotation do not expect: a lock and the
//! identity of the file decide which of them rotates.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};

use crate::base::clock;
use crate::config::snapshot::{AccessFile, Rotation};

/// The output could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open `{path}` for records")]
pub struct RecordsError {
    /// The file.
    path: PathBuf,
    source: io::Error,
}

/// After a rotation that failed.
const RETRY: Duration = Duration::from_secs(60);

/// The file, as the thread that writes it has it open.
pub(super) struct RecordFile {
    path: PathBuf,
    file: File,
    rotation: Option<Rotation>,
    /// The period in which the last line was written, with `rotation.age`.
    period: u64,
    reopen: Arc<AtomicBool>,
    /// The last line was written in part: a disk was full.
    torn: bool,
    /// After a rotation that failed: the next attempt is not before this.
    retry: Option<Instant>,
}

impl RecordFile {
    /// Opens it for appending; setting `reopen` makes it open the path again.
    pub(super) fn open(config: &AccessFile, reopen: Arc<AtomicBool>) -> Result<Self, RecordsError> {
        let mut opened = Self {
            path: config.path.clone(),
            file: append(&config.path)?,
            rotation: config.rotation.clone(),
            period: 0,
            reopen,
            torn: false,
            retry: None,
        };
        opened.look();
        Ok(opened)
    }

    /// Sets the rotation period of the open file: that of its last line, or the current one if it
    /// is empty.
    fn look(&mut self) {
        let metadata = self.file.metadata();
        let written = metadata.ok().filter(|found| found.len() > 0);
        let last = written.and_then(|found| found.modified().ok());
        self.period = self.period_of(last.unwrap_or_else(clock::wall));
    }

    fn period_of(&self, time: SystemTime) -> u64 {
        let age = self.rotation.as_ref().and_then(|rotation| rotation.age);
        let age = age.map_or(u64::MAX, |age| age.as_secs().max(1));
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap_or(Duration::ZERO).as_secs() / age
    }

    /// Writes one line at this time.
    fn write_at(&mut self, line: &[u8], now: SystemTime) -> io::Result<()> {
        if self.reopen.swap(false, Ordering::AcqRel) {
            self.open_again();
        }
        // The file that another process began may be due as well.
        for _ in 0..2 {
            if self.is_due(line.len(), now) {
                self.rotate();
            }
        }
        if std::mem::take(&mut self.torn) {
            // The rest of that line is lost; the next one begins on a line of its own.
            self.file.write_all(b"\n")?;
        }
        let before = self.rotation.is_some().then(|| self.period_of(now));
        let written = self.file.write_all(line);
        self.torn = written.is_err();
        self.period = before.unwrap_or(self.period);
        written
    }

    /// Whether the file is rotated before a line of this length.
    fn is_due(&self, length: usize, now: SystemTime) -> bool {
        let Some(rotation) = &self.rotation else {
            return false;
        };
        if self.retry.is_some_and(|retry| clock::now() < retry) {
            return false;
        }
        let size = self.file.metadata().map_or(0, |found| found.len());
        let full = |max| size > 0 && size.saturating_add(length as u64) > max;
        size > 0 && (rotation.size.is_some_and(full) || self.period_of(now) > self.period)
    }

    /// Renames the file unless another process has, and opens the path again.
    fn rotate(&mut self) {
        // Held until the file is closed, which `open_again` does.
        let locked = flock(&self.file, FlockOperation::LockExclusive);
        if locked.is_ok() && self.is_at_its_path() {
            let keep = self.rotation.as_ref().map_or(1, |rotation| rotation.keep);
            if let Err(error) = shift(&self.path, keep) {
                tracing::error!(%error, path = %self.path.display(), "cannot rotate the records");
                flock(&self.file, FlockOperation::Unlock).ok();
                self.retry = Some(clock::now() + RETRY);
                return;
            }
        }
        self.open_again();
    }

    fn is_at_its_path(&self) -> bool {
        let (Ok(ours), Ok(found)) = (self.file.metadata(), fs::metadata(&self.path)) else {
            return false;
        };
        (ours.dev(), ours.ino()) == (found.dev(), found.ino())
    }

    fn open_again(&mut self) {
        match append(&self.path) {
            Ok(file) => {
                self.file = file;
                self.torn = false;
                self.look();
            }
            // The old file still takes records; losing them would be worse.
            Err(error) => {
                tracing::error!(%error, source = %error.source, "records stay in the old file");
            }
        }
    }
}

impl Write for RecordFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_at(line, clock::wall())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Renames `path` to `path.1`, `path.1` to `path.2` and so on; the file after the last that is kept
/// is replaced.
fn shift(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (1..keep).rev() {
        match fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // What an earlier configuration kept beyond that; it is numbered without gaps.
    for number in keep.saturating_add(1).. {
        if fs::remove_file(numbered(number)).is_err() {
            break;
        }
    }
    fs::rename(path, numbered(1))
}

fn append(path: &Path) -> Result<File, RecordsError> {
    let mut options = OpenOptions::new();
    // Records hold addresses and names of clients.
    options.create(true).append(true).mode(0o640);
    options.open(path).map_err(|source| RecordsError {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
