//! Last known good of a source: put into force at a start, and written whenever it has changed.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::clock;
use crate::config::documents::Update;
use crate::control::sources::mirrored::store::{Entry, Remembered};
use crate::control::sources::mirrored::{MirroredDocuments, change};
use crate::core::membership::{FullRead, Held, Key, Mirror};

impl MirroredDocuments {
    pub(super) async fn remember(&mut self) {
        let Some(store) = self.store.clone() else {
            return;
        };
        let source = self.identity.source;
        let loaded = tokio::task::spawn_blocking(move || store.load()).await;
        let remembered = match loaded.expect("reading last known good does not panic") {
            Ok(Some(remembered)) => remembered,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%source, %error, "last known good is not used");
                let fault = Some(error.to_string());
                self.state
                    .show(|status| status.last_known_good_fault = fault);
                return;
            }
        };
        if remembered.origin != self.identity.origin {
            tracing::warn!(
                %source,
                of = remembered.origin,
                "last known good is of another source and is not used"
            );
            return;
        }
        let (revision, documents) = (remembered.revision, remembered.present.len());
        tracing::info!(%source, revision, documents, "last known good is in force");
        let pairs = |entries: Vec<Entry>| entries.into_iter().map(Entry::into_pair);
        let read = FullRead {
            cluster: remembered.cluster,
            revision,
            documents: pairs(remembered.present).collect(),
        };
        let (grace, absent) = (self.identity.grace, pairs(remembered.absent));
        self.mirror = Mirror::remembered(grace, read, absent, clock::now());
        self.changed_at = revision;
        self.good_first(pairs(remembered.good).collect()).await;
        self.state.show(|status| status.from_last_known_good = true);
        self.apply().await;
        self.unsaved = false;
    }

    /// Puts versions into force that newer ones, which were refused, had not replaced.
    async fn good_first(&self, good: HashMap<Key, Held>) {
        if good.is_empty() {
            return;
        }
        let mut changes = HashMap::new();
        let now = self.mirror.present().iter();
        let all = now.chain(
            self.mirror
                .absent()
                .iter()
                .map(|(key, (held, _))| (key, held)),
        );
        for (key, held) in all.chain(&good) {
            changes.insert(Key::clone(key), change(key, Some(held)));
        }
        let update = Update {
            source: self.identity.source,
            revision: self.mirror.revision(),
            changes: changes.into_values().flatten().collect(),
        };
        self.supervisor.apply(update).await;
        // Those that the source has no longer at all are in force only until it answers.
        let gone = good
            .keys()
            .filter(|key| self.mirror.in_force(key).is_none());
        let gone: Vec<_> = gone.filter_map(|key| change(key, None)).collect();
        if !gone.is_empty() {
            let revision = self.mirror.revision();
            let update = Update {
                source: self.identity.source,
                revision,
                changes: gone,
            };
            self.supervisor.apply(update).await;
        }
    }

    /// Writes last known good, if it has changed and the write before it is over.
    pub async fn save(&mut self) {
        let Some(store) = self.store.clone().filter(|_| self.unsaved) else {
            return;
        };
        if self.saving.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        self.unsaved = false;
        let remembered = self.remembered().await;
        let (state, source) = (Arc::clone(&self.state), self.identity.source);
        self.saving = Some(tokio::task::spawn_blocking(move || {
            let fault = store.save(&remembered).err().map(|error| error.to_string());
            state.show(|status| {
                if let Some(error) = fault
                    .as_ref()
                    .filter(|_| fault != status.last_known_good_fault)
                {
                    tracing::error!(%source, error, "last known good cannot be written");
                }
                status.last_known_good_fault = fault;
            });
        }));
    }

    async fn remembered(&self) -> Remembered {
        let mirror = &self.mirror;
        let good = self
            .supervisor
            .good_documents(self.identity.source)
            .await
            .into_iter();
        let good = good.filter_map(|document| {
            let key = Key::from(document.key.to_string());
            let same = mirror.in_force(&key).map(|held| &held.text) == Some(&document.text);
            (!same).then_some(Entry {
                key,
                text: document.text,
                revision: document.revision,
                lease: 0,
            })
        });
        let entries = |(key, held)| Entry::new(key, held);
        let absent = mirror.absent().iter();
        Remembered {
            origin: self.identity.origin.clone(),
            cluster: mirror.cluster(),
            revision: mirror.revision(),
            present: mirror.present().iter().map(entries).collect(),
            absent: absent
                .map(|(key, (held, _))| Entry::new(key, held))
                .collect(),
            good: good.collect(),
        }
    }
}
