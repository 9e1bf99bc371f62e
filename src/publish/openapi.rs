//! `/openapi.json` of the publishing API.

use axum::Json;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::admin::groups::{GroupMember, MemberList, MembersEvent};
use crate::publish::groups::{Changed, Described};
use crate::publish::messages::{Answer, BatchAnswer, Sent};

pub(super) async fn show() -> Json<Value> {
    Json(document())
}

/// The description of the publishing API (OpenAPI 3.0).
pub fn document() -> Value {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let paths = json!({
        "/v1/messages": { "post": publishing(&mut generator) },
        "/v1/groups/{group}": { "get": members(&mut generator) },
        "/v1/groups/{group}/events": { "get": following(&mut generator) },
        "/v1/groups/{group}/sessions/{id}": {
            "put": changing("Makes a session a member of a group.", true, &mut generator),
            "delete": changing("Ends a membership.", false, &mut generator),
        },
        "/@connections/{id}": connections(),
        "/publish/": grip(),
    });
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Sessile publishing API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Messages to sessions, and groups of sessions. Errors are problem+json \
                (RFC 9457); those of /@connections are as AWS API Gateway has them, those of \
                /publish/ as Pushpin has them.",
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{ "token": [] }],
    })
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn responses(done: &Value, problems: &[u16]) -> Value {
    let content = json!({ "application/json": { "schema": done } });
    let mut responses = json!({ "200": { "description": "Done.", "content": content } });
    for status in problems {
        let content = json!({ "application/problem+json": {} });
        responses[status.to_string()] = json!({ "description": "Problem.", "content": content });
    }
    responses
}

fn parameter(place: &str, name: &str, kind: &str) -> Value {
    json!({
        "name": name, "in": place, "required": place == "path", "schema": { "type": kind },
    })
}

fn publishing(generator: &mut SchemaGenerator) -> Value {
    let content = json!({ "application/json": { "schema": schema::<Sent>(generator) } });
    let done = json!({ "oneOf": [schema::<Answer>(generator), schema::<BatchAnswer>(generator)] });
    json!({
        "summary": "Publishes a message, or a batch of them in order.",
        "requestBody": { "required": true, "content": content },
        "responses": responses(&done, &[400, 401, 403, 408, 413]),
    })
}

fn members(generator: &mut SchemaGenerator) -> Value {
    json!({
        "summary": "The members of a group.",
        "parameters": [
            parameter("path", "group", "string"),
            parameter("query", "limit", "integer"),
            parameter("query", "cursor", "string"),
            parameter("query", "scope", "string"),
        ],
        "responses": responses(&schema::<MemberList>(generator), &[400, 401, 403]),
    })
}

fn following(generator: &mut SchemaGenerator) -> Value {
    let data = json!({
        "oneOf": [schema::<MembersEvent>(generator), schema::<GroupMember>(generator)],
    });
    let content = json!({ "text/event-stream": { "schema": data } });
    let mut responses = responses(&json!({}), &[400, 401, 403, 503]);
    responses["200"] = json!({
        "description": "Server-sent events: `members` with the members, then `join` and `leave`.",
        "content": content,
    });
    json!({
        "summary": "The members of a group on all nodes, then its joins and leaves.",
        "parameters": [
            parameter("path", "group", "string"),
            parameter("header", "Last-Event-ID", "string"),
        ],
        "responses": responses,
    })
}

fn changing(summary: &str, joins: bool, generator: &mut SchemaGenerator) -> Value {
    let mut parameters = vec![
        parameter("path", "group", "string"),
        parameter("path", "id", "string"),
    ];
    if joins {
        parameters.push(parameter("query", "ttl", "string"));
    }
    let mut operation = json!({
        "summary": summary,
        "parameters": parameters,
        "responses": responses(&schema::<Changed>(generator), &[400, 401, 403, 404, 409, 503]),
    });
    if joins {
        let content = json!({ "application/json": { "schema": schema::<Described>(generator) } });
        operation["requestBody"] = json!({ "required": false, "content": content });
    }
    operation
}

fn grip() -> Value {
    let text = |description: &str| json!({ "description": description });
    json!({
        "post": {
            "summary": "Publishes items of GRIP, as Pushpin does: a channel is a group.",
            "requestBody": { "required": true, "content": { "application/json": {} } },
            "responses": {
                "200": text("Published."),
                "400": text("The items cannot be read."),
                "401": text("No publisher has this token."),
                "403": text("The token does not open a channel."),
            },
        }
    })
}

fn connections() -> Value {
    let failure = |status: &str, description: &str| {
        (status.to_owned(), json!({ "description": description }))
    };
    let failures = || {
        [
            failure("403", "ForbiddenException"),
            failure("410", "GoneException"),
            failure("413", "PayloadTooLargeException"),
            failure("429", "LimitExceededException"),
            failure("503", "ServiceUnavailableException"),
        ]
    };
    let operation = |summary: &str, done: &str| {
        let mut responses = serde_json::Map::from_iter(failures());
        responses.insert(done.to_owned(), json!({ "description": "Done." }));
        json!({
            "summary": summary,
            "parameters": [parameter("path", "id", "string")],
            "responses": responses,
        })
    };
    let mut post = operation("Sends the body as one message to a session.", "200");
    let content = json!({ "application/octet-stream": {} });
    post["requestBody"] = json!({ "required": true, "content": content });
    json!({
        "post": post,
        "get": operation("When a session began, from where, and when it was active last.", "200"),
        "delete": operation("Closes a session.", "204"),
    })
}
