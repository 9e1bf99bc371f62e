//! `openapi.json`, made from the list of resources and the types of their answers.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::admin::gateway::VERSION;
use crate::admin::resource::{Describe, Resource};

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
    // A wrong scope or an unknown parameter is refused everywhere.
    let refused = resource.is_scoped() && !resource.statuses.contains(&400);
    let refused = refused.then_some(&400);
    for (place, status) in resource.statuses.iter().chain(refused).enumerate() {
        let response = match (place, resource.answer) {
            (0, answer) => success(resource.path, answer, generator),
            _ => {
                json!({ "description": "Problem.", "content": { "application/problem+json": {} } })
            }
        };
        operation["responses"][status.to_string()] = response;
    }
    operation
}

fn success(path: &str, answer: Option<Describe>, generator: &mut SchemaGenerator) -> Value {
    let content = match answer {
        Some(describe) => json!({ "application/json": { "schema": describe(generator) } }),
        None if path == "/metrics" => json!({ "text/plain": {} }),
        None if path == "/ui/" => json!({ "text/html": {} }),
        None if path.starts_with("/ui/") => json!({ "text/*": {}, "image/svg+xml": {} }),
        None => json!({ "application/json": {} }),
    };
    json!({ "description": "Done.", "content": content })
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

/// The fields of the object that `schema` refers to; the object is removed from the components.
fn properties(schema: &Schema, generator: &mut SchemaGenerator) -> Map<String, Value> {
    let reference = schema
        .get("$ref")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let name = reference.rsplit('/').next().unwrap_or_default();
    let object = generator.definitions_mut().remove(name).unwrap_or_default();
    object["properties"]
        .as_object()
        .cloned()
        .unwrap_or_default()
}
