//! Values into the model. serde stops at the first fault; this file notes each fault, removes the
//! faulty value and reads the rest again, so that all are found. Missing keys are no fault here:
//! every key of the model has a default, and `validate` checks which are required.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use figment::value::{Num, Value};
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Expected, IntoDeserializer, Unexpected};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use crate::base::work;
use crate::config::diagnostic::listed;
use crate::config::span::KeyPath;

/// Further faults help an operator little, and each costs another pass.
const FAULTS_MAX: usize = 100;

/// A value that the model cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Where it is; for an unknown key, that key.
    pub path: KeyPath,
    /// Why.
    pub kind: MisfitKind,
}

/// Why a value does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MisfitKind {
    /// The table has no such key; these it has.
    #[error("unknown key `{0}`")]
    Key(String, &'static [&'static str]),
    /// None of the permitted words.
    #[error("unknown word `{0}`")]
    Word(String, &'static [&'static str]),
    /// Another type.
    #[error("expected {expected}, found {found}")]
    Type {
        /// What would fit.
        expected: String,
        /// The value's type; never a text's content, which may be secret.
        found: String,
    },
    /// The value's own type gives the reason.
    #[error("{0}")]
    Value(String),
}

/// The values that were removed, at their original positions.
#[derive(Clone, Debug, Default)]
pub struct Holes {
    paths: Vec<KeyPath>,
    elements: BTreeMap<KeyPath, BTreeSet<usize>>,
}

impl Holes {
    /// Whether the value at `path`, or something that holds it, was taken out.
    pub fn cover(&self, path: &KeyPath) -> bool {
        work::steps(self.paths.len());
        self.paths.iter().any(|hole| hole.holds(path))
    }

    /// Notes a key as explained, though nothing stood there: its name was mistyped.
    pub fn note(&mut self, path: KeyPath) {
        self.paths.push(path);
    }

    /// The place that a value had before elements of lists were taken out.
    pub fn original(&self, path: &KeyPath) -> KeyPath {
        let mut original = KeyPath::default();
        for step in &path.0 {
            let step = match (self.elements.get(&original), step.parse::<usize>()) {
                (Some(gone), Ok(index)) => {
                    // In order, each one that was taken out before moves the rest by one.
                    let mut place = index;
                    gone.iter()
                        .take_while(|gone| {
                            let before = **gone <= place;
                            place += usize::from(before);
                            before
                        })
                        .for_each(drop);
                    place.to_string()
                }
                _ => step.clone(),
            };
            original.0.push(step);
        }
        original
    }

    /// Takes the value at `path` (as it is now) out of `values`; the path that was really emptied,
    /// if any.
    fn dig(&mut self, values: &mut Value, path: &KeyPath) -> bool {
        let original = self.original(path);
        let (Some(last), Some(parent)) = (path.0.last(), path.parent()) else {
            return false;
        };
        let mut holder = values;
        for step in &parent.0 {
            let next = match holder {
                Value::Dict(_, dict) => dict.get_mut(step),
                Value::Array(_, list) => step.parse().ok().and_then(|at: usize| list.get_mut(at)),
                _ => None,
            };
            match next {
                Some(next) => holder = next,
                None => return false,
            }
        }
        let dug = match holder {
            Value::Dict(_, dict) => dict.remove(last).is_some(),
            Value::Array(_, list) => match last.parse::<usize>() {
                Ok(at) if at < list.len() => {
                    list.remove(at);
                    let above = original.parent().unwrap_or_default();
                    let place = original
                        .0
                        .last()
                        .and_then(|step| step.parse::<usize>().ok());
                    self.elements.entry(above).or_default().extend(place);
                    true
                }
                _ => false,
            },
            _ => false,
        };
        if dug {
            self.paths.push(original);
        }
        dug
    }
}

/// Reads a `T` from `values`, without the parts that do not fit. `None` when it cannot be read at
/// all, or only after too many faults.
pub fn decode<T: DeserializeOwned>(mut values: Value) -> (Option<T>, Vec<Misfit>, Holes) {
    let mut misfits = Vec::new();
    let mut holes = Holes::default();
    while misfits.len() < FAULTS_MAX {
        match T::deserialize(Reader(&values)) {
            Ok(read) => return (Some(read), misfits, holes),
            Err(mut fault) => {
                fault.path.reverse();
                let path = KeyPath(fault.path);
                misfits.push(Misfit {
                    path: holes.original(&path),
                    kind: fault.kind,
                });
                if !holes.dig(&mut values, &path) {
                    break;
                }
            }
        }
    }
    (None, misfits, holes)
}

/// What serde reports, with the way to it from the inside out.
#[derive(Debug)]
struct Fault {
    path: Vec<String>,
    kind: MisfitKind,
}

impl Fault {
    fn under(mut self, step: &str) -> Self {
        self.path.push(step.to_owned());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl std::error::Error for Fault {}

impl From<MisfitKind> for Fault {
    fn from(kind: MisfitKind) -> Self {
        let path = Vec::new();
        Self { path, kind }
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        MisfitKind::Value(message.to_string()).into()
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (found, expected) = (found_words(found), expected_words(&expected.to_string()));
        MisfitKind::Type { expected, found }.into()
    }

    // Of the right type, so a number that is too small or too large; never part of a secret.
    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (found, expected) = match found {
            Unexpected::Signed(number) => (number.to_string(), expected.to_string()),
            _ => return Self::invalid_type(found, expected),
        };
        let expected = expected_words(&expected);
        MisfitKind::Type { expected, found }.into()
    }

    fn unknown_variant(word: &str, words: &'static [&'static str]) -> Self {
        MisfitKind::Word(word.to_owned(), words).into()
    }

    fn unknown_field(key: &str, keys: &'static [&'static str]) -> Self {
        MisfitKind::Key(key.to_owned(), keys).into()
    }
}

fn found_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(_) => "a truth value",
        Unexpected::Unsigned(_) => "a whole number",
        Unexpected::Signed(number) if number < 0 => "a negative number",
        Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number with a fraction",
        Unexpected::Str(_) | Unexpected::Char(_) => "text",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a table",
        _ => "something else",
    }
    .to_owned()
}

/// serde's and Rust's words in those of an operator.
fn expected_words(expected: &str) -> String {
    let number = |max: u32| format!("a whole number from 0 to {max}");
    match expected {
        "a string" => "text".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        "u16" => number(u32::from(u16::MAX)),
        "u32" => number(u32::MAX),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "f64" => "a number".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}

/// A value as serde reads it: strict about tables and words, which serde's own code would also take
/// from lists and numbers.
struct Reader<'v>(&'v Value);

impl Reader<'_> {
    fn unexpected(&self) -> Unexpected<'_> {
        match self.0 {
            Value::String(_, text) => Unexpected::Str(text),
            Value::Char(_, letter) => Unexpected::Char(*letter),
            Value::Bool(_, truth) => Unexpected::Bool(*truth),
            Value::Num(_, number) => match (number.to_i128(), number) {
                (Some(number), _) => Unexpected::Signed(number.try_into().unwrap_or(i64::MAX)),
                _ => Unexpected::Float(0.0),
            },
            Value::Empty(..) => Unexpected::Unit,
            Value::Dict(..) => Unexpected::Map,
            Value::Array(..) => Unexpected::Seq,
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(_, text) => visitor.visit_str(text),
            Value::Char(_, letter) => visitor.visit_char(*letter),
            Value::Bool(_, truth) => visitor.visit_bool(*truth),
            Value::Num(_, number) => visit_number(*number, visitor),
            Value::Empty(..) => visitor.visit_unit(),
            Value::Dict(_, dict) => visitor.visit_map(Entries {
                rest: dict.iter(),
                current: None,
            }),
            Value::Array(_, list) => visitor.visit_seq(Elements {
                rest: list.iter().enumerate(),
            }),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Value::Dict(..) => self.deserialize_any(visitor),
            _ => Err(de::Error::invalid_type(self.unexpected(), &"a table")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            Value::String(_, text) => {
                let word: StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
                visitor.visit_enum(word)
            }
            _ => {
                let expected = listed(words, "or");
                Err(de::Error::invalid_type(
                    self.unexpected(),
                    &expected.as_str(),
                ))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string seq bytes byte_buf unit
        unit_struct tuple tuple_struct identifier ignored_any
    }
}

fn visit_number<'de, V: Visitor<'de>>(number: Num, visitor: V) -> Result<V::Value, Fault> {
    match (number.to_i128(), number.to_f64()) {
        (Some(whole), _) => visitor.visit_i64(whole.try_into().unwrap_or(i64::MAX)),
        (None, Some(fraction)) => visitor.visit_f64(fraction),
        (None, None) => Err(de::Error::custom("this is not a number")),
    }
}

struct Entries<'v> {
    rest: std::collections::btree_map::Iter<'v, String, Value>,
    current: Option<(&'v str, &'v Value)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.current = Some((key, value));
        let name: StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        seed.deserialize(name)
            .map(Some)
            .map_err(|fault| fault.under(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let (key, value) = self
            .current
            .take()
            .expect("serde asks for a key before its value");
        seed.deserialize(Reader(value))
            .map_err(|fault| fault.under(key))
    }
}

struct Elements<'v> {
    rest: std::iter::Enumerate<std::slice::Iter<'v, Value>>,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some((index, value)) = self.rest.next() else {
            return Ok(None);
        };
        seed.deserialize(Reader(value))
            .map(Some)
            .map_err(|fault| fault.under(&index.to_string()))
    }
}

#[cfg(test)]
mod tests;
