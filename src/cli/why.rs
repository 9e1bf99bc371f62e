//! `sessile why`: why a user, a session or a request is where it is, or how it ended, or why it was
//! refused.

use std::io::Write;
use std::time::SystemTime;

use anyhow::bail;
use form_urlencoded::Serializer;
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::admin::sessions::Session;
use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::cli::args::WhyArgs;
use crate::cli::client::{Client, ClientError};
use crate::cli::history::target;
use crate::cli::listed::{Listed, Located, scoped};
use crate::cli::print::{Form, counted, json, time, visible};
use crate::telemetry::events::EventView;

/// Ends and refusals that are shown.
const PAST_MAX: usize = 5;

/// What is known of the one who is meant. The past is asked only if nothing lives.
#[derive(Debug, Default, Serialize)]
struct Known {
    live: Vec<Located<Session>>,
    ended: Vec<Located<EventView>>,
    refused: Vec<Located<EventView>>,
    /// Gateways that did not answer, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unanswered: Vec<String>,
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
    let asked = Asked {
        client: Client::new(&args.admin)?,
        what: &args.what,
        fleet: args.fleet,
    };
    let mut known = Known::default();
    known.live = asked.live(&mut known.unanswered)?;
    if known.live.is_empty() {
        known.ended = asked.ended()?;
        known.refused = asked.refused()?;
    }
    if args.json {
        json(out, &serde_json::to_value(&known)?, Form::Pretty)?;
        return Ok(u8::from(known.is_empty()));
    }
    for fault in &known.unanswered {
        writeln!(out, "{}", visible(fault))?;
    }
    if known.is_empty() {
        let elsewhere = match args.fleet {
            true => "",
            false => ", and --fleet asks the other gateways too",
        };
        bail!(
            "nothing found for `{}`: no live or ended session and no refusal has it as \
             principal, session, request id or key. `sessile sessions` lists live ones, `sessile \
             ended` shows how far back the memory reaches{elsewhere}",
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

/// What is asked for, and of whom.
struct Asked<'a> {
    client: Client,
    what: &'a str,
    fleet: bool,
}

impl Asked<'_> {
    /// The live sessions that may be meant. Names the gateways that did not answer.
    fn live(&self, unanswered: &mut Vec<String>) -> anyhow::Result<Vec<Located<Session>>> {
        if self.what.parse::<SessionId>().is_ok()
            && let Some(found) = self.by_id()?
        {
            return Ok(found);
        }
        let mut missing = Vec::new();
        for filter in ["principal", "request_id", "key"] {
            let mut query = Serializer::new(String::new());
            query.append_pair(filter, self.what);
            let page: Listed<Session> = self.get(&format!("/v1/sessions?{}", query.finish()))?;
            missing.clear();
            page.missing("", &mut missing)?;
            if !page.items.is_empty() {
                unanswered.extend(String::from_utf8_lossy(&missing).lines().map(Into::into));
                return Ok(page.items);
            }
        }
        unanswered.extend(String::from_utf8_lossy(&missing).lines().map(Into::into));
        Ok(Vec::new())
    }

    /// The live session with this id, if there is one.
    fn by_id(&self) -> Result<Option<Vec<Located<Session>>>, ClientError> {
        let target = format!("/v1/sessions/{}", self.what);
        if self.fleet {
            let found: Listed<Session> = self.get(&target)?;
            return Ok((!found.items.is_empty()).then_some(found.items));
        }
        match self.client.get::<Session>(&target) {
            Ok(item) => Ok(Some(vec![Located { node: None, item }])),
            Err(ClientError::Refused {
                status: StatusCode::NOT_FOUND,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sessions that ended: by id, by principal, or by the request's id; the newest end first.
    fn ended(&self) -> Result<Vec<Located<EventView>>, ClientError> {
        let id = self.what.parse::<SessionId>().ok().map(|_| "id");
        let filters = id.into_iter().chain(["principal", "request_id"]);
        self.first("/v1/sessions/ended", filters)
    }

    /// Requests that were refused: by id, principal or address; the newest first.
    fn refused(&self) -> Result<Vec<Located<EventView>>, ClientError> {
        self.first("/v1/refusals", ["request_id", "principal", "client"])
    }

    /// The events that the first filter finds that finds some.
    fn first(
        &self,
        path: &str,
        filters: impl IntoIterator<Item = &'static str>,
    ) -> Result<Vec<Located<EventView>>, ClientError> {
        for filter in filters {
            let target = target(path, PAST_MAX, &[(filter, Some(self.what))]);
            let page: Listed<EventView> = self.get(&target)?;
            if !page.items.is_empty() {
                return Ok(page.items);
            }
        }
        Ok(Vec::new())
    }

    fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.client.get(&scoped(target, self.fleet))
    }
}

/// What is known of the past, a line for each event and one for how to go on.
fn explain_past(known: &Known, now: SystemTime) -> Vec<String> {
    let mut lines = Vec::new();
    for Located { node, item: event } in &known.ended {
        let fields = &event.fields;
        let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or("-").to_owned();
        let id = fields.session.map(|id| id.to_string()).unwrap_or_default();
        let (upstream, backend) = (text(&fields.upstream), text(&fields.backend));
        let (ago, how) = (ago(event, now), &fields.text);
        lines.push(format!(
            "{id} {upstream}/{backend}{}  not live: ended {ago} {how}",
            on(node.as_deref())
        ));
        let who = fields.principal.as_deref().unwrap_or("no principal");
        let (client, route) = (text(&fields.client), text(&fields.route));
        lines.push(format!("  {who} from {client}, route {route}"));
    }
    if let Some(id) = known
        .ended
        .first()
        .and_then(|event| event.item.fields.session)
    {
        lines.push(format!(
            "  `sessile resolve --session {id}` says what it would get now"
        ));
    }
    for Located { node, item: event } in &known.refused {
        let (ago, why) = (ago(event, now), &event.fields.text);
        let request = event.fields.request_id.as_deref().unwrap_or("-");
        let client = event.fields.client.as_deref().unwrap_or("-");
        lines.push(format!(
            "request {request} from {client}{}  not live: refused {ago} {why}",
            on(node.as_deref())
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

/// The gateway, where several were asked.
fn on(node: Option<&str>) -> String {
    node.map_or_else(String::new, |node| format!(" on {node}"))
}

/// Where a session is, and why: its key and how its backend was chosen.
fn place(
    Located {
        node,
        item: session,
    }: &Located<Session>,
) -> String {
    let (upstream, backend) = (&session.upstream, &session.backend);
    let mut first = format!("{} {upstream}/{backend}{}", session.id, on(node.as_deref()));
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
    if let Some(to) = &placement.spilled {
        first.push_str(match &**to {
            "zone" => ", spilled over to another zone",
            _ => ", spilled over to a higher priority number",
        });
    }
    if let Some(zone) = &placement.zone {
        first.push_str(&format!(", in zone {zone}"));
    }
    if placement.cookie_issued {
        first.push_str(", the gateway issued the cookie");
    }
    let moves = session.resumes;
    if moves > 0 {
        first.push_str(&format!("; moved {moves}x"));
    }
    first
}

/// A session in some lines: where it is and why, then what happened to it.
fn explain(located: &Located<Session>) -> Vec<String> {
    let session = &located.item;
    let placement = &session.placement;
    let mut lines = vec![place(located)];
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
            "  {} {} -> {}: {}{by}{}",
            moved.at,
            moved.from,
            moved.to,
            moved.reason,
            lost(moved.messages_lost)
        ));
    }
    let published = session.published.dropped;
    if published > 0 {
        lines.push(format!(
            "  {published} published messages did not reach its client"
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

fn lost(messages: u64) -> String {
    match messages {
        0 => String::new(),
        lost => format!(", {} lost", counted(lost, "message")),
    }
}
