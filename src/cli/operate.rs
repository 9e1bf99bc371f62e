//! `sessile move` and `sessile send`: orders for live sessions.

use std::io::Write;

use anyhow::bail;
use form_urlencoded::Serializer;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::base::session_id::SessionId;
use crate::cli::args::{MoveArgs, SendArgs};
use crate::cli::client::{Client, ClientError};
use crate::cli::print::{Form, json as print_json, visible};

/// Moves a session to another backend.
///
/// # Errors
/// When the gateway does not answer or refuses, or `out` cannot be written to.
pub fn move_session(args: &MoveArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let target = format!("/v1/sessions/{}/move", args.id);
    let body = match &args.backend {
        Some(backend) => json!({ "backend": backend }),
        None => json!({}),
    };
    let moving: Result<Value, _> = client.ask(Method::POST, &target, Some(&body));
    let moving = moving.map_err(|error| client.with_holder(args.id, error))?;
    if args.json {
        print_json(out, &moving, Form::Pretty)?;
        return Ok(0);
    }
    let from = visible(moving["from"].as_str().unwrap_or_default());
    let to = args.backend.as_deref().unwrap_or("another backend");
    writeln!(out, "{} leaves {from} for {to}", args.id)?;
    writeln!(out, "`sessile why {}` shows where it is then", args.id)?;
    Ok(0)
}

/// Sends a message in one session or in many; answers 1 if it was sent in none. Where the gateway
/// publishes messages, the sessions of all gateways get it.
///
/// # Errors
/// When the gateway does not answer or refuses, or `out` cannot be written to.
pub fn send(args: &SendArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let many = args.all || args.group.is_some() || !args.selection.is_empty();
    let (whom, text) = match (&args.words[..], many) {
        ([text], true) => (None, text),
        ([id, text], false) => (Some(id.parse::<SessionId>()?), text),
        ([_], false) => bail!("to whom? Give a session's id, a filter such as --route, or --all"),
        ([_, _], true) => bail!("give either a session's id or filters, and one text"),
        (words, _) => {
            let text = words[usize::from(!many)..].join(" ");
            bail!(
                "the text is one argument: put it in quotes, '{}'",
                visible(&text)
            )
        }
    };
    if args.group.is_some() && !args.selection.is_empty() {
        bail!("give a group or filters, not both");
    }
    let kind = if args.base64 { "base64" } else { "text" };
    let to = if args.to_backend { "backend" } else { "client" };
    let body = json!({ kind: text, "to": to });
    if let Some(target) = fleet_target(args, whom)
        && let Some(sent) = publish(&client, &target, &body, args.group.is_some())?
    {
        return show_published(args, whom, &sent, out);
    }
    let target = match whom {
        Some(id) => format!("/v1/sessions/{id}/messages"),
        None => {
            let mut query = Serializer::new(String::new());
            args.selection.append(&mut query);
            if args.all {
                query.append_pair("all", "true");
            }
            format!("/v1/sessions/messages?{}", query.finish())
        }
    };
    let sent: Result<Value, _> = client.ask(Method::POST, &target, Some(&body));
    let sent = sent.map_err(|error| match whom {
        Some(id) => client.with_holder(id, error),
        None => error,
    })?;
    show_sent(args, &sent, out)
}

/// The target that publishing has for what is asked; `None` if it has none.
fn fleet_target(args: &SendArgs, whom: Option<SessionId>) -> Option<String> {
    match (whom, &args.group) {
        (Some(id), _) => Some(format!("session:{id}")),
        (None, Some(group)) => Some(format!("group:{group}")),
        (None, None) if args.selection.is_empty() => args.all.then(|| "all".to_owned()),
        (None, None) if !args.all => args.selection.target(),
        (None, None) => None,
    }
}

/// Publishes a message to a target of all gateways. `None` if the gateway does not publish, unless
/// it `must`.
fn publish(
    client: &Client,
    target: &str,
    body: &Value,
    must: bool,
) -> anyhow::Result<Option<Value>> {
    let mut body = body.clone();
    body["targets"] = json!([target]);
    match client.ask(Method::POST, "/v1/messages", Some(&body)) {
        Ok(sent) => Ok(Some(sent)),
        // It is not configured, or the gateway is older.
        Err(ClientError::Refused { status, .. })
            if !must && matches!(status, StatusCode::CONFLICT | StatusCode::NOT_FOUND) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn show_published(
    args: &SendArgs,
    whom: Option<SessionId>,
    sent: &Value,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let count = |key: &str| sent[key].as_u64().unwrap_or_default();
    let (delivered, queued, dropped) = (count("delivered"), count("queued"), count("dropped"));
    let code = u8::from(delivered + queued == 0);
    if args.json {
        print_json(out, sent, Form::Pretty)?;
        return Ok(code);
    }
    match whom {
        Some(_) if delivered == 1 => writeln!(out, "delivered")?,
        _ => {
            let nodes = count("nodes");
            let gateways = if nodes == 1 { "gateway" } else { "gateways" };
            writeln!(
                out,
                "delivered {delivered}, queued {queued}, dropped {dropped} on {nodes} {gateways}"
            )?;
        }
    }
    if let Some(why) = sent["not_carried"].as_str() {
        writeln!(out, "the other gateways did not get it: {}", visible(why))?;
    } else if count("nodes_missing") > 0 {
        let missing = count("nodes_missing");
        writeln!(out, "gateways that did not answer: {missing}")?;
    }
    Ok(code)
}

fn show_sent(args: &SendArgs, sent: &Value, out: &mut dyn Write) -> anyhow::Result<u8> {
    let delivered = sent["delivered"].as_u64();
    let code = u8::from(delivered == Some(0));
    if args.json {
        print_json(out, sent, Form::Pretty)?;
        return Ok(code);
    }
    let Some(delivered) = delivered else {
        writeln!(out, "delivered")?;
        return Ok(code);
    };
    let (busy, gone, unfit) = (&sent["busy"], &sent["gone"], &sent["unfit"]);
    write!(
        out,
        "delivered {delivered}, busy {busy}, gone {gone} on this gateway"
    )?;
    if unfit.as_u64() > Some(0) {
        write!(
            out,
            ", with an extension that the gateway does not know {unfit}"
        )?;
    }
    writeln!(out)?;
    if args.all || args.selection.target().is_some() {
        writeln!(
            out,
            "other gateways do not get it: `[publish]` is not configured here"
        )?;
    }
    Ok(code)
}
