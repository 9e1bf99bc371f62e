//! `sessile lost`: which sessions lost messages, how many, when and why.

use std::io::Write;

use form_urlencoded::Serializer;
use serde_json::json;

use crate::admin::sessions::Session;
use crate::cli::args::LostArgs;
use crate::cli::client::Client;
use crate::cli::history::Ended;
use crate::cli::listed::{Listed, scoped};
use crate::cli::print::{Form, columns, counted, json as print_json};
use crate::telemetry::events::EventView;

const HEAD: [&str; 6] = ["WHEN", "ID", "PRINCIPAL", "ROUTE", "LOST", "WHY"];
/// The place of the time.
const WHEN: usize = 0;

/// Lists live sessions and those that ended, as far as they lost messages. Answers 1 if there are
/// any.
///
/// # Errors
/// When the gateway does not answer, or `out` cannot be written to.
pub fn lost(args: &LostArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let (past, client) = (&args.past, Client::new(&args.past.admin)?);
    let mut query = Serializer::new(String::new());
    let about = args.about.pairs();
    query.extend_pairs(
        about
            .iter()
            .filter_map(|(name, value)| Some((name, (*value)?))),
    );
    query.append_pair("lost", "true");
    query.append_pair("limit", &past.limit.min(1000).to_string());
    let target = format!("/v1/sessions?{}", query.finish());
    let live: Listed<Session> = client.get(&scoped(&target, past.fleet))?;
    let ended = Ended {
        id: None,
        about: &args.about,
        cause: None,
        operator: None,
        since: past.since.as_deref(),
        lost: true,
        limit: past.limit,
        fleet: past.fleet,
    };
    let ended = ended.page(&client)?;
    if past.json {
        let both = json!({ "live": live, "ended": ended });
        let any = !live.items.is_empty() || both["ended"]["items"] != json!([]);
        print_json(out, &both, Form::Pretty)?;
        return Ok(u8::from(any));
    }
    let ended: Listed<EventView> = serde_json::from_value(ended)?;
    let shift = usize::from(ended.is_of_fleet());
    let mut rows = Vec::new();
    for one in &live.items {
        let node = one.node.clone().filter(|_| shift == 1);
        let of_node = |row: Vec<String>| node.iter().cloned().chain(row).collect::<Vec<_>>();
        rows.extend(of_live(&one.item).into_iter().map(of_node));
    }
    rows.extend(ended.rows(of_ended));
    rows.sort_by(|one, other| other[WHEN + shift].cmp(&one[WHEN + shift]));
    match rows.is_empty() {
        true => writeln!(out, "no session lost messages{}", ended.reach())?,
        false => columns(out, &ended.head(&HEAD), rows.clone())?,
    }
    ended.missing("", out)?;
    if live.next.is_some() || ended.next.is_some() {
        writeln!(out, "… and more: --limit shows them")?;
    }
    Ok(u8::from(!rows.is_empty()))
}

/// A line for each backend with which messages were lost, and one for published ones.
fn of_live(session: &Session) -> Vec<Vec<String>> {
    let line = |when: &str, lost: String, why: String| {
        vec![
            when.to_owned(),
            session.id.clone(),
            session.principal.clone().unwrap_or_else(|| "-".to_owned()),
            session.route.clone(),
            lost,
            why,
        ]
    };
    let moves = session.moved.iter().filter(|one| one.messages_lost > 0);
    let mut lines: Vec<_> = moves
        .map(|one| {
            let why = format!("{} of {}; went on with {}", one.reason, one.from, one.to);
            line(&one.at, counted(one.messages_lost, "message"), why)
        })
        .collect();
    let shown: u64 = session.moved.iter().map(|one| one.messages_lost).sum();
    let earlier = session.messages_lost.saturating_sub(shown);
    if earlier > 0 {
        let why = "with a backend, at an earlier move or at this moment".to_owned();
        lines.push(line(&session.started, counted(earlier, "message"), why));
    }
    let dropped = session.published.dropped;
    if dropped > 0 {
        let lost = format!("{dropped} published");
        let why = "its client reads too slowly, or they expired".to_owned();
        lines.push(line(&session.started, lost, why));
    }
    lines
}

fn of_ended(event: &EventView) -> Vec<String> {
    let fields = &event.fields;
    let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or("-").to_owned();
    let (lost, dropped) = (fields.messages_lost, fields.messages_dropped);
    let lost = lost
        .filter(|lost| *lost > 0)
        .map(|lost| counted(lost, "message"));
    let dropped = dropped.filter(|dropped| *dropped > 0);
    let dropped = dropped.map(|dropped| format!("{dropped} published"));
    let all: Vec<_> = lost.into_iter().chain(dropped).collect();
    vec![
        event.time.clone(),
        fields.session.map(|id| id.to_string()).unwrap_or_default(),
        text(&fields.principal),
        text(&fields.route),
        all.join(", "),
        format!(
            "ended {}, with backend {}",
            fields.text,
            text(&fields.backend)
        ),
    ]
}
