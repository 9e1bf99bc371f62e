//! A file in the state directory: what a start shall know of the process before it.
//!
//! It is a line with a version and a checksum, then JSON. It is replaced by a rename after its
//! contents have reached the disk, so that it is whole at any time; what is damaged all the same is
//! put aside and not used. It may hold secrets, so only its owner may read it.

use std::fs;
use std::io::{self, Write as _};
use std::marker::PhantomData;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::clock;

/// Why nothing is remembered.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateFileError {
    #[error("cannot read {}: {}", .0.display(), .1)]
    Read(PathBuf, io::Error),
    #[error("cannot write {}: {}", .0.display(), .1)]
    Write(PathBuf, io::Error),
    #[error("{} is damaged ({}) and was put aside as {}", .0.display(), .1, .2.display())]
    Damaged(PathBuf, &'static str, PathBuf),
}

/// Where a `T` is remembered.
#[derive(Clone, Debug)]
pub(super) struct StateFile<T> {
    path: PathBuf,
    /// What the first line begins with; it names the form and its version.
    mark: &'static str,
    holds: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> StateFile<T> {
    pub(super) fn new(directory: &Path, name: &str, mark: &'static str) -> Self {
        Self {
            path: directory.join(name),
            mark,
            holds: PhantomData,
        }
    }

    /// Reads it; nothing if there is nothing yet. Blocks.
    pub(super) fn load(&self) -> Result<Option<T>, StateFileError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StateFileError::Read(self.path.clone(), error)),
        };
        self.decode(&bytes).map(Some).map_err(|why| {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            let aside = format!("{name}.damaged-{}", clock::unix_millis(clock::wall()));
            let aside = self.path.with_file_name(aside);
            // Where it cannot be put aside, the next good one replaces it.
            let _ = fs::rename(&self.path, &aside);
            StateFileError::Damaged(self.path.clone(), why, aside)
        })
    }

    /// Replaces it. Blocks.
    pub(super) fn save(&self, what: &T) -> Result<(), StateFileError> {
        self.write(&self.encode(what))
            .map_err(|error| StateFileError::Write(self.path.clone(), error))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or_else(|| Path::new("."));
        if !directory.is_dir() {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(directory)?;
        }
        // Two processes may share the directory while one takes over from the other.
        let mut new = self.path.clone().into_os_string();
        new.push(format!(".new-{}", std::process::id()));
        let new = PathBuf::from(new);
        // What a process of this number left, or somebody else put there, is not written to.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let mut file = options.open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        fs::File::open(directory)?.sync_all()
    }

    fn encode(&self, what: &T) -> Vec<u8> {
        let body = serde_json::to_vec(what).expect("plain data serialises");
        let mut bytes = format!("{}{}\n", self.mark, sum(&body)).into_bytes();
        bytes.extend(body);
        bytes
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, &'static str> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (head, body) = bytes.split_at(end.ok_or("it has no first line")?);
        let head = std::str::from_utf8(head).map_err(|_| "its first line is no text")?;
        let stated = head.strip_prefix(self.mark);
        let stated = stated.ok_or("another version wrote it")?;
        let body = &body[1..];
        if stated != sum(body) {
            return Err("its checksum is wrong");
        }
        serde_json::from_slice(body).map_err(|_| "its contents are not what they should be")
    }
}

fn sum(body: &[u8]) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(directory: &Path) -> StateFile<Vec<String>> {
        StateFile::new(directory, "a.state", "sessile-test 1 ")
    }

    fn example() -> Vec<String> {
        vec![
            "routes/chat".to_owned(),
            r#"{"upstream":"chat"}"#.to_owned(),
        ]
    }

    #[test]
    fn what_is_saved_is_what_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(&directory.path().join("deep/down"));
        assert_eq!(file.load().unwrap(), None);
        file.save(&Vec::new()).unwrap();
        file.save(&example()).unwrap();
        assert_eq!(file.load().unwrap(), Some(example()));
    }

    #[test]
    fn i12_a_link_in_the_place_of_a_new_file_is_not_followed() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        let new = format!("a.state.new-{}", std::process::id());
        std::os::unix::fs::symlink(&victim, directory.path().join(new)).unwrap();
        let file = file(directory.path());
        file.save(&example()).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(file.load().unwrap(), Some(example()));
        let metadata = fs::symlink_metadata(directory.path().join("a.state")).unwrap();
        assert!(metadata.is_file());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn i5_no_damage_goes_unseen() {
        let file = file(Path::new("/nowhere"));
        let good = file.encode(&example());
        assert_eq!(file.decode(&good), Ok(example()));
        for at in 0..good.len() {
            assert!(file.decode(&good[..at]).is_err(), "cut at {at}");
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(file.decode(&bad).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn what_is_damaged_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path());
        fs::write(directory.path().join("a.state"), "nonsense").unwrap();
        let error = file.load().unwrap_err().to_string();
        assert!(error.contains("put aside"), "{error}");
        assert_eq!(file.load().unwrap(), None);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
