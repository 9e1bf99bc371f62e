//! `openapi.json`, made from the list of resources and the types of their answers.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::admin::fleet::FleetPage;
use crate::admin::gateway::VERSION;
use crate::admin::guard::is_open;
use crate::admin::problem::ProblemView;
use crate::admin::resource::Resource;
use crate::admin::whoami;

/// Resources whose answer is a stream of server-sent events.
const STREAMS: [&str; 2] = ["/v1/events", "/v1/sessions/{id}/tap"];

/// The description of the admin API (OpenAPI 3.0).
pub(super) fn document(resources: &[Resource]) -> Value {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let mut paths = Map::new();
    for resource in resources {
        let operation = operation(resource, &mut generator);
        let methods = paths.entry(resource.path).or_insert_with(|| json!({}));
        methods[resource.method.as_str().to_ascii_lowercase()] = operation;
    }
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Sessile admin API",
            "version": VERSION,
            "description": "Errors are problem+json (RFC 9457). Where a token is configured it is \
                required as a bearer token everywhere but at /livez, /readyz and /ui/.",
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "token": [] }],
    })
}

fn operation(resource: &Resource, generator: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "summary": resource.summary,
        "x-role": resource.role().as_str(),
        "responses": {},
    });
    let parameters = parameters(resource, generator);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(describe) = resource.body {
        let content = json!({ "application/json": { "schema": describe(generator) } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    for status in resource.statuses.iter().chain(refusals(resource)) {
        let response = match is_answer(resource, *status) {
            true => success(resource, generator),
            false => problem(generator),
        };
        operation["responses"][status.to_string()] = response;
    }
    operation
}

/// Whether an answer with this status is the resource's own, and no problem.
fn is_answer(resource: &Resource, status: u16) -> bool {
    status < 400 || resource.path == "/readyz"
}

/// The statuses with which requests of this kind are refused before the handler sees them.
fn refusals(resource: &Resource) -> impl Iterator<Item = &'static u16> {
    let open = is_open(&resource.method, resource.path) || resource.path == whoami::PATH;
    let guard: &[u16] = match open {
        true => &[403],
        false => &[401, 403],
    };
    // A wrong scope and an unknown parameter.
    let asks = resource.is_scoped() || resource.query.is_some();
    let query: &[u16] = if asks { &[400] } else { &[] };
    let body: &[u16] = match resource.body {
        Some(_) => &[400, 408, 413],
        None => &[],
    };
    guard.iter().chain(query).chain(body)
}

fn success(resource: &Resource, generator: &mut SchemaGenerator) -> Value {
    let path = resource.path;
    let content = match resource.answer {
        Some(describe) => {
            let mut schema = json!(describe(generator));
            if resource.is_scoped() {
                let fleet = generator.subschema_for::<FleetPage>();
                schema = json!({ "anyOf": [schema, fleet] });
            }
            json!({ "application/json": { "schema": schema } })
        }
        None if path == "/metrics" => {
            json!({ "text/plain": {}, "application/openmetrics-text": {} })
        }
        None if path == "/ui/" => json!({ "text/html": {} }),
        None if path.starts_with("/ui/") => json!({ "text/*": {}, "image/svg+xml": {} }),
        None if STREAMS.contains(&path) => json!({ "text/event-stream": {} }),
        None => json!({ "application/json": {} }),
    };
    json!({ "description": "Done.", "content": content })
}

fn problem(generator: &mut SchemaGenerator) -> Value {
    let schema = generator.subschema_for::<ProblemView>();
    let content = json!({ "application/problem+json": { "schema": schema } });
    json!({ "description": "Problem.", "content": content })
}

/// Path parameters, then query parameters.
fn parameters(resource: &Resource, generator: &mut SchemaGenerator) -> Vec<Value> {
    let parts = resource.path.split('/');
    let names = parts.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<_> = names
        .map(|name| parameter("path", name, &json!({ "type": "string" })))
        .collect();
    if let Some(describe) = resource.query {
        let schema = describe(generator);
        let properties = properties(&schema, generator);
        let in_query = properties.iter();
        parameters.extend(in_query.map(|(name, schema)| parameter("query", name, schema)));
    }
    if resource.is_scoped() {
        let schema = json!({ "type": "string", "enum": ["node", "fleet"], "default": "node" });
        let mut scope = parameter("query", "scope", &schema);
        scope["description"] =
            "`fleet`: all gateways that follow the same etcd answer, as one list \
            with `items`, `nodes` and `partial`."
                .into();
        parameters.push(scope);
    }
    parameters
}

fn parameter(place: &str, name: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": place, "required": place == "path", "schema": schema })
}

/// The fields of the object that `schema` refers to, as parameters of a query, which are never
/// null; the object is removed from the components.
fn properties(schema: &Schema, generator: &mut SchemaGenerator) -> Map<String, Value> {
    let reference = schema
        .get("$ref")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let name = reference.rsplit('/').next().unwrap_or_default();
    let object = generator.definitions_mut().remove(name).unwrap_or_default();
    let mut properties = object["properties"].as_object().cloned();
    let fields = properties.iter_mut().flat_map(Map::values_mut);
    fields
        .filter_map(Value::as_object_mut)
        .for_each(without_null);
    properties.unwrap_or_default()
}

fn without_null(schema: &mut Map<String, Value>) {
    schema.remove("default");
    if let Some(Value::Array(types)) = schema.get("type") {
        let own = types.iter().find(|kind| *kind != "null").cloned();
        schema.insert("type".to_owned(), own.unwrap_or_default());
    }
}
