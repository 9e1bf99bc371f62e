//! What all events of a session have in common, in any dialect.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::names::FunctionName;

/// Largest context of an authorizer, as AWS has it, in bytes of its names and values.
const AUTHORIZER_MAX: usize = 8 << 10;

/// What all events of a session have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The session's id, by which `/@connections/{id}` finds it.
    pub id: Arc<str>,
    /// Which function has its events.
    pub function: FunctionName,
    /// The stage.
    pub stage: Arc<str>,
    /// The host that the client requested.
    pub domain_name: Arc<str>,
    /// Milliseconds from 1970 to its request.
    pub connected_at: u64,
    /// The client's address.
    pub source_ip: Arc<str>,
    /// Its `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Arc<str>>,
    /// Who the client is: `principalId`, and claims that are no lists or objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorizer: Option<Map<String, Value>>,
}

impl Connection {
    /// The context of an authorizer: the subject, and claims with one value each, up to 8 KiB. As
    /// in AWS it has no lists and objects.
    pub fn authorizer(subject: &str, claims: &Map<String, Value>) -> Map<String, Value> {
        let mut context = Map::new();
        context.insert("principalId".to_owned(), subject.into());
        let mut left = AUTHORIZER_MAX.saturating_sub(subject.len());
        for (name, value) in claims {
            let length = match value {
                Value::String(text) => text.len(),
                Value::Number(_) | Value::Bool(_) => 8,
                Value::Null | Value::Array(_) | Value::Object(_) => continue,
            };
            let length = name.len() + length;
            if length <= left && !context.contains_key(name) {
                left -= length;
                context.insert(name.clone(), value.clone());
            }
        }
        context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i8_the_context_of_an_authorizer_is_bounded() {
        let claims: Map<_, _> = (0..1000)
            .map(|number| (format!("claim{number}"), "x".repeat(100).into()))
            .chain([("long".to_owned(), "y".repeat(1 << 20).into())])
            .collect();
        let context = Connection::authorizer("ada", &claims);
        let bytes = serde_json::to_vec(&context).expect("JSON").len();
        assert!(bytes < 2 * AUTHORIZER_MAX, "{bytes}");
        assert!(context.len() > 50 && !context.contains_key("long"));
        // The subject is what the gateway has verified, whatever the claims are called.
        let claims = Map::from_iter([("principalId".to_owned(), "root".into())]);
        assert_eq!(Connection::authorizer("ada", &claims)["principalId"], "ada");
    }
}
