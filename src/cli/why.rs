//! `sessile why`: why a user, a session or a request is where it is.

use std::io::Write;

use anyhow::bail;
use form_urlencoded::Serializer;
use http::StatusCode;

use crate::admin::sessions::{Session, SessionPage};
use crate::base::session_id::SessionId;
use crate::cli::args::WhyArgs;
use crate::cli::client::{Client, ClientError};
use crate::cli::print::{Form, json, time, visible};

/// Explains the live sessions that are meant; answers 1 if there are none.
///
/// # Errors
/// When the gateway does not answer, has no such session, or `out` cannot be written to.
pub fn why(args: &WhyArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let found = find(&client, &args.what)?;
    if args.json {
        json(out, &serde_json::to_value(&found)?, Form::Pretty)?;
        return Ok(u8::from(found.is_empty()));
    }
    if found.is_empty() {
        bail!(
            "no live session of `{}`: it is no principal, session or request id of a live one. The \
             records say how ended sessions ended; `sessile sessions` lists live ones",
            visible(&args.what)
        );
    }
    for session in &found {
        for line in explain(session) {
            writeln!(out, "{}", visible(&line))?;
        }
    }
    Ok(0)
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
    let who = session.principal.as_deref().unwrap_or("nobody known");
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
