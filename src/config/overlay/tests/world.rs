//! A small file, and documents on top of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::source_id::SourceId;
use crate::config::documents::{Change, Document, Update};
use crate::config::layers::{Layers, Reading};
use crate::config::model;
use crate::config::overlay::{CheckContext, Composer, DocumentView, FileProtection, Overlay};
use crate::config::pem::{Mistake, Validity, Wanted};
use crate::config::snapshot::{CertificateFiles, Snapshot};
use crate::config::validate::{CertificateFault, Environment, FileContent, validate};

/// A world without files and variables.
struct Nothing;

impl Environment for Nothing {
    fn variable(&self, _: &str) -> Result<String, String> {
        Err("there are no variables".to_owned())
    }

    fn text(&self, _: &Path, _: FileContent) -> Result<String, String> {
        Err("there are no files".to_owned())
    }

    fn broker_name(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn certificate(&self, _: &CertificateFiles) -> Vec<CertificateFault> {
        Vec::new()
    }

    fn socket(&self, _: &Path) -> Result<(), String> {
        Ok(())
    }

    fn roots(&self, _: &Path) -> Result<u128, String> {
        Err("there are no files".to_owned())
    }

    fn system_roots(&self) -> Result<(), String> {
        Ok(())
    }

    fn validities(&self, _: &Path) -> Vec<Validity> {
        Vec::new()
    }

    fn mistake(&self, _: &Path, _: Wanted) -> Option<Mistake> {
        None
    }

    fn now(&self) -> SystemTime {
        UNIX_EPOCH
    }

    fn host_name(&self) -> String {
        "edge".to_owned()
    }
}

pub(super) const FILE: &str = r#"
[[listeners]]
name = "edge"
listen = ["127.0.0.1:0"]

[upstreams.chat]
backends = ["127.0.0.1:1"]

[[routes]]
name = "chat"
path = "/chat"
upstream = "chat"
"#;

fn read(text: &str) -> Reading {
    let layers = Layers {
        path: Path::new("gateway.toml"),
        text,
        environment: &[],
        sets: &[],
    };
    layers.read()
}

pub(super) fn file(text: &str) -> Snapshot {
    let reading = read(text);
    let (snapshot, found) = validate(&reading.model, &reading.origin, Path::new(""), &Nothing);
    snapshot.unwrap_or_else(|| panic!("{found:?}"))
}

/// A gateway's view of documents.
pub(super) struct World {
    pub(super) base: Snapshot,
    /// The file's authenticators, as written.
    authenticators: BTreeMap<String, model::Authenticator>,
    pub(super) overlay: Overlay,
    pub(super) composer: Composer,
    pub(super) now: Snapshot,
}

impl World {
    pub(super) fn new() -> Self {
        Self::of(FILE)
    }

    pub(super) fn of(text: &str) -> Self {
        let base = file(text);
        Self {
            now: base.clone(),
            base,
            authenticators: read(text).model.authenticators,
            overlay: Overlay::default(),
            composer: Composer::default(),
        }
    }

    pub(super) fn apply(&mut self, changes: Vec<Change>) {
        self.apply_of(SourceId::Etcd, changes);
    }

    pub(super) fn apply_of(&mut self, source: SourceId, changes: Vec<Change>) {
        let context = CheckContext {
            authenticators: &self.authenticators,
            directory: Path::new(""),
            own: self.base.own_addresses(),
            broker: self.base.broker.as_ref(),
            functions: &self.base.functions,
            outside: &|_| &Nothing,
            protection: &FileProtection::new(&self.base),
        };
        let update = Update {
            source,
            revision: 0,
            changes,
        };
        let touched = self.overlay.apply(update, &context);
        let composed = self
            .composer
            .compose(&self.base, &mut self.overlay, Some(&touched));
        self.now = composed.snapshot;
    }

    pub(super) fn routes(&self) -> Vec<&str> {
        let mut names: Vec<_> = self
            .now
            .routes
            .iter()
            .map(|route| route.name.as_str())
            .collect();
        names.sort_unstable();
        names
    }

    pub(super) fn backends(&self, upstream: &str) -> Vec<String> {
        let backends = self.now.upstreams[upstream].backends.iter();
        backends
            .map(|one| format!("{}={}", one.id, one.address))
            .collect()
    }

    pub(super) fn view(&self, key: &str) -> DocumentView {
        let views = self
            .composer
            .views(&self.base, &self.overlay, &self.now, UNIX_EPOCH);
        let mut views = views.into_iter();
        views
            .find(|view| view.key == key)
            .expect("the document is there")
    }
}

pub(super) fn put(key: &str, text: &str, revision: i64) -> Change {
    Change::Put(Document {
        key: key.parse().expect("a key"),
        text: text.into(),
        revision,
    })
}

pub(super) fn delete(key: &str) -> Change {
    Change::Delete(key.parse().expect("a key"))
}
