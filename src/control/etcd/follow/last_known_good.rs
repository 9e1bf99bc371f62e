//! Last known good of etcd: put into force at a start, and written whenever it has changed.

use std::collections::HashMap;
use std::sync::Arc;

use crate::base::clock;
use crate::base::source_id::SourceId;
use crate::config::documents::Update;
use crate::control::etcd::follow::{Follower, change};
use crate::control::etcd::store::{Entry, Remembered};
use crate::core::membership::{FullRead, Held, Key, Mirror};

impl Follower {
    pub(super) async fn remember(&mut self) {
        let Some(store) = self.store.clone() else {
            return;
        };
        let loaded = tokio::task::spawn_blocking(move || store.load()).await;
        let remembered = match loaded.expect("reading last known good does not panic") {
            Ok(Some(remembered)) => remembered,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "last known good is not used");
                let fault = Some(error.to_string());
                self.state
                    .show(|status| status.last_known_good_fault = fault);
                return;
            }
        };
        let settings = self.endpoints.settings();
        if *remembered.prefix != *settings.prefix {
            tracing::warn!(
                prefix = remembered.prefix,
                "last known good is of another prefix and is not used"
            );
            return;
        }
        let (revision, documents) = (remembered.revision, remembered.present.len());
        tracing::info!(revision, documents, "last known good of etcd is in force");
        let pairs = |entries: Vec<Entry>| entries.into_iter().map(Entry::into_pair);
        let read = FullRead {
            cluster: remembered.cluster,
            revision,
            documents: pairs(remembered.present).collect(),
        };
        let (grace, absent) = (settings.stale_grace, pairs(remembered.absent));
        self.mirror = Mirror::remembered(grace, read, absent, clock::now());
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
            source: SourceId::Etcd,
            revision: self.mirror.revision(),
            changes: changes.into_values().flatten().collect(),
        };
        self.supervisor.apply(update).await;
        // Those that etcd has no longer at all are in force only until it is heard.
        let gone = good
            .keys()
            .filter(|key| self.mirror.in_force(key).is_none());
        let gone: Vec<_> = gone.filter_map(|key| change(key, None)).collect();
        if !gone.is_empty() {
            let revision = self.mirror.revision();
            let update = Update {
                source: SourceId::Etcd,
                revision,
                changes: gone,
            };
            self.supervisor.apply(update).await;
        }
    }

    /// Writes last known good, if it has changed and the write before it is over.
    pub(super) async fn save(&mut self) {
        let Some(store) = self.store.clone().filter(|_| self.unsaved) else {
            return;
        };
        if self.saving.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        self.unsaved = false;
        let remembered = self.remembered().await;
        let state = Arc::clone(&self.state);
        self.saving = Some(tokio::task::spawn_blocking(move || {
            let fault = store.save(&remembered).err().map(|error| error.to_string());
            state.show(|status| {
                if let Some(error) = fault
                    .as_ref()
                    .filter(|_| fault != status.last_known_good_fault)
                {
                    tracing::error!(error, "last known good cannot be written");
                }
                status.last_known_good_fault = fault;
            });
        }));
    }

    async fn remembered(&self) -> Remembered {
        let mirror = &self.mirror;
        let good = self
            .supervisor
            .good_documents(SourceId::Etcd)
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
            prefix: self.endpoints.settings().prefix.to_string(),
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
