//! `[[routes]]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::limits::Priority;
use crate::config::model::auth::{Expiry, RejectWith};
use crate::config::model::cache::Cache;
use crate::config::model::limits::{NetworksFile, RouteLimits};
use crate::config::model::publish::{GroupFrom, MessageQueue, Presence, PublishTo, Sse, Subscribe};
use crate::config::model::static_files::StaticFiles;
use crate::config::model::text_match::TextMatch;
use crate::config::model::value::{LongForm, Size, TextOr, Time, TimeOrOff};
use crate::config::snapshot::Scheme;

/// Which requests, and where they go. Every condition that is given must hold.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    /// Required. Shown in metrics and records.
    pub name: Option<String>,
    /// Condition: host names, `chat.example.com` or `*.example.com`. None: any host.
    pub hosts: Vec<String>,
    /// Condition: `/exact/path`, `{name}` for one segment, `{*rest}` for all that is left.
    pub path: String,
    /// How the backend reads spellings of a path that other servers read as other paths. Default:
    /// they are refused (see docs/routing.md, "One form of every path").
    pub paths: Option<Paths>,
    /// Condition: `"https"` for clients that use TLS (`wss` too), `"http"` for those that do not.
    /// Behind a trusted proxy its `X-Forwarded-Proto` counts. None: either.
    pub scheme: Option<Scheme>,
    /// Condition: methods. None: any. A WebSocket handshake is a `GET`.
    pub methods: Vec<String>,
    /// Condition: headers, each `"exact value"`, `{ prefix = "…" }`, `true` (present) or `false`
    /// (absent).
    pub headers: BTreeMap<String, TextMatch>,
    /// Condition: query parameters, written like `headers`.
    pub query: BTreeMap<String, TextMatch>,
    /// Condition: the client offers one of these subprotocols. None: no matter.
    pub subprotocols: Vec<String>,
    /// Among routes with the same host and path: those with a greater number are tried first,
    /// before their conditions are compared.
    pub precedence: i64,
    /// Required, or `function`, `redirect` or `static`. Name of the upstream that requests go to;
    /// `"broker"` for a route without a backend, whose clients' messages are published as `publish`
    /// names it.
    pub upstream: Option<String>,
    /// Required, or `upstream`, `redirect` or `static`. Name of the function that takes the place
    /// of a backend.
    pub function: Option<String>,
    /// Required, or `upstream`, `function` or `static`. A static redirect.
    pub redirect: Option<Redirect>,
    /// Required, or `upstream`, `function` or `redirect`. Files of a directory are the answer.
    #[serde(rename = "static")]
    pub static_files: Option<StaticFiles>,
    /// Keeps responses to ordinary requests in memory: `{}` is enough. Only what a backend declares
    /// to be fresh for all (`Cache-Control: max-age=60`). Default: nothing is kept.
    pub cache: Option<Cache>,
    /// Changes of the request line.
    pub rewrite: Rewrite,
    /// Changes of the headers that the backend sees.
    pub request_headers: HeaderEdits,
    /// Names of the authenticators, in this order: the first one whose credential is present
    /// decides. None: every client is admitted.
    pub authenticate: Vec<String>,
    /// Conditions on the principal, which must all hold: `"path:room in claim:rooms"`,
    /// `"claim:scope contains chat"`, `"claim:role == admin or claim:role == owner"`.
    pub authorize: Vec<String>,
    /// Claims for the backend, by header: `{ x-user-name = "claim:name" }`. The subject is always
    /// sent, in `Sessile-Subject`.
    pub claim_headers: BTreeMap<String, String>,
    /// How a WebSocket is refused: `status` with an HTTP status, which scripts in browsers cannot
    /// see; `close` accepts it, then closes it with code and reason.
    pub reject_with: RejectWith,
    /// A path at which the gateway itself extends sessions of this route: a `POST` of it with a new
    /// credential, and `?session=ID` for one session instead of all of the same subject. Pages that
    /// `origins` allows may ask, also from another origin (CORS).
    pub renew: Option<String>,
    /// What happens when the right to a session ends: it is closed with 3000.
    pub expiry: Expiry,
    /// Pages that may open sessions, by their `Origin`: `https://chat.example.com`,
    /// `https://*.example.com` (any number of labels), `same` (the host of the request), or `*` for
    /// no check. `null` is never allowed. Default: `same` if an authenticator's credential is one
    /// that browsers send by themselves (a cookie, `basic`, `mtls`, `forward`), else `*`.
    pub origins: Vec<String>,
    /// Whether a session needs an `Origin`. Programs that are no browsers often send none.
    pub origin_required: bool,
    /// Client addresses that may use the route: networks, addresses, `{ file = "…" }` for long
    /// lists. Of all networks that contain an address the longest prefix decides, and `deny`
    /// between equals. None: all that are not denied. Others are answered 403.
    pub allow: Vec<TextOr<NetworksFile>>,
    /// Client addresses that may not.
    pub deny: Vec<TextOr<NetworksFile>>,
    /// `low`, `normal` or `high`: near `sessions_max`, `handshakes_max` or `memory_max`, `low` is
    /// refused from four fifths on, and `normal` from nine tenths on if there are routes with
    /// `high`.
    pub priority: Priority,
    /// Sources of the affinity key; the first present one is used. `claim:NAME`, `path:NAME`,
    /// `query:NAME`, `cookie:NAME`, `header:NAME`, `client_address`, and last `{ issue_cookie =
    /// "NAME" }`. None: every request is placed independently.
    pub affinity: Vec<TextOr<IssueCookie>>,
    /// `live`: while an affinity key has a live session on this gateway, its further sessions go to
    /// the same backend, even if members have changed meanwhile. `off`: each is placed
    /// independently.
    pub stick: Stick,
    /// How long a key that sticks keeps its backend after its last session has ended, so that a
    /// client that comes back, or a policy without keys such as `least_sessions`, stays there.
    pub stick_for: Time,
    /// What `limits` on sessions and handshakes, and `stick`, hold over: `fleet` (all gateways that
    /// share the store of `[state]`) or `node` (each gateway alone). Default: `fleet` where there
    /// is a store.
    pub scope: Option<RouteScope>,
    /// Groups that sessions of this route join, each by a source as in `affinity`: `"path:room"`,
    /// `"claim:team"` (a list of names joins all of them), or `{ from = "path:room", prefix =
    /// "room-" }`. A value that is absent, or no name of a group, joins none. A backend adds groups
    /// by the header `Sessile-Groups` of its 101.
    pub groups: Vec<TextOr<GroupFrom>>,
    /// What sessions are described by in their groups.
    pub presence: Presence,
    /// Messages of other services at the broker that sessions of this route get.
    pub subscribe: Vec<Subscribe>,
    /// With `upstream = "broker"`: where messages of clients go, `"nats:in.{room}"`, a name as in
    /// `subscribe`. Each has session, route, principal and groups of its sender as headers.
    pub publish: Option<TextOr<PublishTo>>,
    /// Published messages that wait for a slow client.
    pub message_queue: MessageQueue,
    /// Clients that only listen: a `GET` with `Accept: text/event-stream` gets the messages that
    /// are published to its groups as server-sent events, and no backend. `{}` is enough. None:
    /// such a request goes to a backend as any other.
    pub sse: Option<Sse>,
    /// Whether operators who may change something also see the payload of messages when they watch
    /// a session (`sessile tap --payload`). Otherwise they see frame headers only.
    pub tap_payload: bool,
    /// Bounds on what clients send in a session.
    pub limits: RouteLimits,
    /// Bounds in time.
    pub timeouts: RouteTimeouts,
    /// Close codes that the route chooses: 1000 to 1003, 1007 to 1013 or 3000 to 4999, which are
    /// those that browsers accept.
    pub close_codes: CloseCodes,
    /// What happens to a live session whose backend is lost: `close` ends it, `reconnect` repeats
    /// the handshake with the next backend while the client's connection stays open (see
    /// docs/operations.md, "Sessions that outlive their backend").
    pub on_backend_loss: OnBackendLoss,
    /// With `on_backend_loss = "reconnect"`: bounds on reconnecting.
    pub reconnect: Reconnect,
    /// Pings of the gateway's own. Default: none.
    pub keepalive: Option<Keepalive>,
    /// What happens to live sessions when the route is removed: `keep` leaves them, `close` closes
    /// them with 1012.
    pub on_removal: OnRemoval,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            name: None,
            hosts: Vec::new(),
            path: "/{*rest}".to_owned(),
            paths: None,
            scheme: None,
            methods: Vec::new(),
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            subprotocols: Vec::new(),
            precedence: 0,
            upstream: None,
            function: None,
            redirect: None,
            static_files: None,
            cache: None,
            rewrite: Rewrite::default(),
            request_headers: HeaderEdits::default(),
            authenticate: Vec::new(),
            authorize: Vec::new(),
            claim_headers: BTreeMap::new(),
            reject_with: RejectWith::default(),
            renew: None,
            expiry: Expiry::default(),
            origins: Vec::new(),
            origin_required: false,
            allow: Vec::new(),
            deny: Vec::new(),
            priority: Priority::Normal,
            affinity: Vec::new(),
            stick: Stick::Off,
            stick_for: Time::seconds(0),
            scope: None,
            groups: Vec::new(),
            presence: Presence::default(),
            subscribe: Vec::new(),
            publish: None,
            message_queue: MessageQueue::default(),
            sse: None,
            tap_payload: false,
            limits: RouteLimits::default(),
            timeouts: RouteTimeouts::default(),
            close_codes: CloseCodes::default(),
            on_backend_loss: OnBackendLoss::Close,
            reconnect: Reconnect::default(),
            keepalive: None,
            on_removal: OnRemoval::Keep,
        }
    }
}

/// How a route's backend reads paths.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Paths {
    /// `%2F`, `\\` and `%5C`: `refuse` with 400, or `pass` to a backend that takes them for data.
    pub encoded_slash: Spelling,
    /// `;` and `%3B`: `refuse` with 400, or `pass` to a backend that has no path parameters.
    pub semicolon: Spelling,
    /// `//`: `merge` into one slash, or `pass` to a backend that does not merge them itself.
    pub empty_segments: EmptySegments,
    /// A path that differs only by case, a trailing slash, or dots and spaces at the end of a
    /// segment from one that is guarded differently: `refuse` with 400, or `pass` to a backend that
    /// distinguishes them.
    pub lookalikes: Spelling,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            encoded_slash: Spelling::Refuse,
            semicolon: Spelling::Refuse,
            empty_segments: EmptySegments::Merge,
            lookalikes: Spelling::Refuse,
        }
    }
}

/// What becomes of a spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Spelling {
    /// It is answered with 400.
    Refuse,
    /// The backend gets it.
    Pass,
}

/// What becomes of empty segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum EmptySegments {
    /// They are left out.
    Merge,
    /// The backend gets them.
    Pass,
}

/// A static redirect. What is not given is the request's own; one of the first three must be.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Redirect {
    /// `https`, `http`, `wss` or `ws`.
    pub scheme: Option<String>,
    /// Host, with a port if it is not the scheme's.
    pub host: Option<String>,
    /// Path, in which `{name}` is the route's path parameter.
    pub path: Option<String>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            scheme: None,
            host: None,
            path: None,
            status: 308,
        }
    }
}

/// Changes of the request line.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rewrite {
    /// Taken off the front of the path, where the path has it. Not together with `path`.
    pub strip_prefix: Option<String>,
    /// The new path, in which `{name}` is the route's path parameter.
    pub path: Option<String>,
    /// The new `Host`. Default: the client's.
    pub host: Option<String>,
}

/// Changes of headers, applied in the order remove, set, add.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderEdits {
    /// Names that the backend does not see.
    pub remove: Vec<String>,
    /// In place of what the client sent.
    pub set: BTreeMap<String, String>,
    /// Beside what the client sent.
    pub add: BTreeMap<String, String>,
}

/// Bounds in time.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteTimeouts {
    /// From the request to the backend's 101, every attempt included.
    pub handshake: Time,
    /// For one backend to answer an upgrade; then the next one is tried, if there is one. `"off"`:
    /// one backend may take all of `handshake`. Only for routes whose backends may get an upgrade
    /// that another one has received before, since a silent backend may have acted on it.
    pub attempt: TimeOrOff,
    /// A session, or the body of an ordinary response, without a byte in either direction, or
    /// `"off"`.
    pub idle: TimeOrOff,
    /// Longest life of a session, or `"off"`.
    pub lifetime: TimeOrOff,
    /// How long nothing may move between a close frame and the end of the connections.
    pub close: Time,
    /// Ordinary HTTP: from the request's last byte to the response's head.
    pub response: Time,
    /// Ordinary HTTP: how long a peer may take no byte that waits for it, or the client send none
    /// of a body that it has begun.
    pub progress: Time,
}

impl Default for RouteTimeouts {
    fn default() -> Self {
        Self {
            handshake: Time::seconds(10),
            attempt: TimeOrOff(None),
            idle: TimeOrOff::seconds(10 * 60),
            lifetime: TimeOrOff(None),
            close: Time::seconds(5),
            response: Time::seconds(60),
            progress: Time::seconds(30),
        }
    }
}

/// Close codes that a route chooses.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CloseCodes {
    /// For the client when its backend is lost.
    pub backend_lost: u16,
}

impl Default for CloseCodes {
    fn default() -> Self {
        Self { backend_lost: 1011 }
    }
}

/// What happens to a session whose backend is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum OnBackendLoss {
    /// It is closed with `close_codes.backend_lost`.
    Close,
    /// It reconnects to the next backend.
    Reconnect,
}

/// Bounds on reconnecting a session.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reconnect {
    /// From the loss to the next backend's 101; after that the session is closed.
    pub timeout: Time,
    /// Bytes that are held back of what the client sends meanwhile; then it is not read.
    pub buffer_bytes: Size,
    /// Handshakes tried for one loss, at most.
    pub attempts: u32,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            timeout: Time::seconds(10),
            buffer_bytes: Size(256 << 10),
            attempts: 20,
        }
    }
}

/// Pings of the gateway's own, for a side that has been silent. Their pongs are not passed on.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keepalive {
    /// Silence of a side after which it is pinged, at least 100 ms.
    pub interval: Time,
    /// From the ping to the answer, or anything else from that side; then it counts as lost.
    pub timeout: Time,
    /// Who is pinged: `client`, `backend` or `both`.
    pub to: KeepaliveTo,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            interval: Time::seconds(30),
            timeout: Time::seconds(10),
            to: KeepaliveTo::Client,
        }
    }
}

/// Who is pinged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum KeepaliveTo {
    /// Clients.
    Client,
    /// Backends.
    Backend,
    /// Both.
    Both,
}

/// Whether sessions of a key keep together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Stick {
    /// Each is placed independently.
    Off,
    /// Where the key has a live session.
    Live,
}

/// What the limits of a route, and `stick`, hold over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum RouteScope {
    /// All gateways that share a store.
    Fleet,
    /// This gateway.
    Node,
}

/// What happens to sessions of a removed route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum OnRemoval {
    /// They live on.
    Keep,
    /// They are closed with 1012.
    Close,
}

/// A cookie that the gateway reads, and sets where a client has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IssueCookie {
    /// Required. Name of the cookie.
    pub issue_cookie: Option<String>,
}

impl LongForm for IssueCookie {
    const EXPECTED: &'static str = "a source such as \"path:room\", or { issue_cookie = \"…\" }";
}
