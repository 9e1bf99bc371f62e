//! The documents of a source at another machine: `core::membership` decides which removals are
//! applied, the supervisor interprets the documents, and the last good state is kept on disk.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::base::clock;
use crate::base::names::BackendId;
use crate::base::source_id::SourceId;
use crate::config::document_key::DocumentKey;
use crate::config::documents::{Change, Document, Update};
use crate::control::sources::followed::FollowState;
use crate::control::state_dir::StateDir;
use crate::control::supervisor::Supervisor;
use crate::core::health::Health;
use crate::core::membership::{Absence, Event, Held, Key, Mirror, Verdict, backend_of};
use crate::live::Live;

mod last_known_good;
pub mod members;
mod store;

use store::{Store, store};

/// What is mirrored, and of what.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The source.
    pub source: SourceId,
    /// Which one of its kind, such as the prefix in etcd: what was stored of another one is not
    /// used.
    pub origin: String,
    /// How long stale members stay.
    pub grace: Duration,
}

/// The documents of a source.
pub struct MirroredDocuments {
    identity: Identity,
    mirror: Mirror,
    /// Of the newest change of a document. Other keys below a prefix, such as the entries of
    /// gateways, have later ones, at which no document changed.
    changed_at: i64,
    supervisor: Arc<Supervisor>,
    live: Arc<Live>,
    state: Arc<FollowState>,
    store: Option<Store>,
    /// Something is not on disk yet.
    unsaved: bool,
    saving: Option<JoinHandle<()>>,
}

impl MirroredDocuments {
    /// Puts the last known good state into force, if `state_dir` has one.
    pub async fn new(
        identity: Identity,
        state_dir: Option<&Arc<StateDir>>,
        (supervisor, live): (Arc<Supervisor>, Arc<Live>),
    ) -> Self {
        let mut documents = Self {
            mirror: Mirror::new(identity.grace),
            changed_at: 0,
            supervisor,
            live,
            state: Arc::default(),
            store: state_dir.map(|directory| store(directory, identity.source)),
            unsaved: false,
            saving: None,
            identity,
        };
        documents.remember().await;
        documents
    }

    /// The status, for display.
    pub const fn state(&self) -> &Arc<FollowState> {
        &self.state
    }

    /// What the source has, and what it has no longer but stays in force.
    pub const fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// For a full read of the source.
    pub fn reread<T>(&mut self, read: impl FnOnce(&mut Mirror) -> T) -> T {
        let report = read(&mut self.mirror);
        self.changed_at = self.mirror.revision();
        report
    }

    /// Nothing was missed while the source was not followed.
    pub fn resumed(&mut self) {
        self.mirror.resumed(clock::now());
    }

    /// Takes changes of the source. Returns whether there is something to apply.
    pub fn take(&mut self, events: Vec<Event>) -> bool {
        for event in &events {
            if event.key().parse::<DocumentKey>().is_ok() {
                self.changed_at = event.revision();
            }
        }
        let anything = !events.is_empty();
        self.mirror.events(events, clock::now());
        anything
    }

    /// All changes up to this revision have been taken.
    pub fn progress(&mut self, revision: i64) {
        self.mirror.progress(revision);
    }

    /// What has to be done every second.
    pub async fn beat(&mut self) {
        if self.mirror.waits() {
            let live = Arc::clone(&self.live);
            self.mirror.tick(clock::now(), |key| verdict(&live, key));
            self.apply().await;
        }
        self.save().await;
    }

    /// Deletes documents whose absence is in doubt, as an operator has ordered.
    pub async fn accept(&mut self) {
        let accepted = self.mirror.accept();
        if accepted > 0 {
            let source = self.identity.source;
            tracing::warn!(
                %source, accepted, "documents that their source lacks are gone, as accepted"
            );
            self.apply().await;
        }
    }

    /// Brings what has changed into force.
    pub async fn apply(&mut self) {
        let changed = self.mirror.take();
        if !changed.is_empty() {
            self.note_ignored(&changed);
            let changes = changed
                .iter()
                .filter_map(|(key, held)| change(key, held.as_ref()));
            let changes: Vec<_> = changes.collect();
            if !changes.is_empty() {
                let update = Update {
                    source: self.identity.source,
                    revision: self.changed_at,
                    changes,
                };
                self.supervisor.apply(update).await;
            }
            self.unsaved = true;
        }
        self.show();
    }

    fn note_ignored(&self, changed: &[(Key, Option<Held>)]) {
        let source = self.identity.source;
        for (key, held) in changed {
            let Err(why) = key.parse::<DocumentKey>() else {
                continue;
            };
            self.state.show(|status| match held {
                Some(_) => {
                    if status.ignored.insert(Key::clone(key)) {
                        tracing::warn!(%source, %key, %why, "a key is ignored");
                    }
                }
                None => {
                    status.ignored.remove(key);
                }
            });
        }
    }

    /// Brings the status up to date.
    pub fn show(&self) {
        let mirror = &self.mirror;
        let source = self.identity.source;
        let absent = |wanted: fn(&Absence) -> bool| {
            let absent = mirror.absent().iter();
            let wanted = absent.filter(move |(_, (_, why))| wanted(why));
            wanted.map(|(key, _)| Key::clone(key)).collect()
        };
        let doubted = absent(|why| *why == Absence::Doubted);
        let stale: BTreeSet<_> = absent(|why| matches!(why, Absence::Stale(_)));
        self.state.show(|status| {
            if stale.len() > status.stale.len() {
                tracing::warn!(
                    %source,
                    stale = stale.len(),
                    "many backends left their source together; they stay while nothing speaks \
                     against them"
                );
            }
            status.cluster = mirror.cluster();
            status.revision = mirror.revision();
            status.documents = mirror.present().len() + mirror.absent().len();
            status.doubted = doubted;
            status.stale = stale;
        });
    }
}

/// `None` for keys that no document can have.
pub fn change(key: &Key, held: Option<&Held>) -> Option<Change> {
    let name: DocumentKey = key.parse().ok()?;
    Some(match held {
        Some(held) => Change::Put(Document {
            key: name,
            text: Arc::clone(&held.text),
            revision: held.revision,
        }),
        None => Change::Delete(name),
    })
}

/// The health of a backend from probes and traffic.
fn verdict(live: &Live, key: &str) -> Verdict {
    let table = live.table();
    let member = backend_of(key).and_then(|(upstream, id)| {
        let upstream = table.upstream(upstream)?;
        upstream.member(&BackendId::from(id))
    });
    let fails = member.is_some_and(|member| {
        member.state.health() == Health::Unhealthy || member.state.ejected(clock::now())
    });
    if fails { Verdict::Fails } else { Verdict::Fine }
}
