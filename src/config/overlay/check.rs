//! One document, checked alone.

use std::collections::BTreeMap;

use figment::value::{Dict, Tag, Value};

use crate::base::source_id::SourceId;
use crate::config::diagnostic::{Diagnostic, Severity, Source};
use crate::config::document_key::Kind;
use crate::config::documents::{Document, Item};
use crate::config::layers::{Origin, Part};
use crate::config::model::{self, Model, TextOr};
use crate::config::overlay::check_context::CheckContext;
use crate::config::span::{self, KeyPath};
use crate::config::validate;

/// What came of it.
pub(super) struct Checked {
    /// Nothing where there is an error.
    pub(super) item: Option<Item>,
    pub(super) found: Vec<Diagnostic>,
}

/// Checks `document`. It may name the authenticators in `known`, and a route any upstream. Only
/// named ones are examined, so that the cost is no product of routes and authenticators.
pub(super) fn check(
    (source, document): (SourceId, &Document),
    known: &BTreeMap<String, model::Authenticator>,
    context: &CheckContext<'_>,
) -> Checked {
    let refused = |found| Checked { item: None, found };
    let (model, origin, mut found) = match read(document) {
        Ok(read) => read,
        Err(fault) => return refused(vec![*fault]),
    };
    let Some(mut model) = model else {
        return refused(found);
    };
    found.extend(name(document, &mut model, &origin));
    if document.key.kind == Kind::Route {
        let names = model
            .routes
            .iter()
            .filter_map(|route| route.upstream.clone());
        model.upstreams = names
            .map(|name| (name, model::Upstream::default()))
            .collect();
        let asked = model
            .routes
            .iter()
            .flat_map(|route| route.authenticate.clone());
        // Their existence is checked when the configuration is composed.
        let asked = asked.map(|name| {
            let one = known.get(&name).cloned().unwrap_or_default();
            (name, one)
        });
        model.authenticators = asked.collect();
    }
    let functions = context.functions.keys();
    let functions = functions.map(|name| (name.to_string(), model::Function::default()));
    model.functions = functions.collect();
    // Names at the broker are checked against the file's.
    model.broker = context.broker.map(|broker| model::Broker {
        kind: broker.kind,
        prefix: broker.prefix.to_string(),
        ..model::Broker::default()
    });
    if document.key.kind == Kind::Authenticator {
        let named = model.authenticators.values();
        let named = named.flat_map(|one| one.mint_for.clone().unwrap_or_default());
        let others: Vec<_> = named
            .filter(|name| **name != *document.key.name)
            .filter_map(|name| known.get(&name).cloned().map(|one| (name, one)))
            .collect();
        model.authenticators.extend(others);
    }
    let (item, more) = validate::document(
        (source, &document.key),
        &model,
        &origin,
        context.directory,
        &context.own,
        (context.outside)(source),
    );
    found.extend(more);
    let faulty = found.iter().any(|one| one.severity == Severity::Error);
    Checked {
        item: item.filter(|_| !faulty),
        found,
    }
}

/// The authenticator of a good document, as it is written.
pub(super) fn authenticator(document: &Document) -> Option<model::Authenticator> {
    let (model, ..) = read(document).ok()?;
    model?.authenticators.remove(&*document.key.name)
}

type ParsedDocument = (Option<Model>, Origin, Vec<Diagnostic>);

/// Reads a document as the only thing in a model.
fn read(document: &Document) -> Result<ParsedDocument, Box<Diagnostic>> {
    let name = &*document.key.name;
    let path: &[&str] = match document.key.kind {
        Kind::Upstream => &["upstreams", name],
        Kind::Backend => &["upstreams", name, "backends", "0"],
        Kind::Authenticator => &["authenticators", name],
        Kind::Route => &["routes", "0"],
        Kind::Revocation => &["revocations", name],
    };
    let under = KeyPath(path.iter().map(|step| (*step).to_owned()).collect());
    let source = Source::Document(document.key.to_string());
    let (text, value) = span::Document::parse_json(&document.text, &under);
    match value {
        Ok(value) => Ok(Origin::of_document(source, text, nested(document, value))),
        Err(fault) => Err(Box::new(Origin::syntax_of_document(source, &text, fault))),
    }
}

/// The document's value at its place in the model, with the name that its key gives it.
fn nested(document: &Document, mut value: Value) -> Value {
    let key = &document.key;
    let table =
        |name: &str, value| Value::Dict(Tag::Default, Dict::from([(name.to_owned(), value)]));
    let list = |value| Value::Array(Tag::Default, vec![value]);
    match key.kind {
        Kind::Upstream => table("upstreams", table(&key.name, value)),
        Kind::Authenticator => table("authenticators", table(&key.name, value)),
        Kind::Revocation => table("revocations", table(&key.name, value)),
        Kind::Backend => {
            let backends = table("backends", list(value));
            table("upstreams", table(&key.name, backends))
        }
        Kind::Route => {
            if let Value::Dict(_, dict) = &mut value {
                dict.entry("name".to_owned())
                    .or_insert_with(|| Value::from(&*key.name));
            }
            table("routes", list(value))
        }
    }
}

/// The key gives the document its name; a name inside the document must agree.
fn name(document: &Document, model: &mut Model, origin: &Origin) -> Option<Diagnostic> {
    let key = &document.key;
    let (said, wanted, place) = match key.kind {
        Kind::Route => {
            let said = model.routes.first()?.name.clone();
            (said, &key.name, ["routes", "0", "name"].as_slice())
        }
        Kind::Backend => {
            let upstream = model.upstreams.get_mut(&*key.name)?;
            let backend = upstream.backends.first_mut()?;
            let mut table = match backend {
                TextOr::Table(table) => table.clone(),
                TextOr::Text(address) => model::Backend {
                    address: Some(std::mem::take(address)),
                    ..model::Backend::default()
                },
            };
            let said = table.id.replace(key.id.to_string());
            *backend = TextOr::Table(table);
            let place = ["upstreams", &*key.name, "backends", "0", "id"];
            return differs(said, &key.id, &place, origin);
        }
        Kind::Upstream | Kind::Authenticator | Kind::Revocation => return None,
    };
    differs(said, wanted, place, origin)
}

fn differs(
    said: Option<String>,
    wanted: &str,
    place: &[&str],
    origin: &Origin,
) -> Option<Diagnostic> {
    let said = said.filter(|said| said != wanted)?;
    let path = KeyPath(place.iter().map(|step| (*step).to_owned()).collect());
    let message = format!("`{said}` is not what the key says, which is `{wanted}`");
    let help = Some("leave it out".to_owned());
    Some(origin.report(Severity::Error, &path, Part::Value, message, help))
}
