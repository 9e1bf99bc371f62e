//! Objects of any kind in the tests' own API: lists and watches of a kind, merge patches of the
//! status subresource, and Leases, which are replaced only in the version that was read.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Answer, Cluster, World, status, watched, whole, write};

/// Where objects of a kind are: group, version and plural.
fn home(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "GatewayClass" => ("gateway.networking.k8s.io/v1", "gatewayclasses"),
        "Gateway" => ("gateway.networking.k8s.io/v1", "gateways"),
        "HTTPRoute" => ("gateway.networking.k8s.io/v1", "httproutes"),
        "ReferenceGrant" => ("gateway.networking.k8s.io/v1beta1", "referencegrants"),
        "SessilePolicy" => ("sessile.dev/v1alpha1", "sessilepolicies"),
        "Lease" => ("coordination.k8s.io/v1", "leases"),
        "EndpointSlice" => ("discovery.k8s.io/v1", "endpointslices"),
        other => panic!("{other}"),
    }
}

/// The part of a URL that names the objects of a kind.
pub(super) fn plural(object: &Value) -> &'static str {
    home(object["kind"].as_str().expect("a kind")).1
}

fn path(object: &Value) -> String {
    let (group, plural) = home(object["kind"].as_str().expect("a kind"));
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().expect("a name");
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("/apis/{group}/namespaces/{namespace}/{plural}/{name}"),
        None => format!("/apis/{group}/{plural}/{name}"),
    }
}

impl Cluster {
    /// Applies an object, as `kubectl apply` does.
    pub fn apply(&self, mut object: Value) {
        self.change(|world| {
            let path = path(&object);
            let known = world.objects.get(&path);
            let before = known.and_then(|known| known["metadata"]["generation"].as_i64());
            object["metadata"]["generation"] = (before.unwrap_or(0) + 1).into();
            if object["metadata"]["creationTimestamp"].is_null() {
                object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
            }
            if let Some(known) = known {
                object["status"] = known["status"].clone();
            }
            let kind = if before.is_some() {
                "MODIFIED"
            } else {
                "ADDED"
            };
            let object = write(world, kind, object);
            world.objects.insert(path, object);
        });
    }

    pub fn delete(&self, kind: &str, namespace: &str, name: &str) {
        let metadata = json!({ "name": name, "namespace": namespace });
        let path = path(&json!({ "kind": kind, "metadata": metadata }));
        self.change(|world| {
            let object = world.objects.remove(&path).expect("it is there");
            write(world, "DELETED", object);
        });
    }

    /// An object as it stands there; null if there is none.
    pub fn object(&self, kind: &str, namespace: Option<&str>, name: &str) -> Value {
        let metadata = json!({ "name": name, "namespace": namespace });
        let path = path(&json!({ "kind": kind, "metadata": metadata }));
        self.world().objects.get(&path).cloned().unwrap_or_default()
    }

    /// Who wrote statuses, each by the token that it showed, in this order.
    pub fn writers(&self) -> Vec<String> {
        self.world().writers.clone()
    }
}

/// The answer to a question about objects; `None` if this is no such question.
pub(super) fn answer(
    world: &mut World,
    (method, path): (&str, &str),
    token: Option<&str>,
    (parameters, body): (&BTreeMap<String, String>, &str),
) -> Option<Answer> {
    if path.contains("/endpointslices") {
        return None;
    }
    let body = || serde_json::from_str::<Value>(body).expect("JSON");
    Some(match method {
        "GET" if parameters.contains_key("watch") => watched(world, parameters),
        "GET" if parameters.contains_key("limit") => list(world, path),
        "GET" => match world.objects.get(path) {
            Some(object) => whole(200, object),
            None => status(404, "NotFound", "not found"),
        },
        "POST" => create(world, body()),
        "PUT" => put(world, path, body()),
        "PATCH" => {
            let path = path
                .strip_suffix("/status")
                .expect("only statuses are written");
            world.writers.push(token.unwrap_or_default().to_owned());
            patch(world, path, &body())
        }
        other => panic!("{other} {path}"),
    })
}

fn list(world: &World, path: &str) -> Answer {
    let name = path.rsplit('/').next().expect("a plural");
    let items = world.objects.values().filter(|one| plural(one) == name);
    let items: Vec<_> = items.collect();
    let version = world.version.to_string();
    let list = json!({ "metadata": { "resourceVersion": version }, "items": items });
    whole(200, &list)
}

fn create(world: &mut World, object: Value) -> Answer {
    let path = path(&object);
    if world.objects.contains_key(&path) {
        return status(409, "AlreadyExists", "it already exists");
    }
    let object = write(world, "ADDED", object);
    world.objects.insert(path, object.clone());
    whole(201, &object)
}

/// The version that was read has to be the one that stands there.
fn conflict(world: &World, path: &str, new: &Value) -> Option<Answer> {
    let Some(known) = world.objects.get(path) else {
        return Some(status(404, "NotFound", "not found"));
    };
    let version = |one: &Value| one["metadata"]["resourceVersion"].clone();
    let text = "the object has been modified; please apply your changes to the latest version";
    (version(known) != version(new)).then(|| status(409, "Conflict", text))
}

fn put(world: &mut World, path: &str, object: Value) -> Answer {
    if let Some(refused) = conflict(world, path, &object) {
        return refused;
    }
    let object = write(world, "MODIFIED", object);
    world.objects.insert(path.to_owned(), object.clone());
    whole(200, &object)
}

/// Of the status subresource: nothing but the status changes.
fn patch(world: &mut World, path: &str, patch: &Value) -> Answer {
    if let Some(refused) = conflict(world, path, patch) {
        return refused;
    }
    let mut object = world.objects[path].clone();
    merge(&mut object["status"], &patch["status"]);
    let object = write(world, "MODIFIED", object);
    world.objects.insert(path.to_owned(), object.clone());
    whole(200, &object)
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.as_object_mut().expect("an object").remove(key);
            }
            value => merge(&mut target[key.as_str()], value),
        }
    }
}
