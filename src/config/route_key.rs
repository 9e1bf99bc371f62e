//! Where the key of a message is: AWS' route selection expression, `$request.body.action`
//! ("WebSocket selection expressions" in the developer guide of API Gateway).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

/// Names in a row.
const STEPS_MAX: usize = 8;
/// Longest key.
const KEY_MAX: usize = 128;
const PREFIX: &str = "$request.body.";

/// Names in objects, from the outermost to the key's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteKeyPath(Vec<String>);

impl RouteKeyPath {
    /// Reads `$request.body.action`, or `${request.body.action}`. `None`: it is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let braces = text
            .strip_prefix("${")
            .and_then(|text| text.strip_suffix('}'));
        let plain = braces.map(|inner| format!("${inner}"));
        let path = plain.as_deref().unwrap_or(text).strip_prefix(PREFIX)?;
        let steps: Vec<_> = path.split('.').map(str::to_owned).collect();
        let letter = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let is_name = |step: &String| !step.is_empty() && step.chars().all(letter);
        let fits = steps.len() <= STEPS_MAX && steps.iter().all(is_name);
        fits.then_some(Self(steps))
    }

    /// The key of a message. `None`: it is no JSON, or there is no text at this place, or a longer
    /// one than 128 bytes. Of names that occur twice the last counts, as it does for functions in
    /// most languages.
    pub fn key(&self, message: &[u8]) -> Option<String> {
        let mut json = serde_json::Deserializer::from_slice(message);
        let key = At(&self.0).deserialize(&mut json).ok()?;
        json.end().ok()?;
        key.filter(|key| key.len() <= KEY_MAX)
    }
}

impl fmt::Display for RouteKeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0.join("."))
    }
}

/// The text at the end of these steps. All else is skipped without being stored.
struct At<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

/// A value that is no text and no object.
macro_rules! not_there {
    ($($visit:ident($value:ty)),*) => {
        $(fn $visit<E>(self, _: $value) -> Result<Self::Value, E> {
            Ok(None)
        })*
    };
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    not_there!(
        visit_bool(bool),
        visit_i64(i64),
        visit_u64(u64),
        visit_f64(f64)
    );

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        // One byte more than the bound shows that a key is too long.
        let end = text.floor_char_boundary(KEY_MAX + 4);
        Ok(self.0.is_empty().then(|| text[..end].to_owned()))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        while all.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = entries.next_key::<String>()? {
            match self.0.split_first() {
                Some((step, rest)) if *step == name => found = entries.next_value_seed(At(rest))?,
                _ => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, message: &str, key: Option<&str>) {
        let path = RouteKeyPath::parse(path).expect("a path");
        assert_eq!(path.key(message.as_bytes()).as_deref(), key, "{message}");
    }

    #[test]
    fn the_key_of_a_message_is_found() {
        let action = "$request.body.action";
        check(
            action,
            r#"{"action": "join", "room": [1, {"action": "x"}]}"#,
            Some("join"),
        );
        check(
            action,
            r#" {"a": null, "action": "a\u006foin"} "#,
            Some("aooin"),
        );
        check(action, r#"{"action": "one", "action": "two"}"#, Some("two"));
        check(action, r#"{"action": "one", "action": 2}"#, None);
        check(
            "${request.body.a.b}",
            r#"{"a": {"c": 1, "b": "deep"}}"#,
            Some("deep"),
        );
        check("$request.body.a.b", r#"{"a": ["b"]}"#, None);
    }

    #[test]
    fn what_has_no_key_has_none() {
        let action = "$request.body.action";
        for message in [
            "",
            "hello",
            "7",
            "null",
            "[]",
            "\"join\"",
            "{}",
            r#"{"action": {"action": "x"}}"#,
            r#"{"action": "join"} more"#,
            r#"{"action": "join""#,
        ] {
            check(action, message, None);
        }
        check(
            action,
            &format!("{{\"action\": \"{}\"}}", "x".repeat(KEY_MAX + 1)),
            None,
        );
        let most = "x".repeat(KEY_MAX);
        check(action, &format!("{{\"action\": \"{most}\"}}"), Some(&most));
    }

    /// What is beside the key may be nested as deeply as a message is long.
    #[test]
    fn i12_depth_costs_no_stack() {
        let deep = format!(
            "{{\"x\": {}1{}, \"action\": \"a\"}}",
            "[".repeat(60_000),
            "]".repeat(60_000)
        );
        let path = RouteKeyPath::parse("$request.body.action").expect("a path");
        // Whether it is read or not, it ends.
        let _ = path.key(deep.as_bytes());
        let objects = r#"{"action":"#.repeat(60_000);
        assert_eq!(path.key(objects.as_bytes()), None);
    }

    #[test]
    fn other_expressions_are_none() {
        for text in [
            "",
            "action",
            "$request.body",
            "$request.body.",
            "$request.header.x",
            "$request.body.a..b",
            "${request.body.a",
            "$request.body.a b",
            "$request.body.a.b.c.d.e.f.g.h.i",
        ] {
            assert_eq!(RouteKeyPath::parse(text), None, "{text}");
        }
        let path = RouteKeyPath::parse("${request.body.a.b}").expect("a path");
        assert_eq!(path.to_string(), "$request.body.a.b");
    }
}
