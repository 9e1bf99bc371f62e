//! Where a request would go, and why: every route with its verdict, the affinity key and its
//! source, and the backends considered, with the reason why each was skipped. It runs the code that
//! routes traffic, so the explanation always matches. `sessile resolve` calls it with its own
//! routing table.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use http::HeaderValue;

use crate::admin::Gateway;
use crate::admin::extract::Body;
use crate::admin::problem::Problem;
use crate::base::names::ListenerName;
use crate::config::limits::Quotas;
use crate::core::auth::{Claims, IssuerKeys, Revocations};
use crate::core::http::query::redact_target;
use crate::core::routing::affinity;
use crate::core::routing::{Action, Matched, RoutingTable, Verdict, rewrite};
use crate::core::state::StateKey;
use crate::live::Edge;

mod checks;
mod choice;
mod credentials;
mod levels;
mod of_fleet;
mod request;
mod session;
mod view;

use checks::check;
use choice::{KnownKey, Moment, affinity_view, at_gateway, choose, note, stuck};
use credentials::Credentials;
use of_fleet::ask_fleet;
use request::{LOCAL, Parts};

pub use request::AskError;
pub use session::{Placed, SessionExplanation};
pub(super) use session::{SessionQuestion, session};
pub use view::{
    AffinityView, Asked, Choice, ConsideredView, Explanation, LevelStep, RedirectView, RefusalView,
    RequestView, Step, Values,
};

pub(super) async fn resolve(
    State(gateway): State<Arc<Gateway>>,
    Body(asked): Body<Asked>,
) -> Result<Json<Explanation>, Problem> {
    let generation = gateway.live.generation_arc();
    let moment = Moment::now(&gateway, &generation, None);
    let explanation = explain_at(&generation.table, &asked, moment);
    let explanation = explanation.map_err(|error| Problem::bad_request(error.to_string()));
    let mut explanation = explanation?;
    let names = gateway.listeners.iter().map(|one| &*one.name);
    let closed = closed(&generation.edge, names, asked.client);
    explanation.notes.extend(closed);
    ask_fleet(
        &gateway,
        &generation.table,
        &asked.without,
        &mut explanation,
    )
    .await;
    Ok(Json(explanation))
}

/// Explains a request by this table.
///
/// # Errors
/// When `asked` is not a request.
pub fn explain(table: &RoutingTable, asked: &Asked, now: Instant) -> Result<Explanation, AskError> {
    let (keys, revocations) = (IssuerKeys::default(), Revocations::default());
    let moment = Moment {
        sticks: None,
        credentials: Credentials {
            keys: &keys,
            revocations: &revocations,
        },
        now,
        key: None,
    };
    explain_at(table, asked, moment)
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

/// Listeners that refuse connections of this client.
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
    Ok(explain_parts(table, &parts, &asked.without, moment))
}

/// Explains a request that was parsed; `without` are backends to leave out.
fn explain_parts(
    table: &RoutingTable,
    parts: &Parts,
    without: &[String],
    moment: Moment<'_>,
) -> Explanation {
    let mut explanation = Explanation {
        request: parts.view(table.secret_parameters()),
        routes: Vec::new(),
        route: None,
        parameters: BTreeMap::new(),
        redirect: None,
        refusal: None,
        principal: None,
        not_checked: Vec::new(),
        target: None,
        affinity: None,
        choice: None,
        notes: Vec::new(),
        of_fleet: None,
    };
    let path = match &parts.path {
        Ok(path) => path,
        Err(fault) => {
            let note = format!("{fault}: it is answered 400, whatever the routes are");
            explanation.notes.push(note);
            return explanation;
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
            follow(
                &mut explanation,
                table,
                (parts, path, without),
                &matched,
                moment,
            );
        }
        Ok(None) => explanation
            .notes
            .push("no route takes the request: it is answered 404".to_owned()),
        Err(fault) => {
            let note = format!("{fault}: it is answered 400");
            explanation.notes.push(note);
        }
    }
    explanation
}

/// Path and query that the backend receives, with secrets cut out (I11).
fn target(
    table: &RoutingTable,
    (parts, path): (&Parts, &str),
    matched: &Matched<'_, '_>,
) -> String {
    let rewrite = &matched.route.config.rewrite;
    let target = rewrite::target(rewrite, &parts.request(path), &matched.parameters);
    let target = target.unwrap_or_else(|| parts.target(path));
    redact_target(&target, table.secret_parameters()).into_owned()
}

/// Explains whether the request may use its route, and what its target is then. Returns the claims
/// of a request that may.
fn guard(
    explanation: &mut Explanation,
    table: &RoutingTable,
    (parts, path): (&Parts, &str),
    matched: &Matched<'_, '_>,
    moment: Moment<'_>,
) -> Option<Claims> {
    let checked = check((parts, path), matched, moment.credentials);
    explanation.principal = checked.principal;
    explanation.not_checked = checked.not_checked;
    if limited(&matched.route.config.quotas) {
        let quotas = "limits on numbers and rates depend on what else comes";
        explanation.not_checked.push(quotas.to_owned());
    }
    explanation.refusal = checked.refusal;
    if explanation.refusal.is_some() {
        return None;
    }
    explanation.target = Some(target(table, (parts, path), matched));
    Some(checked.claims)
}

/// Explains everything after the choice of the route.
fn follow<'p>(
    explanation: &mut Explanation,
    table: &RoutingTable,
    (parts, path, without): (&'p Parts, &'p str, &[String]),
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
        Action::Static(_, upstream) | Action::Function(_, upstream) => {
            if guard(explanation, table, (parts, path), matched, moment).is_some() {
                let reason = match route.function() {
                    Some(name) => format!("calls function `{name}`"),
                    None => "is at the place of a backend: it serves files".to_owned(),
                };
                explanation.choice = Some(at_gateway(upstream, &reason));
            }
        }
        Action::Forward(upstream) => {
            let guarded = guard(explanation, table, (parts, path), matched, moment);
            let Some(known_claims) = guarded else {
                return;
            };
            let random = fastrand::u128(..);
            let sources = &route.config.affinity;
            let client = parts.client;
            let claims = Some(&known_claims);
            #[expect(
                clippy::map_identity,
                reason = "shortens lifetimes: the key borrows the claims too, which live less long"
            )]
            let shorter = parameters
                .iter()
                .map(|(name, value)| (name, value))
                .collect();
            let key = affinity::key(sources, &request, &shorter, client, claims, random);
            let known = moment.key.filter(|known| known.is_of(sources));
            let remark = note(route, upstream.config.policy, key.as_ref());
            explanation.notes.extend(remark.filter(|_| known.is_none()));
            let bytes = key.as_ref().map(|key| &*key.bytes);
            let bytes = known.map(|known| known.bytes).or(bytes);
            let sticky = bytes.filter(|_| route.config.stick);
            let stuck =
                sticky.and_then(|key| stuck(upstream, key, (parts.websocket, without), moment));
            explanation.of_fleet = sticky
                .filter(|_| route.config.fleet && stuck.is_none())
                .map(|key| StateKey::of_sticky(upstream.name(), key))
                .map(|key| (key, route.config.stick_for));
            for id in without
                .iter()
                .filter(|id| upstream.index_of(&id.as_str().into()).is_none())
            {
                let note = format!("upstream `{}` has no backend `{id}`", upstream.name());
                explanation.notes.push(note);
            }
            let choice = stuck.unwrap_or_else(|| choose(upstream, bytes, without, moment.now));
            explanation.choice = Some(choice);
            let derived = || key.map(|key| affinity_view(&key, parts.client));
            explanation.affinity = known.map(KnownKey::hidden).or_else(derived);
        }
    }
}
