//! What a member of a group is described by: a small JSON object.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

/// Longest metadata as JSON, in bytes.
pub const METADATA_MAX: usize = 1024;

/// Metadata of a member: a JSON object of at most 1 KiB.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Metadata(Arc<str>);

/// The object is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("metadata has at most 1024 bytes of JSON")]
pub struct TooLarge;

impl Metadata {
    /// The metadata with these values.
    ///
    /// # Errors
    /// When it is too large.
    pub fn new(object: &Map<String, Value>) -> Result<Self, TooLarge> {
        let text = serde_json::to_string(object).expect("plain data serialises");
        match text.len() <= METADATA_MAX {
            true => Ok(Self(text.into())),
            false => Err(TooLarge),
        }
    }

    /// As JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a JSON value.
    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.0).expect("it was made of JSON")
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Map::<String, Value>::deserialize(deserializer)?;
        Self::new(&object).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i12_metadata_is_a_small_object() {
        for text in [r#"{}"#, r#"{"name":"Ann","tags":[1,{"x":null}]}"#] {
            let metadata: Metadata = serde_json::from_str(text).expect(text);
            assert_eq!(metadata.as_str(), text);
            assert_eq!(serde_json::to_string(&metadata).expect("JSON"), text);
        }
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(METADATA_MAX));
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(400), "]".repeat(400));
        for text in ["[]", "7", r#""a""#, "null", &long, &deep] {
            assert!(serde_json::from_str::<Metadata>(text).is_err(), "{text}");
        }
    }
}
