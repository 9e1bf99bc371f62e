//! Documents of a translation, brought into force beside the members that were found.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::clock;
use crate::control::sources::mirrored::MirroredDocuments;
use crate::control::sources::mirrored::members::FOUND;
use crate::control::sources::registry::CLUSTER;
use crate::core::membership::{Event, FullRead, Held, Key};

/// Brings these documents into force. After a list, what is missing is doubted if it is most of
/// what there was; an event of a watch deletes on purpose.
pub(super) async fn bring(
    documents: &mut MirroredDocuments,
    wanted: &BTreeMap<String, Arc<str>>,
    listed: bool,
) {
    let revision = documents.mirror().revision() + 1;
    let mut all = BTreeMap::new();
    let mut events = Vec::new();
    for (key, text) in wanted {
        let key = Key::from(key.as_str());
        let known = documents.mirror().present().get(&key);
        let held = match known.filter(|held| held.text == *text) {
            Some(held) => held.clone(),
            None => {
                let held = Held {
                    text: Arc::clone(text),
                    revision,
                    lease: 0,
                };
                events.push(Event::Put(Key::clone(&key), held.clone()));
                held
            }
        };
        all.insert(key, held);
    }
    let mut gone = false;
    for (key, held) in documents.mirror().present() {
        if held.lease == FOUND {
            all.insert(Key::clone(key), held.clone());
        } else if !all.contains_key(key) {
            gone = true;
            events.push(Event::Delete {
                key: Key::clone(key),
                revision,
                lapsed: false,
            });
        }
    }
    if listed {
        let read = FullRead {
            cluster: CLUSTER,
            revision,
            documents: all,
        };
        let report = documents.reread(|mirror| mirror.read(read, clock::now()));
        if report.doubted > 0 && gone {
            tracing::error!(
                doubted = report.doubted,
                "the cluster lacks most of the routes that it had; they stay in force; if they are \
                 to go, `POST /v1/sources/kubernetes/accept`"
            );
        }
    } else if !documents.take(events) {
        return;
    } else {
        documents.progress(revision);
    }
    documents.apply().await;
}
