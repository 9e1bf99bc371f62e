//! `sessile sessions` and `sessile kick`: list and close live sessions.

mod all;
mod read;

use std::io::Write;

use anyhow::bail;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::admin::sessions::Session;
use crate::cli::args::{KickArgs, SessionsArgs};
use crate::cli::client::{Client, ClientError};
use crate::cli::print::{Form, fitted, json, size, time, visible};
use crate::cli::sessions::read::{ended, fetch, width};
use crate::cli::upstream::{Upstream, every, unknown};
use crate::cli::watch::watch;

/// Lists live sessions.
///
/// # Errors
/// When the gateway does not answer or has no such route, upstream or backend, or `out` cannot be
/// written to.
pub fn sessions(args: &SessionsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let list = match (args.ended, args.all) {
        (true, _) => return ended(args).list(&client, args.json, out),
        (false, true) => all::list,
        (false, false) => list,
    };
    if !args.watch {
        return list(&client, args, out);
    }
    watch(out, |out| list(&client, args, out))
}

fn list(client: &Client, args: &SessionsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let page = fetch(client, args)?;
    let missing = match page.items.is_empty() {
        true if !page.is_partial() => missing(client, args)?,
        true => None,
        false => None,
    };
    if let (Some(missing), false) = (&missing, args.json) {
        bail!("no sessions: {missing}");
    }
    if args.json {
        json(out, &serde_json::to_value(&page)?, Form::Pretty)?;
        return Ok(missing.map_or(0, |_| 1));
    }
    if page.items.is_empty() {
        let text = match args.selection.is_empty() {
            true => "no live sessions",
            false => "no live session matches; `sessile ended` lists those that are over",
        };
        writeln!(out, "{text}")?;
    }
    let extra = Extra::of(args);
    let head: Vec<_> = HEAD.into_iter().chain(extra.head()).collect();
    let rows = page.rows(|session| {
        let mut cells = row(session);
        cells.extend(extra.cells(session));
        cells
    });
    let id = usize::from(page.is_of_fleet());
    if !rows.is_empty() {
        fitted(out, &page.head(&head), rows, &[id], width())?;
    }
    page.missing("", out)?;
    if page.next.is_some() || page.matched > Some(page.items.len()) {
        writeln!(out, "… and more: --limit shows them")?;
    }
    if !page.unanswered.is_empty() {
        let workers: Vec<_> = page.unanswered.iter().map(ToString::to_string).collect();
        writeln!(
            out,
            "incomplete: workers {} did not answer in time",
            workers.join(", ")
        )?;
    }
    Ok(0)
}

const HEAD: [&str; 9] = [
    "ID",
    "ROUTE",
    "BACKEND",
    "PRINCIPAL",
    "CLIENT",
    "AGE",
    "IDLE",
    "SENT",
    "RECEIVED",
];

/// Columns that only some lists have.
struct Extra {
    rates: bool,
    round_trip: bool,
    in_flight: bool,
    expires: bool,
    moves: bool,
}

impl Extra {
    fn of(args: &SessionsArgs) -> Self {
        let sort = args.sort.as_deref().unwrap_or_default();
        let sort = sort.strip_prefix('-').unwrap_or(sort);
        Self {
            rates: args.rates.is_some() || sort.ends_with("_rate"),
            round_trip: sort == "round_trip",
            in_flight: sort == "in_flight",
            expires: sort == "expires",
            moves: sort == "moves",
        }
    }

    fn head(&self) -> Vec<&'static str> {
        let all: [(bool, &[&str]); 5] = [
            (self.rates, &["MSG/S", "BYTES/S"]),
            (self.round_trip, &["PING CLIENT", "PING BACKEND"]),
            (self.in_flight, &["TO CLIENT", "TO BACKEND"]),
            (self.expires, &["EXPIRES"]),
            (self.moves, &["MOVES"]),
        ];
        let shown = all.into_iter().filter(|(shown, _)| *shown);
        shown.flat_map(|(_, names)| names).copied().collect()
    }

    fn cells(&self, session: &Session) -> Vec<String> {
        let mut cells = Vec::new();
        if self.rates {
            let rate = session.rate.as_ref();
            let messages = rate.map_or(0.0, |rate| rate.messages_per_second);
            let bytes = rate.map_or(0.0, |rate| rate.bytes_per_second);
            cells.extend([format!("{messages:.1}"), size(bytes as u64)]);
        }
        if self.round_trip {
            let trip =
                |trip: Option<f64>| trip.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
            cells.push(trip(session.round_trip_client_ms));
            cells.push(trip(session.round_trip_backend_ms));
        }
        if self.in_flight {
            let (client, backend) = (session.in_flight_to_client, session.in_flight_to_backend);
            cells.push(size(client.held + client.queued));
            cells.push(size(backend.held + backend.queued));
        }
        if self.expires {
            cells.push(
                session
                    .expires
                    .clone()
                    .unwrap_or_else(|| "never".to_owned()),
            );
        }
        if self.moves {
            cells.push(session.resumes.to_string());
        }
        cells
    }
}

/// Closes sessions; answers 1 if one of them could not be closed.
///
/// # Errors
/// When the gateway does not answer, or `out` cannot be written to.
pub fn kick(args: &KickArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let mut code = 0;
    for id in &args.ids {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(code) = args.code {
            query.append_pair("code", &code.to_string());
        }
        if let Some(reason) = &args.reason {
            query.append_pair("reason", reason);
        }
        let target = format!("/v1/sessions/{id}?{}", query.finish());
        let closed = client.ask::<Value>(Method::DELETE, &target, None::<&()>);
        match closed.map_err(|error| client.with_holder(*id, error)) {
            Ok(closing) => {
                let reason = closing["reason"].as_str().unwrap_or_default();
                writeln!(
                    out,
                    "closing {id} with {}, {}",
                    closing["code"],
                    visible(reason)
                )?;
            }
            Err(ClientError::Refused { detail, .. }) => {
                writeln!(out, "{}", visible(&detail))?;
                code = 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(code)
}

/// A filter with an unknown name. Sessions may outlive their route and their backend, so this is
/// checked only if no session matches.
fn missing(client: &Client, args: &SessionsArgs) -> anyhow::Result<Option<String>> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    for (what, list, asked) in [
        ("route", "/v1/routes", &args.selection.about.route),
        ("upstream", "/v1/upstreams", &args.selection.about.upstream),
    ] {
        if let Some(asked) = asked {
            let all: Vec<Named> = every(client, list)?;
            let names: Vec<_> = all.into_iter().map(|one| one.name).collect();
            if !names.contains(asked) {
                return Ok(Some(unknown(what, asked, &names)));
            }
        }
    }
    let (Some(upstream), Some(backend)) = (
        &args.selection.about.upstream,
        &args.selection.about.backend,
    ) else {
        return Ok(None);
    };
    let upstream = Upstream::get(client, upstream)?;
    let ids: Vec<_> = upstream.backends.into_iter().map(|one| one.id).collect();
    Ok((!ids.contains(backend)).then(|| unknown("backend", backend, &ids)))
}

fn row(session: &Session) -> Vec<String> {
    let idle = if session.closing {
        "closing".to_owned()
    } else {
        time(session.idle_seconds)
    };
    vec![
        session.id.clone(),
        session.route.clone(),
        session.backend.clone(),
        session.principal.clone().unwrap_or_else(|| "-".to_owned()),
        session.client.clone(),
        time(session.age_seconds),
        idle,
        size(session.to_backend.bytes),
        size(session.to_client.bytes),
    ]
}
