//! A file in the state directory: what one process stores for the next one.
//!
//! It is a line with a version and a checksum, then JSON. It is replaced by a rename after its
//! contents have reached the disk, so that it is whole at any time; a file that is damaged all the
//! same is put aside and not used. It may hold secrets, so only its owner may read it.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::clock;
use crate::control::state_dir::StateDir;

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateFileError {
    #[error("cannot read {}: {}", .0.display(), .1)]
    Read(PathBuf, io::Error),
    #[error("cannot write {}: {}", .0.display(), .1)]
    Write(PathBuf, io::Error),
    #[error("{} is damaged ({}) and was put aside as {}", .0.display(), .1, .2.display())]
    Damaged(PathBuf, &'static str, PathBuf),
}

/// Where a `T` is stored.
#[derive(Clone, Debug)]
pub(super) struct StateFile<T> {
    directory: Arc<StateDir>,
    name: &'static str,
    /// What the first line begins with; it names the form and its version.
    mark: &'static str,
    holds: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> StateFile<T> {
    pub(super) fn new(directory: &Arc<StateDir>, name: &'static str, mark: &'static str) -> Self {
        Self {
            directory: Arc::clone(directory),
            name,
            mark,
            holds: PhantomData,
        }
    }

    /// Reads it; nothing if there is nothing yet. Blocks.
    pub(super) fn load(&self) -> Result<Option<T>, StateFileError> {
        let path = self.path();
        let bytes = match self.directory.read(self.name) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StateFileError::Read(path, error)),
        };
        self.decode(&bytes).map(Some).map_err(|why| {
            let now = clock::unix_millis(clock::wall());
            let aside = path.with_file_name(format!("{}.damaged-{now}", self.name));
            // Where it cannot be put aside, the next good one replaces it.
            let _ = fs::rename(&path, &aside);
            StateFileError::Damaged(path, why, aside)
        })
    }

    /// Replaces it. Blocks.
    pub(super) fn save(&self, what: &T) -> Result<(), StateFileError> {
        let written = self.directory.write(self.name, self.encode(what));
        written.map_err(|error| StateFileError::Write(self.path(), error))
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(self.name)
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
    use std::path::Path;

    use super::*;

    fn file(directory: &Path) -> StateFile<Vec<String>> {
        let directory = StateDir::open(directory).unwrap();
        StateFile::new(&directory, "a.state", "sessile-test 1 ")
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
    fn i5_no_damage_goes_unseen() {
        let directory = tempfile::tempdir().unwrap();
        let file = file(directory.path());
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
