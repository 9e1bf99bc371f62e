//! `/v1/kv/<prefix>?recurse`: the keys below a prefix, as documents.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::core::consul::AnswerFault;

/// Keys below the prefix that are read.
const KEYS_MAX: usize = 50_000;
/// What gateways keep for one another and secrets: nothing that concerns the configuration.
const APART: [&str; 2] = ["gateways/", "secrets/"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    key: String,
    value: Option<String>,
    modify_index: u64,
    #[serde(default)]
    session: Option<String>,
}

/// A key and what is written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Below the prefix, such as `routes/chat`.
    pub key: String,
    /// Its value.
    pub text: String,
    /// When it was written last.
    pub index: i64,
    /// Whether a session of Consul holds it, with which it may go.
    pub held: bool,
}

/// The pairs of an answer that concern the configuration.
///
/// # Errors
/// When the answer is not as documented, or too long.
pub fn pairs(body: &[u8], prefix: &str) -> Result<Vec<Pair>, AnswerFault> {
    let written: Vec<Written> = serde_json::from_slice(body)?;
    if written.len() > KEYS_MAX {
        return Err(AnswerFault::TooMany(KEYS_MAX));
    }
    let mut pairs = Vec::with_capacity(written.len());
    for one in written {
        let below = one.key.strip_prefix(prefix);
        let Some(key) = below.and_then(|key| key.strip_prefix('/')) else {
            continue;
        };
        // Consul's page writes folders as keys of their own.
        let folder = key.is_empty() || key.ends_with('/');
        if folder || APART.iter().any(|folder| key.starts_with(folder)) {
            continue;
        }
        let value = STANDARD.decode(one.value.as_deref().unwrap_or_default());
        let value = value.map_err(|_| AnswerFault::Form("a value is not base64".to_owned()))?;
        pairs.push(Pair {
            key: key.to_owned(),
            text: String::from_utf8_lossy(&value).into_owned(),
            index: i64::try_from(one.modify_index).unwrap_or(i64::MAX),
            held: one.session.is_some_and(|session| !session.is_empty()),
        });
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(value: &serde_json::Value) -> Result<Vec<Pair>, AnswerFault> {
        pairs(value.to_string().as_bytes(), "sessile")
    }

    #[test]
    fn keys_below_the_prefix_are_documents() {
        let pair = |key: &str, value: Option<&str>| {
            json!({ "LockIndex": 0, "Key": key, "Flags": 0, "Value": value, "CreateIndex": 3,
                    "ModifyIndex": 7 })
        };
        let mut held = pair("sessile/backends/chat/a", Some("e30="));
        held["Session"] = "adf4238a-882b-9ddc-4a9d-5b6758e4159e".into();
        let answer = json!([
            pair("sessile", None),
            pair("sessile/", None),
            pair("sessile/routes/", None),
            pair("sessile/routes/chat", Some("e30=")),
            held,
            pair("sessile/gateways/edge-1", Some("e30=")),
            pair("sessile/secrets/key", Some("e30=")),
            pair("sessile-other/routes/chat", Some("e30=")),
            pair("sessile/routes/bytes", Some("/w==")),
        ]);
        let found = read(&answer).expect("it is as documented");
        let found = found.iter();
        let found: Vec<_> = found
            .map(|one| (one.key.as_str(), one.text.as_str(), one.index, one.held))
            .collect();
        let expected = [
            ("routes/chat", "{}", 7, false),
            ("backends/chat/a", "{}", 7, true),
            ("routes/bytes", "\u{fffd}", 7, false),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_not_documented_is_no_answer() {
        let no_base64 = json!([{ "Key": "sessile/routes/a", "Value": "{}", "ModifyIndex": 1 }]);
        assert!(read(&no_base64).is_err());
        for odd in [
            json!({}),
            json!([1]),
            json!([{ "Key": "sessile/a" }]),
            json!(null),
        ] {
            assert!(read(&odd).is_err(), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn i12_no_answer_does_harm(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = pairs(&body, "sessile");
        }
    }
}
