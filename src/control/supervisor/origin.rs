//! Where a change comes from and who asked for it, and the events that say so.

use std::path::Path;
use std::sync::Arc;

use crate::base::source_id::SourceId;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::document_key::DocumentKey;
use crate::config::documents::Change;
use crate::config::model::masked;
use crate::config::overlay::Overlay;
use crate::control::supervisor::report::ReloadReport;
use crate::telemetry::events::{DocumentChange, Events, Fields, Kind};

/// Where a change comes from and who asked for it.
#[derive(Clone, Debug)]
pub struct Origin {
    source: SourceId,
    /// Of a source that counts.
    revision: Option<i64>,
    /// Who asked for it, if it was an operator or a signal.
    operator: Option<Arc<str>>,
}

impl Origin {
    /// A file that has changed.
    pub fn file() -> Self {
        Self {
            source: SourceId::File,
            revision: None,
            operator: None,
        }
    }

    /// SIGHUP.
    pub fn signal() -> Self {
        Self::operator("SIGHUP".into())
    }

    /// An operator of the admin API, who ordered to read the file again.
    pub fn operator(name: Arc<str>) -> Self {
        Self {
            operator: Some(name),
            ..Self::file()
        }
    }

    /// A source of documents, at this revision.
    pub(super) fn documents(source: SourceId, revision: i64) -> Self {
        Self {
            source,
            revision: Some(revision),
            operator: None,
        }
    }

    fn fields(&self, text: String) -> Fields {
        Fields {
            source: Some(self.source.as_str().into()),
            revision: self.revision,
            operator: self.operator.as_deref().map(Into::into),
            ..Fields::new(text)
        }
    }

    /// The event of a change that took effect.
    pub(super) fn in_force(
        &self,
        report: &ReloadReport,
        (documents, more): (Vec<DocumentChange>, u64),
    ) -> Fields {
        let mut text = format!("routes {}; upstreams {}", report.routes, report.upstreams);
        if !report.restart_for.is_empty() {
            text.push_str("; at the next start: ");
            text.push_str(&report.restart_for.join(", "));
        }
        Fields {
            generation: Some(report.generation),
            digest: Some(report.digest.as_str().into()),
            documents,
            documents_more: Some(more).filter(|more| *more > 0),
            ..self.fields(text)
        }
    }

    /// The event of a file that was refused.
    pub(super) fn refused(&self, faults: &[Diagnostic]) -> Fields {
        let first = faults.first();
        let more = faults.len().saturating_sub(1);
        let text = first.map(sentence).unwrap_or_default();
        let text = match more {
            0 => text,
            more => format!("{text}; and {more} more faults"),
        };
        Fields {
            reason: first.map(|fault| fault.message.as_str().into()),
            from: first.map(|fault| place(fault).into()),
            ..self.fields(text)
        }
    }
}

/// The versions of documents before a change.
pub(super) struct Before(Vec<(DocumentKey, Option<Arc<str>>)>);

impl Before {
    /// Of the documents that these changes touch.
    pub(super) fn of(overlay: &Overlay, source: SourceId, changes: &[Change]) -> Self {
        let keys = changes.iter().map(|change| match change {
            Change::Put(document) => document.key.clone(),
            Change::Delete(key) => key.clone(),
        });
        let before = keys.map(|key| {
            let text = overlay.good_text(&key, source);
            (key, text)
        });
        Self(before.collect())
    }

    /// What differs now, and how many documents more differ.
    pub(super) fn differences(
        self,
        overlay: &Overlay,
        source: SourceId,
    ) -> (Vec<DocumentChange>, u64) {
        let read = |text: Option<Arc<str>>| text.and_then(|text| serde_json::from_str(&text).ok());
        let changes = self.0.into_iter().filter_map(|(key, before)| {
            let after = overlay.good_text(&key, source);
            (before != after).then(|| {
                let (before, after) = (read(before).map(masked), read(after).map(masked));
                (key.to_string(), before, after)
            })
        });
        crate::telemetry::events::differences(changes)
    }
}

/// What differs in a file.
pub(super) fn file_difference(
    path: &Path,
    before: &serde_json::Value,
    after: &serde_json::Value,
) -> Vec<DocumentChange> {
    let path = path.display().to_string();
    let change = crate::telemetry::events::difference(&path, Some(before), Some(after));
    change.into_iter().collect()
}

/// Reports and logs documents that were refused; the last good version of each stays.
pub(super) fn report_refused(events: &Events, overlay: &Overlay, keys: &[DocumentKey]) {
    for key in keys {
        let found = overlay.found(key);
        for fault in &found {
            tracing::error!(%key, %fault, "document refused; its last good version stays");
        }
        let errors = found.iter().filter(|one| one.severity == Severity::Error);
        let first = errors.into_iter().next();
        let text = first.map(sentence).unwrap_or_default();
        let fields = Fields {
            from: Some(key.to_string().into()),
            reason: first.map(|fault| fault.message.as_str().into()),
            source: overlay.refused_source(key).map(|one| one.as_str().into()),
            ..Fields::new(format!("{key}: {text}"))
        };
        events.change(Kind::DocumentRefused, fields);
    }
}

/// A fault in a line, with its place.
fn sentence(fault: &Diagnostic) -> String {
    format!("{}: {}", place(fault), fault.message)
}

fn place(fault: &Diagnostic) -> String {
    match fault.line_and_column() {
        (0, _) => fault.source.to_string(),
        (line, column) => format!("{}:{line}:{column}", fault.source),
    }
}
