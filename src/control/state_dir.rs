//! The directory where a gateway keeps what its next start must know: whether it can be written to,
//! and how a file in it is replaced. What the files hold is `state_file`'s.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD, OFlags};
use tokio::time::{MissedTickBehavior, interval};

/// Between looks at the directory, and between attempts to write what could not be written.
const EVERY: Duration = Duration::from_secs(5);
/// Bytes of a file that is read.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// What stands in the names of files that are being written.
const UNFINISHED: &str = ".new-";
/// A file that a process left unfinished is removed when it is as old as this. A younger one may
/// belong to the process that this one takes over from.
const UNFINISHED_MAX: Duration = Duration::from_secs(60);

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// It does not exist, and cannot be made.
    #[error(
        "cannot make the state directory {}; make it yourself for the user that the gateway runs \
         as, or change `state_dir` in [node]", .0.display()
    )]
    Create(PathBuf, #[source] io::Error),
    /// It exists but is not writable.
    #[error(
        "cannot write to the state directory {}; give it to the user that the gateway runs as, or \
         change `state_dir` in [node]", .0.display()
    )]
    Write(PathBuf, #[source] io::Error),
}

/// The directory that `node.state_dir` names, in which this process could write when it started.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Contents by file name that could not be written. Locked while a file is written, so that an
    /// older version never replaces a newer one.
    unsaved: Mutex<BTreeMap<String, Vec<u8>>>,
    fault: Mutex<Option<String>>,
}

impl StateDir {
    /// Makes the directory if there is none, for this user only, and sees that it can be written
    /// to. Blocks.
    ///
    /// # Errors
    /// When it cannot be made or written to.
    pub fn open(path: &Path) -> Result<Arc<Self>, StateDirError> {
        create(path).map_err(|error| StateDirError::Create(path.to_owned(), error))?;
        let tried = try_writing(path);
        tried.map_err(|error| StateDirError::Write(path.to_owned(), error))?;
        remove_unfinished(path);
        Ok(Arc::new(Self {
            path: path.to_owned(),
            unsaved: Mutex::default(),
            fault: Mutex::default(),
        }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why it cannot be written to, if that was so the last time; what could not be written is
    /// tried again every five seconds.
    pub fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    /// Looks every five seconds whether it can still be written to, while the gateway runs.
    pub async fn watch(self: Arc<Self>) {
        let mut beat = interval(EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let state_dir = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || state_dir.look());
            looked.await.expect("looking at a directory does not panic");
        }
    }

    /// Writes what is left to write, else asks whether it could. Blocks.
    fn look(&self) {
        let mut unsaved = lock(&self.unsaved);
        let written = unsaved
            .iter()
            .map(|(name, bytes)| (name.clone(), replace(&self.path, name, bytes)))
            .collect::<Vec<_>>();
        let mut result = writable(&self.path);
        for (name, written) in written {
            match written {
                Ok(()) => drop(unsaved.remove(&name)),
                Err(error) => result = Err(error),
            }
        }
        drop(unsaved);
        self.note(result.as_ref().err());
    }

    /// Replaces a file as a whole. If it cannot be written now, that is tried again later. Blocks.
    pub(super) fn write(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let mut unsaved = lock(&self.unsaved);
        let written = replace(&self.path, name, &bytes);
        match &written {
            Ok(()) => drop(unsaved.remove(name)),
            Err(_) => drop(unsaved.insert(name.to_owned(), bytes)),
        }
        let all_written = unsaved.is_empty();
        drop(unsaved);
        match &written {
            Ok(()) if all_written => self.note(None),
            Ok(()) => {}
            Err(error) => self.note(Some(error)),
        }
        written
    }

    /// The contents of a file. Blocks.
    pub(super) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut options = fs::OpenOptions::new();
        // Not blocking, for a pipe would be waited for.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.read(true).custom_flags(flags.bits().cast_signed());
        let file = options.open(self.path.join(name))?;
        let found = file.metadata()?;
        let own = [0, rustix::process::geteuid().as_raw()].contains(&found.uid());
        if !found.is_file() || !own {
            return Err(io::Error::other("it is no regular file of this user's"));
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn note(&self, error: Option<&io::Error>) {
        let error = error.map(ToString::to_string);
        let before = std::mem::replace(&mut *lock(&self.fault), error.clone());
        let directory = self.path.display();
        match (before, error) {
            (None, Some(error)) => tracing::error!(
                %directory, error,
                "the state directory cannot be written to; a restart will not know what changes now"
            ),
            (Some(_), None) => tracing::info!(%directory, "the state directory can be written to"),
            _ => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn create(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory)
}

/// Writes a file and removes it: permissions alone do not say that there is room.
fn try_writing(directory: &Path) -> io::Result<()> {
    let (path, mut file) = create_new(directory, "try")?;
    let written = file.write_all(b"sessile").and_then(|()| file.sync_all());
    fs::remove_file(path)?;
    written
}

fn writable(directory: &Path) -> io::Result<()> {
    if !fs::metadata(directory)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let access = Access::WRITE_OK | Access::EXEC_OK;
    Ok(rustix::fs::accessat(
        CWD,
        directory,
        access,
        AtFlags::EACCESS,
    )?)
}

/// Replaces a file by a rename, after its contents have reached the disk.
fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    // It may have been removed by hand.
    create(directory)?;
    let (new, mut file) = create_new(directory, name)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let replaced = written.and_then(|()| fs::rename(&new, directory.join(name)));
    if let Err(error) = replaced {
        // A full disk must not fill further with each attempt.
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

/// A new file of this user's alone. Its name cannot be foreseen, and it is never one that is there
/// already, be it a link that leads elsewhere.
fn create_new(directory: &Path, name: &str) -> io::Result<(PathBuf, File)> {
    let path = directory.join(format!("{name}{UNFINISHED}{:016x}", fastrand::u64(..)));
    let mut options = fs::OpenOptions::new();
    // O_CREAT with O_EXCL.
    options.write(true).create_new(true).mode(0o600);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let file = options.open(&path)?;
    Ok((path, file))
}

/// Removes what processes that were killed left.
fn remove_unfinished(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let unfinished = entry.file_name().to_string_lossy().contains(UNFINISHED);
        let written = entry.metadata().and_then(|found| found.modified());
        let old = written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > UNFINISHED_MAX));
        if unfinished && old {
            // The next start tries again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
