//! Where would this request go, and why: every route with its verdict, the affinity key and where
//! it came from, the walk along the backends with the reason each was passed over. The same code
//! that routes traffic is asked, so the explanation cannot drift from it. `sessile resolve` calls
//! this too, with a table of its own.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::admin::Gateway;
use crate::admin::extract::Body;
use crate::admin::problem::Problem;
use crate::admin::upstreams::policy_word;
use crate::base::clock;
use crate::base::host;
use crate::base::names::ListenerName;
use crate::base::path::{CanonicalPath, PathFault};
use crate::config::limits::Quotas;
use crate::config::snapshot::{AffinitySource, Policy};
use crate::core::auth::{Claims, Revocations};
use crate::core::balance::Passed;
use crate::core::routing::affinity::{self, Key};
use crate::core::routing::{
    Action, Matched, Request, Route, RoutingTable, Upstream, Verdict, rewrite,
};
use crate::core::session::stick::{Sticks, StickyKey};
use crate::live::Edge;

mod judge;

pub use judge::RefusalView;
use judge::judge;

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

/// The client that is meant if none is given.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

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

/// The request to explain is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Not a URL.
    #[error("`{0}` is no URL; write `wss://chat.example.com/ws/7` or only `/ws/7`")]
    Url(String),
    /// Not a scheme that a client of the gateway uses.
    #[error("`{0}` is not reached through a gateway; a URL begins with ws:, wss:, http: or https:")]
    Scheme(String),
    /// Not a path.
    #[error("`{0}` is no path; it begins with `/`")]
    Path(String),
    /// Not a host.
    #[error("`{0}` is no host, so the request is answered 400")]
    Host(String),
    /// Not a method.
    #[error("`{0}` is no method")]
    Method(String),
    /// Not a header.
    #[error("`{0}` is no header, or its value has characters that no header may have")]
    Header(String),
}

pub(super) async fn resolve(
    State(gateway): State<Arc<Gateway>>,
    Body(asked): Body<Asked>,
) -> Result<Json<Explanation>, Problem> {
    let table = gateway.live.table_arc();
    let moment = Moment {
        sticks: Some(gateway.live.sticks()),
        revocations: Some(&gateway.live.revocations),
        now: clock::now(),
    };
    let explanation = explain_at(&table, &asked, moment).map(|mut explanation| {
        let names = gateway.listeners.iter().map(|one| &*one.name);
        let closed = closed(&gateway.live.edge(), names, asked.client);
        explanation.notes.extend(closed);
        explanation
    });
    explanation
        .map(Json)
        .map_err(|error| Problem::bad_request(error.to_string()))
}

/// Where a request would go by this table.
///
/// # Errors
/// When what is asked is not a request.
pub fn explain(table: &RoutingTable, asked: &Asked, now: Instant) -> Result<Explanation, AskError> {
    let moment = Moment {
        sticks: None,
        revocations: None,
        now,
    };
    explain_at(table, asked, moment)
}

/// When it is asked, and what lives then.
#[derive(Clone, Copy)]
struct Moment<'s> {
    sticks: Option<&'s Sticks>,
    revocations: Option<&'s Revocations>,
    now: Instant,
}

/// Whether anything is limited.
fn limited(quotas: &Quotas) -> bool {
    let unlimited = Quotas {
        burst: quotas.burst,
        over: quotas.over,
        ..Quotas::default()
    };
    *quotas != unlimited
}

/// Listeners that do not take connections of this client.
fn closed<'l>(
    edge: &Edge,
    listeners: impl Iterator<Item = &'l str>,
    client: Option<IpAddr>,
) -> Option<String> {
    let client = client.unwrap_or(LOCAL);
    let closed = listeners.filter(|name| !edge.admits(&ListenerName::from(*name), client));
    let closed: Vec<_> = closed.map(|name| format!("`{name}`")).collect();
    let names = closed.join(", ");
    (!closed.is_empty()).then(|| format!("the client's address may not connect to {names}"))
}

fn explain_at(
    table: &RoutingTable,
    asked: &Asked,
    moment: Moment<'_>,
) -> Result<Explanation, AskError> {
    let parts = Parts::new(asked)?;
    let mut explanation = Explanation {
        request: parts.view(),
        routes: Vec::new(),
        route: None,
        parameters: BTreeMap::new(),
        redirect: None,
        refusal: None,
        principal: None,
        not_judged: Vec::new(),
        target: None,
        affinity: None,
        choice: None,
        notes: Vec::new(),
    };
    let path = match &parts.path {
        Ok(path) => path,
        Err(fault) => {
            let note = format!("{fault}: it is answered 400, whatever the routes are");
            explanation.notes.push(note);
            return Ok(explanation);
        }
    };
    let request = parts.request(path.as_str());
    let routes = table
        .explain(&request)
        .into_iter()
        .map(|considered| ConsideredView {
            route: considered.route.name().to_string(),
            matched: considered.verdict == Verdict::Matched,
            verdict: considered.verdict.to_string(),
        });
    explanation.routes = routes.collect();
    match table.choose(&request, path) {
        Ok(Some(matched)) => {
            let path = path.forwarded(matched.route.config.paths);
            follow(&mut explanation, table, (&parts, path), &matched, moment);
        }
        Ok(None) => explanation
            .notes
            .push("no route takes the request: it is answered 404".to_owned()),
        Err(fault) => {
            let note = format!("{fault}: it is answered 400");
            explanation.notes.push(note);
        }
    }
    Ok(explanation)
}

/// From the route on.
fn follow<'p>(
    explanation: &mut Explanation,
    table: &RoutingTable,
    (parts, path): (&'p Parts, &'p str),
    matched: &Matched<'p, 'p>,
    moment: Moment<'_>,
) {
    let route = &**matched.route;
    let request = parts.request(path);
    let parameters = &matched.parameters;
    explanation.route = Some(route.name().to_string());
    let pairs = parameters
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    explanation.parameters = pairs.collect();
    match table.action(route) {
        Action::Redirect(redirect) => {
            let location = rewrite::location(redirect, &request, parts.tls, parameters);
            let text = |value: HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            explanation.redirect = Some(RedirectView {
                status: redirect.status,
                location: location.map(text),
            });
        }
        Action::Forward(upstream) => {
            let judged = judge((parts, path), matched, moment.revocations);
            explanation.principal = judged.principal;
            explanation.not_judged = judged.not_judged;
            if limited(&route.config.quotas) {
                let quotas = "limits on numbers and rates depend on what else comes";
                explanation.not_judged.push(quotas.to_owned());
            }
            if judged.refusal.is_some() {
                explanation.refusal = judged.refusal;
                return;
            }
            let target = rewrite::target(&route.config.rewrite, &request, parameters);
            explanation.target = Some(target.unwrap_or_else(|| parts.target(path)));
            let random = fastrand::u128(..);
            let sources = &route.config.affinity;
            let client = parts.client;
            let claims = Some(&judged.claims);
            #[expect(
                clippy::map_identity,
                reason = "shortens lifetimes: the key borrows the claims too, which live less long"
            )]
            let shorter = parameters
                .iter()
                .map(|(name, value)| (name, value))
                .collect();
            let key = affinity::key(sources, &request, &shorter, client, claims, random);
            explanation
                .notes
                .extend(note(route, upstream.config.policy, key.as_ref()));
            let bytes = key.as_ref().map(|key| &*key.bytes);
            let sticky = bytes.filter(|_| route.config.stick);
            let stuck = sticky.and_then(|key| stuck(upstream, key, parts.websocket, moment));
            let choice = stuck.unwrap_or_else(|| choose(upstream, bytes, moment.now));
            explanation.choice = Some(choice);
            explanation.affinity = key.map(|key| affinity_view(&key, parts.client));
        }
    }
}

/// The choice of a key that sticks to its live session.
fn stuck(upstream: &Upstream, key: &[u8], session: bool, moment: Moment<'_>) -> Option<Choice> {
    let places = moment.sticks?.places(StickyKey::new(upstream.name(), key));
    let indexes = places.iter().filter_map(|id| upstream.index_of(id));
    let mut may = indexes.filter(|index| upstream.may_take(*index, &[], moment.now, session));
    let member = &upstream.members[may.next()?];
    Some(Choice {
        upstream: upstream.name().to_string(),
        policy: policy_word(upstream.config.policy).to_owned(),
        panicking: upstream.panicking(moment.now),
        backend: Some(member.id.to_string()),
        walk: vec![Step {
            backend: member.id.to_string(),
            address: member.address.to_string(),
            verdict: "taken".to_owned(),
            reason: "sticks to its live session".to_owned(),
        }],
    })
}

fn choose(upstream: &Upstream, key: Option<&[u8]>, now: Instant) -> Choice {
    let walk = upstream.explain(key, now, fastrand::u64(..));
    let step = |index: usize, verdict: Result<(), Passed>| {
        let member = &upstream.members[index];
        let (verdict, reason) = match verdict {
            Ok(()) => ("taken", "takes the request".to_owned()),
            Err(passed) => (passed.as_str(), passed.to_string()),
        };
        Step {
            backend: member.id.to_string(),
            address: member.address.to_string(),
            verdict: verdict.to_owned(),
            reason,
        }
    };
    let taken = walk
        .candidates
        .iter()
        .find(|candidate| candidate.verdict.is_ok());
    Choice {
        upstream: upstream.name().to_string(),
        policy: policy_word(upstream.config.policy).to_owned(),
        panicking: walk.panicking,
        backend: taken.map(|candidate| upstream.members[candidate.index].id.to_string()),
        walk: walk
            .candidates
            .iter()
            .map(|candidate| step(candidate.index, candidate.verdict))
            .collect(),
    }
}

/// What the walk alone does not tell.
fn note(route: &Route, policy: Policy, key: Option<&Key<'_>>) -> Option<String> {
    let hashes = matches!(
        policy,
        Policy::ConsistentHash | Policy::Rendezvous | Policy::Maglev
    );
    let note = match key {
        _ if !hashes => {
            let policy = policy_word(policy);
            format!("{policy} does not look at a key: the next request may go elsewhere")
        }
        Some(key) if key.issue.is_some() => {
            "the request has no affinity cookie: a new one is made, and with it the place; the \
             next request without it may go elsewhere"
                .to_owned()
        }
        Some(_) => return None,
        None if route.config.affinity.is_empty() => {
            "the route has no affinity: each request is placed at random".to_owned()
        }
        None => {
            "the request has no source of the route's affinity: it is placed at random".to_owned()
        }
    };
    Some(note)
}

fn affinity_view(key: &Key<'_>, client: IpAddr) -> AffinityView {
    AffinityView {
        key: match key.source {
            AffinitySource::ClientAddress => client.to_string(),
            _ => String::from_utf8_lossy(&key.bytes).into_owned(),
        },
        source: source_text(key.source),
        issued: key.issue.is_some(),
    }
}

/// As an operator writes it.
pub(super) fn source_text(source: &AffinitySource) -> String {
    match source {
        AffinitySource::Claim(claim) => format!("claim:{}", claim.0),
        AffinitySource::Path(name) => format!("path:{name}"),
        AffinitySource::Query(name) => format!("query:{name}"),
        AffinitySource::Cookie(name) => format!("cookie:{name}"),
        AffinitySource::Header(name) => format!("header:{name}"),
        AffinitySource::ClientAddress => "client_address".to_owned(),
        AffinitySource::IssueCookie(name) => format!("issue_cookie:{name}"),
    }
}

/// A request that nobody sent.
struct Parts {
    method: Method,
    host: String,
    /// As it was asked.
    raw: String,
    path: Result<CanonicalPath, PathFault>,
    query: Option<String>,
    headers: HeaderMap,
    websocket: bool,
    tls: bool,
    claims: Claims,
    client: IpAddr,
}

impl Parts {
    fn new(asked: &Asked) -> Result<Self, AskError> {
        let url = asked.url.as_deref().unwrap_or("/");
        let uri = if url.starts_with('/') || url.contains("://") {
            url.parse::<Uri>()
        } else {
            format!("ws://{url}").parse()
        };
        let uri = uri.map_err(|_| AskError::Url(url.to_owned()))?;
        if !matches!(
            uri.scheme_str(),
            None | Some("ws" | "wss" | "http" | "https")
        ) {
            return Err(AskError::Scheme(url.to_owned()));
        }
        let path_and_query = match &asked.path {
            Some(path) if path.starts_with('/') => path,
            Some(path) => return Err(AskError::Path(path.clone())),
            None => uri.path_and_query().map_or("/", |path| path.as_str()),
        };
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path_and_query, None),
        };
        let method = asked.method.as_deref().unwrap_or("GET");
        let headers = headers(&asked.headers)?;
        let named = headers.get("host").and_then(|host| host.to_str().ok());
        let host = asked.host.as_deref().or(named);
        let host = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
        let scheme = uri.scheme_str().unwrap_or("ws");
        let host = host.unwrap_or_default();
        Ok(Self {
            method: method
                .parse()
                .map_err(|_| AskError::Method(method.to_owned()))?,
            host: host::canonical(host).ok_or_else(|| AskError::Host(host.to_owned()))?,
            path: CanonicalPath::read(path),
            raw: path.to_owned(),
            query,
            headers,
            websocket: asked
                .websocket
                .unwrap_or(method == "GET" && !matches!(scheme, "http" | "https")),
            tls: matches!(scheme, "https" | "wss"),
            claims: Claims(asked.claims.clone()),
            client: asked.client.unwrap_or(LOCAL),
        })
    }

    fn request<'p>(&'p self, path: &'p str) -> Request<'p> {
        Request {
            method: &self.method,
            host: &self.host,
            path,
            query: self.query.as_deref(),
            headers: &self.headers,
            websocket: self.websocket,
            tls: self.tls,
        }
    }

    fn target(&self, path: &str) -> String {
        match &self.query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }
    }

    fn view(&self) -> RequestView {
        RequestView {
            method: self.method.to_string(),
            host: self.host.clone(),
            path: self.target(&self.raw),
            websocket: self.websocket,
            client: self.client.to_string(),
        }
    }
}

fn headers(asked: &BTreeMap<String, Values>) -> Result<HeaderMap, AskError> {
    let mut headers = HeaderMap::new();
    for (name, values) in asked {
        let wrong = || AskError::Header(name.clone());
        let values = match values {
            Values::One(value) => std::slice::from_ref(value),
            Values::Many(values) => values,
        };
        for value in values {
            let name: HeaderName = name.parse().map_err(|_| wrong())?;
            headers.append(name, value.parse().map_err(|_| wrong())?);
        }
    }
    Ok(headers)
}
