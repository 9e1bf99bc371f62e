//! The last known good state of a source on disk, for starts without the source.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::source_id::SourceId;
use crate::control::state_dir::StateDir;
use crate::control::state_file::StateFile;
use crate::core::membership::{Held, Key};

/// What the first line begins with; the number is the version of the form.
const MARK: &str = "sessile-last-known-good 1 ";

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// Which one of its kind the source is, such as the prefix in etcd; another one is another
    /// source.
    #[serde(rename = "prefix")]
    pub(super) origin: String,
    pub(super) cluster: u64,
    pub(super) revision: i64,
    /// What the source had.
    pub(super) present: Vec<Entry>,
    /// What was in force although the source had it no longer.
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
pub(super) fn store(directory: &Arc<StateDir>, source: SourceId) -> Store {
    let name = match source {
        SourceId::File => "file.last-known-good",
        SourceId::Dns => "dns.last-known-good",
        SourceId::Kubernetes => "kubernetes.last-known-good",
        SourceId::Consul => "consul.last-known-good",
        SourceId::Etcd => "etcd.last-known-good",
    };
    StateFile::new(directory, name, MARK)
}
