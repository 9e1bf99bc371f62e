//! `sessile explain`: what a code means, and why the session that ended with it did.

mod codes;

use std::io::{self, Write};

use anyhow::bail;
use serde_json::{Value, json};

use crate::cli::args::ExplainArgs;
use crate::cli::client::Client;
use crate::cli::explain::codes::{Meaning, meaning};
use crate::cli::print::{self, Form, visible};

/// Explains a code. With an id a gateway is asked how that session ended.
///
/// # Errors
/// When the code means nothing, the gateway does not answer, or `out` cannot be written to.
pub fn explain(args: &ExplainArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let Some(meaning) = meaning(args.code) else {
        bail!(
            "{} is neither a close code (1000 to 4999) nor an HTTP status of a refusal (400 to 599)",
            args.code
        );
    };
    let ended = args.id.map(|id| {
        let target = format!("/v1/sessions/ended?id={id}");
        let client = Client::new(&args.admin)?;
        client.get::<Value>(&target)
    });
    let ended = ended.transpose()?;
    let session = ended.as_ref().map(|ended| &ended["items"][0]);
    if args.json {
        let all = json!({
            "code": args.code, "means": meaning.means, "causes": meaning.causes,
            "look": meaning.look, "session": session,
        });
        print::json(out, &all, Form::Pretty)?;
        return Ok(0);
    }
    show(args.code, &meaning, out)?;
    match (args.id, session) {
        (Some(id), Some(Value::Null)) => {
            writeln!(
                out,
                "\nsession {id} is not among those that ended here; `sessile why {id}` looks further"
            )?;
            Ok(1)
        }
        (Some(_), Some(session)) => {
            ending(args.code, session, out)?;
            Ok(0)
        }
        _ => Ok(0),
    }
}

fn show(code: u16, meaning: &Meaning, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{code}: {}", meaning.means)?;
    writeln!(out, "\nwhere it comes from")?;
    for cause in meaning.causes {
        writeln!(out, "  - {cause}")?;
    }
    writeln!(out, "\nwhere to look")?;
    for place in meaning.look {
        writeln!(out, "  - {place}")?;
    }
    Ok(())
}

/// How a session ended, as its record has it.
fn ending(code: u16, session: &Value, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nthis session")?;
    let own = session["close_code"].as_u64();
    if let Some(own) = own.filter(|own| *own != u64::from(code)) {
        writeln!(
            out,
            "  it ended with {own}, not with {code}: `sessile explain {own}`"
        )?;
    }
    for (key, name) in [
        ("session", "id"),
        ("principal", "principal"),
        ("client", "client"),
        ("route", "route"),
        ("upstream", "upstream"),
        ("backend", "backend"),
        ("started", "started"),
        ("time", "ended"),
        ("ended_by", "ended_by"),
        ("cause", "cause"),
        ("close_code", "close_code"),
        ("reason", "reason"),
        ("operator", "operator"),
        ("revocation", "revocation"),
    ] {
        let text = match &session[key] {
            Value::Null => continue,
            Value::String(text) => visible(text),
            other => other.to_string(),
        };
        writeln!(out, "  {name:<11} {text}")?;
    }
    Ok(())
}
