//! Claims of a credential: lookup, and encoding for the headers of backends.

use std::borrow::Cow;
use std::fmt::Write as _;

use http::HeaderValue;
use serde_json::{Map, Value};

use crate::config::expression::ClaimPath;

/// Longest value of a header that is made of a claim.
const HEADER_MAX: usize = 4096;

/// Claims by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims(pub Map<String, Value>);

impl Claims {
    /// Only the claim that holds the subject.
    pub fn of_subject(subject: &str) -> Self {
        let mut claims = Map::new();
        claims.insert("sub".to_owned(), Value::from(subject));
        Self(claims)
    }

    /// The claim of this name, or the value at a dotted path. A whole name takes precedence: some
    /// issuers name claims by URLs, which have dots.
    pub fn get(&self, path: &ClaimPath) -> Option<&Value> {
        if let Some(whole) = self.0.get(&path.0) {
            return Some(whole);
        }
        let (first, rest) = path.0.split_once('.')?;
        let mut value = self.0.get(first)?;
        for step in rest.split('.') {
            value = value.get(step)?;
        }
        Some(value)
    }

    /// A claim as the bytes of an affinity key: texts, numbers and truths have some.
    pub fn bytes(&self, path: &ClaimPath) -> Option<Cow<'_, [u8]>> {
        Some(match self.get(path)? {
            Value::String(text) => Cow::Borrowed(text.as_bytes()),
            value @ (Value::Number(_) | Value::Bool(_)) => {
                Cow::Owned(value.to_string().into_bytes())
            }
            _ => return None,
        })
    }

    /// A claim as the value of a header: texts as they are, everything else as JSON; `None` if it
    /// is not there or too long.
    pub fn header(&self, path: &ClaimPath) -> Option<HeaderValue> {
        match self.get(path)? {
            Value::Null => None,
            Value::String(text) => header_text(text),
            value => header_text(&value.to_string()),
        }
    }
}

/// A text as the value of a header. Control characters, `%`, what is not ASCII, and spaces at the
/// ends are percent-encoded, so that no text can end the header or be taken for another.
pub fn header_text(text: &str) -> Option<HeaderValue> {
    let inner = text.trim_matches(' ').len();
    let start = text.len() - text.trim_start_matches(' ').len();
    let mut encoded = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let edge = byte == b' ' && !(start..start + inner).contains(&at);
        if edge || byte == b'%' || !matches!(byte, b' '..=b'~') {
            write!(encoded, "%{byte:02X}").expect("a String takes everything");
        } else {
            encoded.push(char::from(byte));
        }
    }
    if encoded.len() > HEADER_MAX {
        return None;
    }
    HeaderValue::from_str(&encoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        match value {
            Value::Object(table) => Claims(table),
            _ => panic!("claims are a table"),
        }
    }

    #[test]
    fn claims_are_found_by_whole_names_and_by_steps() {
        let claims = claims(json!({
            "sub": "ann", "n": 7, "realm_access": { "roles": ["a"] },
            "https://x.example/roles": ["b"], "a.b": 1, "a": { "b": 2 }, "none": null,
        }));
        let check = |name: &str, expected: Option<Value>| {
            assert_eq!(
                claims.get(&ClaimPath(name.to_owned())).cloned(),
                expected,
                "{name}"
            );
        };
        check("sub", Some(json!("ann")));
        check("realm_access.roles", Some(json!(["a"])));
        check("https://x.example/roles", Some(json!(["b"])));
        check("a.b", Some(json!(1)));
        check("sub.x", None);
        check("x", None);
        let bytes = |name: &str| {
            claims
                .bytes(&ClaimPath(name.to_owned()))
                .map(Cow::into_owned)
        };
        assert_eq!(bytes("sub"), Some(b"ann".to_vec()));
        assert_eq!(bytes("n"), Some(b"7".to_vec()));
        assert_eq!(bytes("a"), None);
        let header = |name: &str| claims.header(&ClaimPath(name.to_owned()));
        assert_eq!(header("realm_access.roles").expect("a value"), "[\"a\"]");
        assert_eq!(header("none"), None);
    }

    #[test]
    fn no_claim_ends_its_header_or_passes_for_another() {
        let check = |text: &str, expected: &str| {
            assert_eq!(header_text(text).expect(text), expected, "{text:?}");
        };
        check("auth0|123", "auth0|123");
        check("a b", "a b");
        check(" a ", "%20a%20");
        check("  ", "%20%20");
        check("a\r\nx-admin: 1", "a%0D%0Ax-admin: 1");
        check("josé", "jos%C3%A9");
        check("jos%C3%A9", "jos%25C3%25A9");
        check("", "");
        assert_eq!(header_text(&"a".repeat(HEADER_MAX + 1)), None);
    }

    proptest! {
        #[test]
        fn a_header_decodes_to_its_claim(text in "\\PC{0,40}|[ -~\r\n\0]{0,40}") {
            let value = header_text(&text).expect("a short text");
            let shown = value.to_str().expect("visible ASCII").to_owned();
            prop_assert!(!shown.starts_with(' ') && !shown.ends_with(' '));
            let mut decoded = Vec::new();
            let mut rest = shown.as_bytes();
            while let [first, more @ ..] = rest {
                let digits = (*first == b'%').then(|| &more[..2]);
                decoded.push(digits.map_or(*first, |digits| {
                    let digits = std::str::from_utf8(digits).expect("ASCII");
                    u8::from_str_radix(digits, 16).expect("a byte")
                }));
                rest = if digits.is_some() { &more[2..] } else { more };
            }
            prop_assert_eq!(decoded, text.into_bytes());
        }
    }
}
