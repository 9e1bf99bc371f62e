//! `sessile resolve`: where this request would go, and why. It asks a running gateway, or compiles
//! the configuration file and evaluates it in the same way.

use std::collections::BTreeMap;
use std::io::{self, Write};

use http::Method;

use crate::admin::resolve::{
    Asked, Choice, ConsideredView, Explanation, SessionExplanation, Step, Values, explain,
};
use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::cli::args::ResolveArgs;
use crate::cli::client::Client;
use crate::cli::print::{Form, json, visible};
use crate::control::load::load;
use crate::core::routing::RoutingTable;

/// Routes shown by default: the nearest ones.
const ROUTES_SHOWN: usize = 12;
/// The request would be refused.
const NOWHERE: u8 = 1;
/// The configuration is refused.
const REFUSED: u8 = 2;

/// Explains a request. Returns 1 if it would be refused, 2 if the configuration is refused.
///
/// # Errors
/// When the request is invalid, the gateway does not answer, or `out` cannot be written to.
pub fn resolve(args: &ResolveArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    if let Some(id) = args.session {
        return session(args, id, out);
    }
    let asked = asked(args);
    let explanation: Explanation = if args.admin.admin.is_some() {
        Client::new(&args.admin)?.ask(Method::POST, "/v1/resolve", Some(&asked))?
    } else {
        let options = args.admin.config.options();
        let snapshot = match load(&options) {
            Ok(loaded) => loaded.snapshot,
            Err(faults) => {
                writeln!(out, "{faults}")?;
                return Ok(REFUSED);
            }
        };
        let now = clock::now();
        let table = RoutingTable::compile(&snapshot, None, 1, now);
        let mut explanation = explain(&table, &asked, now)?;
        let file = options.path.display();
        explanation.notes.push(format!(
            "read from {file}, where every active backend counts as healthy and empty; --admin \
             asks a running gateway"
        ));
        explanation
    };
    if args.json {
        json(out, &serde_json::to_value(&explanation)?, Form::Pretty)?;
    } else {
        show(out, &explanation, args.all)?;
    }
    Ok(outcome(&explanation))
}

/// The exit code: whether the request would get somewhere.
fn outcome(explanation: &Explanation) -> u8 {
    let choice = explanation.choice.as_ref();
    let chosen = choice.is_some_and(|choice| choice.backend.is_some());
    match chosen || explanation.redirect.is_some() {
        true => 0,
        false => NOWHERE,
    }
}

/// What a session of a running gateway, live or ended, would get now.
fn session(args: &ResolveArgs, id: SessionId, out: &mut dyn Write) -> anyhow::Result<u8> {
    let target = format!("/v1/resolve?session={id}");
    let explained: SessionExplanation = Client::new(&args.admin)?.get(&target)?;
    if args.json {
        json(out, &serde_json::to_value(&explained)?, Form::Pretty)?;
        return Ok(outcome(&explained.now));
    }
    let then = &explained.then;
    let state = match &explained.ended {
        None => "live".to_owned(),
        Some(end) => format!("not live: ended at {} {}", end.time, end.fields.text),
    };
    writeln!(out, "session   {id} {}", visible(&state))?;
    let key = match &then.key {
        Some(key) => format!(", key {} from {}", key.key, key.source),
        None => String::new(),
    };
    let who = then.principal.as_deref().unwrap_or("no principal");
    let placed = format!(
        "{who} by route {} on {}/{}{key}",
        then.route, then.upstream, then.backend
    );
    writeln!(out, "then      {}", visible(&placed))?;
    writeln!(out, "now")?;
    show(out, &explained.now, args.all)?;
    for one in &explained.differs {
        writeln!(out, "differs   {}", visible(one))?;
    }
    if explained.differs.is_empty() {
        writeln!(out, "differs   nothing")?;
    }
    Ok(outcome(&explained.now))
}

fn asked(args: &ResolveArgs) -> Asked {
    let mut headers: BTreeMap<String, Values> = BTreeMap::new();
    for (name, value) in &args.headers {
        match headers
            .entry(name.to_ascii_lowercase())
            .or_insert(Values::Many(Vec::new()))
        {
            Values::Many(values) => values.push(value.clone()),
            Values::One(_) => unreachable!("all are made with room for many"),
        }
    }
    let subject = args
        .subject
        .iter()
        .map(|who| ("sub".to_owned(), who.as_str().into()));
    Asked {
        claims: args.claims.iter().cloned().chain(subject).collect(),
        url: args.url.clone(),
        method: Some(args.method.clone()),
        headers,
        client: Some(args.client),
        without: args.without.clone(),
        ..Asked::default()
    }
}

fn show(out: &mut dyn Write, explanation: &Explanation, all: bool) -> io::Result<()> {
    let request = &explanation.request;
    let kind = if request.websocket {
        "WebSocket"
    } else {
        "HTTP"
    };
    let target = visible(&format!("{}{}", request.host, request.path));
    writeln!(
        out,
        "request   {} {target} ({kind}) from {}",
        request.method, request.client
    )?;
    routes(out, &explanation.routes, all)?;
    if let Some(redirect) = &explanation.redirect {
        let location = redirect.location.as_deref();
        let location = location.unwrap_or("nowhere, as the request has no host");
        writeln!(
            out,
            "redirect  {} to {}",
            redirect.status,
            visible(location)
        )?;
    }
    if let Some(principal) = &explanation.principal {
        writeln!(out, "principal {}", visible(principal))?;
    }
    if let Some(refusal) = &explanation.refusal {
        let (status, reason) = (refusal.status, &refusal.reason);
        let detail = visible(&refusal.detail);
        writeln!(out, "refused   {status} ({reason}): {detail}")?;
    }
    if let Some(affinity) = &explanation.affinity {
        writeln!(
            out,
            "key       {} from {}",
            visible(&affinity.key),
            affinity.source
        )?;
    }
    if let Some(choice) = &explanation.choice {
        walk(out, choice)?;
        let backend = choice.backend.as_deref();
        writeln!(
            out,
            "backend   {}",
            backend.unwrap_or("none may take it: answered 503")
        )?;
    }
    if let Some(target) = &explanation.target {
        writeln!(out, "asked for {}", visible(target))?;
    }
    for what in &explanation.not_checked {
        writeln!(out, "unjudged  {}", visible(what))?;
    }
    for note in &explanation.notes {
        writeln!(out, "note      {}", visible(note))?;
    }
    Ok(())
}

/// The nearest ones, and the one that matched.
fn routes(out: &mut dyn Write, routes: &[ConsideredView], all: bool) -> io::Result<()> {
    writeln!(out, "routes    the most specific first")?;
    let shown = if all {
        routes.len()
    } else {
        ROUTES_SHOWN.min(routes.len())
    };
    let (first, rest) = routes.split_at(shown);
    let matched = rest.iter().find(|considered| considered.matched);
    let shown = || first.iter().chain(matched);
    let width = shown()
        .map(|considered| considered.route.chars().count())
        .max()
        .unwrap_or(0);
    for ConsideredView {
        route,
        matched,
        verdict,
    } in shown()
    {
        let arrow = if *matched { "->" } else { "" };
        writeln!(out, "  {arrow:2} {route:width$}  {}", visible(verdict))?;
    }
    match rest.len() - usize::from(matched.is_some()) {
        0 => Ok(()),
        more => writeln!(out, "     … and {more} more: --all shows them"),
    }
}

fn walk(out: &mut dyn Write, choice: &Choice) -> io::Result<()> {
    let panic = if choice.panicking {
        ", so few are well that health is ignored"
    } else {
        ""
    };
    writeln!(
        out,
        "upstream  {} by {}{panic}",
        choice.upstream, choice.policy
    )?;
    let width = choice
        .walk
        .iter()
        .map(|step| step.backend.chars().count())
        .max()
        .unwrap_or(0);
    for level in &choice.levels {
        let arrow = if level.verdict == "taken" { "->" } else { "" };
        let name = visible(&level.level.name);
        writeln!(out, "  {arrow:2} {name}: {}", level.reason)?;
    }
    let place = |step: &Step| match (choice.levels.is_empty(), &step.zone) {
        (false, Some(zone)) => format!(" (zone {})", visible(zone)),
        _ => String::new(),
    };
    for step in &choice.walk {
        let arrow = if step.verdict == "taken" { "->" } else { "" };
        let place = place(step);
        writeln!(
            out,
            "  {arrow:2} {:width$}  {}{place}",
            step.backend, step.reason
        )?;
    }
    Ok(())
}
