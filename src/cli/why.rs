//! `sessile why`: why a user, a session or a request is where it is, or how it ended, or why it was
//! refused.

use std::io::Write;
use std::time::SystemTime;

use anyhow::bail;
use form_urlencoded::Serializer;
use http::StatusCode;
use serde::Serialize;

use crate::admin::events::{EventPage, RefusalPage};
use crate::admin::sessions::{Session, SessionPage};
use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::cli::args::WhyArgs;
use crate::cli::client::{Client, ClientError};
use crate::cli::history::target;
use crate::cli::print::{Form, json, time, visible};
use crate::telemetry::events::EventView;

/// Ends and refusals that are shown.
const PAST_MAX: usize = 5;

/// What is known of the one who is meant. The past is asked only if nothing lives.
#[derive(Debug, Default, Serialize)]
struct Known {
    live: Vec<Session>,
    ended: Vec<EventView>,
    refused: Vec<EventView>,
}

impl Known {
    fn is_empty(&self) -> bool {
        self.live.is_empty() && self.ended.is_empty() && self.refused.is_empty()
    }
}

/// Explains the sessions that are meant: live ones, else those that ended, and requests that were
/// refused. Answers 1 if nothing is known.
///
/// # Errors
/// When the gateway does not answer or knows nothing, or `out` cannot be written to.
pub fn why(args: &WhyArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let mut known = Known {
        live: find(&client, &args.what)?,
        ..Known::default()
    };
    if known.live.is_empty() {
        known.ended = ended(&client, &args.what)?;
        known.refused = refused(&client, &args.what)?;
    }
    if args.json {
        json(out, &serde_json::to_value(&known)?, Form::Pretty)?;
        return Ok(u8::from(known.is_empty()));
    }
    if known.is_empty() {
        bail!(
            "nothing is known of `{}`: no session, live or ended, and no refusal has it as \
             principal, session, request id or key. `sessile sessions` lists live ones, `sessile \
             ended` says how far back the memory reaches",
            visible(&args.what)
        );
    }
    let live = known.live.iter().flat_map(explain);
    let past = explain_past(&known, clock::wall());
    for line in live.chain(past) {
        writeln!(out, "{}", visible(&line))?;
    }
    Ok(0)
}

/// Sessions that ended: by id, by principal, or by the request's id; the newest end first.
fn ended(client: &Client, what: &str) -> Result<Vec<EventView>, ClientError> {
    let id = what.parse::<SessionId>().ok().map(|_| "id");
    for filter in id.into_iter().chain(["principal", "request_id"]) {
        let target = target("/v1/sessions/ended", PAST_MAX, &[(filter, Some(what))]);
        let page: EventPage = client.get(&target)?;
        if !page.items.is_empty() {
            return Ok(page.items);
        }
    }
    Ok(Vec::new())
}

/// Requests that were refused: by id, principal or address; the newest first.
fn refused(client: &Client, what: &str) -> Result<Vec<EventView>, ClientError> {
    for filter in ["request_id", "principal", "client"] {
        let target = target("/v1/refusals", PAST_MAX, &[(filter, Some(what))]);
        let page: RefusalPage = client.get(&target)?;
        if !page.items.is_empty() {
            return Ok(page.items);
        }
    }
    Ok(Vec::new())
}

/// What is known of the past, a line for each event and one for how to go on.
fn explain_past(known: &Known, now: SystemTime) -> Vec<String> {
    let mut lines = Vec::new();
    for event in &known.ended {
        let fields = &event.fields;
        let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or("-").to_owned();
        let id = fields.session.map(|id| id.to_string()).unwrap_or_default();
        let (upstream, backend) = (text(&fields.upstream), text(&fields.backend));
        let (ago, how) = (ago(event, now), &fields.text);
        lines.push(format!(
            "{id} {upstream}/{backend}  not live: ended {ago} {how}"
        ));
        let who = fields.principal.as_deref().unwrap_or("no principal");
        let (client, route) = (text(&fields.client), text(&fields.route));
        lines.push(format!("  {who} from {client}, route {route}"));
    }
    if let Some(id) = known.ended.first().and_then(|event| event.fields.session) {
        lines.push(format!(
            "  `sessile resolve --session {id}` says what it would get now"
        ));
    }
    for event in &known.refused {
        let (ago, why) = (ago(event, now), &event.fields.text);
        let request = event.fields.request_id.as_deref().unwrap_or("-");
        let client = event.fields.client.as_deref().unwrap_or("-");
        lines.push(format!(
            "request {request} from {client}  not live: refused {ago} {why}"
        ));
    }
    lines
}

/// How long ago an event was.
fn ago(event: &EventView, now: SystemTime) -> String {
    let at = humantime::parse_rfc3339(&event.time).ok();
    match at.and_then(|at| now.duration_since(at).ok()) {
        Some(ago) => format!("{} ago,", time(ago.as_secs_f64())),
        None => format!("at {},", event.time),
    }
}

/// The live sessions that may be meant.
fn find(client: &Client, what: &str) -> Result<Vec<Session>, ClientError> {
    if let Ok(id) = what.parse::<SessionId>() {
        match client.get::<Session>(&format!("/v1/sessions/{id}")) {
            Err(ClientError::Refused {
                status: StatusCode::NOT_FOUND,
                ..
            }) => {}
            answer => return answer.map(|session| vec![session]),
        }
    }
    for filter in ["principal", "request_id", "key"] {
        let mut query = Serializer::new(String::new());
        query.append_pair(filter, what);
        let page: SessionPage = client.get(&format!("/v1/sessions?{}", query.finish()))?;
        if !page.items.is_empty() {
            return Ok(page.items);
        }
    }
    Ok(Vec::new())
}

/// A session in some lines: where it is and why, then what happened to it.
fn explain(session: &Session) -> Vec<String> {
    let mut first = format!("{} {}/{}", session.id, session.upstream, session.backend);
    match &session.key {
        Some(key) => {
            let source = key.source.as_deref().unwrap_or("an unknown source");
            first.push_str(&format!("  key {} ({source})", key.key));
        }
        None => first.push_str("  no affinity key"),
    }
    let placement = &session.placement;
    first.push_str(match &*placement.choice {
        "first_choice" => ", first choice",
        "walk" => ", not the first choice",
        "stick" => ", with a live session of the same key",
        "fleet" => ", which the fleet keeps for the key",
        _ => "",
    });
    if placement.cookie_issued {
        first.push_str(", the gateway issued the cookie");
    }
    let moves = session.resumes;
    if moves > 0 {
        first.push_str(&format!("; moved {moves}x"));
    }
    let mut lines = vec![first];
    for passed in &placement.passed {
        lines.push(format!(
            "  passed over {}: {}",
            passed.backend, passed.reason
        ));
    }
    if placement.passed_more > 0 {
        lines.push(format!("  and {} more", placement.passed_more));
    }
    for moved in &session.moved {
        let by = moved
            .by
            .as_deref()
            .map_or(String::new(), |by| format!(" by {by}"));
        lines.push(format!(
            "  {} {} -> {}: {}{by}",
            moved.at, moved.from, moved.to, moved.reason
        ));
    }
    let who = session.principal.as_deref().unwrap_or("no principal");
    let by = session.authenticator.as_deref();
    let by = by.map_or(String::new(), |by| format!(" (by {by})"));
    let until = session.expires.as_deref().unwrap_or("no end");
    lines.push(format!(
        "  {who}{by} from {}, route {}, listener {}, for {}, silent {}, right until {until}",
        session.client,
        session.route,
        session.listener,
        time(session.age_seconds),
        time(session.idle_seconds)
    ));
    lines
}
