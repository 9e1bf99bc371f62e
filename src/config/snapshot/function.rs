//! `[functions.<name>]`, checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::names::FunctionName;
use crate::base::secret::Secret;
use crate::config::route_key::RouteKeyPath;

pub use crate::config::model::Dialect;

/// What takes the place of a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Its key.
    pub name: FunctionName,
    /// The form of events.
    pub dialect: Dialect,
    /// Where events go that `routes` has no URL for.
    pub url: Option<Arc<str>>,
    /// Keys of messages.
    pub routes: BTreeMap<String, FunctionRoute>,
    /// Where the key of a message is.
    pub route_key: RouteKeyPath,
    /// Whether clients get answers. Default no.
    pub reply: bool,
    /// The `stage` of events. Default `production`.
    pub stage: Arc<str>,
    /// The `stageVariables` of the event `$connect`.
    pub stage_variables: BTreeMap<String, String>,
    /// The hub of CloudEvents. Default: the function's name.
    pub hub: Arc<str>,
    /// Who sends events of CloudEvents and of GRIP. Default: the node's name.
    pub origin: Arc<str>,
    /// Keys that events of CloudEvents and of GRIP are signed with.
    pub secrets: Vec<Secret>,
    /// The file with the roots, and a digest of it.
    pub ca: Option<(PathBuf, u128)>,
    /// For an answer. Default 29 s, as AWS has it.
    pub timeout: Duration,
    /// Events at once. Default 1000.
    pub in_flight_max: usize,
    /// For a turn. Default 5 s.
    pub queue_timeout: Duration,
    /// Largest answer. Default 1 MiB.
    pub response_bytes: usize,
    /// Signs requests for AWS.
    pub sign: Option<Sign>,
}

/// A key of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRoute {
    /// Where its events go.
    pub url: Option<Arc<str>>,
    /// Whether clients get answers.
    pub reply: bool,
}

/// A key of AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    /// Where the service is.
    pub region: String,
    /// Which service. Default `lambda`.
    pub service: String,
    /// The name of the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: Secret,
    /// The token of a temporary key.
    pub session_token: Option<Secret>,
}

/// The event of a session that begins.
pub const CONNECT: &str = "$connect";
/// The event of a session that has ended.
pub const DISCONNECT: &str = "$disconnect";
/// The event of messages that have no other key.
pub const DEFAULT: &str = "$default";

impl Function {
    /// What its URL and its `reply` are for a key; `None` where no function takes it.
    pub fn route(&self, key: &str) -> Option<(&Arc<str>, bool)> {
        let own = self.routes.get(key);
        let reply = own.map_or(self.reply, |own| own.reply);
        let is_known = own.is_some() || [CONNECT, DISCONNECT, DEFAULT].contains(&key);
        let url = own.and_then(|own| own.url.as_ref()).or(self.url.as_ref());
        url.filter(|_| is_known).map(|url| (url, reply))
    }

    /// The event of a message with this key: `$default` unless the key is one of `routes`.
    pub fn key_of_message<'k>(&self, key: Option<&'k str>) -> &'k str {
        // A client does not choose the events of the gateway itself.
        let chosen = key.filter(|key| !key.starts_with('$') && self.routes.contains_key(*key));
        chosen.unwrap_or(DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(url: Option<&str>, keys: &[(&str, Option<&str>)]) -> Function {
        let route = |url: &Option<&str>| FunctionRoute {
            url: url.map(Into::into),
            reply: true,
        };
        let routes = keys
            .iter()
            .map(|(key, url)| ((*key).to_owned(), route(url)));
        Function {
            name: "chat".into(),
            dialect: Dialect::Aws,
            url: url.map(Into::into),
            routes: routes.collect(),
            route_key: RouteKeyPath::parse("$request.body.action").expect("a path"),
            reply: false,
            stage: "production".into(),
            stage_variables: BTreeMap::new(),
            hub: "chat".into(),
            origin: "edge".into(),
            secrets: Vec::new(),
            ca: None,
            timeout: Duration::from_secs(29),
            in_flight_max: 1,
            queue_timeout: Duration::ZERO,
            response_bytes: 1,
            sign: None,
        }
    }

    #[test]
    fn an_event_goes_where_its_key_or_the_function_says() {
        let chat = function(Some("a"), &[("join", Some("b")), ("leave", None)]);
        let route = |key| chat.route(key).map(|(url, reply)| (&**url, reply));
        assert_eq!(route("join"), Some(("b", true)));
        assert_eq!(route("leave"), Some(("a", true)));
        assert_eq!(route(DEFAULT), Some(("a", false)));
        assert_eq!(route(CONNECT), Some(("a", false)));
        assert_eq!(route("unknown"), None);
        let only = function(None, &[("join", Some("b"))]);
        assert!(only.route("join").is_some() && only.route(DEFAULT).is_none());
    }

    /// Whatever a client sends, and whatever has a URL of its own.
    #[test]
    fn i13_only_keys_of_messages_are_keys_of_messages() {
        let keys = [(CONNECT, Some("b")), (DISCONNECT, None), ("join", None)];
        let chat = function(Some("a"), &keys);
        for key in [CONNECT, DISCONNECT, DEFAULT, "unknown", ""] {
            assert_eq!(chat.key_of_message(Some(key)), DEFAULT, "{key}");
        }
        assert_eq!(chat.key_of_message(None), DEFAULT);
        assert_eq!(chat.key_of_message(Some("join")), "join");
    }
}
