//! Documents as a file holds them, and as etcd does: routes, upstreams, authenticators,
//! revocations, and each backend alone. A file is checked as part of the configuration that it
//! would be part of.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::cli::etcd::store::{Documents, Op};
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::documents::{Change, Document as Stored};
use crate::config::span::Document;
use crate::control::load::{LoadOptions, Loaded, load_text};

/// Sections that are kept by name.
const NAMED: [&str; 3] = ["upstreams", "authenticators", "revocations"];
/// What a gateway must have to be checked.
const LISTENER: &str = "\n[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:1\"]\n";

/// The documents of a file for etcd, and the sections that stay local.
pub(super) fn of_text(text: &str) -> Result<(Documents, Vec<String>), Vec<String>> {
    let (document, faults) = Document::parse(text);
    if !faults.is_empty() {
        return Err(faults.into_iter().map(|fault| fault.message).collect());
    }
    let values = serde_json::to_value(&document.values).expect("TOML is JSON");
    let values = values.as_object().cloned().unwrap_or_default();
    let mut documents = Documents::new();
    let mut others = Vec::new();
    for (section, value) in values {
        match section.as_str() {
            "routes" => {
                for route in value.as_array().into_iter().flatten() {
                    let mut route = route.clone();
                    let name = route.as_object_mut().and_then(|route| route.remove("name"));
                    if let Some(name) = name.as_ref().and_then(Value::as_str) {
                        documents.insert(format!("routes/{name}"), route);
                    }
                }
            }
            _ if NAMED.contains(&section.as_str()) => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    named(&mut documents, &section, name, value.clone());
                }
            }
            _ => others.push(section),
        }
    }
    Ok((documents, others))
}

fn named(documents: &mut Documents, section: &str, name: &str, mut value: Value) {
    let backends = value
        .as_object_mut()
        .and_then(|table| table.remove("backends"));
    for backend in backends.iter().filter_map(Value::as_array).flatten() {
        let mut backend = match backend {
            Value::String(address) => json!({ "address": address }),
            table => table.clone(),
        };
        let id = backend.as_object_mut().and_then(|table| table.remove("id"));
        let id = id.unwrap_or_else(|| backend["address"].clone());
        let id = id.as_str().unwrap_or_default();
        documents.insert(format!("backends/{name}/{id}"), backend);
    }
    documents.insert(format!("{section}/{name}"), value);
}

/// The same as a file holds them.
pub(super) fn to_value(documents: &Documents) -> Map<String, Value> {
    let mut file = Map::new();
    let mut routes = Vec::new();
    let mut backends: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (key, value) in documents {
        let (folder, name) = key.split_once('/').unwrap_or((key, ""));
        match (folder, name.split_once('/')) {
            ("routes", _) => routes.push(with("name", name, value)),
            ("backends", Some((upstream, id))) => {
                let backend = with("id", id, value);
                backends.entry(upstream).or_default().push(backend);
            }
            (section, _) => {
                let section = file.entry(section).or_insert_with(|| json!({}));
                section[name] = value.clone();
            }
        }
    }
    if !backends.is_empty() {
        let upstreams = file.entry("upstreams").or_insert_with(|| json!({}));
        for (upstream, backends) in backends {
            let mut all = upstreams[upstream]["backends"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            all.extend(backends);
            upstreams[upstream]["backends"] = Value::Array(all);
        }
    }
    if !routes.is_empty() {
        file.insert("routes".to_owned(), Value::Array(routes));
    }
    file
}

/// The table with its name as its first key.
fn with(key: &str, name: &str, value: &Value) -> Value {
    let mut table = Map::new();
    table.insert(key.to_owned(), json!(name));
    table.extend(value.as_object().cloned().unwrap_or_default());
    Value::Object(table)
}

/// As text that `of_text` reads.
pub(super) fn to_text(documents: &Documents) -> String {
    let mut value = Value::Object(to_value(documents));
    without_null(&mut value);
    toml::to_string_pretty(&value).expect("JSON without null is TOML")
}

fn without_null(value: &mut Value) {
    match value {
        Value::Object(table) => {
            table.retain(|_, value| !value.is_null());
            table.values_mut().for_each(without_null);
        }
        Value::Array(list) => {
            list.retain(|value| !value.is_null());
            list.iter_mut().for_each(without_null);
        }
        _ => {}
    }
}

/// What is wrong with a file, with its places, where everything that it names and does not have
/// itself is taken from `context`.
pub(super) fn check(
    options: &LoadOptions,
    text: &str,
    own: &Documents,
    others: &[String],
    context: &Documents,
) -> Vec<Diagnostic> {
    let foreign: Documents = context
        .iter()
        .filter(|(key, _)| {
            let upstream = key.starts_with("upstreams/") && !own.contains_key(*key);
            let authenticator = key.starts_with("authenticators/") && !own.contains_key(*key);
            upstream || authenticator
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut whole = format!("{}\n", text.trim_end_matches('\n'));
    let lines = whole.lines().count();
    if !others.iter().any(|section| section == "listeners") {
        whole.push_str(LISTENER);
    }
    whole.push_str(&to_text(&foreign));
    let alone = LoadOptions {
        environment: Vec::new(),
        sets: Vec::new(),
        ..options.clone()
    };
    let found = match load_text(&alone, &whole) {
        Ok(_) => return Vec::new(),
        Err(faults) => faults.diagnostics().to_vec(),
    };
    // A fault below the file's own lines is not in this file.
    let own = |one: &Diagnostic| one.line_and_column().0 <= lines;
    let errors = found
        .into_iter()
        .filter(|one| one.severity == Severity::Error);
    errors.filter(own).collect()
}

/// The gateway's own file, or an empty one where there is none or it has faults, which are for
/// `sessile check` to report.
pub(super) fn base(options: &LoadOptions, text: Option<&str>) -> Loaded {
    let alone = LoadOptions {
        environment: Vec::new(),
        sets: Vec::new(),
        ..options.clone()
    };
    let own = text.and_then(|text| load_text(options, text).ok());
    own.or_else(|| load_text(&alone, LISTENER).ok())
        .expect("a listener alone is a configuration")
}

/// Documents as a source has them.
pub(super) fn stored(documents: &Documents) -> Vec<Stored> {
    let all = documents.iter().filter_map(|(key, value)| {
        Some(Stored {
            key: key.parse().ok()?,
            text: value.to_string().into(),
            revision: 1,
        })
    });
    all.collect()
}

/// Operations as changes of documents.
pub(super) fn changes(ops: &[Op]) -> Vec<Change> {
    let all = ops.iter().filter_map(|op| match op {
        Op::Put(key, value) => Some(Change::Put(Stored {
            key: key.parse().ok()?,
            text: value.to_string().into(),
            revision: i64::MAX,
        })),
        Op::Delete(key) => key.parse().ok().map(Change::Delete),
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[upstreams.chat]
policy = "maglev"
backends = ["10.0.0.1:9000", { address = "10.0.0.2:9000", id = "two", weight = 2 }]

[[routes]]
name = "chat"
path = "/ws/{room}"
upstream = "chat"
affinity = ["path:room"]

[revocations.ann]
subject = "ann"
until = "2030-01-31T12:00:00Z"

[node]
name = "edge"
"#;

    #[test]
    fn a_file_becomes_documents_and_documents_a_file() {
        let (documents, others) = of_text(FILE).expect("TOML");
        let expected = json!({
            "backends/chat/10.0.0.1:9000": { "address": "10.0.0.1:9000" },
            "backends/chat/two": { "address": "10.0.0.2:9000", "weight": 2 },
            "revocations/ann": { "subject": "ann", "until": "2030-01-31T12:00:00Z" },
            "routes/chat": { "path": "/ws/{room}", "upstream": "chat", "affinity": ["path:room"] },
            "upstreams/chat": { "policy": "maglev" },
        });
        assert_eq!(json!(documents), expected);
        assert_eq!(others, ["node"]);
        let (again, others) = of_text(&to_text(&documents)).expect("TOML");
        assert_eq!((again, others.len()), (documents, 0));
    }

    #[test]
    fn a_file_is_checked_with_what_it_names_elsewhere() {
        let options = LoadOptions {
            path: "next.toml".into(),
            sets: Vec::new(),
            environment: Vec::new(),
        };
        let check = |text: &str, context: &Documents| -> Vec<(usize, String)> {
            let (own, others) = of_text(text).expect("TOML");
            let found = check(&options, text, &own, &others, context);
            let said = |one: Diagnostic| (one.line_and_column().0, one.message);
            found.into_iter().map(said).collect()
        };
        let route = "[[routes]]\nname = \"a\"\nupstream = \"chat\"\n";
        let (context, _) = of_text(FILE).expect("TOML");
        assert_eq!(check(route, &context), []);
        let missing = check(route, &Documents::new());
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert_eq!(missing[0].0, 3);
        // What is wrong elsewhere is not this file's.
        let mut broken = context;
        broken.insert("upstreams/other".to_owned(), json!({ "policy": "none" }));
        assert_eq!(check(route, &broken), []);
    }
}
