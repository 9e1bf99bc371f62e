//! `sessile sessions --all`: live sessions and those that ended, as one list.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::admin::sessions::Session;
use crate::cli::args::SessionsArgs;
use crate::cli::client::Client;
use crate::cli::listed::Listed;
use crate::cli::print::{Form, fitted, json as print_json, time};
use crate::cli::sessions::read::{ended, fetch, width};
use crate::telemetry::events::EventView;

const HEAD: [&str; 9] = [
    "STATE",
    "STARTED",
    "LASTED",
    "ID",
    "PRINCIPAL",
    "ROUTE",
    "BACKEND",
    "CLIENT",
    "HOW",
];
/// The place of the id, which is not cut, and that of the start.
const ID: usize = 3;
const STARTED: usize = 1;

/// Lists them, the one that began last first.
pub(super) fn list(
    client: &Client,
    args: &SessionsArgs,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let live = fetch(client, args)?;
    let past = ended(args).page(client)?;
    if args.json {
        let both = json!({ "live": live, "ended": past });
        print_json(out, &both, Form::Pretty)?;
        return Ok(0);
    }
    let past: Listed<EventView> = serde_json::from_value(past)?;
    if live.items.is_empty() && past.items.is_empty() {
        writeln!(out, "no session matches, live or ended{}", past.reach())?;
        past.missing("", out)?;
        return Ok(0);
    }
    let mut rows = live.rows(of_live);
    rows.extend(past.rows(of_ended));
    let shift = usize::from(past.is_of_fleet());
    // RFC 3339 times of one zone are in the order of their texts.
    rows.sort_by(|one, other| other[STARTED + shift].cmp(&one[STARTED + shift]));
    let more = live.next.is_some() || past.next.is_some() || rows.len() > args.limit;
    rows.truncate(args.limit);
    fitted(out, &past.head(&HEAD), rows, &[ID + shift], width())?;
    past.missing("", out)?;
    if more {
        writeln!(out, "… and more: --limit shows them")?;
    }
    Ok(0)
}

fn of_live(session: &Session) -> Vec<String> {
    let how = match session.closing {
        true => "closing".to_owned(),
        false => format!("silent {}", time(session.idle_seconds)),
    };
    vec![
        "live".to_owned(),
        session.started.clone(),
        time(session.age_seconds),
        session.id.clone(),
        session.principal.clone().unwrap_or_else(|| "-".to_owned()),
        session.route.clone(),
        session.backend.clone(),
        session.client.clone(),
        how,
    ]
}

fn of_ended(event: &EventView) -> Vec<String> {
    let fields = &event.fields;
    let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or("-").to_owned();
    let lasted = fields.duration_ms.unwrap_or(0.0) / 1000.0;
    // The text begins with how long it lasted.
    let how = fields.text.split_once(": ").map(|(_, how)| how);
    vec![
        "ended".to_owned(),
        text(&fields.started),
        time(Duration::from_secs_f64(lasted.max(0.0)).as_secs_f64()),
        fields.session.map(|id| id.to_string()).unwrap_or_default(),
        text(&fields.principal),
        text(&fields.route),
        text(&fields.backend),
        text(&fields.client),
        how.unwrap_or(&fields.text).to_owned(),
    ]
}
