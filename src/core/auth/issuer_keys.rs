//! Keys of issuers: the sets in force, which are part of a generation, and the readings that bring
//! new ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::base::names::AuthenticatorName;
use crate::config::key_set::KeySet;
use crate::config::snapshot::JwksUrl;

/// The keys in force, by authenticator. The last good ones stay while an issuer is down. Clones
/// share their entries.
#[derive(Clone, Debug, Default)]
pub struct IssuerKeys(Arc<BTreeMap<AuthenticatorName, ReadKeys>>);

/// A key set that was read from an issuer.
#[derive(Clone, Debug)]
pub struct ReadKeys {
    /// Where it was read.
    pub source: JwksUrl,
    /// The keys.
    pub keys: Arc<KeySet>,
    /// When it was read, in milliseconds since 1970.
    pub read_at: u64,
}

impl IssuerKeys {
    /// The keys of an authenticator. Keys that were read elsewhere, before its issuer changed, are
    /// not its keys.
    pub fn of(&self, name: &AuthenticatorName, refresh: &KeyRefresh) -> Option<&ReadKeys> {
        let read = self.0.get(name)?;
        (read.source == refresh.source).then_some(read)
    }

    /// Stores keys that were read for an authenticator.
    pub fn insert(&mut self, authenticator: AuthenticatorName, read: ReadKeys) {
        Arc::make_mut(&mut self.0).insert(authenticator, read);
    }

    /// Keeps the keys of these authenticators only.
    pub fn retain<'a>(
        &mut self,
        authenticators: impl Iterator<Item = (&'a AuthenticatorName, &'a KeyRefresh)>,
    ) {
        let kept = authenticators.filter_map(|(name, refresh)| {
            let read = self.of(name, refresh)?;
            Some((name.clone(), read.clone()))
        });
        let kept: BTreeMap<_, _> = kept.collect();
        if kept.len() < self.0.len() {
            self.0 = Arc::new(kept);
        }
    }
}

/// Readings of one issuer's keys, as the data plane requests them and the control plane makes them.
#[derive(Debug)]
pub struct KeyRefresh {
    /// Where the keys come from.
    pub source: JwksUrl,
    /// A token named a key that is not among those in force.
    wanted: AtomicBool,
    /// Readings begun, and ended with whatever result. One runs at a time.
    begun: AtomicU64,
    ended: AtomicU64,
}

impl KeyRefresh {
    pub(super) fn new(source: JwksUrl) -> Self {
        Self {
            source,
            wanted: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    /// Requests a reading and returns its number: when that one has ended, its result covers every
    /// key that the issuer had at this moment.
    pub fn want(&self) -> u64 {
        let number = self.begun.load(Ordering::Acquire) + 1;
        self.wanted.store(true, Ordering::Release);
        number
    }

    /// Whether a reading was requested.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// A reading begins, which answers all requests so far.
    pub fn begin(&self) {
        self.wanted.store(false, Ordering::Release);
        self.begun.fetch_add(1, Ordering::AcqRel);
    }

    /// A reading has ended; good keys are in force by now.
    pub fn end(&self) {
        self.ended.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the reading of this number has ended.
    pub fn has_ended(&self, number: u64) -> bool {
        self.ended.load(Ordering::Acquire) >= number
    }
}
