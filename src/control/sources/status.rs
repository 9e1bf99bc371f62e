//! The status of a source, as operators see it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use crate::config::dns_name::DnsName;
use crate::core::discovery::NameStatus;
use crate::core::membership::{Key, backend_of};
use crate::core::services::ServiceStatus;

/// The status of a source.
#[derive(Clone, Debug)]
pub enum SourceStatus {
    /// A file that is read as a whole.
    File(FileStatus),
    /// Documents at another machine.
    Followed(Box<FollowStatus>),
}

/// The status of the file.
#[derive(Clone, Debug)]
pub struct FileStatus {
    /// Where it is.
    pub path: PathBuf,
    /// When what is in force was read.
    pub loaded: SystemTime,
    /// When its last reading was refused, if it was, and the first fault.
    pub refused: Option<(SystemTime, String)>,
}

/// Names in DNS, how each stands, and what came of lookups since the start.
#[derive(Clone, Debug, Default)]
pub struct NameStatuses {
    /// Every name that is followed.
    pub names: BTreeMap<DnsName, NameStatus>,
    /// Lookups with an answer.
    pub answered: u64,
    /// Lookups without one.
    pub failed: u64,
}

/// Services of a registry, how each stands, and what came of questions since the start.
#[derive(Clone, Debug, Default)]
pub struct ServiceStatuses {
    /// Every service that an upstream names, as it names it.
    pub services: BTreeMap<String, ServiceStatus>,
    /// Why the keys of documents were not read last time, if so.
    pub keys_fault: Option<String>,
    /// Questions with an answer.
    pub answered: u64,
    /// Questions without one.
    pub failed: u64,
    /// Answers that were older than those before.
    pub resets: u64,
    /// Whether the last answer came from a server that knows no leader.
    pub leaderless: bool,
}

/// A watch that runs gives a sign of life every few seconds. One that is silent for longer lags.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How far a follower is, and what it met.
#[derive(Clone, Debug, Default)]
pub struct FollowStatus {
    /// Where the watch runs; `None` while there is none.
    pub endpoint: Option<String>,
    /// What went wrong last, until the next connection.
    pub fault: Option<String>,
    /// Which cluster it is; 0 if none is known.
    pub cluster: u64,
    /// Everything up to it has been taken.
    pub revision: i64,
    /// When the source last gave a sign of life.
    pub progress: Option<Instant>,
    /// What is in force was remembered, and has not been compared with the source yet.
    pub from_last_known_good: bool,
    /// Why last known good could not be read or written, if so.
    pub last_known_good_fault: Option<String>,
    /// Documents in force or refused.
    pub documents: usize,
    /// Full reads that were compared with what was known.
    pub rereads: u64,
    /// Watches that ended and were begun anew.
    pub watch_restarts: u64,
    /// Times that the source had been restored or replaced.
    pub restores: u64,
    /// Documents that a read lacked that is not believed.
    pub doubted: BTreeSet<Key>,
    /// Backends that lost their leases together with others.
    pub stale: BTreeSet<Key>,
    /// Keys under which no document can stand.
    pub ignored: BTreeSet<Key>,
}

impl FollowStatus {
    /// How long a watch that runs has been silent, if that is too long.
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        self.endpoint.as_ref()?;
        let silent = now.saturating_duration_since(self.progress?);
        Some(silent).filter(|silent| *silent > SILENCE_MAX)
    }

    /// Whether this backend is there although its lease is gone.
    pub fn is_stale(&self, upstream: &str, id: &str) -> bool {
        let mut stale = self.stale.iter();
        !self.stale.is_empty() && stale.any(|key| backend_of(key) == Some((upstream, id)))
    }
}
