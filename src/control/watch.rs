//! Reports when one of a few files may have changed: rewritten in place, renamed over, or reached
//! through a symbolic link that now leads elsewhere (as Kubernetes swaps `..data`). What is in them
//! is the caller's business.
//!
//! The system's notices (of the directories, since files come and go) only say when to look; what
//! counts is the comparison of what the paths lead to, which a slow poll makes as well, for file
//! systems that give no notice.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// Between looks where no notice comes.
const POLL: Duration = Duration::from_secs(10);
/// From a notice to the look: other files of a directory may be written all the time.
const PACE: Duration = Duration::from_millis(50);
/// Files must have kept still for this long, so that a write that is under way is not read.
const STILL: Duration = Duration::from_millis(100);
/// Checks of files that keep changing, before they are reported anyway.
const RESTLESS_MAX: u32 = 20;
/// Links followed from one path, as the system itself does.
const LINKS_MAX: usize = 40;

/// Watches files. Make it first and read the files then, so that no change falls in between.
#[derive(Debug)]
pub struct Watch {
    files: Arc<[PathBuf]>,
    before: Vec<FileState>,
    notices: Option<Notices>,
    poll: Duration,
}

impl Watch {
    /// Watches `files`, which need not exist yet.
    pub fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut watch = Self::polling(files, POLL);
        match Notices::new() {
            Ok(notices) => watch.notices = Some(notices),
            Err(error) => warn!(
                %error,
                "the system gives no notice of changed files; they are looked at every {POLL:?}"
            ),
        }
        watch
    }

    /// Looks at `files` every `poll` and asks the system for no notice.
    pub fn polling(files: impl IntoIterator<Item = PathBuf>, poll: Duration) -> Self {
        let files: Arc<[PathBuf]> = files.into_iter().collect();
        Self {
            before: file_states(&files),
            files,
            notices: None,
            poll,
        }
    }

    /// Watches other files from now on.
    pub fn set_files(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        self.files = files.into_iter().collect();
        self.before = file_states(&self.files);
    }

    /// Waits until one of the files has changed (or has come, or gone) and all keep still. A change
    /// between two calls is reported by the second; dropping the future loses nothing.
    pub async fn changed(&mut self) {
        loop {
            // Before each look, so that the look finds changes without a notice.
            if let Some(notices) = &mut self.notices {
                notices.follow(&self.files);
            }
            let mut now = file_states_aside(&self.files).await;
            if now != self.before {
                for _ in 0..RESTLESS_MAX {
                    sleep(STILL).await;
                    let later = file_states_aside(&self.files).await;
                    if later == now {
                        break;
                    }
                    now = later;
                }
                let changed = now != self.before;
                self.before = now;
                if changed {
                    return;
                }
            }
            match &self.notices {
                Some(notices) => {
                    // A timeout is the poll.
                    if timeout(self.poll, notices.woken.notified()).await.is_ok() {
                        sleep(PACE).await;
                    }
                }
                None => sleep(self.poll).await,
            }
        }
    }
}

/// What a path leads to at one moment; `None` where nothing is there.
type FileState = Option<Identity>;

/// Differs after any change of a file: another file has another inode, a rewritten one another time
/// of change, which cannot be set back.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl From<Metadata> for Identity {
    fn from(found: Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

fn file_states(files: &[PathBuf]) -> Vec<FileState> {
    let state = |path: &PathBuf| fs::metadata(path).ok().map(Identity::from);
    files.iter().map(state).collect()
}

/// [`file_states`] on a thread that may wait, for file systems behind a network.
async fn file_states_aside(files: &Arc<[PathBuf]>) -> Vec<FileState> {
    let files = Arc::clone(files);
    let found = tokio::task::spawn_blocking(move || file_states(&files)).await;
    found.expect("looking at files does not panic")
}

/// The system's notices about directories.
#[derive(Debug)]
struct Notices {
    watcher: RecommendedWatcher,
    woken: Arc<Notify>,
    /// Directories under notice, and which directory it was when that began.
    directories: HashMap<PathBuf, DirectoryIdentity>,
}

impl Notices {
    fn new() -> notify::Result<Self> {
        let woken = Arc::new(Notify::new());
        let wake = Arc::clone(&woken);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is no change of it, and we read them.
            if !matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(_))) {
                wake.notify_one();
            }
        })?;
        Ok(Self {
            watcher,
            woken,
            directories: HashMap::new(),
        })
    }

    /// Asks for notice of every directory on the way to `files`, and of no other. In place of one
    /// that is missing, the nearest above it has a notice when it comes.
    fn follow(&mut self, files: &[PathBuf]) {
        let there = |path: &Path| Some((path.to_owned(), directory_identity(path)?));
        let wanted: HashMap<_, _> = files
            .iter()
            .flat_map(|file| directories_of(file))
            .filter_map(|directory| directory.ancestors().find_map(there))
            .collect();
        let stale: Vec<_> = self
            .directories
            .extract_if(|directory, identity| wanted.get(directory) != Some(identity))
            .collect();
        for (directory, _) in stale {
            // Fails where the directory is gone, and the notice with it.
            let _ = self.watcher.unwatch(&directory);
        }
        for (directory, identity) in wanted {
            if self.directories.contains_key(&directory) {
                continue;
            }
            if let Err(error) = self.watcher.watch(&directory, RecursiveMode::NonRecursive) {
                warn!(
                    directory = %directory.display(), %error,
                    "no notice of changes in a directory; it is looked at every {POLL:?}"
                );
            }
            // In either case, so that it is warned of once.
            self.directories.insert(directory, identity);
        }
    }
}

/// Device, inode, and birth, since the inode of a removed directory is soon given to another. Where
/// the birth is not known the last change stands for it, and notices are asked for more often.
type DirectoryIdentity = (u64, u64, Option<SystemTime>);

fn directory_identity(path: &Path) -> Option<DirectoryIdentity> {
    let found = fs::metadata(path).ok()?;
    let born = found.created().or_else(|_| found.modified()).ok();
    found.is_dir().then_some((found.dev(), found.ino(), born))
}

/// The directories in which a change can alter what `file` leads to: its own, and those of every
/// link on the way, links to directories included.
fn directories_of(file: &Path) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    let mut path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    for _ in 0..LINKS_MAX {
        directories.extend(path.parent().map(Path::to_owned));
        // The first link on the path, seen from the root, is where it turns off.
        let mut ancestors: Vec<_> = path.ancestors().collect();
        ancestors.reverse();
        let turn = ancestors
            .into_iter()
            .find_map(|ancestor| Some((ancestor, fs::read_link(ancestor).ok()?)));
        let Some((link, target)) = turn else { break };
        let at = link.parent().unwrap_or(link);
        directories.insert(at.to_owned());
        let target = at.join(target);
        path = match path.strip_prefix(link) {
            Ok(rest) if rest != Path::new("") => target.join(rest),
            _ => target,
        };
    }
    directories
}

#[cfg(test)]
mod tests;
