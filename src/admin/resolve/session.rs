//! What a session, live or ended, would get now, and what differs from then. Of its request the
//! host, the target and the client are kept, and of a live one the affinity key; headers and claims
//! are not, so what depends on them is not judged.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::Parameters;
use crate::admin::problem::Problem;
use crate::admin::resolve::choice::{KnownKey, Moment};
use crate::admin::resolve::of_fleet::ask_fleet;
use crate::admin::resolve::request::Parts;
use crate::admin::resolve::view::{Asked, Explanation};
use crate::admin::resolve::{AffinityView, explain_parts};
use crate::admin::sessions;
use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::core::session::record::Facts;
use crate::live::SessionView;
use crate::telemetry::events::{Class, EventView, Events, Filter, Kind};

/// Which session.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct SessionQuestion {
    /// The session's id.
    session: String,
}

/// What a session had, and what it would get now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionExplanation {
    /// The session's id.
    pub session: String,
    /// Whether it lives.
    pub live: bool,
    /// Its end; null while it lives.
    pub ended: Option<EventView>,
    /// What it has, or had at its end.
    pub then: Placed,
    /// What the same request would get now.
    pub now: Explanation,
    /// What differs, a sentence each; empty if nothing does.
    pub differs: Vec<String>,
}

/// Where a session is, or was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Placed {
    /// The route.
    pub route: String,
    /// The upstream.
    pub upstream: String,
    /// The backend; of a session that moved, the last one.
    pub backend: String,
    /// Who it belongs to.
    pub principal: Option<String>,
    /// When the right ends; RFC 3339.
    pub expires: Option<String>,
    /// The affinity key, as the session shows it; null where it is not known any more.
    pub key: Option<AffinityView>,
    /// Time of the request; RFC 3339.
    pub started: Option<String>,
}

/// What is known of a request that is over.
struct Request {
    listener: String,
    host: String,
    target: String,
    client: String,
    /// The key's bytes, and where they came from.
    key: Option<(Box<[u8]>, Box<str>)>,
    then: Placed,
    expires: Option<SystemTime>,
    revoked: bool,
}

pub(in crate::admin) async fn session(
    State(gateway): State<Arc<Gateway>>,
    Parameters(asked): Parameters<SessionQuestion>,
) -> Result<Json<SessionExplanation>, Problem> {
    let id = asked.session.parse::<SessionId>();
    let id = id.map_err(|error| Problem::bad_request(format!("session: {error}")))?;
    let (request, ended) = match sessions::view_of(&gateway, id).await {
        Ok(view) => (of_live(&gateway, &view), None),
        Err(missing) => match end_of(gateway.live.events(), id).await {
            Some(ended) => (of_ended(&ended), Some(ended)),
            None => return Err(missing),
        },
    };
    let mut now = explain(&gateway, &request)?;
    let table = gateway.live.generation_arc();
    ask_fleet(&gateway, &table.table, &[], &mut now).await;
    let differs = differences(&request, &now, clock::wall());
    Ok(Json(SessionExplanation {
        session: id.to_string(),
        live: ended.is_none(),
        ended,
        then: request.then,
        now,
        differs,
    }))
}

/// The event of its end, if it is in memory.
async fn end_of(events: &Events, id: SessionId) -> Option<EventView> {
    let filter = Filter {
        kinds: vec![Kind::SessionEnded],
        session: Some(id),
        ..Filter::class(Class::Sessions)
    };
    let mut next = Some(events.before(None));
    while let Some(before) = next {
        let page = events.read_back(before, &filter, 1);
        if let Some(event) = page.events.first() {
            return Some(event.view());
        }
        next = page.next;
        // Others have their turn between two slices.
        tokio::task::yield_now().await;
    }
    None
}

fn of_live(gateway: &Gateway, view: &SessionView) -> Request {
    let facts: &Facts = &view.facts;
    let shown = view.key.as_deref().map(|key| {
        let shown = sessions::key_view(key, &facts.details);
        AffinityView {
            key: shown.key,
            source: shown.source.unwrap_or_default(),
            issued: facts.details.placement.cookie_issued,
        }
    });
    let source = facts.details.placement.key_source.clone();
    let right = facts.right.as_deref();
    let expires = right.and_then(|right| right.expires);
    let generation = gateway.live.generation();
    let now = clock::wall();
    let revoked = generation.revocations.refuse(Some(facts.id), right, now);
    Request {
        listener: facts.listener.to_string(),
        host: facts.request.host().to_owned(),
        target: facts.request.target().to_owned(),
        client: facts.request.client().to_owned(),
        key: view.key.clone().zip(source),
        then: Placed {
            route: facts.route.to_string(),
            upstream: facts.upstream.to_string(),
            backend: facts.backend.to_string(),
            principal: facts.principal.as_deref().map(str::to_owned),
            expires: expires.map(clock::rfc3339),
            key: shown,
            started: Some(clock::rfc3339(facts.request.started())),
        },
        expires,
        revoked,
    }
}

fn of_ended(ended: &EventView) -> Request {
    let fields = &ended.fields;
    let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or_default().to_owned();
    let some = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let expires = fields.expires.as_deref();
    Request {
        listener: text(&fields.listener),
        host: text(&fields.host),
        target: text(&fields.target),
        client: text(&fields.client),
        key: None,
        then: Placed {
            route: text(&fields.route),
            upstream: text(&fields.upstream),
            backend: text(&fields.backend),
            principal: some(&fields.principal),
            expires: some(&fields.expires),
            key: None,
            started: some(&fields.started),
        },
        expires: expires.and_then(|text| humantime::parse_rfc3339(text).ok()),
        revoked: fields.revocation.is_some(),
    }
}

/// The address of a client, which records show with its port.
fn address(client: &str) -> Option<IpAddr> {
    let socket = client.parse::<SocketAddr>().map(|address| address.ip());
    socket.or_else(|_| client.parse()).ok()
}

fn explain(gateway: &Gateway, request: &Request) -> Result<Explanation, Problem> {
    let mut listeners = gateway.listeners.iter();
    let tls = listeners.any(|one| one.name == request.listener && one.tls);
    let subject = request.then.principal.clone();
    let claims = subject.map(|subject| ("sub".to_owned(), subject.into()));
    let asked = Asked {
        url: Some(if tls { "wss://-/" } else { "ws://-/" }.to_owned()),
        host: Some(request.host.clone()).filter(|host| !host.is_empty()),
        path: Some(request.target.clone()),
        claims: claims.into_iter().collect(),
        client: address(&request.client),
        websocket: Some(true),
        ..Asked::default()
    };
    let parts = Parts::new(&asked);
    let mut parts = parts.map_err(|error| Problem::bad_request(error.to_string()))?;
    parts.remembered = true;
    let generation = gateway.live.generation_arc();
    let key = request.key.as_ref();
    let key = key.map(|(bytes, source)| KnownKey { bytes, source });
    let moment = Moment::now(gateway, &generation, key);
    let mut now = explain_parts(&generation.table, &parts, &[], moment);
    match (&request.key, &request.then.key) {
        // The key itself may be a credential, and is shown as the session shows it.
        (Some(_), Some(shown)) if now.affinity.is_some() => now.affinity = Some(shown.clone()),
        _ => {}
    }
    if request.key.is_none() && request.target.contains("***") {
        let note = "secrets were cut out of the target, so a key that is made of them differs";
        now.notes.push(note.to_owned());
    }
    Ok(now)
}

/// What differs between then and now.
fn differences(request: &Request, now: &Explanation, at: SystemTime) -> Vec<String> {
    let (then, mut differs) = (&request.then, Vec::new());
    if let Some(ago) = request.expires.and_then(|end| at.duration_since(end).ok()) {
        let ago = humantime::format_duration(std::time::Duration::from_secs(ago.as_secs()));
        differs.push(format!("its right expired {ago} ago"));
    }
    if request.revoked {
        differs.push("its right was revoked".to_owned());
    }
    match &now.route {
        Some(route) if *route == then.route => {}
        Some(route) => differs.push(format!("route `{}` then, `{route}` now", then.route)),
        None => {
            let route = &then.route;
            differs.push(format!("route `{route}` then, none takes the request now"));
            return differs;
        }
    }
    if let Some(redirect) = &now.redirect {
        differs.push(format!("it is redirected now: {}", redirect.status));
    }
    if let Some(refusal) = &now.refusal {
        let (status, reason, detail) = (refusal.status, &refusal.reason, &refusal.detail);
        differs.push(format!("refused now: {status} {reason}, {detail}"));
    }
    let Some(choice) = &now.choice else {
        return differs;
    };
    if choice.upstream != then.upstream {
        let (before, after) = (&then.upstream, &choice.upstream);
        differs.push(format!("upstream `{before}` then, `{after}` now"));
    }
    match &choice.backend {
        None => differs.push("no backend may take it now".to_owned()),
        // Without a key it is placed at random, which says nothing.
        Some(_) if now.affinity.is_none() => {}
        Some(backend) if *backend == then.backend => {}
        Some(backend) => {
            let before = &then.backend;
            let passed = choice.walk.iter().find(|step| step.backend == *before);
            let why = match passed {
                Some(step) if step.verdict != "taken" => format!("; {before}: {}", step.reason),
                _ => String::new(),
            };
            differs.push(format!("backend {before} then, {backend} now{why}"));
        }
    }
    differs
}

#[cfg(test)]
mod tests;
