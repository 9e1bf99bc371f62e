//! `sessile tap`: the frames of a session as they pass.

use std::io::Write;

use serde_json::Value;

use crate::cli::args::TapArgs;
use crate::cli::client::{Client, ClientError};
use crate::cli::print::{Form, json, visible};

/// Shows the frames of a session until the tap ends.
///
/// # Errors
/// When the gateway does not answer or refuses, or `out` cannot be written to.
pub fn tap(args: &TapArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let payload = if args.payload { "&payload=true" } else { "" };
    let target = format!(
        "/v1/sessions/{}/tap?seconds={}&frames={}{payload}",
        args.id, args.seconds, args.frames
    );
    let mut event = String::new();
    let followed = client.follow(&target, |line| {
        if let Some(name) = line.strip_prefix("event: ") {
            name.clone_into(&mut event);
        } else if let Some(data) = line.strip_prefix("data: ") {
            let data: Value = serde_json::from_str(data)?;
            show(args, &event, &data, out)?;
            out.flush()?;
        }
        Ok(())
    });
    followed.map_err(|error| match error.downcast::<ClientError>() {
        Ok(error) => client.with_holder(args.id, error).into(),
        Err(error) => error,
    })?;
    Ok(0)
}

fn show(args: &TapArgs, event: &str, data: &Value, out: &mut dyn Write) -> anyhow::Result<()> {
    if args.json {
        let data = serde_json::json!({ "event": event, "data": data });
        json(out, &data, Form::Line)?;
        return Ok(());
    }
    let text = |name: &str| visible(data[name].as_str().unwrap_or_default());
    match event {
        "frame" => writeln!(out, "{}", frame(data))?,
        "dropped" => writeln!(out, "… {} frames were left out: too slow", data["frames"])?,
        _ => writeln!(out, "{event}: {}", text("reason"))?,
    }
    Ok(())
}

/// A frame on one line.
fn frame(data: &Value) -> String {
    let text = |name: &str| visible(data[name].as_str().unwrap_or_default());
    let at = text("at");
    let time = at.get(11..23).unwrap_or(&at);
    let from = text("from");
    let arrow = if from == "client" { "->" } else { "<-" };
    let mut line = format!(
        "{time} {from:7} {arrow} {:12} {} B",
        text("opcode"),
        data["bytes"]
    );
    if data["fin"] == false {
        line.push_str(" (more follows)");
    }
    if data["reserved"].as_u64() > Some(0) {
        line.push_str(" (compressed or extended)");
    }
    if data["withheld"] == true {
        line.push_str(" (withheld: a credential)");
    }
    for name in ["text", "base64"] {
        if let Some(payload) = data[name].as_str() {
            line.push_str(&format!("  {name} {:?}", visible(payload)));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_frame_is_one_line_that_steers_no_terminal() {
        let data = json!({
            "at": "2026-11-27T14:00:01.250Z", "from": "client", "opcode": "text", "fin": true,
            "reserved": 0, "bytes": 5, "text": "a\n\u{1b}[2J",
        });
        let line = frame(&data);
        assert!(line.starts_with("14:00:01.250 client  -> text "), "{line}");
        assert!(!line.contains(['\n', '\u{1b}']), "{line}");
        let data = json!({ "from": "backend", "opcode": "binary", "fin": false, "bytes": 9 });
        assert!(frame(&data).contains("(more follows)"));
    }
}
