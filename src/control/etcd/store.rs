//! The last known good state of etcd on disk, for starts without etcd.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::control::state_dir::StateDir;
use crate::control::state_file::StateFile;
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

/// Where it is remembered.
pub(super) type Store = StateFile<Remembered>;

/// The file of that in this directory.
pub(super) fn store(directory: &Arc<StateDir>) -> Store {
    StateFile::new(directory, FILE, MARK)
}
