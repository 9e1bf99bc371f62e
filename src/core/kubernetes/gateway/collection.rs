//! All objects of one kind, by a list and the events of a watch since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde::Deserialize;
use serde_json::Value;

use crate::core::kubernetes::listed::{AnswerFault, Change, Happened, Listed, WatchEvent, token};
use crate::core::kubernetes::objects::ListMeta;

/// Objects of one kind, and the bytes of all their specs and statuses. The oldest are followed:
/// what is written later displaces none.
pub(super) const OBJECTS_MAX: usize = 2048;
const BYTES_MAX: usize = 16 << 20;
/// Bytes of an object's spec.
const SPEC_BYTES_MAX: usize = 64 << 10;
/// Bytes of an object's status, which other controllers write too.
const STATUS_BYTES_MAX: usize = 256 << 10;
/// What is kept of a spec that is too large: whom it concerns, so that it can be reported.
const KEPT: [&str; 4] = [
    "controllerName",
    "gatewayClassName",
    "parentRefs",
    "targetRef",
];
/// Letters of the name of an object.
const NAME_LEN_MAX: usize = 253;

/// Namespace and name; the namespace is empty for objects of the whole cluster.
pub(super) type ObjectKey = (Arc<str>, Arc<str>);
/// Objects by namespace and name.
pub type ObjectsByKey = BTreeMap<(Arc<str>, Arc<str>), Arc<Object>>;
/// Namespaces.
pub type Namespaces = BTreeSet<Arc<str>>;

/// Objects with their keys, the oldest first.
pub(super) fn oldest_first(objects: &ObjectsByKey) -> Vec<(&ObjectKey, &Arc<Object>)> {
    let mut all: Vec<_> = objects.iter().collect();
    all.sort_by_key(|(key, object)| (object.created, *key));
    all
}

/// An object.
#[derive(Debug, PartialEq)]
pub struct Object {
    pub(super) version: String,
    pub(super) generation: i64,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// What it says, or [`KEPT`] of that.
    pub(super) spec: Value,
    /// It is too large.
    pub(super) large: bool,
    /// `None` if it is too large.
    pub(super) status: Option<Value>,
    bytes: usize,
}

/// The objects of a kind at one version.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    version: String,
    objects: Arc<ObjectsByKey>,
    by_age: BTreeSet<(u64, ObjectKey)>,
    bytes: usize,
    left_out: Arc<Namespaces>,
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

    /// Where there are more than are followed.
    pub fn left_out(&self) -> &Arc<Namespaces> {
        &self.left_out
    }

    fn put(&mut self, object: Value) -> Result<(), AnswerFault> {
        let key = key(&object).ok_or(AnswerFault::Form("an object without a name"))?;
        let object = read(object)?;
        self.remove(&key);
        self.bytes += object.bytes;
        self.by_age.insert((object.created, key.clone()));
        Arc::make_mut(&mut self.objects).insert(key, Arc::new(object));
        while self.objects.len() > OBJECTS_MAX || self.bytes > BYTES_MAX {
            let Some((_, youngest)) = self.by_age.last().cloned() else {
                break;
            };
            self.remove(&youngest);
            Arc::make_mut(&mut self.left_out).insert(youngest.0);
        }
        Ok(())
    }

    fn remove(&mut self, key: &ObjectKey) {
        if let Some(object) = Arc::make_mut(&mut self.objects).remove(key) {
            self.bytes -= object.bytes;
            self.by_age.remove(&(object.created, key.clone()));
        }
    }
}

fn read(mut object: Value) -> Result<Object, AnswerFault> {
    let text = |at: &str| object.pointer(at).and_then(Value::as_str);
    let created = text("/metadata/creationTimestamp");
    let created = created.and_then(|text| humantime::parse_rfc3339(text).ok());
    let created = created.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let version = text("/metadata/resourceVersion").map(str::to_owned);
    let generation = object.pointer("/metadata/generation");
    let generation = generation.and_then(Value::as_i64).unwrap_or_default();
    let (mut spec, status) = (object["spec"].take(), object["status"].take());
    let mut spec_bytes = spec.to_string().len();
    let large = spec_bytes > SPEC_BYTES_MAX;
    if large {
        let mut take = |name: &&str| Some(((*name).to_owned(), spec.get_mut(*name)?.take()));
        spec = KEPT.iter().filter_map(&mut take).collect();
        spec_bytes = spec.to_string().len();
        if spec_bytes > SPEC_BYTES_MAX {
            (spec, spec_bytes) = (Value::Null, 0);
        }
    }
    let status_bytes = status.to_string().len();
    let fits = status_bytes <= STATUS_BYTES_MAX;
    Ok(Object {
        version: token(version)?.unwrap_or_default(),
        generation,
        created: created.unwrap_or_default().as_secs(),
        spec,
        large,
        status: fits.then_some(status),
        bytes: spec_bytes + if fits { status_bytes } else { 0 },
    })
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
        let (version, change) = match WatchEvent::read(line)? {
            WatchEvent::Object { version, change } => (version, change),
            WatchEvent::Over(happened) => return Ok(happened),
        };
        let happened = match change {
            Change::Put(object) => {
                self.put(object)?;
                Happened::Changed
            }
            Change::Delete(object) => {
                if let Some(key) = key(&object) {
                    self.remove(&key);
                }
                // One of those that were left out may have its place.
                match self.left_out.is_empty() {
                    true => Happened::Changed,
                    false => Happened::Gone,
                }
            }
            Change::Nothing => Happened::Bookmark,
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
