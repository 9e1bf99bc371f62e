//! What `POST /v1/resolve` takes and answers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A request to explain: a `url`, or `host` and `path`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    /// Such as `wss://chat.example.com/ws/7?k=1`.
    pub url: Option<String>,
    /// As in `Host`; goes before that of the URL.
    pub host: Option<String>,
    /// Path and query; `/` if neither this nor a URL is given.
    pub path: Option<String>,
    /// `GET` if not given.
    pub method: Option<String>,
    /// Further headers; a name with several values has a list.
    pub headers: BTreeMap<String, Values>,
    /// What the credential would say, `sub` among it. With claims the credential counts as good.
    pub claims: Map<String, Value>,
    /// The client's address; 127.0.0.1 if not given.
    pub client: Option<IpAddr>,
    /// Whether it is an upgrade to WebSocket; if not given, a GET is unless the URL begins with
    /// `http:` or `https:`.
    pub websocket: Option<bool>,
}

/// One value or several.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Values {
    /// The header once.
    One(String),
    /// The header several times, in this order.
    Many(Vec<String>),
}

/// Where the request would go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// As it was understood.
    pub request: RequestView,
    /// Every route, the most specific first.
    pub routes: Vec<ConsideredView>,
    /// The route that takes it; null if none does.
    pub route: Option<String>,
    /// What the route's path parameters are.
    pub parameters: BTreeMap<String, String>,
    /// The answer, if the route is a redirect.
    pub redirect: Option<RedirectView>,
    /// The answer, if the route does not let the request in; then there is no choice.
    pub refusal: Option<RefusalView>,
    /// Who the request is from, if its credential was judged and is good.
    pub principal: Option<String>,
    /// Path and query that the backend sees.
    pub target: Option<String>,
    /// The affinity key; null if the route has no source that is in the request.
    pub affinity: Option<AffinityView>,
    /// The choice of a backend; null if the route has no upstream.
    pub choice: Option<Choice>,
    /// What the data plane judges and was not judged here, in a sentence each.
    pub not_judged: Vec<String>,
    /// What else should be known.
    pub notes: Vec<String>,
}

/// The request, as it was understood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestView {
    /// In capitals.
    pub method: String,
    /// As in `Host`.
    pub host: String,
    /// With the query.
    pub path: String,
    /// Whether it is an upgrade to WebSocket.
    pub websocket: bool,
    /// The client's address.
    pub client: String,
}

/// What a request is to a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConsideredView {
    /// Its name.
    pub route: String,
    /// Whether it takes the request.
    pub matched: bool,
    /// Why it does not, or that it does.
    pub verdict: String,
}

/// An answer that sends the client elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RedirectView {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Null if the request names no host to build one from.
    pub location: Option<String>,
}

/// The bytes that decide the backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AffinityView {
    /// As text; an address for `client_address`.
    pub key: String,
    /// As in the configuration: `path:room`, `client_address`, …
    pub source: String,
    /// The request has no such cookie, so the gateway made the key up and would set it.
    pub issued: bool,
}

/// How a backend is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Choice {
    /// Whose backends.
    pub upstream: String,
    /// How.
    pub policy: String,
    /// So few are well that health is ignored.
    pub panicking: bool,
    /// In the order asked; the last one is taken, unless nobody may.
    pub walk: Vec<Step>,
    /// The id of the one taken; null if nobody may.
    pub backend: Option<String>,
}

/// A backend that was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Its id.
    pub backend: String,
    /// Where it is.
    pub address: String,
    /// `taken`, or why it was passed over: `unhealthy`, `ejected`, `draining`, `disabled`,
    /// `full`, `slow_start` or `over_bound`.
    pub verdict: String,
    /// The same for people.
    pub reason: String,
}

/// The answer to a request that no backend gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusalView {
    /// 400, 401, 403 or 405.
    pub status: u16,
    /// `connect`, `bad_target`, `bad_upgrade`, `address`, `origin`, `unauthenticated` or
    /// `forbidden`.
    pub reason: String,
    /// In words.
    pub detail: String,
}
