//! What `POST /v1/resolve` takes and answers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::admin::levels::LevelView;
use crate::core::state::StateKey;

/// A request to explain: a `url`, or `host` and `path`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    /// Such as `wss://chat.example.com/ws/7?k=1`.
    pub url: Option<String>,
    /// As in `Host`; takes precedence over the URL's host.
    pub host: Option<String>,
    /// Path and query; `/` without this and without a URL.
    pub path: Option<String>,
    /// `GET` by default.
    pub method: Option<String>,
    /// Further headers; a list for a name with several values.
    pub headers: BTreeMap<String, Values>,
    /// Claims of the credential, including `sub`. With claims the credential counts as valid.
    pub claims: Map<String, Value>,
    /// The client's address; 127.0.0.1 by default.
    pub client: Option<IpAddr>,
    /// Whether it is an upgrade to WebSocket. By default a GET is, unless the URL begins with
    /// `http:` or `https:`.
    pub websocket: Option<bool>,
    /// Ids of backends to leave out, as if they were gone.
    pub without: Vec<String>,
}

/// One value or several.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Values {
    /// The header occurs once.
    One(String),
    /// The header occurs several times, in this order.
    Many(Vec<String>),
}

/// Where the request would go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The request as parsed.
    pub request: RequestView,
    /// Every route, the most specific first.
    pub routes: Vec<ConsideredView>,
    /// The matching route; null if none matches.
    pub route: Option<String>,
    /// Values of the route's path parameters.
    pub parameters: BTreeMap<String, String>,
    /// The answer, if the route is a redirect.
    pub redirect: Option<RedirectView>,
    /// The answer, if the request is refused; then there is no choice.
    pub refusal: Option<RefusalView>,
    /// The principal, if a credential was checked and is valid.
    pub principal: Option<String>,
    /// Path and query that the backend receives.
    pub target: Option<String>,
    /// The affinity key; null if the request has none of the route's sources.
    pub affinity: Option<AffinityView>,
    /// The choice of a backend; null if the route has no upstream.
    pub choice: Option<Choice>,
    /// Checks of the data plane that were skipped here, a sentence each.
    pub not_checked: Vec<String>,
    /// Remarks.
    pub notes: Vec<String>,
    /// The sticky key, whose backend the fleet may keep, and for how long without sessions.
    #[serde(skip)]
    pub(super) of_fleet: Option<(StateKey, Duration)>,
}

/// The request as parsed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestView {
    /// In upper case.
    pub method: String,
    /// As in `Host`.
    pub host: String,
    /// Including the query.
    pub path: String,
    /// Whether it is an upgrade to WebSocket.
    pub websocket: bool,
    /// The client's address.
    pub client: String,
}

/// A route that was considered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConsideredView {
    /// Its name.
    pub route: String,
    /// Whether it matches.
    pub matched: bool,
    /// Why it does not match, or that it does.
    pub verdict: String,
}

/// A redirect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RedirectView {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Null if the request has no host to build a location from.
    pub location: Option<String>,
}

/// The bytes that decide the backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AffinityView {
    /// As text; the client's address for `client_address`.
    pub key: String,
    /// As in the configuration: `path:room`, `client_address`, …
    pub source: String,
    /// The request lacks the cookie, so the gateway would generate a key and set the cookie.
    pub issued: bool,
}

/// How a backend is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Choice {
    /// The upstream.
    pub upstream: String,
    /// Its policy.
    pub policy: String,
    /// So many backends are unhealthy that health is ignored.
    pub panicking: bool,
    /// The levels of the upstream, by preference, and what each did with the request; empty if
    /// there is one level.
    #[serde(default)]
    pub levels: Vec<LevelStep>,
    /// In the order of the walk; the last backend is taken, unless none is eligible.
    pub walk: Vec<Step>,
    /// The id of the chosen backend; null if none is eligible.
    pub backend: Option<String>,
}

/// A level in the walk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LevelStep {
    /// The level as it is now.
    #[serde(flatten)]
    pub level: LevelView,
    /// `taken`; `passed_on` (too few of its backends are well, and this key is among those that go
    /// on); `exhausted` (none of its backends may take it); `not_reached`.
    pub verdict: String,
    /// The verdict in words.
    pub reason: String,
}

/// A backend in the walk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Its id.
    pub backend: String,
    /// Its address.
    pub address: String,
    /// Its zone.
    #[serde(default)]
    pub zone: Option<String>,
    /// Its priority.
    #[serde(default)]
    pub priority: u8,
    /// `taken`, or why it was passed over: `unhealthy`, `ejected`, `draining`, `disabled`,
    /// `full`, `slow_start` or `over_bound`.
    pub verdict: String,
    /// The verdict in words.
    pub reason: String,
}

/// The answer to a request that is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusalView {
    /// 400, 401, 403, 405 or 426.
    pub status: u16,
    /// `connect`, `bad_target`, `bad_upgrade`, `address`, `origin`, `credential_…`, `forbidden`
    /// `only_sessions` or `not_get`.
    pub reason: String,
    /// The reason in words.
    pub detail: String,
}
