//! Documents of other sources on top of the file. Each is checked and refused alone (I4); file and
//! documents together make the configuration. A document overrides the entry of the file with the
//! same name; one that refers to something missing waits for it.
//!
//! The result depends on the file, the documents and their last good versions, never on the order
//! of arrival, so that all gateways of one source agree.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::document_key::{DocumentKey, Kind};
use crate::config::documents::{Change, Document, Item, Update};
use crate::config::model;

mod check;
mod compose;
mod ground;
mod judge;
mod version;

pub use compose::{Composed, Composer};
pub use ground::Ground;
pub use judge::Judge;
use judge::Verdict;
use version::Version;

/// Authenticators as they are written, by name.
type Authenticators = BTreeMap<String, model::Authenticator>;

/// All documents that there are.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    entries: BTreeMap<DocumentKey, Entry>,
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
pub enum Standing {
    /// It is in force.
    InForce,
    /// It has faults; its last good version, if there is one, is in force.
    Refused,
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
    /// When it was written, as the source counts.
    pub revision: i64,
    /// Its state.
    pub standing: Standing,
    /// Revision of the version that is in force; null if none is.
    pub in_force: Option<i64>,
    /// Whether it overrides an entry of the file.
    pub overrides_file: bool,
    /// What it waits for.
    pub waits_for: Option<String>,
    /// What is wrong with it, or suspicious.
    #[schemars(with = "Vec<Value>")]
    pub diagnostics: Vec<Diagnostic>,
}

impl Overlay {
    /// Takes in what has changed and answers which documents that touched.
    pub fn apply(&mut self, update: Update, ground: &Ground<'_>) -> Vec<DocumentKey> {
        let mut touched = Vec::new();
        let mut authenticators = false;
        // Read once. Where the update changes them, all routes are checked again behind it.
        let known = self.authenticators(ground);
        for change in update.changes {
            let key = match change {
                Change::Put(document) => self.put(document, &known, ground),
                Change::Delete(key) => self.delete(key),
            };
            if let Some(key) = key {
                authenticators |= key.kind == Kind::Authenticator;
                touched.push(key);
            }
        }
        if authenticators {
            touched.extend(self.check_routes(ground));
            touched.sort_unstable();
            touched.dedup();
        }
        touched
    }

    /// Checks documents again that were refused, or that depend on the file, on named files, or on
    /// the system. Returns the documents that are refused now and were not before.
    pub fn check_again(&mut self, ground: &Ground<'_>) -> Vec<DocumentKey> {
        let refused_before: BTreeSet<_> = self.refused_keys().collect();
        self.protect(ground.judge);
        let entries = self.entries.iter();
        let again = entries.filter(|(key, entry)| {
            let depends = matches!(
                key.kind,
                Kind::Upstream | Kind::Authenticator | Kind::Revocation
            );
            !entry.gone && (depends || entry.is_refused())
        });
        let again = again.filter(|(key, _)| key.kind != Kind::Route);
        let again: Vec<_> = again.map(|(_, entry)| entry.document.clone()).collect();
        let nothing = Authenticators::new();
        for document in again {
            self.take(document, &nothing, ground);
        }
        // After the authenticators that they name.
        self.check_routes(ground);
        let refused = self.refused_keys();
        refused
            .filter(|key| !refused_before.contains(key))
            .collect()
    }

    fn refused_keys(&self) -> impl Iterator<Item = DocumentKey> {
        let entries = self.entries.iter();
        let refused = entries.filter(|(_, entry)| entry.is_refused());
        refused.map(|(key, _)| key.clone())
    }

    /// Checks again all routes. Answers which documents that touched.
    fn check_routes(&mut self, ground: &Ground<'_>) -> Vec<DocumentKey> {
        let routes = self.route_documents();
        let keys = routes.iter().map(|document| document.key.clone()).collect();
        let known = self.authenticators(ground);
        for document in routes {
            self.take(document, &known, ground);
        }
        keys
    }

    fn route_documents(&self) -> Vec<Document> {
        let routes = self.entries.iter();
        let routes = routes.filter(|(key, entry)| key.kind == Kind::Route && !entry.gone);
        routes.map(|(_, entry)| entry.document.clone()).collect()
    }

    fn put(
        &mut self,
        document: Document,
        known: &Authenticators,
        ground: &Ground<'_>,
    ) -> Option<DocumentKey> {
        let key = document.key.clone();
        if let Some(entry) = self
            .entries
            .get_mut(&key)
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
        self.take(document, known, ground);
        Some(key)
    }

    /// Checks a document and keeps what came of it.
    fn take(&mut self, document: Document, known: &Authenticators, ground: &Ground<'_>) {
        let checked = check::check(&document, known, ground);
        let version = checked.item.map(|item| Version {
            document: document.clone(),
            item,
        });
        let before = self.entries.remove(&document.key);
        let good = before.and_then(|before| before.good);
        let mut entry = Entry {
            good,
            locked: version,
            verdict: Verdict::default(),
            found: checked.found,
            gone: false,
            document,
        };
        entry.judge(ground.judge);
        self.entries.insert(entry.document.key.clone(), entry);
    }

    /// Judges all documents by another file: versions that it locks out lose their effect, and
    /// versions that the file before it locked out may gain theirs.
    pub fn protect(&mut self, judge: &Judge<'_>) {
        let entries = self.entries.values_mut();
        entries.for_each(|entry| entry.judge(judge));
    }

    fn delete(&mut self, key: DocumentKey) -> Option<DocumentKey> {
        let entry = self.entries.get_mut(&key)?;
        let named = matches!(key.kind, Kind::Upstream | Kind::Authenticator);
        if named && entry.good.is_some() {
            entry.gone = true;
        } else {
            self.entries.remove(&key);
        }
        Some(key)
    }

    /// Authenticators as they are written, the file's and those of documents.
    fn authenticators(&self, ground: &Ground<'_>) -> Authenticators {
        let mut all = ground.authenticators.clone();
        for version in self.good(Kind::Authenticator) {
            let name = version.document.key.name.to_string();
            all.extend(check::authenticator(&version.document).map(|one| (name, one)));
        }
        all
    }

    /// The last good versions of a kind, by name.
    fn good(&self, kind: Kind) -> impl Iterator<Item = &Version> {
        let from = DocumentKey::named(kind, "");
        let entries = self.entries.range(from..);
        let entries = entries.take_while(move |(key, _)| key.kind == kind);
        entries.filter_map(|(_, entry)| entry.good.as_ref())
    }

    /// The last good versions of the documents of an upstream's backends, by id.
    fn backends(&self, upstream: &str) -> impl Iterator<Item = &Version> {
        let from = DocumentKey::backend(upstream, "");
        let entries = self.entries.range(from..);
        let entries =
            entries.take_while(move |(key, _)| key.kind == Kind::Backend && &*key.name == upstream);
        entries.filter_map(|(_, entry)| entry.good.as_ref())
    }

    /// Whether an upstream has documents of backends.
    fn has_backends(&self, upstream: &str) -> bool {
        self.backends(upstream).next().is_some()
    }

    /// Every last good version: what is needed to begin again without the source.
    pub fn good_documents(&self) -> Vec<Document> {
        let good = self
            .entries
            .values()
            .filter_map(|entry| entry.good.as_ref());
        good.map(|version| version.document.clone()).collect()
    }

    /// Documents whose newest version has faults.
    pub fn refused(&self) -> usize {
        let entries = self.entries.values();
        entries.filter(|entry| entry.is_refused()).count()
    }

    /// What is wrong with a document, or suspicious.
    pub fn found(&self, key: &DocumentKey) -> Vec<Diagnostic> {
        let entry = self.entries.get(key);
        entry.map_or_else(Vec::new, Entry::diagnostics)
    }

    /// What all documents do to the file: those that it locks out, and those that weaken what it
    /// guards.
    pub fn judged(&self) -> Vec<Diagnostic> {
        let entries = self.entries.iter().filter(|(_, entry)| !entry.gone);
        entries
            .flat_map(|(key, entry)| entry.verdict.diagnostics(key))
            .collect()
    }

    /// Whether a document's newest version has faults.
    pub fn is_refused(&self, key: &DocumentKey) -> bool {
        self.entries.get(key).is_some_and(Entry::is_refused)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
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
    fn judge(&mut self, judge: &Judge<'_>) {
        self.verdict = Verdict::default();
        if let Some(version) = self.good.take() {
            let verdict = judge.judge(&version);
            if !verdict.is_locked() {
                self.verdict = verdict;
                self.good = Some(version);
            } else if self.locked.is_none() {
                self.locked = Some(version);
            }
        }
        if let Some(version) = self.locked.take() {
            let verdict = judge.judge(&version);
            let locked = verdict.is_locked();
            self.verdict = verdict;
            *(if locked {
                &mut self.locked
            } else {
                &mut self.good
            }) = Some(version);
        }
    }

    /// Whether the version in force is of a revocation that has run out.
    fn is_over(&self, now: SystemTime) -> bool {
        let item = self.good.as_ref().map(|version| &version.item);
        matches!(item, Some(Item::Revocation(one)) if one.is_over(now))
    }
}

#[cfg(test)]
mod tests;
