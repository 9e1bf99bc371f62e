//! `sessile scaling` and `sessile scale-in`: how many backends upstreams should have, and which of
//! them go first.

use std::io::Write;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::admin::scale_in::{Asked, ScaleIn};
use crate::admin::scaling::ScalingView;
use crate::cli::args::{ScaleInArgs, ScalingArgs};
use crate::cli::client::{Client, ClientError};
use crate::cli::print::{self, Form, columns, counted, visible};
use crate::cli::upstream::{self, escaped, unknown};

/// Shows the load of upstreams, and how many backends they should have.
///
/// # Errors
/// When the gateway does not answer or has no such upstream, or `out` cannot be written to.
pub fn scaling(args: &ScalingArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let names = match &args.upstream {
        Some(name) => vec![name.clone()],
        None => {
            let all = upstream::all(&client)?.into_iter();
            let known = all.filter(|one| one.policy != "removed");
            known.map(|one| one.name).collect()
        }
    };
    let scope = if args.fleet { "?scope=fleet" } else { "" };
    let mut views = Vec::new();
    for name in names {
        let target = format!("/v1/scaling/{}{scope}", escaped(&name));
        views.push(found(&client, &name, client.get::<ScalingView>(&target))?);
    }
    if args.json {
        let shown = match (&args.upstream, views.first()) {
            (Some(_), Some(one)) => json!(one),
            _ => json!({ "items": views }),
        };
        print::json(out, &shown, Form::Pretty)?;
        return Ok(0);
    }
    let rows = views.iter().map(row);
    let head = [
        "UPSTREAM", "SESSIONS", "PEAK", "NEW/S", "USED", "BACKENDS", "DESIRED", "",
    ];
    columns(out, &head, rows)?;
    Ok(0)
}

fn row(view: &ScalingView) -> Vec<String> {
    let part = |part: f64| format!("{:.0} %", part * 100.0);
    let some = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let also = [
        (view.backends_unwell, "unwell"),
        (view.backends_draining, "draining"),
    ];
    let also = also.iter().filter(|(count, _)| *count > 0);
    let also: String = also
        .map(|(count, what)| format!(", {count} {what}"))
        .collect();
    let mut remarks: Vec<_> = view.why.clone().into_iter().collect();
    if !view.silent.is_empty() {
        let silent = view.silent.iter().map(|node| visible(node));
        let silent = silent.collect::<Vec<_>>().join(", ");
        remarks.push(format!("NO ANSWER of {silent}"));
    }
    vec![
        view.upstream.clone(),
        view.sessions.to_string(),
        view.sessions_peak.to_string(),
        format!("{:.1}", view.sessions_per_second),
        some(view.utilization.map(part)),
        format!("{}{also}", view.backends_well),
        some(view.backends_desired.map(|count| count.to_string())),
        remarks.join("; "),
    ]
}

/// Drains the backends with the fewest sessions.
///
/// # Errors
/// When the gateway does not answer or refuses, there is no such upstream, or `out` cannot be
/// written to.
pub fn scale_in(args: &ScaleInArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let asked = Asked {
        backends: args.backends as usize,
        dry_run: args.dry_run,
        pace: args.pace,
        within: args.within,
        deadline: args.deadline,
    };
    let target = format!("/v1/upstreams/{}/scale-in", escaped(&args.upstream));
    let answer = client.ask::<Value>(Method::POST, &target, Some(&asked));
    let answer = found(&client, &args.upstream, answer)?;
    if args.json {
        print::json(out, &answer, Form::Pretty)?;
        return Ok(0);
    }
    let answer: ScaleIn = serde_json::from_value(answer)?;
    show(&answer, out)?;
    Ok(0)
}

fn show(answer: &ScaleIn, out: &mut dyn Write) -> anyhow::Result<()> {
    let upstream = visible(&answer.upstream);
    for one in &answer.leaving {
        let (id, sessions) = (visible(&one.id), counted(one.sessions, "session"));
        match answer.ordered {
            true => writeln!(
                out,
                "{id} drains: {sessions}; undo: sessile drain {upstream} {id} --undo"
            )?,
            false => writeln!(out, "{id} would drain: {sessions}")?,
        }
    }
    let left = counted(answer.left as u64, "backend");
    writeln!(out, "{left} of {upstream} left")?;
    if !answer.silent.is_empty() {
        let silent: Vec<_> = answer.silent.iter().map(|node| visible(node)).collect();
        writeln!(out, "not counted, no answer: {}", silent.join(", "))?;
    }
    Ok(())
}

/// The answer, or which upstreams there are.
fn found<T>(client: &Client, name: &str, answer: Result<T, ClientError>) -> anyhow::Result<T> {
    match answer {
        Err(ClientError::Refused {
            status: StatusCode::NOT_FOUND,
            ..
        }) => {
            let all = upstream::all(client)?.into_iter();
            let known: Vec<_> = all.map(|one| one.name).collect();
            anyhow::bail!(unknown("upstream", name, &known))
        }
        answer => Ok(answer?),
    }
}
