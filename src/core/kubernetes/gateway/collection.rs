//! All objects of one kind, by a list and the events of a watch since.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde::Deserialize;
use serde_json::Value;

use crate::core::kubernetes::objects::{Event, ListMeta, Status};
use crate::core::kubernetes::slices::{GONE, Happened, token};
use crate::core::kubernetes::{AnswerFault, Listed};

/// Objects of one kind. Further ones are left out.
pub(super) const OBJECTS_MAX: usize = 2048;
/// Bytes of an object's spec.
const SPEC_BYTES_MAX: usize = 64 << 10;
/// Bytes of an object's status, which other controllers write too.
const STATUS_BYTES_MAX: usize = 256 << 10;
/// Letters of the name of an object.
const NAME_LEN_MAX: usize = 253;

/// Namespace and name; the namespace is empty for objects of the whole cluster.
pub(super) type ObjectKey = (Arc<str>, Arc<str>);
/// Objects by namespace and name.
pub type ObjectsByKey = BTreeMap<(Arc<str>, Arc<str>), Arc<Object>>;

/// An object.
#[derive(Debug, PartialEq)]
pub struct Object {
    pub(super) version: String,
    pub(super) generation: i64,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// `None` if it is too large.
    pub(super) spec: Option<Value>,
    /// `None` if it is too large.
    pub(super) status: Option<Value>,
}

/// The objects of a kind at one version.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    version: String,
    objects: Arc<ObjectsByKey>,
    left_out: usize,
}

#[derive(Deserialize)]
struct List {
    metadata: ListMeta,
    items: Option<Vec<Value>>,
}

impl Objects {
    /// What there is.
    pub fn objects(&self) -> &Arc<ObjectsByKey> {
        &self.objects
    }

    /// Whether there are more than may be followed.
    pub fn is_crowded(&self) -> bool {
        self.left_out > 0
    }

    fn put(&mut self, mut object: Value) -> Result<(), AnswerFault> {
        let key = key(&object).ok_or(AnswerFault::Form("an object without a name"))?;
        let objects = Arc::make_mut(&mut self.objects);
        if objects.len() >= OBJECTS_MAX && !objects.contains_key(&key) {
            self.left_out += 1;
            return Ok(());
        }
        let text = |at: &str| object.pointer(at).and_then(Value::as_str);
        let created = text("/metadata/creationTimestamp");
        let created = created.and_then(|text| humantime::parse_rfc3339(text).ok());
        let created = created.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let version = text("/metadata/resourceVersion").map(str::to_owned);
        let generation = object.pointer("/metadata/generation");
        let generation = generation.and_then(Value::as_i64).unwrap_or_default();
        let mut part = |name: &str, max| bounded(object[name].take(), max);
        let spec = part("spec", SPEC_BYTES_MAX);
        let status = part("status", STATUS_BYTES_MAX);
        let object = Object {
            version: token(version)?.unwrap_or_default(),
            generation,
            created: created.unwrap_or_default().as_secs(),
            spec,
            status,
        };
        objects.insert(key, Arc::new(object));
        Ok(())
    }
}

impl Listed for Objects {
    fn version(&self) -> &str {
        &self.version
    }

    fn page(&mut self, body: &[u8]) -> Result<Option<String>, AnswerFault> {
        let list: List = serde_json::from_slice(body)?;
        let version = token(list.metadata.resource_version)?;
        self.version = version.ok_or(AnswerFault::Form("no resourceVersion"))?;
        for object in list.items.into_iter().flatten() {
            self.put(object)?;
        }
        token(list.metadata.next)
    }

    fn event(&mut self, line: &[u8]) -> Result<Happened, AnswerFault> {
        let event: Event = serde_json::from_slice(line)?;
        if event.kind == "ERROR" {
            let status: Status = serde_json::from_value(event.object)?;
            return Ok(match status.code {
                Some(GONE) => Happened::Gone,
                _ => Happened::Failed(status.text()),
            });
        }
        let version = event.object.pointer("/metadata/resourceVersion");
        let version = token(version.and_then(Value::as_str).map(str::to_owned))?;
        let version = version.ok_or(AnswerFault::Form("no resourceVersion"))?;
        let happened = match event.kind.as_str() {
            "ADDED" | "MODIFIED" => {
                self.put(event.object)?;
                Happened::Changed
            }
            "DELETED" => {
                if let Some(key) = key(&event.object) {
                    Arc::make_mut(&mut self.objects).remove(&key);
                }
                // One of those that were left out may have its place.
                match self.is_crowded() {
                    true => Happened::Gone,
                    false => Happened::Changed,
                }
            }
            "BOOKMARK" => Happened::Bookmark,
            _ => return Err(AnswerFault::Form("an event of an unknown type")),
        };
        self.version = version;
        Ok(happened)
    }
}

/// Names are labels, perhaps several with dots between.
fn key(object: &Value) -> Option<ObjectKey> {
    let named = |name: &str| {
        let letter =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        name.len() <= NAME_LEN_MAX && name.bytes().all(letter)
    };
    let text = |at: &str| object.pointer(at).and_then(Value::as_str);
    let name = text("/metadata/name").filter(|name| named(name) && !name.is_empty())?;
    let namespace = text("/metadata/namespace").unwrap_or_default();
    (named(namespace) && !namespace.contains('.')).then(|| (namespace.into(), name.into()))
}

fn bounded(value: Value, max: usize) -> Option<Value> {
    (value.to_string().len() <= max).then_some(value)
}
