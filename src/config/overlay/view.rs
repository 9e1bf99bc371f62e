//! Documents as operators see them: the state of each, and which layer is in force.

use std::time::SystemTime;

use crate::base::source_id::SourceId;
use crate::config::document_key::{DocumentKey, Kind};
use crate::config::overlay::compose::{Composer, Lacks};
use crate::config::overlay::{DocumentStatus, DocumentView, Entry, Overlay};
use crate::config::snapshot::Snapshot;

const NO_ROOM: &str = "room: the tables of all upstreams would take too much memory";

impl Composer {
    /// Every document, by key. `snapshot` is what was composed last.
    pub fn views(
        &self,
        base: &Snapshot,
        overlay: &Overlay,
        snapshot: &Snapshot,
        now: SystemTime,
    ) -> Vec<DocumentView> {
        let entries = overlay.entries.iter();
        entries
            .map(|((key, source), entry)| {
                let winner = overlay.winner(key);
                let winner = winner.map_or(*source, |version| version.source);
                self.view(key, (*source, winner), entry, (base, snapshot), now)
            })
            .collect()
    }

    fn view(
        &self,
        key: &DocumentKey,
        (source, winner): (SourceId, SourceId),
        entry: &Entry,
        (base, snapshot): (&Snapshot, &Snapshot),
        now: SystemTime,
    ) -> DocumentView {
        let overridden_by = Some(winner).filter(|winner| *winner != source);
        let name = &*key.name;
        let orphan = key.kind == Kind::Backend && !snapshot.upstreams.contains_key(name);
        let lacks = self.crowded.get(name).copied();
        let no_room = match key.kind {
            Kind::Upstream => lacks == Some(Lacks::All),
            Kind::Backend => lacks.is_some(),
            _ => false,
        };
        let waits_for = match self.waits.get(key) {
            Some(wait) => Some(wait.to_string()),
            None if no_room => Some(NO_ROOM.to_owned()),
            None if self.lost_paths().contains_key(key) => self.lost_paths().get(key).cloned(),
            None => orphan.then(|| format!("upstream `{name}`")),
        };
        let status = if entry.gone {
            DocumentStatus::Retained
        } else if entry.is_refused() {
            DocumentStatus::Refused
        } else if overridden_by.is_some() {
            DocumentStatus::Overridden
        } else if waits_for.is_some() {
            DocumentStatus::Waiting
        } else if entry.is_over(now) {
            DocumentStatus::Over
        } else {
            DocumentStatus::InForce
        };
        let in_force = match key.kind {
            Kind::Route => self.accepted.get(key).filter(|one| one.source == source),
            _ => entry.good.as_ref().filter(|_| !orphan),
        };
        let in_force = in_force.filter(|_| overridden_by.is_none());
        let overrides_file = match key.kind {
            Kind::Route => base.routes.iter().any(|route| route.name.as_str() == name),
            Kind::Upstream => base.upstreams.contains_key(name),
            Kind::Authenticator => base.authenticators.contains_key(name),
            Kind::Revocation => base.revocations.contains_key(name),
            Kind::Backend => base.upstreams.get(name).is_some_and(|upstream| {
                let mut backends = upstream.backends.iter();
                backends.any(|backend| backend.id.as_str() == &*key.id)
            }),
        };
        DocumentView {
            key: key.to_string(),
            source,
            revision: entry.document.revision,
            status,
            in_force: in_force.map(|version| version.document.revision),
            overrides_file: overrides_file && overridden_by.is_none(),
            overridden_by,
            waits_for: waits_for.filter(|_| overridden_by.is_none()),
            diagnostics: entry.diagnostics(),
        }
    }
}
