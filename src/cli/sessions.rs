//! `sessile sessions` and `sessile kick`: list and close live sessions.

use std::io::Write;

use anyhow::bail;
use http::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::admin::sessions::{Session, SessionPage};
use crate::cli::args::{KickArgs, SessionsArgs};
use crate::cli::client::{Client, ClientError};
use crate::cli::print::{Form, columns, json, size, time, visible};
use crate::cli::upstream::{Upstream, every, unknown};

/// Most sessions that the admin API gives at once.
const PAGE_MAX: usize = 1000;

/// Lists live sessions.
///
/// # Errors
/// When the gateway does not answer or has no such route, upstream or backend, or `out` cannot be
/// written to.
pub fn sessions(args: &SessionsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let page = fetch(&client, args)?;
    let missing = match page.items.is_empty() {
        true => missing(&client, args)?,
        false => None,
    };
    if let (Some(missing), false) = (&missing, args.json) {
        bail!("no sessions: {missing}");
    }
    if args.json {
        json(out, &serde_json::to_value(&page)?, Form::Pretty)?;
        return Ok(missing.map_or(0, |_| 1));
    }
    let head = [
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
    columns(out, &head, page.items.iter().map(row))?;
    if page.next.is_some() {
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
        match client.ask::<Value>(Method::DELETE, &target, None::<&()>) {
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
        ("route", "/v1/routes", &args.route),
        ("upstream", "/v1/upstreams", &args.upstream),
    ] {
        if let Some(asked) = asked {
            let all: Vec<Named> = every(client, list)?;
            let names: Vec<_> = all.into_iter().map(|one| one.name).collect();
            if !names.contains(asked) {
                return Ok(Some(unknown(what, asked, &names)));
            }
        }
    }
    let (Some(upstream), Some(backend)) = (&args.upstream, &args.backend) else {
        return Ok(None);
    };
    let upstream = Upstream::get(client, upstream)?;
    let ids: Vec<_> = upstream.backends.into_iter().map(|one| one.id).collect();
    Ok((!ids.contains(backend)).then(|| unknown("backend", backend, &ids)))
}

/// Reads page by page, up to the limit or the end.
fn fetch(client: &Client, args: &SessionsArgs) -> Result<SessionPage, ClientError> {
    let mut all = SessionPage {
        items: Vec::new(),
        next: None,
        matched: None,
        rate: None,
        unanswered: Vec::new(),
    };
    loop {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let filters = [
            ("route", &args.route),
            ("upstream", &args.upstream),
            ("backend", &args.backend),
            ("principal", &args.principal),
            ("cursor", &all.next),
        ];
        for (name, value) in filters {
            query.extend_pairs(value.iter().map(|value| (name, value)));
        }
        let wanted = (args.limit - all.items.len()).min(PAGE_MAX);
        query.append_pair("limit", &wanted.to_string());
        let page: SessionPage = client.get(&format!("/v1/sessions?{}", query.finish()))?;
        all.items.extend(page.items);
        all.next = page.next;
        all.unanswered.extend(page.unanswered);
        if all.next.is_none() || all.items.len() >= args.limit {
            all.unanswered.sort_unstable();
            all.unanswered.dedup();
            return Ok(all);
        }
    }
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
