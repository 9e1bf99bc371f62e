//! Rights that are taken away: what the configuration and its documents say is put into force with
//! each change; what the admin API says is written to etcd where that is followed, so that every
//! gateway has it, and to the state directory where it is this gateway's alone.

use std::sync::{Arc, OnceLock};

use tokio::sync::Mutex as AsyncMutex;

use crate::base::clock;
use crate::base::revocation::{Revocation, RevocationOrigin};
use crate::config::documents::{DocumentKey, Kind};
use crate::config::model;
use crate::config::snapshot::Revocations;
use crate::control::errands;
use crate::control::source::{Pen, Stroke};
use crate::control::state_dir::StateDir;
use crate::control::state_file::StateFile;
use crate::control::tickets::Tickets;
use crate::core::auth::TooManyRevocations;
use crate::live::Live;

/// Name in the state directory.
const FILE: &str = "revocations";
/// What its first line begins with; the number is the version of the form.
const MARK: &str = "sessile-revocations 1 ";

/// What the admin API writes its revocations to.
#[derive(Debug)]
pub struct Docket {
    live: Arc<Live>,
    file: Option<StateFile<Vec<Revocation>>>,
    /// One write is over before the next begins.
    writing: Arc<AsyncMutex<()>>,
    pen: OnceLock<Pen>,
    /// Credentials that were used up.
    tickets: Arc<Tickets>,
}

/// What a revocation did at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Live sessions of this gateway that it ends.
    pub closed: usize,
    /// Whether it is known after a restart.
    pub lasting: bool,
}

/// Why nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum DocketError {
    /// There is no room.
    #[error(transparent)]
    Full(#[from] TooManyRevocations),
    /// etcd does not take it.
    #[error("etcd does not take it: {0}")]
    Source(String),
    /// The API does not write configuration files.
    #[error("it stands in the configuration file; take it out there")]
    InFile,
}

impl Docket {
    /// Puts into force what the process before this one left in the directory. Blocks.
    pub fn open(live: Arc<Live>, state_dir: Option<&Arc<StateDir>>) -> Self {
        let file = state_dir.map(|directory| StateFile::new(directory, FILE, MARK));
        let kept = file.as_ref().map(StateFile::load).transpose();
        let kept = kept.unwrap_or_else(|error| {
            tracing::error!(%error, "revocations of the process before this one are lost");
            None
        });
        let docket = Self {
            tickets: Arc::new(Tickets::open(Arc::clone(&live), state_dir)),
            live,
            file,
            writing: Arc::default(),
            pen: OnceLock::new(),
        };
        docket.put_into_force(kept.flatten().unwrap_or_default());
        docket
    }

    /// Tickets that open nothing any more.
    pub fn tickets(&self) -> &Arc<Tickets> {
        &self.tickets
    }

    /// Writes to etcd with this, from now on.
    pub fn set_pen(&self, pen: Pen) {
        self.pen.get_or_init(|| pen);
    }

    /// Whether there is an etcd, whose gateways are all told.
    pub fn reaches_all(&self) -> bool {
        self.pen.get().is_some()
    }

    /// Takes a right away; `written` is the same as a document says it.
    ///
    /// # Errors
    /// When it cannot be had where it is to stand; nothing has changed then.
    pub async fn revoke(
        &self,
        revocation: Revocation,
        written: &model::Revocation,
    ) -> Result<Done, DocketError> {
        let now = clock::wall();
        let of_all = revocation.origin == RevocationOrigin::Etcd;
        if let Some(pen) = self.pen.get().filter(|_| of_all) {
            let left = revocation.until.map(|until| until.duration_since(now));
            let stroke = Stroke::Put {
                key: DocumentKey::named(Kind::Revocation, &revocation.id).to_string(),
                text: serde_json::to_string(written).expect("plain data serialises"),
                lives: left.map(Result::unwrap_or_default),
            };
            pen.write(stroke).await.map_err(DocketError::Source)?;
        }
        // The document comes back by the watch too; what is in force already stays so.
        self.live.revocations.add(Arc::new(revocation), now)?;
        let closed = errands::revoke(&self.live).await;
        Ok(Done {
            closed,
            lasting: of_all || self.save().await,
        })
    }

    /// Takes a revocation back; `None` if there is none of this name.
    ///
    /// # Errors
    /// When it stands where it cannot be taken out; it stays in force then.
    pub async fn take_back(&self, id: &str) -> Result<Option<Arc<Revocation>>, DocketError> {
        let all = self.live.revocations.list(clock::wall());
        // Of what stands in several places, what can be taken out there.
        let found = all.into_iter().filter(|one| *one.id == *id);
        let found = found.min_by_key(|one| one.origin == RevocationOrigin::File);
        let Some(found) = found else {
            return Ok(None);
        };
        match found.origin {
            RevocationOrigin::Node => {
                self.live.revocations.remove(id, found.origin);
                self.save().await;
            }
            RevocationOrigin::Etcd => {
                if let Some(pen) = self.pen.get() {
                    let key = DocumentKey::named(Kind::Revocation, id).to_string();
                    let deleted = pen.write(Stroke::Delete { key }).await;
                    deleted.map_err(DocketError::Source)?;
                }
                self.live.revocations.remove(id, found.origin);
            }
            RevocationOrigin::File => return Err(DocketError::InFile),
        }
        Ok(Some(found))
    }

    /// Takes over what was told to the process before this one, all of it: what that one took back
    /// meanwhile is taken back here.
    pub async fn adopt(&self, revocations: Vec<Revocation>) {
        for one in own(&self.live) {
            if !revocations.iter().any(|told| told.id == one.id) {
                self.live.revocations.remove(&one.id, one.origin);
            }
        }
        self.put_into_force(revocations);
        errands::revoke(&self.live).await;
        self.save().await;
    }

    fn put_into_force(&self, revocations: Vec<Revocation>) {
        let own = |one: &Revocation| one.origin == RevocationOrigin::Node;
        for one in revocations.into_iter().filter(own) {
            add(&self.live, &Arc::new(one));
        }
    }

    /// Answers whether what this gateway alone knows is on disk.
    async fn save(&self) -> bool {
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

/// What the admin API told this gateway alone.
pub(super) fn own(live: &Live) -> Vec<Revocation> {
    let all = live.revocations.list(clock::wall()).into_iter();
    let own = all.filter(|one| one.origin == RevocationOrigin::Node);
    own.map(|one| Revocation::clone(&one)).collect()
}

/// Puts what a new configuration says in the place of what the one before said.
pub(super) async fn follow(live: &Live, before: &Arc<Revocations>, after: &Arc<Revocations>) {
    if Arc::ptr_eq(before, after) {
        return;
    }
    for (id, old) in before.iter() {
        if after.get(id).is_none_or(|new| new.origin != old.origin) {
            live.revocations.remove(id, old.origin);
        }
    }
    let mut more = 0;
    for (id, new) in after.iter() {
        if before.get(id).is_none_or(|old| old != new) {
            more += 1;
            add(live, new);
        }
    }
    if more > 0 {
        let closed = errands::revoke(live).await;
        tracing::info!(revocations = more, closed, "rights were taken away");
    }
}

/// Puts the first configuration's into force, before there are sessions.
pub(super) fn begin(live: &Live, first: &Revocations) {
    first.values().for_each(|one| add(live, one));
}

fn add(live: &Live, revocation: &Arc<Revocation>) {
    let added = live.revocations.add(Arc::clone(revocation), clock::wall());
    if let Err(error) = added {
        tracing::error!(id = %revocation.id, %error, "a revocation is not in force");
    }
}
