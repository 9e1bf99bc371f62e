//! Documents of the sources on top of the file. Each is checked and refused alone (I4); file and
//! documents together make the configuration. Each source is a layer, in the order of `SourceId`:
//! of all entries with one name, the good version of the highest layer is in force. A document that
//! refers to something missing waits for it.
//!
//! The result depends on the file, the documents and their last good versions, never on the order
//! of arrival, so that all gateways of one source agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::base::source_id::SourceId;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::document_key::{DocumentKey, Kind};
use crate::config::documents::{Change, Document, Item, Update};
use crate::config::model;

mod check;
mod check_context;
mod compose;
mod own_paths;
mod protection;
mod version;
mod view;

pub use check_context::CheckContext;
pub use compose::{Composed, Composer};
pub use protection::FileProtection;
use protection::Verdict;
use version::Version;

/// Authenticators as they are written, by name.
type Authenticators = BTreeMap<String, model::Authenticator>;

/// All documents that there are, of all sources.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// The layers under one key stand together, the weakest first.
    entries: BTreeMap<(DocumentKey, SourceId), Entry>,
}

/// One document.
#[derive(Clone, Debug)]
struct Entry {
    /// As the source has it.
    document: Document,
    /// What is wrong with it.
    found: Vec<Diagnostic>,
    /// The last version without faults that the file does not lock out.
    good: Option<Version>,
    /// The newest version, if it has no faults and the file locks it out.
    locked: Option<Version>,
    /// What `locked`, else `good`, does to the file.
    verdict: Verdict,
    /// Deleted in the source; it is kept only while something in force needs it.
    gone: bool,
}

/// The state of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentStatus {
    /// It is in force.
    InForce,
    /// It has faults; its last good version, if there is one, is in force.
    Refused,
    /// Another source has a document of the same key that counts more.
    Overridden,
    /// It names something that is not there; its last good version, if there is one, is in force.
    Waiting,
    /// Its time is over; it does nothing.
    Over,
    /// It was deleted, but something in force still names it.
    Retained,
}

/// A document as operators see it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DocumentView {
    /// Its key below the source's prefix.
    pub key: String,
    /// Where it stands.
    pub source: SourceId,
    /// When it was written, as the source counts.
    pub revision: i64,
    /// Its state.
    pub status: DocumentStatus,
    /// Revision of the version that is in force; null if none is.
    pub in_force: Option<i64>,
    /// Whether it overrides an entry of the file.
    pub overrides_file: bool,
    /// The source whose document of the same key is in force in its place.
    pub overridden_by: Option<SourceId>,
    /// What it waits for.
    pub waits_for: Option<String>,
    /// What is wrong with it, or suspicious.
    #[schemars(with = "Vec<Value>")]
    pub diagnostics: Vec<Diagnostic>,
}

impl Overlay {
    /// Takes in what has changed and answers which documents that touched.
    pub fn apply(&mut self, update: Update, context: &CheckContext<'_>) -> Vec<DocumentKey> {
        let mut touched = Vec::new();
        let source = update.source;
        let mut authenticators = false;
        // Read once. Where the update changes them, all routes are checked again behind it.
        let known = self.authenticators(context);
        for change in update.changes {
            let key = match change {
                Change::Put(document) => self.put((source, document), &known, context),
                Change::Delete(key) => self.delete(source, key),
            };
            if let Some(key) = key {
                authenticators |= key.kind == Kind::Authenticator;
                touched.push(key);
            }
        }
        if authenticators {
            touched.extend(self.check_refused_authenticators(context));
            touched.extend(self.check_routes(context));
            touched.sort_unstable();
            touched.dedup();
        }
        touched
    }

    /// Checks documents again that were refused, or that depend on the file, on named files, or on
    /// the system. Returns the documents that are refused now and were not before.
    pub fn check_again(&mut self, context: &CheckContext<'_>) -> Vec<DocumentKey> {
        let refused_before: BTreeSet<_> = self.refused_keys().collect();
        self.protect(context.protection);
        let entries = self.entries.iter();
        let again = entries.filter(|((key, _), entry)| {
            let depends = matches!(
                key.kind,
                Kind::Upstream | Kind::Authenticator | Kind::Revocation
            );
            !entry.gone && (depends || entry.is_refused())
        });
        let again = again.filter(|((key, _), _)| key.kind != Kind::Route);
        let again = again.map(|((_, source), entry)| (*source, entry.document.clone()));
        let again: Vec<_> = again.collect();
        let known = self.authenticators(context);
        for document in again {
            self.take(document, &known, context);
        }
        // After the authenticators that they name.
        self.check_refused_authenticators(context);
        self.check_routes(context);
        let refused = self.refused_keys();
        refused
            .filter(|key| !refused_before.contains(key))
            .collect()
    }

    fn refused_keys(&self) -> impl Iterator<Item = DocumentKey> {
        let entries = self.entries.iter();
        let refused = entries.filter(|(_, entry)| entry.is_refused());
        refused.map(|((key, _), _)| key.clone())
    }

    /// Checks refused authenticators again: what they name in `mint_for` may have arrived later.
    /// One pass is sufficient, since a named authenticator names none itself. Returns the documents
    /// that are good now.
    fn check_refused_authenticators(&mut self, context: &CheckContext<'_>) -> Vec<DocumentKey> {
        let refused = self.entries.iter().filter(|((key, _), entry)| {
            key.kind == Kind::Authenticator && !entry.gone && entry.is_refused()
        });
        let refused = refused.map(|((_, source), entry)| (*source, entry.document.clone()));
        let refused: Vec<_> = refused.collect();
        let known = self.authenticators(context);
        let mut good = Vec::new();
        for (source, document) in refused {
            let key = document.key.clone();
            self.take((source, document), &known, context);
            let place = (key, source);
            if !self.entries[&place].is_refused() {
                good.push(place.0);
            }
        }
        good
    }

    /// Checks again all routes. Answers which documents that touched.
    fn check_routes(&mut self, context: &CheckContext<'_>) -> Vec<DocumentKey> {
        let routes = self.route_documents();
        let keys = routes.iter().map(|(_, document)| document.key.clone());
        let keys = keys.collect();
        let known = self.authenticators(context);
        for document in routes {
            self.take(document, &known, context);
        }
        keys
    }

    fn route_documents(&self) -> Vec<(SourceId, Document)> {
        let routes = self.entries.iter();
        let routes = routes.filter(|((key, _), entry)| key.kind == Kind::Route && !entry.gone);
        let routes = routes.map(|((_, source), entry)| (*source, entry.document.clone()));
        routes.collect()
    }

    fn put(
        &mut self,
        (source, document): (SourceId, Document),
        known: &Authenticators,
        context: &CheckContext<'_>,
    ) -> Option<DocumentKey> {
        let key = document.key.clone();
        if let Some(entry) = self
            .entries
            .get_mut(&(key.clone(), source))
            .filter(|entry| !entry.gone && entry.document.text == document.text)
        {
            entry.document.revision = document.revision;
            let good = entry.good.as_mut();
            if let Some(good) = good.filter(|good| good.document.text == document.text) {
                good.document.revision = document.revision;
            }
            // Of conflicting routes, the one written first wins.
            return (key.kind == Kind::Route).then_some(key);
        }
        self.take((source, document), known, context);
        Some(key)
    }

    /// Checks a document and keeps what came of it.
    fn take(
        &mut self,
        (source, document): (SourceId, Document),
        known: &Authenticators,
        context: &CheckContext<'_>,
    ) {
        let checked = check::check((source, &document), known, context);
        let version = checked.item.map(|item| Version {
            source,
            document: document.clone(),
            item,
        });
        let slot = (document.key.clone(), source);
        let before = self.entries.remove(&slot);
        let good = before.and_then(|before| before.good);
        let mut entry = Entry {
            good,
            locked: version,
            verdict: Verdict::default(),
            found: checked.found,
            gone: false,
            document,
        };
        entry.evaluate(context.protection);
        self.entries.insert(slot, entry);
    }

    /// Evaluates all documents against another file. Versions that it locks out lose their effect;
    /// versions that only the previous file locked out may take effect.
    pub fn protect(&mut self, protection: &FileProtection<'_>) {
        let entries = self.entries.values_mut();
        entries.for_each(|entry| entry.evaluate(protection));
    }

    fn delete(&mut self, source: SourceId, key: DocumentKey) -> Option<DocumentKey> {
        let slot = (key, source);
        let entry = self.entries.get_mut(&slot)?;
        let named = matches!(slot.0.kind, Kind::Upstream | Kind::Authenticator);
        if named && entry.good.is_some() {
            entry.gone = true;
        } else {
            self.entries.remove(&slot);
        }
        Some(slot.0)
    }

    /// Authenticators as they are written, the file's and those of documents.
    fn authenticators(&self, context: &CheckContext<'_>) -> Authenticators {
        let mut all = context.authenticators.clone();
        for version in self.good(Kind::Authenticator) {
            let name = version.document.key.name.to_string();
            all.extend(check::authenticator(&version.document).map(|one| (name, one)));
        }
        all
    }

    /// The good versions of a kind that are in force unless they wait, by name.
    fn good(&self, kind: Kind) -> impl Iterator<Item = &Version> {
        let from = (DocumentKey::named(kind, ""), SourceId::ALL[0]);
        let entries = self.entries.range(from..);
        winners(entries.take_while(move |((key, _), _)| key.kind == kind))
    }

    /// The same for the backends of an upstream, by id.
    fn backends(&self, upstream: &str) -> impl Iterator<Item = &Version> {
        let from = (DocumentKey::backend(upstream, ""), SourceId::ALL[0]);
        let entries = self.entries.range(from..);
        winners(
            entries.take_while(move |((key, _), _)| {
                key.kind == Kind::Backend && &*key.name == upstream
            }),
        )
    }

    /// All layers under a key, the weakest first.
    fn layers(&self, key: &DocumentKey) -> impl Iterator<Item = (SourceId, &Entry)> {
        let from = (key.clone(), SourceId::ALL[0]);
        let entries = self.entries.range(from..);
        let layers = entries.take_while(move |((other, _), _)| other == key);
        layers.map(|((_, source), entry)| (*source, entry))
    }

    /// The good version under a key that counts.
    fn winner(&self, key: &DocumentKey) -> Option<&Version> {
        winner(self.layers(key).map(|(_, entry)| entry))
    }

    /// The text of the last good version of a document of a source, unless it was deleted.
    pub fn good_text(&self, key: &DocumentKey, source: SourceId) -> Option<Arc<str>> {
        let entry = self.entries.get(&(key.clone(), source))?;
        let good = entry.good.as_ref().filter(|_| !entry.gone)?;
        Some(Arc::clone(&good.document.text))
    }

    /// The source whose document of this key is refused; of several the one that counts most.
    pub fn refused_source(&self, key: &DocumentKey) -> Option<SourceId> {
        let layers = self.layers(key).filter(|(_, entry)| entry.is_refused());
        layers.map(|(source, _)| source).last()
    }

    /// Whether an upstream has documents of backends.
    fn has_backends(&self, upstream: &str) -> bool {
        self.backends(upstream).next().is_some()
    }

    /// Every last good version of a source: what is needed to begin again without it.
    pub fn good_documents(&self, source: SourceId) -> Vec<Document> {
        let good = self.of(source).filter_map(|entry| entry.good.as_ref());
        good.map(|version| version.document.clone()).collect()
    }

    /// Documents of a source whose newest version has faults.
    pub fn refused(&self, source: SourceId) -> usize {
        self.of(source).filter(|entry| entry.is_refused()).count()
    }

    /// How many documents a source has.
    pub fn count(&self, source: SourceId) -> usize {
        self.of(source).count()
    }

    fn of(&self, source: SourceId) -> impl Iterator<Item = &Entry> {
        let entries = self.entries.iter();
        let of_source = entries.filter(move |((_, of), _)| *of == source);
        of_source.map(|(_, entry)| entry)
    }

    /// What is wrong with the documents of a key, or suspicious.
    pub fn found(&self, key: &DocumentKey) -> Vec<Diagnostic> {
        let layers = self.layers(key);
        layers.flat_map(|(_, entry)| entry.diagnostics()).collect()
    }

    /// What all documents do to the file: those that it locks out, and those that weaken what it
    /// guards.
    pub fn protection_diagnostics(&self) -> Vec<Diagnostic> {
        let entries = self.entries.iter().filter(|(_, entry)| !entry.gone);
        entries
            .flat_map(|((key, _), entry)| entry.verdict.diagnostics(key))
            .collect()
    }

    /// Whether the newest version of a document of this key has faults.
    pub fn is_refused(&self, key: &DocumentKey) -> bool {
        self.layers(key).any(|(_, entry)| entry.is_refused())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Of the layers under one key, the version that counts: of the highest layer that has a good one.
/// A deleted document, which only stays while something names it, yields to one that exists.
fn winner<'e>(layers: impl Iterator<Item = &'e Entry>) -> Option<&'e Version> {
    let good = layers.filter_map(|entry| Some((entry.gone, entry.good.as_ref()?)));
    let best = good.max_by_key(|(gone, version)| (!gone, version.source));
    best.map(|(_, version)| version)
}

/// The version that counts under each key; the layers of a key stand together.
fn winners<'e>(
    entries: impl Iterator<Item = (&'e (DocumentKey, SourceId), &'e Entry)>,
) -> impl Iterator<Item = &'e Version> {
    let mut entries = entries.peekable();
    std::iter::from_fn(move || {
        loop {
            let ((key, _), first) = entries.next()?;
            let mut layers = vec![first];
            while let Some((_, entry)) = entries.next_if(|((other, _), _)| other == key) {
                layers.push(entry);
            }
            if let Some(version) = winner(layers.into_iter()) {
                return Some(version);
            }
        }
    })
}

impl Entry {
    fn is_refused(&self) -> bool {
        self.locked.is_some() || self.found.iter().any(|one| one.severity == Severity::Error)
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let verdict = self.verdict.diagnostics(&self.document.key);
        self.found.iter().cloned().chain(verdict).collect()
    }

    /// Decides which version takes effect.
    fn evaluate(&mut self, protection: &FileProtection<'_>) {
        self.verdict = Verdict::default();
        if let Some(version) = self.good.take() {
            let verdict = protection.evaluate(&version);
            if !verdict.is_locked() {
                self.verdict = verdict;
                self.good = Some(version);
            } else if self.locked.is_none() {
                self.locked = Some(version);
            }
        }
        if let Some(version) = self.locked.take() {
            let verdict = protection.evaluate(&version);
            let locked = verdict.is_locked();
            self.verdict = verdict;
            *(if locked {
                &mut self.locked
            } else {
                &mut self.good
            }) = Some(version);
        }
    }

    /// Whether the version in force is an expired revocation.
    fn is_over(&self, now: SystemTime) -> bool {
        let item = self.good.as_ref().map(|version| &version.item);
        matches!(item, Some(Item::Revocation(one)) if one.is_over(now))
    }
}

#[cfg(test)]
mod tests;
