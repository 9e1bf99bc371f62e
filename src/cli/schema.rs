//! `sessile schema`: the configuration's JSON Schema, and the page of the manual that is made of
//! it.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::{Map, Value};

use crate::config::diagnostic::listed;
use crate::config::model::Model;

/// How the schema is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON Schema, draft 2020-12.
    Json,
    /// The page `docs/config.md`.
    Markdown,
}

/// Writes the schema.
///
/// # Errors
/// When `out` cannot be written to.
pub fn schema(form: Form, out: &mut dyn Write) -> io::Result<u8> {
    match form {
        Form::Json => writeln!(out, "{:#}", Model::json_schema())?,
        Form::Markdown => out.write_all(markdown().as_bytes())?,
    }
    Ok(0)
}

const OPENING: &str = "\
<!-- Made by `sessile schema --markdown`; a test fails where it is stale. -->

# Configuration

Sessile reads `gateway.toml` (or what `--config` names), then the environment, then flags; what is
said later counts. `SESSILE_ADMIN__LISTEN=127.0.0.1:9901` and `--set admin.listen=127.0.0.1:9901`
both set `listen` in `[admin]`: `__` or `.` stands between keys, the value is TOML, and what is no
TOML is text. A list is set as a whole. `sessile check` shows every fault without starting.

Lengths of time are written `\"250ms\"`, `\"10s\"`, `\"1h 30m\"`; sizes `\"64 KiB\"`, `\"1 MiB\"` or a
number of bytes. Relative paths begin at the directory of the file. Unknown keys are faults.
";

/// The page of the manual: a section for each table, a row for each key.
pub fn markdown() -> String {
    let root = Model::json_schema();
    let page = Page { root: &root };
    let mut text = OPENING.to_owned();
    let sections = root["properties"]
        .as_object()
        .expect("the model is a table");
    for (key, property) in sections {
        let (heading, table) = match property["type"].as_str() {
            Some("array") => (format!("[[{key}]]"), &property["items"]),
            Some("object") => (format!("[{key}.NAME]"), &property["additionalProperties"]),
            _ => (format!("[{key}]"), property),
        };
        let about = property["description"].as_str().unwrap_or_default();
        let _ = write!(text, "\n## `{heading}`\n\n{}\n", one_line(about));
        text.push_str(&page.table(page.resolve(table)));
    }
    text
}

struct Page<'a> {
    root: &'a Value,
}

impl<'a> Page<'a> {
    /// Resolves a schema: the definition it refers to, or its alternative that is not null.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let alternatives = schema["anyOf"].as_array();
        let table = alternatives.and_then(|all| all.iter().find(|one| one.get("$ref").is_some()));
        match table.unwrap_or(schema)["$ref"].as_str() {
            Some(reference) => {
                let path = reference.trim_start_matches('#');
                self.root
                    .pointer(path)
                    .expect("references of the schema lead somewhere")
            }
            None => schema,
        }
    }

    fn table(&self, schema: &'a Value) -> String {
        let mut rows = String::new();
        self.rows("", schema, &mut rows);
        format!("\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n{rows}")
    }

    fn rows(&self, above: &str, schema: &'a Value, rows: &mut String) {
        let empty = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&empty);
        for (key, property) in properties {
            let key = format!("{above}{key}");
            let about = property["description"].as_str().unwrap_or_default();
            let shown = shown_default(&property["default"]);
            let _ = writeln!(
                rows,
                "| `{key}` | {} | {shown} | {} |",
                self.type_of(property),
                one_line(about).replace('|', "\\|"),
            );
            if let Some((inner, mark)) = self.inner(property) {
                self.rows(&format!("{key}{mark}."), inner, rows);
            }
        }
    }

    /// The table below a key, and the separator between the key and the keys of that table.
    fn inner(&self, property: &'a Value) -> Option<(&'a Value, &'static str)> {
        let (schema, mark) = match property.get("items") {
            Some(items) => (self.resolve(items), "[]"),
            None => (self.resolve(property), ""),
        };
        schema.get("properties").map(|_| (schema, mark))
    }

    fn type_of(&self, property: &'a Value) -> String {
        if let Some(named) = property["x-type"].as_str() {
            return named.to_owned();
        }
        match property["anyOf"].as_array() {
            Some(all) => {
                let real = all.iter().filter(|one| one["type"] != "null");
                let names: Vec<_> = real.map(|one| self.type_of(one)).collect();
                names.join(" or ")
            }
            None => self.lone_type(property),
        }
    }

    fn lone_type(&self, schema: &'a Value) -> String {
        let words = words(schema);
        if !words.is_empty() {
            return listed(&words, "or");
        }
        if let Some(items) = schema.get("items") {
            return format!("list of {}", self.type_of(items));
        }
        let names: Vec<_> = match &self.resolve(schema)["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            other => other.as_str().into_iter().collect(),
        };
        let real = names.into_iter().filter(|name| *name != "null");
        real.map(type_word).collect::<Vec<_>>().join(" or ")
    }
}

/// The permitted words, if only words are permitted.
fn words(schema: &Value) -> Vec<&str> {
    let options = schema["oneOf"]
        .as_array()
        .or_else(|| schema["enum"].as_array());
    options
        .into_iter()
        .flatten()
        .filter_map(|one| one["const"].as_str().or_else(|| one.as_str()))
        .collect()
}

fn type_word(name: &str) -> &str {
    match name {
        "string" => "text",
        "boolean" => "`true` or `false`",
        "integer" => "whole number",
        "object" => "table",
        "array" => "list",
        other => other,
    }
}

fn shown_default(value: &Value) -> String {
    match value {
        Value::Null | Value::Object(_) | Value::Array(_) => String::new(),
        other => format!("`{other}`"),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
