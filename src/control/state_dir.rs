//! The state directory: whether it can be written to, and who else may.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{Access, OFlags, access};
use rustix::process::geteuid;

/// Permission bits that let others than the owner put files in place.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Others cannot take away or replace what is not theirs.
const STICKY: u32 = 0o1000;

/// What a restart should know could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("`node.state_dir` {} cannot be written to", .0.display())]
pub struct StateDirError(PathBuf, #[source] io::Error);

/// Sees that files can be written to the directory, which is made if it is missing. Blocks.
///
/// # Errors
/// When they cannot.
pub fn open(directory: &Path) -> Result<(), StateDirError> {
    let failed = |error| StateDirError(directory.to_owned(), error);
    if !directory.is_dir() {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(directory);
        made.map_err(failed)?;
    }
    let trial = directory.join(format!(".writable-{}", process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    // What a process of this number left.
    let _ = fs::remove_file(&trial);
    options.open(&trial).map_err(failed)?;
    fs::remove_file(&trial).map_err(failed)?;
    if let Some(who) = shared_with(directory).map_err(failed)? {
        tracing::warn!(
            directory = %directory.display(),
            "{who} may write to the state directory, and so decide what a restart believes"
        );
    }
    Ok(())
}

/// Who else may write to it.
fn shared_with(directory: &Path) -> io::Result<Option<String>> {
    let metadata = fs::metadata(directory)?;
    let (mode, owner) = (metadata.mode(), metadata.uid());
    if owner != geteuid().as_raw() && owner != 0 {
        return Ok(Some(format!("user {owner}")));
    }
    let loose = mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0;
    Ok(loose.then(|| format!("others (mode {:o})", mode & 0o7777)))
}

/// Why nothing can be written to it now, if so. Nothing is tried.
pub fn fault(directory: &Path) -> Option<String> {
    let access = access(directory, Access::WRITE_OK | Access::EXEC_OK);
    let error = access.err()?;
    Some(io::Error::from(error).to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_that_cannot_be_written_to_is_refused_and_one_that_others_may_write_to_is_told() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b");
        open(&deep).unwrap();
        assert_eq!(fs::metadata(&deep).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
        assert_eq!(fault(&deep), None);
        for (mode, shared) in [
            (0o700, false),
            (0o770, true),
            (0o777, true),
            (0o1777, false),
        ] {
            fs::set_permissions(&deep, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(shared_with(&deep).unwrap().is_some(), shared, "{mode:o}");
        }
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let below = file.join("state");
        let error = open(&below).unwrap_err().to_string();
        assert!(error.contains("cannot be written to"), "{error}");
        assert!(fault(&below).is_some());
    }
}
