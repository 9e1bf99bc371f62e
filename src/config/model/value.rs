//! Values that have a form of their own: times, sizes, secrets.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};

use crate::base::secret::Secret;

/// A length of time, written `"250ms"`, `"10s"`, `"1h 30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

/// A length of time, or `"off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOrOff(pub Option<Duration>);

/// A number of bytes, written `"64 KiB"`, `"1 MiB"` (powers of 1,024), `"1 MB"` (of 1,000) or as a
/// bare number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A secret: a literal, `{ file = "…" }` or `{ env = "…" }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Written in the configuration itself.
    Literal(Secret),
    /// The contents of this file, without white space around.
    File(String),
    /// The value of this environment variable.
    Variable(String),
}

impl Time {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl TimeOrOff {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Some(Duration::from_secs(seconds)))
    }
}

/// A value that is a text, or a table with further keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum TextOr<T> {
    /// The short form.
    Text(String),
    /// The long form.
    Table(T),
}

/// The long form of something that may be a text too.
pub trait LongForm {
    /// The remedy shown with a fault.
    const EXPECTED: &'static str;
}

/// A visitor of text, with the closure that reads it.
struct Text<F> {
    expecting: &'static str,
    read: F,
}

impl<T, F: FnOnce(&str) -> Result<T, String>> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).map_err(E::custom)
    }
}

const A_TIME: &str = "a length of time such as \"250ms\", \"10s\" or \"1h 30m\"";
const A_TIME_OR_OFF: &str = "a length of time such as \"10s\", or \"off\"";
const A_SIZE: &str = "a size such as \"64 KiB\", \"1 MiB\" or a number of bytes";

fn read_time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("`{text}` is not {A_TIME}"))
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (expecting, read) = (A_TIME, |text: &str| read_time(text).map(Self));
        deserializer.deserialize_any(Text { expecting, read })
    }
}

impl<'de> Deserialize<'de> for TimeOrOff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| match text {
            "off" => Ok(Self(None)),
            _ => humantime::parse_duration(text)
                .map(|time| Self(Some(time)))
                .map_err(|_| format!("`{text}` is not {A_TIME_OR_OFF}")),
        };
        let expecting = A_TIME_OR_OFF;
        deserializer.deserialize_any(Text { expecting, read })
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

impl Serialize for TimeOrOff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(time) => Time(time).serialize(serializer),
            None => serializer.serialize_str("off"),
        }
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(A_SIZE)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Size, E> {
        u64::try_from(number)
            .map(Size)
            .map_err(|_| E::invalid_type(de::Unexpected::Signed(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        text.parse::<bytesize::ByteSize>()
            .map(|size| Size(size.as_u64()))
            .map_err(|_| E::custom(format!("`{text}` is not {A_SIZE}")))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units
            .iter()
            .find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit))
        {
            Some((unit, name)) => write!(f, "{} {name}", self.0 / unit),
            None => self.0.fmt(f),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The table form of a secret; both fields at once are refused below.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct SecretTable {
    /// File that holds the secret; white space around it does not count.
    file: Option<String>,
    /// Environment variable that holds the secret.
    env: Option<String>,
}

/// A token of this gateway's own interfaces, which may have an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSource {
    /// The token.
    pub secret: SecretSource,
    /// When it ends.
    pub expires: Option<String>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(inline)]
struct TokenTable {
    /// File that holds the token; surrounding white space is ignored.
    file: Option<String>,
    /// Environment variable that holds the token.
    env: Option<String>,
    /// When the token ends, such as `2027-01-31T12:00:00Z`: it is refused from then on.
    expires: Option<String>,
}

struct TokenVisitor;

impl<'de> Visitor<'de> for TokenVisitor {
    type Value = TokenSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SecretVisitor.expecting(f)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TokenSource, E> {
        let secret = SecretVisitor.visit_str(text)?;
        Ok(TokenSource {
            secret,
            expires: None,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TokenSource, A::Error> {
        let table = TokenTable::deserialize(MapAccessDeserializer::new(map))?;
        let secret = SecretSource::of(table.file, table.env);
        Ok(TokenSource {
            secret: secret.map_err(de::Error::custom)?,
            expires: table.expires,
        })
    }
}

impl<'de> Deserialize<'de> for TokenSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TokenVisitor)
    }
}

impl Serialize for TokenSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut value = serde_json::to_value(&self.secret).map_err(ser::Error::custom)?;
        if let (Some(table), Some(expires)) = (value.as_object_mut(), &self.expires) {
            table.insert("expires".to_owned(), expires.as_str().into());
        }
        value.serialize(serializer)
    }
}

struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret: { file = \"…\" }, { env = \"…\" } or text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretSource, E> {
        Ok(SecretSource::Literal(Secret::new(text)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretSource, A::Error> {
        let table = SecretTable::deserialize(MapAccessDeserializer::new(map))?;
        SecretSource::of(table.file, table.env).map_err(de::Error::custom)
    }
}

impl SecretSource {
    /// One of the two.
    fn of(file: Option<String>, env: Option<String>) -> Result<Self, &'static str> {
        match (file, env) {
            (Some(file), None) => Ok(Self::File(file)),
            (None, Some(variable)) => Ok(Self::Variable(variable)),
            _ => Err("a secret has either `file` or `env`"),
        }
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

impl Serialize for SecretSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Literal(secret) => secret.serialize(serializer),
            Self::File(file) => serde_json::json!({ "file": file }).serialize(serializer),
            Self::Variable(name) => serde_json::json!({ "env": name }).serialize(serializer),
        }
    }
}

struct TextOrVisitor<T>(PhantomData<T>);

impl<'de, T: LongForm + Deserialize<'de>> Visitor<'de> for TextOrVisitor<T> {
    type Value = TextOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOr<T>, E> {
        Ok(TextOr::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextOr<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(TextOr::Table)
    }
}

impl<'de, T: LongForm + Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for TextOr<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("TextOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }
}

/// Schemas of types with their own deserialisation.
macro_rules! schema {
    ($type:ident, $generator:ident => $schema:expr) => {
        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema($generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $schema
            }
        }
    };
}

pub(super) use schema;

schema!(Time, _generator => json_schema!({ "type": "string", "x-type": "time" }));
schema!(TimeOrOff, _generator => json_schema!({ "type": "string", "x-type": "time or off" }));
schema!(Size, _generator => json_schema!({ "type": ["string", "integer"], "x-type": "size" }));
schema!(TokenSource, generator => {
    let table = TokenTable::json_schema(generator);
    json_schema!({ "anyOf": [{ "type": "string" }, table], "x-type": "secret" })
});
schema!(SecretSource, generator => {
    let table = SecretTable::json_schema(generator);
    json_schema!({ "anyOf": [{ "type": "string" }, table], "x-type": "secret" })
});
