//! What sources outside the file add: documents come in by the door that the file comes in by, and
//! one change is over before the next begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::clock;
use crate::base::names::UpstreamName;
use crate::config::diagnostic::Diagnostic;
use crate::config::documents::{Document, DocumentKey, Update};
use crate::config::overlay::{Composer, DocumentView, Overlay};
use crate::config::snapshot::Snapshot;
use crate::control::load::{Loaded, on_ground};
use crate::control::supervisor::{
    Changing, Configuration, ReloadReport, Supervisor, UpstreamTlsError,
};
use crate::io::tls::client::{BackendTls, ClientTls, Roots};

/// A file that was read, and what it makes together with the documents that there are.
pub(super) struct Read {
    base: Arc<Loaded>,
    overlay: Overlay,
    composer: Composer,
    snapshot: Snapshot,
    tls: BTreeMap<UpstreamName, ClientTls>,
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

/// Documents that are not in force as they were written last. The file has a say in that too: a
/// document may name what is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Their newest version has faults.
    pub refused: usize,
    /// They name something that is missing.
    pub waiting: usize,
}

/// The file alone, without the routes that name what only documents could bring.
pub fn resolved(base: &Loaded) -> Loaded {
    let composed = Composer::default().compose(&base.snapshot, &mut Overlay::default(), None);
    Loaded {
        snapshot: composed.snapshot,
        ..base.clone()
    }
}

impl Supervisor {
    /// Reads the file again, and puts it together with the documents that there are.
    pub(super) async fn read(&self, changing: &Changing) -> Result<Read, Vec<Diagnostic>> {
        let configuration = self.configuration.clone();
        let mut overlay = changing.overlay.clone();
        let mut composer = changing.composer.clone();
        let in_force = self.loaded();
        let known_tls = Arc::clone(&self.backend_tls);
        let read = tokio::task::spawn_blocking(move || {
            let base = configuration
                .load()
                .map_err(|faults| faults.diagnostics().to_vec())?;
            let etcd = in_force.snapshot.sources.etcd.as_ref();
            let options = configuration.options();
            let (newly_refused, mut roots) =
                on_ground(options, &base, etcd, |ground| overlay.check_again(ground));
            log_refused(&overlay, &newly_refused);
            let snapshot = compose(&mut composer, &base, &mut overlay, None);
            let before = (&in_force.snapshot, &*known_tls);
            let (tls, faults) = tls(&snapshot, before, &mut roots, Reuse::Failed);
            let (own, others): (Vec<_>, Vec<_>) = faults
                .into_iter()
                .partition(|fault| is_of_file(&base.snapshot, &snapshot, fault.upstream()));
            if !own.is_empty() {
                let path = configuration.path();
                return Err(own.iter().map(|fault| fault.diagnostic(path)).collect());
            }
            log_tls_faults(&others);
            Ok(Read {
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
    pub(super) async fn take_over(&self, changing: &mut Changing, read: Read) -> ReloadReport {
        changing.base = Arc::clone(&read.base);
        changing.overlay = read.overlay;
        changing.composer = read.composer;
        let held = held(changing, &read.snapshot);
        let loaded = Loaded {
            snapshot: read.snapshot,
            ..Loaded::clone(&read.base)
        };
        let report = self.put_into_force(&mut changing.probes, loaded, read.tls);
        let report = report.await;
        self.show(|shown| {
            (shown.at, shown.refused, shown.held) = (clock::wall(), None, held);
        });
        report
    }

    /// Takes in what a source says, all of it by one swap. Documents with faults are refused alone;
    /// what was good of them stays (I4).
    pub async fn apply(&self, update: Update) -> Applied {
        let mut changing = self.changing.lock().await;
        let configuration = self.configuration.clone();
        let base = Arc::clone(&changing.base);
        let mut overlay = std::mem::take(&mut changing.overlay);
        let mut composer = std::mem::take(&mut changing.composer);
        let in_force = self.loaded();
        let known_tls = Arc::clone(&self.backend_tls);
        // Checking thousands of documents takes its time, and other things wait for this thread.
        let taken = tokio::task::spawn_blocking(move || {
            let etcd = in_force.snapshot.sources.etcd.as_ref();
            let options = configuration.options();
            let (touched, mut roots) =
                on_ground(options, &base, etcd, |ground| overlay.apply(update, ground));
            let snapshot = compose(&mut composer, &base, &mut overlay, Some(&touched));
            let before = (&in_force.snapshot, &*known_tls);
            let (tls, faults) = tls(&snapshot, before, &mut roots, Reuse::Unchanged);
            log_tls_faults(&faults);
            (touched, snapshot, tls, overlay, composer)
        });
        let taken = taken.await.expect("taking in documents does not panic");
        let (touched, snapshot, tls, overlay, composer) = taken;
        (changing.overlay, changing.composer) = (overlay, composer);
        log_weakenings(&changing.overlay, &touched);
        let refused = touched
            .into_iter()
            .filter(|key| changing.overlay.is_refused(key));
        let refused: Vec<_> = refused.collect();
        log_refused(&changing.overlay, &refused);
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
        let report = self.put_into_force(&mut changing.probes, loaded, tls).await;
        Applied {
            generation: report.generation,
            swapped: report.swapped,
            refused,
            documents: changing.overlay.len(),
        }
    }

    /// How many documents are not in force as they were written last.
    pub fn held(&self) -> Held {
        self.shown().held
    }

    /// Every last good version of a document: what is needed to begin again without the source.
    pub async fn good_documents(&self) -> Vec<Document> {
        self.changing.lock().await.overlay.good_documents()
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

fn held(changing: &Changing, snapshot: &Snapshot) -> Held {
    Held {
        refused: changing.overlay.refused(),
        waiting: changing.composer.waiting(&changing.overlay, snapshot),
    }
}

fn compose(
    composer: &mut Composer,
    base: &Loaded,
    overlay: &mut Overlay,
    touched: Option<&[DocumentKey]>,
) -> Snapshot {
    let before = composer.waiting_routes();
    let composed = composer.compose(&base.snapshot, overlay, touched);
    for (key, what) in composer.waiting_routes() {
        if before.get(&key) != Some(&what) {
            tracing::warn!(%key, "document waits for {what}; its version before stays");
        }
    }
    for waiting in &composed.waiting {
        tracing::warn!("{waiting}, which is neither in the file nor in a document");
    }
    composed.snapshot
}

/// Which TLS that is in force with the same settings is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reuse {
    /// All of it; no file is read for it.
    Unchanged,
    /// Only what cannot be set up anew: files of roots are read again.
    Failed,
}

/// TLS of the upstreams, and those of which it cannot be set up. An upstream with a fault keeps the
/// TLS that is in force where its settings are the same. Without any it takes no sessions: no
/// request goes to it in the clear. Other upstreams are not affected (I4).
fn tls(
    snapshot: &Snapshot,
    (before, known): (&Snapshot, &BackendTls),
    roots: &mut Roots,
    reuse: Reuse,
) -> (BTreeMap<UpstreamName, ClientTls>, Vec<UpstreamTlsError>) {
    let (mut all, mut faults) = (BTreeMap::new(), Vec::new());
    for upstream in snapshot.upstreams.values() {
        let Some(settings) = &upstream.tls else {
            continue;
        };
        let name = &upstream.name;
        let same = before.upstreams.get(name);
        let same = same.is_some_and(|before| before.tls.as_ref() == Some(settings));
        let current = known.of(name).filter(|_| same);
        let tls = match current {
            Some(current) if reuse == Reuse::Unchanged => Some(current),
            current => match ClientTls::with_roots(settings, roots) {
                Ok(tls) => Some(tls),
                Err(error) => {
                    faults.push(UpstreamTlsError(name.clone(), error));
                    current
                }
            },
        };
        all.extend(tls.map(|tls| (name.clone(), tls)));
    }
    (all, faults)
}

/// Whether the TLS of an upstream is what the file says.
fn is_of_file(file: &Snapshot, composed: &Snapshot, upstream: &UpstreamName) -> bool {
    let tls = |snapshot: &Snapshot| snapshot.upstreams.get(upstream)?.tls.clone();
    tls(file) == tls(composed)
}

fn log_refused(overlay: &Overlay, keys: &[DocumentKey]) {
    for key in keys {
        for fault in overlay.found(key) {
            tracing::error!(%key, %fault, "document refused; its last good version stays");
        }
    }
}

/// Documents that weaken what the file guards take effect, but not silently.
fn log_weakenings(overlay: &Overlay, keys: &[DocumentKey]) {
    for key in keys.iter().filter(|key| !overlay.is_refused(key)) {
        for warning in overlay.found(key) {
            tracing::warn!(%key, %warning, "suspicious document");
        }
    }
}

fn log_tls_faults(faults: &[UpstreamTlsError]) {
    for error in faults {
        tracing::error!(%error, "TLS to an upstream cannot be set up; the rest is in force");
    }
}

impl Configuration {
    /// What is read, from where.
    pub(super) fn options(&self) -> &crate::control::load::LoadOptions {
        let (Self::File(options) | Self::BuiltIn(options, _)) = self;
        options
    }
}
