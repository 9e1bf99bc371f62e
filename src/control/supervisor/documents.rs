//! What sources outside the file add: documents come in by the door that the file comes in by, and
//! one change is over before the next begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::clock;
use crate::base::source_id::SourceId;
use crate::config::diagnostic::Diagnostic;
use crate::config::document_key::DocumentKey;
use crate::config::documents::{Document, Update};
use crate::config::overlay::{Composer, DocumentView, Overlay};
use crate::config::snapshot::Snapshot;
use crate::control::load::{Loaded, with_check_context};
use crate::control::supervisor::backend_tls::{Reuse, is_of_file, log_tls_faults, tls};
use crate::control::supervisor::composition::{Held, compose};
use crate::control::supervisor::origin::{Before, Origin, file_difference, report_refused};
use crate::control::supervisor::{Changing, ReloadReport, Supervisor};
use crate::io::tls::client::BackendTls;
use crate::telemetry::events::DocumentChange;

/// A file that was read, and what it makes together with the documents that there are.
pub(super) struct PreparedReload {
    base: Arc<Loaded>,
    overlay: Overlay,
    composer: Composer,
    snapshot: Snapshot,
    tls: BackendTls,
    /// What differs from the file before.
    changed: Vec<DocumentChange>,
}

/// What came of an update.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Of the table in force now.
    pub generation: u64,
    /// Whether a new table was swapped in.
    pub swapped: bool,
    /// Documents that were refused, each with what is wrong; their last good versions stay.
    pub refused: Vec<(DocumentKey, Vec<Diagnostic>)>,
    /// Documents that there are.
    pub documents: usize,
}

impl Supervisor {
    /// Reads the file again, and puts it together with the documents that there are.
    pub(super) async fn read(
        &self,
        changing: &Changing,
    ) -> Result<PreparedReload, Vec<Diagnostic>> {
        let configuration = self.configuration.clone();
        let mut overlay = changing.overlay.clone();
        let mut composer = changing.composer.clone();
        let in_force = self.loaded();
        let (before, events) = (Arc::clone(&changing.base), self.live.events().clone());
        let known_tls = Arc::clone(&self.live.generation().backend_tls);
        let read = tokio::task::spawn_blocking(move || {
            let base = configuration
                .load()
                .map_err(|faults| faults.diagnostics().to_vec())?;
            let rights = in_force.snapshot.sources.document_rights();
            let options = configuration.options();
            let (newly_refused, mut roots) =
                with_check_context(options, &base, &rights, |context| {
                    overlay.check_again(context)
                });
            report_refused(&events, &overlay, &newly_refused);
            let snapshot = compose(&mut composer, &base, &mut overlay, None);
            let reused = (&in_force.snapshot, &*known_tls);
            let (tls, faults) = tls(&snapshot, reused, &mut roots, Reuse::Failed);
            let (own, others): (Vec<_>, Vec<_>) = faults
                .into_iter()
                .partition(|fault| is_of_file(&base.snapshot, &snapshot, fault.upstream()));
            if !own.is_empty() {
                let path = configuration.path();
                return Err(own.iter().map(|fault| fault.diagnostic(path)).collect());
            }
            log_tls_faults(&others);
            let path = configuration.path();
            Ok(PreparedReload {
                changed: file_difference(path, &before.masked, &base.masked),
                base: Arc::new(base),
                overlay,
                composer,
                snapshot,
                tls,
            })
        });
        read.await
            .expect("reading the configuration does not panic")
    }

    /// Puts what was read into force.
    pub(super) async fn take_over(
        &self,
        changing: &mut Changing,
        read: PreparedReload,
        origin: &Origin,
    ) -> ReloadReport {
        changing.base = Arc::clone(&read.base);
        changing.overlay = read.overlay;
        changing.composer = read.composer;
        let held = held(changing, &read.snapshot);
        let loaded = Loaded {
            snapshot: read.snapshot,
            ..Loaded::clone(&read.base)
        };
        let changed = (read.changed, 0);
        let probes = &mut changing.probes;
        let report = self.put_into_force(probes, loaded, read.tls, (origin, changed));
        let report = report.await;
        self.show(|shown| {
            (shown.at, shown.refused, shown.held) = (clock::wall(), None, held);
        });
        report
    }

    /// Takes in a source's update, all of it by one swap. Documents with faults are refused alone;
    /// what was good of them stays (I4).
    pub async fn apply(&self, update: Update) -> Applied {
        let source = update.source;
        let origin = Origin::documents(source, update.revision);
        let mut changing = self.changing.lock().await;
        let configuration = self.configuration.clone();
        let base = Arc::clone(&changing.base);
        let mut overlay = std::mem::take(&mut changing.overlay);
        let mut composer = std::mem::take(&mut changing.composer);
        let in_force = self.loaded();
        let known_tls = Arc::clone(&self.live.generation().backend_tls);
        // Checking thousands of documents takes its time, and other things wait for this thread.
        let taken = tokio::task::spawn_blocking(move || {
            let rights = in_force.snapshot.sources.document_rights();
            let options = configuration.options();
            let before_update = Before::of(&overlay, source, &update.changes);
            let (touched, mut roots) = with_check_context(options, &base, &rights, |context| {
                overlay.apply(update, context)
            });
            let changed = before_update.differences(&overlay, source);
            let snapshot = compose(&mut composer, &base, &mut overlay, Some(&touched));
            let before = (&in_force.snapshot, &*known_tls);
            let (tls, faults) = tls(&snapshot, before, &mut roots, Reuse::Unchanged);
            log_tls_faults(&faults);
            (touched, snapshot, tls, (overlay, composer), changed)
        });
        let taken = taken.await.expect("taking in documents does not panic");
        let (touched, snapshot, tls, parts, changed) = taken;
        (changing.overlay, changing.composer) = parts;
        log_weakenings(&changing.overlay, &touched);
        let refused = touched
            .into_iter()
            .filter(|key| changing.overlay.is_refused(key));
        let refused: Vec<_> = refused.collect();
        report_refused(self.live.events(), &changing.overlay, &refused);
        let refused = refused.into_iter().map(|key| {
            let found = changing.overlay.found(&key);
            (key, found)
        });
        let refused = refused.collect();
        let held = held(&changing, &snapshot);
        self.show(|shown| shown.held = held);
        let loaded = Loaded {
            snapshot,
            ..Loaded::clone(&changing.base)
        };
        let probes = &mut changing.probes;
        let report = self.put_into_force(probes, loaded, tls, (&origin, changed));
        let report = report.await;
        Applied {
            generation: report.generation,
            swapped: report.swapped,
            refused,
            documents: changing.overlay.count(source),
        }
    }

    /// How many documents of a source are not in force as they were written last.
    pub fn held(&self, source: SourceId) -> Held {
        self.shown().held.get(&source).copied().unwrap_or_default()
    }

    /// Every last good version of a document of a source: what is needed to begin again without
    /// the source.
    pub async fn good_documents(&self, source: SourceId) -> Vec<Document> {
        self.changing.lock().await.overlay.good_documents(source)
    }

    /// Every document and how it stands, by key.
    pub async fn documents(&self) -> Vec<DocumentView> {
        let changing = self.changing.lock().await;
        let in_force = self.loaded();
        let base = &changing.base.snapshot;
        let composer = &changing.composer;
        let overlay = &changing.overlay;
        composer.views(base, overlay, &in_force.snapshot, clock::wall())
    }
}

fn held(changing: &Changing, snapshot: &Snapshot) -> BTreeMap<SourceId, Held> {
    let (overlay, composer) = (&changing.overlay, &changing.composer);
    let of = |source| Held {
        refused: overlay.refused(source),
        waiting: composer.waiting(overlay, snapshot, source),
    };
    SourceId::ALL.map(|source| (source, of(source))).into()
}

/// Documents that weaken what the file guards take effect, but not silently.
fn log_weakenings(overlay: &Overlay, keys: &[DocumentKey]) {
    for key in keys.iter().filter(|key| !overlay.is_refused(key)) {
        for warning in overlay.found(key) {
            tracing::warn!(%key, %warning, "suspicious document");
        }
    }
}
