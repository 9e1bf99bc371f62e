//! Last known good: what etcd said, on disk, so that a start without etcd knows it.
//!
//! The file is a line with a version and a checksum, then JSON. It is replaced by a rename after
//! its contents have reached the disk, so that it is whole at any time; what is damaged all the
//! same is put aside and not used. It may hold secrets that stand in documents, so only its owner
//! may read it.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::core::membership::{Held, Key};

/// Name in the state directory.
const FILE: &str = "etcd.last-known-good";
/// What the first line begins with; the number is the version of the form.
const MARK: &str = "sessile-last-known-good 1 ";

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// What all keys begin with; another one is another source.
    pub(super) prefix: String,
    pub(super) cluster: u64,
    pub(super) revision: i64,
    /// What etcd had.
    pub(super) present: Vec<Entry>,
    /// What was in force although etcd had it no longer.
    pub(super) absent: Vec<Entry>,
    /// Versions that were in force instead of newer ones that were refused.
    pub(super) good: Vec<Entry>,
}

/// A document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) text: Arc<str>,
    pub(super) revision: i64,
    pub(super) lease: i64,
}

impl Entry {
    pub(super) fn new(key: &Key, held: &Held) -> Self {
        Self {
            key: Key::clone(key),
            text: Arc::clone(&held.text),
            revision: held.revision,
            lease: held.lease,
        }
    }

    pub(super) fn into_pair(self) -> (Key, Held) {
        let held = Held {
            text: self.text,
            revision: self.revision,
            lease: self.lease,
        };
        (self.key, held)
    }
}

/// Why nothing is remembered.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("cannot read {}: {}", .0.display(), .1)]
    Read(PathBuf, io::Error),
    #[error("cannot write {}: {}", .0.display(), .1)]
    Write(PathBuf, io::Error),
    #[error("{} is damaged ({}) and was put aside as {}", .0.display(), .1, .2.display())]
    Damaged(PathBuf, &'static str, PathBuf),
}

/// Where it is remembered.
#[derive(Clone, Debug)]
pub(super) struct Store {
    path: PathBuf,
}

impl Store {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            path: directory.join(FILE),
        }
    }

    /// Reads it; nothing if there is nothing yet. Blocks.
    pub(super) fn load(&self) -> Result<Option<Remembered>, StoreError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::Read(self.path.clone(), error)),
        };
        decode(&bytes).map(Some).map_err(|why| {
            let aside = format!("{FILE}.damaged-{}", clock::unix_millis(clock::wall()));
            let aside = self.path.with_file_name(aside);
            // Where it cannot be put aside, the next good one replaces it.
            let _ = fs::rename(&self.path, &aside);
            StoreError::Damaged(self.path.clone(), why, aside)
        })
    }

    /// Replaces it. Blocks.
    pub(super) fn save(&self, remembered: &Remembered) -> Result<(), StoreError> {
        self.write(&encode(remembered))
            .map_err(|error| StoreError::Write(self.path.clone(), error))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or_else(|| Path::new("."));
        if !directory.is_dir() {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(directory)?;
        }
        // Two processes may share the directory while one takes over from the other.
        let new = self
            .path
            .with_extension(format!("new-{}", std::process::id()));
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        fs::File::open(directory)?.sync_all()
    }
}

fn sum(body: &[u8]) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(body))
}

fn encode(remembered: &Remembered) -> Vec<u8> {
    let body = serde_json::to_vec(remembered).expect("plain data serialises");
    let mut bytes = format!("{MARK}{}\n", sum(&body)).into_bytes();
    bytes.extend(body);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Remembered, &'static str> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (head, body) = bytes.split_at(end.ok_or("it has no first line")?);
    let head = std::str::from_utf8(head).map_err(|_| "its first line is no text")?;
    let stated = head.strip_prefix(MARK).ok_or("another version wrote it")?;
    let body = &body[1..];
    if stated != sum(body) {
        return Err("its checksum is wrong");
    }
    serde_json::from_slice(body).map_err(|_| "its contents are not what they should be")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Remembered {
        let entry = Entry {
            key: "routes/chat".into(),
            text: r#"{"upstream":"chat"}"#.into(),
            revision: 7,
            lease: 0,
        };
        Remembered {
            prefix: "/sessile".to_owned(),
            cluster: u64::MAX,
            revision: 9,
            present: vec![entry.clone()],
            absent: Vec::new(),
            good: vec![entry],
        }
    }

    #[test]
    fn what_is_saved_is_what_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(&directory.path().join("deep/down"));
        assert_eq!(store.load().unwrap(), None);
        store.save(&example()).unwrap();
        store.save(&example()).unwrap();
        assert_eq!(store.load().unwrap(), Some(example()));
    }

    #[test]
    fn i5_no_damage_goes_unseen() {
        let good = encode(&example());
        assert_eq!(decode(&good), Ok(example()));
        for at in 0..good.len() {
            assert!(decode(&good[..at]).is_err(), "cut at {at}");
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(decode(&bad).is_err(), "flipped at {at}");
        }
    }

    #[test]
    fn what_is_damaged_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        fs::write(directory.path().join(FILE), "nonsense").unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(error.contains("put aside"), "{error}");
        assert_eq!(store.load().unwrap(), None);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
