//! Revocations: those of the configuration and its documents change with each swap; those of the
//! admin API are written to a source, so that every gateway has them, or to the state directory if
//! they are for this gateway alone.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::sleep;

use crate::base::clock;
use crate::base::revocation::{Revocation, RevocationOrigin};
use crate::base::source_id::SourceId;
use crate::config::document_key::{DocumentKey, Kind};
use crate::config::model;
use crate::config::snapshot::Revocations;
use crate::control::sources::{Sources, Write, Writer};
use crate::control::state_dir::StateDir;
use crate::control::state_file::StateFile;
use crate::control::tickets::Tickets;
use crate::control::worker_commands;
use crate::core::auth::{self, TooManyRevocations};
use crate::live::{Generation, Live};

/// Name in the state directory.
const FILE: &str = "revocations";
/// What its first line begins with; the number is the version of the form.
const MARK: &str = "sessile-revocations 1 ";

/// Between looks for expired revocations.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Where the admin API stores revocations: in a source that can be written to, so that every
/// gateway has them, or in this gateway alone and its state directory.
#[derive(Debug)]
pub struct RevocationStore {
    live: Arc<Live>,
    file: Option<StateFile<Vec<Revocation>>>,
    /// One write is over before the next begins.
    writing: Arc<AsyncMutex<()>>,
    sources: OnceLock<Sources>,
    /// Tickets that were used.
    tickets: Arc<Tickets>,
}

/// What a revocation did at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Live sessions of this gateway that it ends.
    pub closed: usize,
    /// Whether it is still in force after a restart.
    pub lasting: bool,
}

/// Why nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no room.
    #[error(transparent)]
    Full(#[from] TooManyRevocations),
    /// The source refused the write, or did not answer.
    #[error("{0} did not accept it: {1}")]
    Source(SourceId, String),
    /// The API does not write configuration files.
    #[error("it is in the configuration file; remove it there")]
    InFile,
}

impl RevocationStore {
    /// Puts into force what the process before this one left in the directory. Blocks.
    pub fn open(live: Arc<Live>, state_dir: Option<&Arc<StateDir>>) -> Self {
        let file = state_dir.map(|directory| StateFile::new(directory, FILE, MARK));
        let kept = file.as_ref().map(StateFile::load).transpose();
        let kept = kept.unwrap_or_else(|error| {
            tracing::error!(%error, "revocations of the process before this one are lost");
            None
        });
        let store = Self {
            tickets: Arc::new(Tickets::open(Arc::clone(&live), state_dir)),
            live,
            file,
            writing: Arc::default(),
            sources: OnceLock::new(),
        };
        store.put_into_force(kept.flatten().unwrap_or_default());
        store
    }

    /// Tickets that were used.
    pub fn tickets(&self) -> &Arc<Tickets> {
        &self.tickets
    }

    /// Sets the sources, once.
    pub fn set_sources(&self, sources: Sources) {
        self.sources.get_or_init(|| sources);
    }

    /// The source that revocations of all gateways are written to, if there is one.
    pub fn writes_to(&self) -> Option<SourceId> {
        Some(self.sources.get()?.writable()?.0)
    }

    fn writer(&self, source: SourceId) -> Option<&Writer> {
        self.sources.get()?.get(source)?.writer()
    }

    /// Adds a revocation; `written` is its document.
    ///
    /// # Errors
    /// When it cannot be stored where it is to stand; nothing has changed then.
    pub async fn revoke(
        &self,
        revocation: Revocation,
        written: &model::Revocation,
    ) -> Result<Done, StoreError> {
        let now = clock::wall();
        let source = match revocation.origin {
            RevocationOrigin::Node => None,
            RevocationOrigin::Source(source) => Some(source),
        };
        if let Some(source) = source {
            let writer = self.writer(source).ok_or(StoreError::InFile)?;
            let left = revocation.until.map(|until| until.duration_since(now));
            let put = Write::Put {
                key: DocumentKey::named(Kind::Revocation, &revocation.id).to_string(),
                text: serde_json::to_string(written).expect("plain data serialises"),
                lives: left.map(Result::unwrap_or_default),
            };
            let put = writer.write(put).await;
            put.map_err(|error| StoreError::Source(source, error))?;
        }
        // The document comes back from the source too, and changes nothing then.
        add_one(&self.live, Arc::new(revocation), now)?;
        let closed = worker_commands::revoke(&self.live).await;
        Ok(Done {
            closed,
            lasting: source.is_some() || self.save().await,
        })
    }

    /// Takes a revocation back; `None` if there is none of this name.
    ///
    /// # Errors
    /// When it cannot be deleted where it stands; it stays in force then.
    pub async fn take_back(&self, id: &str) -> Result<Option<Arc<Revocation>>, StoreError> {
        let all = self.live.generation().revocations.list(clock::wall());
        // One id may stand in several places: take the first that can be deleted.
        let found = all.into_iter().filter(|one| *one.id == *id);
        let found = found.min_by_key(|one| match one.origin {
            RevocationOrigin::Node => false,
            RevocationOrigin::Source(source) => self.writer(source).is_none(),
        });
        let Some(found) = found else {
            return Ok(None);
        };
        match found.origin {
            RevocationOrigin::Node => {
                remove_one(&self.live, id, found.origin);
                self.save().await;
            }
            RevocationOrigin::Source(source) => {
                let writer = self.writer(source).ok_or(StoreError::InFile)?;
                let key = DocumentKey::named(Kind::Revocation, id).to_string();
                let deleted = writer.write(Write::Delete { key }).await;
                deleted.map_err(|error| StoreError::Source(source, error))?;
                remove_one(&self.live, id, found.origin);
            }
        }
        Ok(Some(found))
    }

    /// Takes over all revocations of the previous process; those that it removed are removed here.
    /// The caller saves them.
    pub async fn adopt(&self, revocations: Vec<Revocation>) {
        let given: HashSet<_> = revocations.iter().map(|one| &one.id).collect();
        let gone = own(&self.live).into_iter();
        let gone: Vec<_> = gone.filter(|one| !given.contains(&one.id)).collect();
        self.live.publish(|next| {
            let all = Arc::make_mut(&mut next.revocations);
            for one in gone {
                all.remove(&one.id, one.origin);
            }
        });
        self.put_into_force(revocations);
        worker_commands::revoke(&self.live).await;
    }

    fn put_into_force(&self, revocations: Vec<Revocation>) {
        let own = |one: &Revocation| one.origin == RevocationOrigin::Node;
        let own: Vec<_> = revocations.into_iter().filter(own).map(Arc::new).collect();
        self.live.publish(|next| {
            add_all(Arc::make_mut(&mut next.revocations), own.iter());
        });
    }

    /// Frees the memory of revocations that have expired, every minute. Never returns.
    pub async fn forget_expired(self: Arc<Self>) {
        loop {
            sleep(FORGET_EVERY).await;
            let now = clock::wall();
            if self.live.generation().revocations.any_expired(now) {
                let forget = |next: &mut Generation| {
                    Arc::make_mut(&mut next.revocations).forget_expired(now);
                };
                self.live.publish(forget);
            }
        }
    }

    /// Writes the revocations of this gateway alone to disk; returns whether that succeeded.
    pub async fn save(&self) -> bool {
        let Some(file) = self.file.clone() else {
            return false;
        };
        // In a task of its own, since who asked may leave while it is written.
        let turn = Arc::clone(&self.writing).lock_owned().await;
        let own = own(&self.live);
        let saved = tokio::task::spawn_blocking(move || {
            let saved = file.save(&own);
            drop(turn);
            saved
        });
        let saved = saved.await;
        match saved.expect("writing a file does not panic") {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "a restart will not know the revocations of now");
                false
            }
        }
    }
}

/// What the admin API ordered of this gateway alone.
pub(super) fn own(live: &Live) -> Vec<Revocation> {
    let all = live.generation().revocations.list(clock::wall());
    let own = all.into_iter();
    let own = own.filter(|one| one.origin == RevocationOrigin::Node);
    own.map(|one| Revocation::clone(&one)).collect()
}

fn add_one(
    live: &Live,
    revocation: Arc<Revocation>,
    now: SystemTime,
) -> Result<(), TooManyRevocations> {
    let add = |next: &mut Generation| Arc::make_mut(&mut next.revocations).add(revocation, now);
    live.publish(add).1
}

fn remove_one(live: &Live, id: &str, origin: RevocationOrigin) {
    live.publish(|next| Arc::make_mut(&mut next.revocations).remove(id, origin));
}

/// Replaces what the configuration `before` revokes by what `after` revokes. Returns how many are
/// new or different.
pub(super) fn replace(
    all: &mut Arc<auth::Revocations>,
    before: &Arc<Revocations>,
    after: &Arc<Revocations>,
) -> usize {
    if Arc::ptr_eq(before, after) {
        return 0;
    }
    let all = Arc::make_mut(all);
    for (id, old) in before.iter() {
        if after.get(id).is_none_or(|new| new.origin != old.origin) {
            all.remove(id, old.origin);
        }
    }
    let more = after.iter();
    let more = more.filter(|(id, new)| before.get(*id).is_none_or(|old| old != *new));
    let more: Vec<_> = more.map(|(_, new)| new).collect();
    let count = more.len();
    add_all(all, more.into_iter());
    count
}

/// What the first configuration revokes.
pub fn first(snapshot: &Revocations) -> auth::Revocations {
    let mut all = auth::Revocations::default();
    add_all(&mut all, snapshot.values());
    all
}

fn add_all<'r>(all: &mut auth::Revocations, more: impl Iterator<Item = &'r Arc<Revocation>>) {
    let now = clock::wall();
    for one in more {
        if let Err(error) = all.add(Arc::clone(one), now) {
            tracing::error!(id = %one.id, %error, "a revocation is not in force");
        }
    }
}
