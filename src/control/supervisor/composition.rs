//! The file and the documents put together.

use crate::config::document_key::DocumentKey;
use crate::config::overlay::{Composer, Overlay};
use crate::config::snapshot::Snapshot;
use crate::control::load::Loaded;

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

/// Puts together what the file and the documents say. `touched` are the documents that changed.
pub(super) fn compose(
    composer: &mut Composer,
    base: &Loaded,
    overlay: &mut Overlay,
    touched: Option<&[DocumentKey]>,
) -> Snapshot {
    let before = composer.waiting_routes();
    let lost_before = composer.lost_paths().clone();
    let composed = composer.compose(&base.snapshot, overlay, touched);
    for (key, what) in composer.waiting_routes() {
        if before.get(&key) != Some(&what) {
            tracing::warn!(%key, "document waits for {what}; its version before stays");
        }
    }
    for (key, what) in composer.lost_paths() {
        if lost_before.get(key) != Some(what) {
            tracing::warn!(%key, "document waits for {what}");
        }
    }
    for waiting in &composed.waiting {
        tracing::warn!("{waiting}, which is neither in the file nor in a document");
    }
    composed.snapshot
}
