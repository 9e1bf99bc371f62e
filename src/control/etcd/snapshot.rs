//! Reads etcd once, and reports how a gateway would treat its documents.

use std::collections::BTreeMap;

use crate::base::clock;
use crate::base::source_id::SourceId;
use crate::config::diagnostic::Diagnostic;
use crate::config::document_key::DocumentKey;
use crate::config::documents::{Change, Document, Update};
use crate::config::overlay::{Composer, DocumentStatus, DocumentView, Overlay};
use crate::config::snapshot::{Etcd, Snapshot};
use crate::control::etcd::connect::Endpoints;
use crate::control::etcd::read::{FollowError, MESSAGE_MAX, Range, everything};
use crate::control::load::{LoadOptions, Loaded, with_check_context};
use crate::control::sources::mirrored::change;
use crate::core::membership::{FullRead, Key};

/// What is there.
#[derive(Debug)]
pub struct EtcdSnapshot {
    /// Which member answered.
    pub endpoint: String,
    /// When it was so.
    pub revision: i64,
    /// Every document, and how it would stand beside the file.
    pub documents: Vec<DocumentView>,
    /// Keys under which no document can stand.
    pub ignored: Vec<Key>,
}

/// Reads everything once and checks it together with the file.
///
/// # Errors
/// When no endpoint answers; the last one's reason.
pub async fn read_snapshot(
    settings: &Etcd,
    options: &LoadOptions,
    loaded: &Loaded,
) -> Result<EtcdSnapshot, (String, FollowError)> {
    let endpoints = Endpoints::new(settings.clone(), 0);
    let mut tries = settings.endpoints.len();
    let (endpoint, read) = loop {
        let endpoint = endpoints.turn();
        match read_from(&endpoints, endpoint).await {
            Ok(read) => break (endpoint.to_owned(), read),
            Err(error) if tries <= 1 => return Err((endpoint.to_owned(), error)),
            Err(_) => tries -= 1,
        }
    };
    let changes = read.documents.iter();
    let update = Update {
        source: SourceId::Etcd,
        revision: read.revision,
        changes: changes
            .filter_map(|(key, held)| change(key, Some(held)))
            .collect(),
    };
    let ignored = read.documents.iter();
    let ignored = ignored.filter(|(key, held)| change(key, Some(held)).is_none());
    let mut overlay = Overlay::default();
    let rights = BTreeMap::from([(SourceId::Etcd, settings.document_rights())]);
    let _ = with_check_context(options, loaded, &rights, |context| {
        overlay.apply(update, context)
    });
    let mut composer = Composer::default();
    let composed = composer.compose(&loaded.snapshot, &mut overlay, None);
    Ok(EtcdSnapshot {
        endpoint,
        revision: read.revision,
        documents: composer.views(
            &loaded.snapshot,
            &overlay,
            &composed.snapshot,
            clock::wall(),
        ),
        ignored: ignored.map(|(key, _)| Key::clone(key)).collect(),
    })
}

/// What documents would make of a file if some of them changed, by the code with which gateways
/// follow etcd.
#[derive(Debug)]
pub struct Trial {
    /// File and documents as they are.
    pub before: Snapshot,
    /// With the changes.
    pub after: Snapshot,
    /// What is wrong with the documents that change. What was wrong with others before is left out.
    pub faults: Vec<Diagnostic>,
    /// Documents that would be deleted while something names them.
    pub needed: Vec<DocumentKey>,
}

/// Tries changes of documents beside the file that was loaded.
pub fn trial(
    options: &LoadOptions,
    loaded: &Loaded,
    documents: Vec<Document>,
    changes: Vec<Change>,
) -> Trial {
    let mut overlay = Overlay::default();
    let mut composer = Composer::default();
    let apply = |overlay: &mut Overlay, changes| {
        let rights = loaded.snapshot.sources.document_rights();
        let update = Update {
            source: SourceId::Etcd,
            revision: 0,
            changes,
        };
        let (touched, _) = with_check_context(options, loaded, &rights, |context| {
            overlay.apply(update, context)
        });
        touched
    };
    let documents = documents.into_iter().map(Change::Put).collect();
    apply(&mut overlay, documents);
    let before = composer.compose(&loaded.snapshot, &mut overlay, None);
    let touched = apply(&mut overlay, changes);
    let after = composer.compose(&loaded.snapshot, &mut overlay, None);
    let refused = touched.iter().filter(|key| overlay.is_refused(key));
    let faults = refused.flat_map(|key| overlay.found(key));
    let views = composer.views(&loaded.snapshot, &overlay, &after.snapshot, clock::wall());
    let needed = views
        .into_iter()
        .filter(|view| view.status == DocumentStatus::Retained);
    Trial {
        faults: faults.collect(),
        needed: needed.filter_map(|view| view.key.parse().ok()).collect(),
        before: before.snapshot,
        after: after.snapshot,
    }
}

async fn read_from(endpoints: &Endpoints, endpoint: &str) -> Result<FullRead, FollowError> {
    let settings = endpoints.settings();
    let client = endpoints.connect(endpoint).await?;
    let mut kv = client.kv_client().max_decoding_message_size(MESSAGE_MAX);
    everything(
        &mut kv,
        &Range::new(&settings.prefix),
        None,
        settings.answer,
    )
    .await
}
