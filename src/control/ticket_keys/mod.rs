//! The keys of TLS tickets, by their source: random ones that the process makes and rotates, those
//! of a file, those that a fleet shares in etcd. Listeners of one source share its keys.

mod handed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::base::clock;
use crate::config::snapshot::TicketKeySource;
use crate::config::ticket_keys::{self, TicketKeysFault};
use crate::control::watch::Watch;
use crate::core::ticket_keys::KeySet;
use crate::io::file;
use crate::io::tls::tickets::{TicketKeys, fresh};

pub use handed::HandedKeys;

/// Between two looks at whether random keys are to be rotated.
const EVERY: Duration = Duration::from_secs(60);

/// A file of ticket keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TicketKeysError {
    /// It cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// It holds something else.
    #[error("{}: {fault}", .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: TicketKeysFault,
    },
}

/// The keys of all sources that the listeners name.
#[derive(Debug)]
pub struct TicketKeyStore {
    random: Arc<TicketKeys>,
    /// Until etcd has answered these are random, or those of the process before.
    etcd: Arc<TicketKeys>,
    files: BTreeMap<PathBuf, Arc<TicketKeys>>,
}

impl TicketKeyStore {
    /// Opens the sources, with the keys of the process before this one, if there was one.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn open<'s>(
        sources: impl Iterator<Item = &'s TicketKeySource>,
        handed: Option<HandedKeys>,
    ) -> Result<Self, TicketKeysError> {
        let mut files = BTreeMap::new();
        for source in sources {
            if let TicketKeySource::File(path) = source {
                let keys = TicketKeys::new(read(path)?);
                files.insert(path.clone(), Arc::new(keys));
            }
        }
        let handed = handed.unwrap_or_default();
        let keys =
            |set: Option<KeySet>| Arc::new(set.map_or_else(TicketKeys::random, TicketKeys::new));
        Ok(Self {
            random: keys(handed.random),
            etcd: keys(handed.etcd),
            files,
        })
    }

    /// The keys of this source.
    ///
    /// # Panics
    /// For a file that the store was not opened with.
    pub fn of(&self, source: &TicketKeySource) -> Arc<TicketKeys> {
        Arc::clone(match source {
            TicketKeySource::Random => &self.random,
            TicketKeySource::Etcd => &self.etcd,
            TicketKeySource::File(path) => &self.files[path],
        })
    }

    /// The keys for the next process, which reads files and etcd itself.
    pub fn hand_over(&self) -> HandedKeys {
        HandedKeys {
            random: Some(self.random.set()),
            etcd: Some(self.etcd.set()),
        }
    }

    /// Rotates the random keys, and follows the files. Never returns.
    pub async fn keep(self: Arc<Self>) {
        let files = self.files.iter();
        let files = files.map(|(path, keys)| follow_file(path.clone(), Arc::clone(keys)));
        let files = futures_util::future::join_all(files);
        tokio::join!(rotate(&self.random), files);
    }
}

async fn rotate(keys: &TicketKeys) {
    loop {
        if let Some(set) = keys.set().rotated(clock::unix_millis(clock::wall()), fresh) {
            info!(keys = set.keys().len(), "ticket keys were rotated");
            keys.replace(set, &[]);
        }
        sleep(EVERY).await;
    }
}

async fn follow_file(path: PathBuf, keys: Arc<TicketKeys>) {
    let mut watch = Watch::new([path.clone()]);
    loop {
        // At once too, for what changed between the start and the watch.
        let file = path.clone();
        let read = tokio::task::spawn_blocking(move || read(&file)).await;
        match read.expect("reading a file does not panic") {
            Ok(set) if set == keys.set() => {}
            Ok(set) => {
                info!(file = %path.display(), keys = set.keys().len(), "ticket keys were replaced");
                keys.replace(set, &[]);
            }
            Err(error) => warn!(
                file = %path.display(),
                error = &error as &(dyn std::error::Error + 'static),
                "a changed file of ticket keys was refused; the keys before it stay"
            ),
        }
        watch.changed().await;
    }
}

fn read(path: &Path) -> Result<KeySet, TicketKeysError> {
    let read = file::read(path, file::SECRET_BYTES_MAX);
    let bytes = read.map_err(|error| TicketKeysError::Read(path.to_owned(), error))?;
    let bytes = zeroize::Zeroizing::new(bytes);
    let wrong = |fault| TicketKeysError::Form {
        path: path.to_owned(),
        fault,
    };
    // What is no text has no line that is a key.
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong(TicketKeysFault::Line(1)))?;
    let secrets = ticket_keys::read(text).map_err(wrong)?;
    Ok(KeySet::ordered(secrets).expect("the reader has the same bounds"))
}
