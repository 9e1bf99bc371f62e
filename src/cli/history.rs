//! `sessile history`, `events`, `ended` and `refusals`: what happened, and what happens.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::admin::events::Gap;
use crate::base::session_id::SessionId;
#[cfg(feature = "etcd")]
use crate::cli::args::HistoryVerb;
use crate::cli::args::{AboutArgs, EndedArgs, EventsArgs, HistoryArgs, RefusalsArgs};
use crate::cli::client::{Client, ClientError};
use crate::cli::listed::{Listed, Located, scoped};
use crate::cli::print::{Form, columns, json, visible};
use crate::telemetry::events::{EventView, Kind};

/// Most events that the admin API gives at once.
const PAGE_MAX: usize = 1000;
/// Before a stream that broke is opened again.
const RETRY: Duration = Duration::from_secs(1);

/// What changed, the oldest first: who did it, and with `--diff` what the difference was.
///
/// # Errors
/// When the gateway does not answer, or `out` cannot be written to.
pub fn history(args: &HistoryArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    #[cfg(feature = "etcd")]
    if let Some(HistoryVerb::Undo(args)) = &args.verb {
        return crate::cli::etcd::undo::undo(args, out);
    }
    let past = &args.past;
    let client = Client::new(&past.admin)?;
    let query = query(
        &args.about,
        [
            ("since", past.since.as_deref()),
            ("operator", args.operator.as_deref()),
        ],
    );
    let page: Value = client.get(&scoped(
        &target("/v1/history", past.limit, &query),
        past.fleet,
    ))?;
    if past.json && !args.follow {
        json(out, &page, Form::Pretty)?;
        return Ok(0);
    }
    let page: Listed<EventView> = serde_json::from_value(page)?;
    if !past.json && (args.follow || !page.items.is_empty()) {
        head(out, page.is_of_fleet())?;
    }
    for event in page.items.iter().rev() {
        show(out, event, (past.json, args.diff))?;
    }
    if page.items.is_empty() && !args.follow {
        writeln!(out, "nothing has changed{}", page.reach())?;
    }
    page.missing("", out)?;
    if args.follow {
        let query = self::query(
            &args.about,
            [
                ("operator", args.operator.as_deref()),
                ("class", Some("changes")),
            ],
        );
        let target = target("/v1/events", 0, &query);
        let last = page.items.first().map(|newest| newest.item.id.clone());
        let last = last.unwrap_or_else(|| "0".to_owned());
        follow(&client, &target, Some(last), out, (past.json, args.diff))?;
    }
    Ok(0)
}

/// What happens from now on.
///
/// # Errors
/// When the gateway does not answer, or `out` cannot be written to.
pub fn events(args: &EventsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let query = query(
        &args.about,
        [
            ("class", args.class.as_deref()),
            ("kind", args.kind.as_deref()),
        ],
    );
    let target = target("/v1/events", 0, &query);
    let form = (args.json, false);
    if !args.json {
        head(out, false)?;
        out.flush()?;
    }
    follow(&client, &target, args.after.clone(), out, form)?;
    Ok(0)
}

/// Sessions that ended, the newest end first.
///
/// # Errors
/// When the gateway does not answer, or `out` cannot be written to.
pub fn ended(args: &EndedArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let past = &args.past;
    let ended = Ended {
        id: args.id,
        about: &args.about,
        cause: args.cause.as_deref(),
        operator: args.operator.as_deref(),
        since: past.since.as_deref(),
        lost: false,
        limit: past.limit,
        fleet: past.fleet,
    };
    ended.list(&Client::new(&past.admin)?, past.json, out)
}

/// Which sessions that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended<'a> {
    pub(super) id: Option<SessionId>,
    pub(super) about: &'a AboutArgs,
    pub(super) cause: Option<&'a str>,
    pub(super) operator: Option<&'a str>,
    pub(super) since: Option<&'a str>,
    /// Only those that lost messages.
    pub(super) lost: bool,
    pub(super) limit: usize,
    /// Of every gateway.
    pub(super) fleet: bool,
}

impl Ended<'_> {
    /// Asks the gateway.
    pub(super) fn page(&self, client: &Client) -> Result<Value, ClientError> {
        let id = self.id.map(|id| id.to_string());
        let query = query(
            self.about,
            [
                ("id", id.as_deref()),
                ("cause", self.cause),
                ("operator", self.operator),
                ("since", self.since),
                ("lost", self.lost.then_some("true")),
            ],
        );
        let target = target("/v1/sessions/ended", self.limit, &query);
        client.get(&scoped(&target, self.fleet))
    }

    /// Lists them.
    pub(super) fn list(
        &self,
        client: &Client,
        as_json: bool,
        out: &mut dyn Write,
    ) -> anyhow::Result<u8> {
        let page = self.page(client)?;
        if as_json {
            json(out, &page, Form::Pretty)?;
            return Ok(0);
        }
        list_ended(&serde_json::from_value(page)?, out)
    }
}

fn list_ended(page: &Listed<EventView>, out: &mut dyn Write) -> anyhow::Result<u8> {
    if page.items.is_empty() {
        writeln!(out, "no session that ended matches{}", page.reach())?;
        page.missing("", out)?;
        return Ok(0);
    }
    let head = page.head(&["ENDED", "ID", "PRINCIPAL", "ROUTE", "BACKEND", "HOW"]);
    let rows = page.rows(|event| {
        let fields = &event.fields;
        let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or("-").to_owned();
        vec![
            event.time.clone(),
            fields.session.map(|id| id.to_string()).unwrap_or_default(),
            text(&fields.principal),
            text(&fields.route),
            text(&fields.backend),
            fields.text.to_string(),
        ]
    });
    columns(out, &head, rows)?;
    page.missing("", out)?;
    more(out, page.next.is_some())
}

/// Requests that were refused, the newest first, and their number by reason.
///
/// # Errors
/// When the gateway does not answer, or `out` cannot be written to.
pub fn refusals(args: &RefusalsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let past = &args.past;
    let client = Client::new(&past.admin)?;
    let query = query(
        &args.about,
        [
            ("request_id", args.request.as_deref()),
            ("reason", args.reason.as_deref()),
            ("since", past.since.as_deref()),
        ],
    );
    let target = target("/v1/refusals", past.limit, &query);
    let page: Value = client.get(&scoped(&target, past.fleet))?;
    if past.json {
        json(out, &page, Form::Pretty)?;
        return Ok(0);
    }
    let page: Listed<EventView> = serde_json::from_value(page)?;
    if page.items.is_empty() {
        writeln!(out, "no refusal matches{}", page.reach())?;
        page.missing("", out)?;
        return Ok(0);
    }
    let head = page.head(&["TIME", "CLIENT", "ROUTE", "REQUEST", "WHY"]);
    let rows = page.rows(|event| {
        let fields = &event.fields;
        let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or("-").to_owned();
        vec![
            event.time.clone(),
            text(&fields.client),
            text(&fields.route),
            text(&fields.request_id),
            fields.text.to_string(),
        ]
    });
    columns(out, &head, rows)?;
    let counts = page
        .counts
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"));
    let counts: Vec<_> = counts.collect();
    writeln!(out, "by reason: {}", visible(&counts.join(", ")))?;
    page.missing("", out)?;
    more(out, page.next.is_some())
}

fn more(out: &mut dyn Write, more: bool) -> anyhow::Result<u8> {
    if more {
        writeln!(out, "… and more: --limit shows them")?;
    }
    Ok(0)
}

/// Further filters beside what it is about.
fn query<'a, const N: usize>(
    about: &'a AboutArgs,
    more: [(&'static str, Option<&'a str>); N],
) -> Vec<(&'static str, Option<&'a str>)> {
    about.pairs().into_iter().chain(more).collect()
}

/// A target with the filters that are given; no limit is 0.
pub(super) fn target(path: &str, limit: usize, query: &[(&str, Option<&str>)]) -> String {
    let mut text = form_urlencoded::Serializer::new(String::new());
    if limit > 0 {
        text.append_pair("limit", &limit.min(PAGE_MAX).to_string());
    }
    for (name, value) in query {
        if let Some(value) = value {
            text.append_pair(name, value);
        }
    }
    format!("{path}?{}", text.finish())
}

/// Shows events until the process is stopped. `last` is what to go on behind; a stream that breaks
/// is opened again where it broke.
fn follow(
    client: &Client,
    target: &str,
    mut last: Option<String>,
    out: &mut dyn Write,
    form: (bool, bool),
) -> anyhow::Result<()> {
    let mut connected = false;
    loop {
        let mut gap = false;
        let after = last.as_deref().map(|id| format!("&after={id}"));
        let target = format!("{target}{}", after.unwrap_or_default());
        let followed = client.follow(&target, |line| {
            connected = true;
            match line.split_once(": ") {
                Some(("id", id)) => last = Some(id.to_owned()),
                Some(("event", name)) => gap = name == "gap",
                Some(("data", data)) if gap => {
                    let gap: Gap = serde_json::from_str(data)?;
                    let lost = gap
                        .lost
                        .map_or_else(|| "some".to_owned(), |lost| lost.to_string());
                    writeln!(out, "… {lost} events are lost ({})", visible(&gap.reason))?;
                }
                Some(("data", data)) => {
                    show(out, &serde_json::from_str(data)?, form)?;
                    out.flush()?;
                }
                Some(_) => {}
                None => gap = false,
            }
            Ok(())
        });
        if let Err(error) = followed {
            // The first connection has to succeed.
            let of_client = error.is::<ClientError>();
            if !connected || !of_client {
                return Err(error);
            }
        }
        thread::sleep(RETRY);
    }
}

/// The head of a list of events, in the widths of its lines.
fn head(out: &mut dyn Write, fleet: bool) -> io::Result<()> {
    let gateway = if fleet { "GATEWAY       " } else { "" };
    let (time, version, who, what) = ("TIME", "VERSION", "BY", "EVENT");
    writeln!(
        out,
        "{time:24}  {gateway}{version:8}  {who:12}  {what:22}  DETAIL"
    )
}

/// What an event is about that its text does not name: the session or the request, and whose.
fn about(event: &EventView) -> String {
    let fields = &event.fields;
    let facts = match event.kind {
        Kind::SessionBegan | Kind::SessionMoved | Kind::SessionEnded => [
            ("session", fields.session.map(|id| id.to_string())),
            ("principal", fields.principal.as_deref().map(str::to_owned)),
            ("route", fields.route.as_deref().map(str::to_owned)),
            ("client", fields.client.as_deref().map(str::to_owned)),
        ],
        Kind::Refused => [
            ("request", fields.request_id.as_deref().map(str::to_owned)),
            ("principal", fields.principal.as_deref().map(str::to_owned)),
            ("route", fields.route.as_deref().map(str::to_owned)),
            ("client", fields.client.as_deref().map(str::to_owned)),
        ],
        _ => return String::new(),
    };
    let known = facts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let known: Vec<_> = known
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    format!("; {}", known.join(", "))
}

/// An event on one line: when, which revision or generation, who, what.
fn show(
    out: &mut dyn Write,
    event: &Located<EventView>,
    (as_json, diff): (bool, bool),
) -> anyhow::Result<()> {
    if as_json {
        json(out, &serde_json::to_value(event)?, Form::Line)?;
        return Ok(());
    }
    let Located { node, item: event } = event;
    let fields = &event.fields;
    let version = match (fields.revision, fields.generation) {
        (Some(revision), _) => format!("rev {revision}"),
        (None, Some(generation)) => format!("gen {generation}"),
        (None, None) => "-".to_owned(),
    };
    let who = fields.operator.as_deref().or(fields.source.as_deref());
    let (who, what) = (visible(who.unwrap_or("-")), event.kind.as_str());
    let text = format!("{}{}", fields.text, about(event));
    let text = visible(&text);
    let node = node
        .as_deref()
        .map(|node| format!("{:12}  ", visible(node)));
    let node = node.unwrap_or_default();
    writeln!(
        out,
        "{}  {node}{version:8}  {who:12}  {what:22}  {text}",
        event.time
    )?;
    for document in &fields.documents {
        if diff {
            let (key, change) = (visible(&document.key), visible(&document.change));
            writeln!(out, "    {key} {change}")?;
            for line in &document.lines {
                writeln!(out, "      {}", visible(line))?;
            }
            if document.more {
                writeln!(out, "      … and more")?;
            }
        }
    }
    if let (true, Some(revision), [_, ..]) = (diff, fields.revision, &*fields.documents) {
        writeln!(out, "    undo: sessile history undo {revision}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
