//! Directories that every user of the machine may write to: in one of those, another user can put
//! files and sockets in the place of the gateway's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::base::addr::ListenAddr;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::layers::{Origin, Part};
use crate::config::snapshot::Snapshot;
use crate::config::span::KeyPath;

const WRITE_BY_ALL: u32 = 0o002;
/// Only the owner of a file in the directory can replace or remove it.
const STICKY: u32 = 0o1000;

/// Warns of the directories that the gateway writes to or listens in, and of those of `files`,
/// which it reads.
pub(super) fn warnings(origin: &Origin, snapshot: &Snapshot, files: &[PathBuf]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut warn = |key: KeyPath, directory: &Path| {
        let shown = directory.display();
        let message = format!("every user of this machine may write to {shown}");
        let help = "others can put files in the place of the gateway's there; take that right away \
                    (`chmod o-w`), or use a directory of the gateway's own";
        let help = Some(help.to_owned());
        found.push(origin.report(Severity::Warning, &key, Part::Value, message, help));
    };
    let key = |steps: &[&str]| KeyPath(steps.iter().map(ToString::to_string).collect());
    if let Some(path) = &snapshot.node.state_dir
        && let Some(open) = open_directory(path)
    {
        warn(key(&["node", "state_dir"]), &open);
    }
    if let Some(open) = socket(&snapshot.admin.listen) {
        warn(key(&["admin", "listen"]), &open);
    }
    for (index, listener) in snapshot.listeners.iter().enumerate() {
        for (place, address) in listener.listen.iter().enumerate() {
            if let Some(open) = socket(address) {
                let (index, place) = (index.to_string(), place.to_string());
                warn(key(&["listeners", &index, "listen", &place]), &open);
            }
        }
    }
    if let Some(file) = &snapshot.log.access.file
        && let Some(open) = file.path.parent().and_then(open_directory)
    {
        warn(key(&["log", "access"]), &open);
    }
    let mut directories: Vec<_> = files.iter().filter_map(|file| file.parent()).collect();
    directories.sort_unstable();
    directories.dedup();
    for directory in directories {
        if mode(directory).is_some_and(|mode| mode & WRITE_BY_ALL != 0 && mode & STICKY == 0) {
            warn(KeyPath::default(), directory);
        }
    }
    found
}

fn socket(address: &ListenAddr) -> Option<PathBuf> {
    match address {
        ListenAddr::Unix(path) => open_directory(path.parent()?),
        ListenAddr::Tcp(_) => None,
    }
}

/// The directory, if all may write to it; for one that is not there yet, the one that it will be
/// made in. The sticky bit is no excuse: files can be there before the gateway makes its own.
pub(super) fn open_directory(directory: &Path) -> Option<PathBuf> {
    let there = directory.ancestors().find(|one| mode(one).is_some())?;
    let open = mode(there)? & WRITE_BY_ALL != 0;
    open.then(|| there.to_owned())
}

fn mode(path: &Path) -> Option<u32> {
    // Relative to the working directory, whose own name is empty.
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    Some(fs::metadata(path).ok()?.permissions().mode())
}
