//! `sessile move` and `sessile send`: orders for live sessions.

use std::io::Write;

use anyhow::bail;
use form_urlencoded::Serializer;
use http::Method;
use serde_json::{Value, json};

use crate::base::session_id::SessionId;
use crate::cli::args::{MoveArgs, SendArgs};
use crate::cli::client::Client;
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
    let moving: Value = client.ask(Method::POST, &target, Some(&body))?;
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

/// Sends a message in one session or in many; answers 1 if it was sent in none.
///
/// # Errors
/// When the gateway does not answer or refuses, or `out` cannot be written to.
pub fn send(args: &SendArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let many = args.all || !args.selection.is_empty();
    let (target, text) = match (&args.words[..], many) {
        ([text], true) => {
            let mut query = Serializer::new(String::new());
            args.selection.append(&mut query);
            if args.all {
                query.append_pair("all", "true");
            }
            (format!("/v1/sessions/messages?{}", query.finish()), text)
        }
        ([id, text], false) => {
            let id: SessionId = id.parse()?;
            (format!("/v1/sessions/{id}/messages"), text)
        }
        ([_], false) => bail!("to whom? Give a session's id, a filter such as --route, or --all"),
        _ => bail!("give either a session's id or filters, and one text"),
    };
    let kind = if args.base64 { "base64" } else { "text" };
    let to = if args.to_backend { "backend" } else { "client" };
    let body = json!({ kind: text, "to": to });
    let sent: Value = client.ask(Method::POST, &target, Some(&body))?;
    let delivered = sent["delivered"].as_u64();
    let code = u8::from(many && delivered == Some(0));
    if args.json {
        print_json(out, &sent, Form::Pretty)?;
        return Ok(code);
    }
    match delivered {
        None => writeln!(out, "delivered")?,
        Some(delivered) => {
            let (busy, gone, unfit) = (&sent["busy"], &sent["gone"], &sent["unfit"]);
            write!(out, "delivered {delivered}, busy {busy}, gone {gone}")?;
            if unfit.as_u64() > Some(0) {
                write!(
                    out,
                    ", with an extension that the gateway does not know {unfit}"
                )?;
            }
            writeln!(out)?;
        }
    }
    Ok(code)
}
