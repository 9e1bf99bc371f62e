//! `[functions.<name>]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::value::{LongForm, SecretSource, Size, TextOr, Time};

/// What takes the place of a backend on routes with `function`: the gateway holds the sockets, and
/// each event of a session (connect, message, disconnect) is an HTTP request (see
/// docs/functions.md).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Function {
    /// Required. The form of the events and of the answers.
    pub dialect: Option<Dialect>,
    /// Where events go: `$connect`, `$disconnect`, `$default`, and keys of `routes` without a URL
    /// of their own. None: only `routes` has URLs. With `grip`: what stands before the path and the
    /// query of the client's request.
    pub url: Option<String>,
    /// Keys of messages that are events of their own, each with the URL of its function or with a
    /// table: `join = {}`, `"$connect" = "https://…"`, `echo = { reply = true }`. Messages with
    /// other keys are `$default`.
    pub routes: BTreeMap<String, TextOr<FunctionRoute>>,
    /// What the key of a message is: a value of its JSON object, `$request.body.action`. Messages
    /// without it are `$default`.
    pub route_key: String,
    /// Whether clients get what functions answer to messages, unless `routes` says otherwise.
    /// Functions that send by `/@connections/{id}` need no replies.
    pub reply: bool,
    /// The `stage` of events.
    pub stage: String,
    /// The `stageVariables` of the event `$connect`.
    pub stage_variables: BTreeMap<String, String>,
    /// With `cloudevents`: the hub of events. Default: the function's name.
    pub hub: Option<String>,
    /// With `cloudevents` and `grip`: who sends events, for `WebHook-Request-Origin`, which the
    /// function has to allow, and for the issuer of `Grip-Sig`. Default: the node's name.
    pub origin: Option<String>,
    /// With `cloudevents` and `grip`: keys that events are signed with (`ce-signature`,
    /// `Grip-Sig`). One that replaces another stands beside it for a while. `Grip-Sig` is of the
    /// first.
    pub secrets: Vec<SecretSource>,
    /// Roots for `https:` URLs. Default: the system's.
    pub ca: Option<String>,
    /// URLs may be `http:` although they are not on this machine.
    pub plain_http: bool,
    /// For a function to answer. The client of a message that is not answered is told so.
    pub timeout: Time,
    /// Events of this node that the function has at once; further ones wait for `queue_timeout`.
    pub in_flight_max: usize,
    /// How long an event waits for its turn. Then a handshake is refused with 503, and the session
    /// of a message is closed with 1013.
    pub queue_timeout: Time,
    /// Largest answer.
    pub response_bytes: Size,
    /// Signs requests for AWS (Signature Version 4), for a `url` of Lambda's Invoke API. Default:
    /// they are not signed.
    pub sign: Option<Sign>,
}

impl Default for Function {
    fn default() -> Self {
        Self {
            dialect: None,
            url: None,
            routes: BTreeMap::new(),
            route_key: "$request.body.action".to_owned(),
            reply: false,
            stage: "production".to_owned(),
            stage_variables: BTreeMap::new(),
            hub: None,
            origin: None,
            secrets: Vec::new(),
            ca: None,
            plain_http: false,
            timeout: Time::seconds(29),
            in_flight_max: 1_000,
            queue_timeout: Time::seconds(5),
            response_bytes: Size(1 << 20),
            sign: None,
        }
    }
}

/// The form of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Dialect {
    /// AWS API Gateway's WebSocket APIs with proxy integrations.
    Aws,
    /// Azure Web PubSub's event handlers: CloudEvents over HTTP.
    Cloudevents,
    /// Pushpin's WebSocket-over-HTTP, with GRIP's control messages.
    Grip,
}

/// A key of messages.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FunctionRoute {
    /// Where its events go. Default: the function's `url`.
    pub url: Option<String>,
    /// Whether clients get the answers. Default: the function's `reply`.
    pub reply: Option<bool>,
}

impl LongForm for FunctionRoute {
    const EXPECTED: &'static str = "a URL, or a table such as { reply = true }";
}

/// A key of AWS.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sign {
    /// Required. `eu-central-1`.
    pub region: Option<String>,
    /// The service that the signature is for. Default: `lambda`.
    pub service: Option<String>,
    /// Required. The name of the key.
    pub access_key_id: Option<String>,
    /// Required. The key: `{ file = "…" }`, `{ env = "…" }` or a literal.
    pub secret_access_key: Option<SecretSource>,
    /// The token of a temporary key.
    pub session_token: Option<SecretSource>,
}
