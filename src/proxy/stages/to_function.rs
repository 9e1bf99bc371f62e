//! The stage "connect" of a route with a function: the function is asked whether the session may
//! begin, and gets what its client sends.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::USER_AGENT;
use http::request::Parts;
use tokio::time::{Instant, timeout_at};

use crate::base::clock;
use crate::base::names::FunctionName;
use crate::config::snapshot::Dialect;
use crate::core::functions::aws::MESSAGE_MAX;
use crate::core::functions::connection::Connection;
use crate::core::wire::handshake::Upgrade;
use crate::io::ends::{Caller, Kept, LocalEnd, SessionEnd};
use crate::proxy::functions::connecting::{Accepted, Connecting, Verdict};
use crate::proxy::functions::error::CallError;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::placed::Placed;
use crate::proxy::stages::answer::Answer;
use crate::proxy::stages::backend_headers::backend_headers;
use crate::proxy::stages::local_grant::{
    bound_messages, check_open, grant_local, granted, switch_fields,
};
use crate::proxy::stages::session_setup::setup;
use crate::proxy::stages::upgrade::note_not_subscribed;

/// Largest message where the dialect has no bound of AWS: that of Azure's frames.
const EVENT_MAX: u64 = 1 << 20;
/// Longest `User-Agent` in events.
const AGENT_MAX: usize = 512;

/// Asks the function, and grants the session if it agrees.
///
/// # Errors
/// When it is no WebSocket, the gateway stops, or the function does not agree.
pub(crate) async fn to_function(
    mut placed: Placed<'_>,
    head: Parts,
    offer: Option<&Upgrade>,
) -> Result<Answer, Refusal> {
    let received = placed.received;
    let offer = offer.ok_or(Refusal::OnlySessions)?;
    check_open(received)?;
    let message_max = message_max(&placed);
    received.progress.set_upgrading(true);
    let asked = ask(&placed, head, offer).await;
    received.progress.set_upgrading(asked.is_ok());
    let (caller, accepted) = asked?;
    // Clients fail a 101 with a subprotocol that they have not offered.
    let chosen = accepted.subprotocol;
    let chosen = chosen.filter(|chosen| offer.subprotocols().any(|name| *chosen == name));
    let mut fields = switch_fields(
        &placed,
        offer,
        chosen.or_else(|| placed.subprotocol.clone()),
    );
    // A cookie of the function stands beside that of the gateway.
    for (name, value) in &accepted.fields {
        fields.append(name, value.clone());
    }
    let granted = granted(&fields);
    let subprotocol = granted.subprotocol.as_deref().map(str::to_owned);
    caller.kept().subprotocol = subprotocol;
    // From here on the function gets the end of the session, even if it does not begin.
    let services = received.connection.worker.end_services();
    let end = LocalEnd::calling(
        Arc::new(caller),
        Arc::clone(services.functions),
        accepted.first,
    );
    check_open(received)?;
    placed.groups.extend(accepted.groups);
    note_not_subscribed(&placed);
    let mut setup = setup(&placed, &granted, None, &Bytes::new());
    bound_messages(&mut setup, message_max);
    Ok(grant_local(placed, (&granted, fields), (setup, end), None))
}

/// Asks whether the session may begin.
async fn ask(
    placed: &Placed<'_>,
    head: Parts,
    offer: &Upgrade,
) -> Result<(Caller, Accepted), Refusal> {
    let received = placed.received;
    let worker = &received.connection.worker;
    let name = placed.route.function().expect("the route has a function");
    let caller = caller(placed, name, &head.headers);
    let fields = backend_headers(placed, head.headers, true);
    let query = query(&placed.target);
    let timeouts = &placed.route.config.timeouts;
    let until = Instant::from_std(received.arrived) + timeouts.handshake;
    let step = received.step("connect");
    let principal = placed.principal.as_ref();
    let subprotocols: Vec<_> = offer.subprotocols().collect();
    let request = Connecting {
        headers: &fields,
        target: &placed.target,
        query: &query,
        claims: principal.map(|one| &one.claims.0),
        subprotocols: &subprotocols,
    };
    let asked = timeout_at(until, worker.functions.connect(&caller, request)).await;
    drop(step);
    let Ok(verdict) = asked else {
        // It may have accepted, or may still do so.
        let end = SessionEnd {
            code: 1006,
            by_frame: false,
            by_client: false,
            reason: "the handshake took too long",
        };
        worker
            .end_services()
            .functions
            .disconnect(&Arc::new(caller), end);
        return Err(Refusal::TimedOut);
    };
    match verdict.map_err(refusal)? {
        Verdict::Accepted(accepted) => Ok((caller, *accepted)),
        Verdict::Refused(status) => Err(Refusal::FunctionRefused(status)),
    }
}

fn refusal(error: CallError) -> Refusal {
    Refusal::Function(Box::new(error))
}

/// Largest message of a client that fits into an event.
fn message_max(placed: &Placed<'_>) -> u64 {
    let name = placed.route.function().expect("the route has a function");
    let config = placed.received.generation.table.function(name);
    match config.map(|config| config.dialect) {
        Some(Dialect::Cloudevents | Dialect::Grip) => EVENT_MAX,
        Some(Dialect::Aws) | None => MESSAGE_MAX,
    }
}

fn caller(placed: &Placed<'_>, name: &FunctionName, fields: &HeaderMap) -> Caller {
    let received = placed.received;
    let table = &received.generation.table;
    let stage = table.function(name).map(|config| Arc::clone(&config.stage));
    let agent = fields.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    let agent = agent.map(|agent| &agent[..agent.floor_char_boundary(AGENT_MAX)]);
    let principal = placed.principal.as_ref();
    let connection = Connection {
        id: received.id.to_string().into(),
        function: name.clone(),
        stage: stage.unwrap_or_default(),
        domain_name: received.host.as_str().into(),
        connected_at: clock::unix_millis(received.started),
        source_ip: received.client.address.to_string().into(),
        user_agent: agent.map(Into::into),
        authorizer: principal.map(|one| Connection::authorizer(&one.subject, &one.claims.0)),
    };
    let kept = Kept {
        user: principal.map(|one| one.subject.to_string()),
        ..Kept::default()
    };
    Caller::new(connection, kept)
}

/// Names and values of the query of a target, decoded.
fn query(target: &str) -> Vec<(String, String)> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}
