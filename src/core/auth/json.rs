//! JSON without duplicate keys. If an object has a key twice, some readers take the first value and
//! others the last, so a token with such a key is ambiguous and refused.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The object that `bytes` hold, whole; nothing if they hold anything else.
pub(super) fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Strict(Value::Object(object))) => Some(object),
        _ => None,
    }
}

struct Strict(Value);

struct StrictVisitor;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = table.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(de::Error::custom("a key stands here twice"));
            }
            let Strict(value) = table.next_value()?;
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_that_stand_twice_are_refused_at_any_depth() {
        let good = |text: &str| assert!(object(text.as_bytes()).is_some(), "{text}");
        let bad = |text: &str| assert!(object(text.as_bytes()).is_none(), "{text}");
        good("{}");
        good(r#" {"a":1,"b":[{"a":1},{"a":2}],"c":{"a":null,"b":1.5e3}} "#);
        bad(r#"{"a":1,"a":1}"#);
        bad(r#"{"a":1,"\u0061":2}"#);
        bad(r#"{"b":[{"a":1,"a":2}]}"#);
        bad("[]");
        bad("1");
        bad("");
        bad("{} {}");
        bad(&format!(
            "{{\"a\":{}1{}}}",
            "[".repeat(200),
            "]".repeat(200)
        ));
    }

    proptest! {
        #[test]
        fn what_has_no_key_twice_reads_as_serde_json_reads_it(
            keys in prop::collection::btree_map("[a-c]{1,3}", "[ -~]{0,8}", 0..6),
        ) {
            let text = serde_json::to_string(&keys).expect("text serialises");
            let twin: Value = serde_json::from_str(&text).expect("it is JSON");
            prop_assert_eq!(object(text.as_bytes()).map(Value::Object), Some(twin));
        }
    }
}
