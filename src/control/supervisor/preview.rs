//! What a candidate would change if it were put into force: read and checked like any other
//! configuration, compiled on trial, compared, and thrown away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::base::clock;
use crate::base::source_id::SourceId;
use crate::config::diagnostic::{Diagnostic, Source};
use crate::config::documents::{Change, Update};
use crate::config::footprint;
use crate::config::overlay::{Composer, FileProtection, Overlay};
use crate::config::snapshot::Snapshot;
use crate::control::load::{
    LoadOptions, Loaded, Reach, TrialFault, load_trial, with_check_context,
};
use crate::control::supervisor::{Configuration, Supervisor};
use crate::control::worker_commands;
use crate::core::routing::RoutingTable;
use crate::core::routing::preview;
use crate::live::SessionQuery;

mod view;

use view::endings;
pub use view::{
    EndingView, LeavingView, MoveView, Preview, RemovedRouteView, SessionsView, ShareView,
};

/// What might be put into force.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    /// What to call the text where something is wrong with it.
    pub name: String,
    /// In place of the configuration file; `None`: the file as it is.
    pub text: Option<String>,
    /// Documents that might be written or deleted.
    pub documents: Vec<Change>,
}

/// How many values a text has, about.
fn values(text: &str) -> usize {
    text.bytes().filter(|byte| b"=,:[{".contains(byte)).count()
}

/// Values in a candidate, each of which takes some hundred bytes while it is read.
const VALUES_MAX: usize = 400_000;

/// The right to make the one preview that is made at a time.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// Why there is no preview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreviewFault {
    /// The candidate names a file or a variable, and who asks may not make the gateway look at one.
    NamesOutside,
    /// It would be refused, for these faults.
    Refused(Vec<Diagnostic>),
    /// Its preview would take too much memory.
    TooLarge,
}

impl Configuration {
    /// The same with another text, which is read as if it stood beside the configuration file under
    /// the name `label`.
    fn candidate(&self, label: &str, text: &str, reach: Reach) -> Result<Loaded, PreviewFault> {
        let (Self::File(options) | Self::BuiltIn(options, _)) = self;
        let name = Path::new(label)
            .file_name()
            .unwrap_or_else(|| label.as_ref());
        let options = LoadOptions {
            path: options.path.with_file_name(name),
            ..options.clone()
        };
        load_trial(&options, text, reach).map_err(|fault| match fault {
            TrialFault::NamesOutside => PreviewFault::NamesOutside,
            TrialFault::Faults(faults) => {
                PreviewFault::Refused(named(faults.diagnostics(), &options, label))
            }
        })
    }
}

/// What a change would begin with.
struct Trial {
    base: Arc<Loaded>,
    overlay: Overlay,
    composer: Composer,
}

impl Trial {
    /// The configuration that the candidate would make, within the bounds of a trial, and what
    /// documents would do to what its file protects and guards.
    fn compose(
        mut self,
        configuration: &Configuration,
        candidate: Candidate,
        in_force: &Snapshot,
        reach: Reach,
    ) -> Result<(Loaded, Vec<String>), PreviewFault> {
        let Candidate {
            name,
            text,
            documents,
        } = candidate;
        let texts = documents.iter().filter_map(|change| match change {
            Change::Put(document) => Some(&*document.text),
            Change::Delete(_) => None,
        });
        let texts = texts.chain(text.as_deref());
        if texts.map(values).sum::<usize>() > VALUES_MAX {
            return Err(PreviewFault::TooLarge);
        }
        if let Some(text) = &text {
            self.base = Arc::new(configuration.candidate(&name, text, reach)?);
        }
        let rights = match reach {
            Reach::Everything => in_force.sources.document_rights(),
            Reach::Nothing => BTreeMap::new(),
        };
        let update = Update {
            source: SourceId::Etcd,
            revision: 0,
            changes: documents,
        };
        let overlay = &mut self.overlay;
        overlay.protect(&FileProtection::new(&self.base.snapshot));
        let (touched, _) =
            with_check_context(configuration.options(), &self.base, &rights, |context| {
                overlay.apply(update, context)
            });
        // What is wrong with other documents was so before, and is no fault of the candidate's.
        let refused = touched.iter().filter(|key| overlay.is_refused(key));
        let faults = refused.flat_map(|key| overlay.found(key));
        let faults: Vec<_> = faults.collect();
        if !faults.is_empty() {
            return Err(PreviewFault::Refused(faults));
        }
        let diagnostics = overlay
            .protection_diagnostics()
            .iter()
            .map(ToString::to_string)
            .collect();
        let after = self.composer.compose(&self.base.snapshot, overlay, None);
        let after = after.snapshot;
        let known = |name| in_force.upstreams.get(name);
        let changed = after.upstreams.iter();
        let changed = changed.filter(|(name, one)| known(*name) != Some(*one));
        let tables = footprint::tables_bytes(changed.map(|(_, one)| one));
        if tables > footprint::TRIAL_BYTES_MAX {
            return Err(PreviewFault::TooLarge);
        }
        let after = Loaded {
            snapshot: after,
            ..self.base.as_ref().clone()
        };
        Ok((after, diagnostics))
    }
}

/// Faults of a text that was read as if it stood at a path, under the name that it was sent with.
fn named(faults: &[Diagnostic], options: &LoadOptions, label: &str) -> Vec<Diagnostic> {
    let read_as = Source::File(options.path.clone());
    let mut faults = faults.to_vec();
    for fault in faults.iter_mut().filter(|fault| fault.source == read_as) {
        fault.source = Source::File(PathBuf::from(label));
    }
    faults
}

impl Supervisor {
    /// Waits until no other preview is running: each may need as much memory as a configuration.
    pub async fn preview_turn(&self) -> Turn {
        let turn = Arc::clone(&self.previewing).acquire_owned().await;
        Turn(turn.expect("the semaphore is never closed"))
    }

    /// What would change if this candidate were put into force. The turn ends with the work, even
    /// if the caller no longer waits.
    ///
    /// # Errors
    /// When it names what is out of `reach`, or everything that is wrong with it.
    pub async fn preview(
        &self,
        turn: Turn,
        candidate: Candidate,
        reach: Reach,
    ) -> Result<Preview, PreviewFault> {
        let configuration = self.configuration.clone();
        let changing = self.changing.lock().await;
        let trial = Trial {
            base: Arc::clone(&changing.base),
            overlay: changing.overlay.clone(),
            composer: changing.composer.clone(),
        };
        drop(changing);
        let before = self.loaded();
        let in_force = Arc::clone(&before);
        let old = self.live.table();
        let read = tokio::task::spawn_blocking(move || {
            let in_force = &in_force.snapshot;
            let (after, documents) = trial.compose(&configuration, candidate, in_force, reach)?;
            let new = RoutingTable::trial(&after.snapshot, &old, clock::now());
            Ok::<_, PreviewFault>((turn, old, after, new, documents))
        });
        let (turn, old, after, new, documents) = read.await.expect("reading does not panic")?;
        let drained = self.drainer.would_begin(&old, &new);
        let briefs = worker_commands::briefs(&self.live, &SessionQuery::default()).await;
        let compare = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let live = briefs.iter().map(|brief| preview::SessionPlacement {
                route: &brief.route,
                key: brief.key.as_deref(),
            });
            let sessions = preview::sessions(&old, &new, live, clock::now());
            let ending = preview::ending(&old, &new);
            let endings = endings(&briefs, &ending, &drained);
            let sessions = Some((sessions, endings));
            let tables = ((&before.snapshot, &*old), (&after.snapshot, &new));
            let preview = Preview::compare(tables.0, tables.1, sessions);
            let mut preview = preview.of_values(&before, &after);
            let before = &before.snapshot;
            let removed = &preview.routes.removed;
            preview.documents = documents;
            preview.removed_routes = RemovedRouteView::of(removed, before, &briefs);
            preview
        });
        Ok(compare.await.expect("comparing does not panic"))
    }
}
