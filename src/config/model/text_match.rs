//! A test of one header or query parameter.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::model::value::schema;

/// A test of one header or query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextMatch {
    /// `true`: there, `false`: not there.
    Present(bool),
    /// One of its values is this.
    Exact(String),
    /// One of its values begins so.
    Prefix(Prefix),
}

/// A test by prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prefix {
    /// Required. What a value must begin with.
    pub prefix: Option<String>,
}

struct MatchVisitor;

impl<'de> Visitor<'de> for MatchVisitor {
    type Value = TextMatch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"exact value\", { prefix = \"…\" }, true (present) or false (absent)")
    }

    fn visit_bool<E: de::Error>(self, present: bool) -> Result<TextMatch, E> {
        Ok(TextMatch::Present(present))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TextMatch, E> {
        Ok(TextMatch::Exact(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextMatch, A::Error> {
        Prefix::deserialize(MapAccessDeserializer::new(map)).map(TextMatch::Prefix)
    }
}

impl<'de> Deserialize<'de> for TextMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MatchVisitor)
    }
}

impl Serialize for TextMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Present(present) => present.serialize(serializer),
            Self::Exact(text) => text.serialize(serializer),
            Self::Prefix(prefix) => prefix.serialize(serializer),
        }
    }
}

schema!(TextMatch, generator => {
    let table = Prefix::json_schema(generator);
    schemars::json_schema!({ "anyOf": [{ "type": "string" }, { "type": "boolean" }, table] })
});
