//! `sessile groups`: who is in a group, on all gateways.

use std::io::Write;

use form_urlencoded::byte_serialize;
use serde_json::{Value, json};

use crate::admin::groups::{GroupMember, MemberList};
use crate::cli::args::GroupsArgs;
use crate::cli::client::Client;
use crate::cli::print::{Form, json as print_json, visible};

/// Lists the members of a group, or follows who joins and leaves.
///
/// # Errors
/// When the gateway does not answer or refuses, or `out` cannot be written to.
pub fn groups(args: &GroupsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    // A space is `+` in forms only.
    let name: String = byte_serialize(args.group.as_bytes()).collect();
    let name = name.replace('+', "%20");
    if args.watch {
        return watch(args, &client, &name, out);
    }
    let target = format!("/v1/groups/{name}?limit={}", args.limit);
    if args.json {
        let list: Value = client.get(&target)?;
        print_json(out, &list, Form::Pretty)?;
        return Ok(0);
    }
    let list: MemberList = client.get(&target)?;
    for member in &list.items {
        writeln!(out, "{}", line(member))?;
    }
    let gateways = if list.nodes == 1 {
        "gateway"
    } else {
        "gateways"
    };
    writeln!(out, "{} members on {} {gateways}", list.count, list.nodes)?;
    if list.nodes_missing > 0 {
        writeln!(out, "gateways that did not answer: {}", list.nodes_missing)?;
    }
    Ok(0)
}

fn watch(
    args: &GroupsArgs,
    client: &Client,
    name: &str,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let mut event = String::new();
    client.follow(&format!("/v1/groups/{name}/events"), |text| {
        if let Some(name) = text.strip_prefix("event: ") {
            name.clone_into(&mut event);
        } else if let Some(data) = text.strip_prefix("data: ") {
            show(args, &event, serde_json::from_str(data)?, out)?;
            out.flush()?;
        }
        Ok(())
    })?;
    Ok(0)
}

fn show(args: &GroupsArgs, event: &str, data: Value, out: &mut dyn Write) -> anyhow::Result<()> {
    if args.json {
        let data = json!({ "event": event, "data": data });
        print_json(out, &data, Form::Line)?;
        return Ok(());
    }
    let (sign, members): (_, Vec<GroupMember>) = match event {
        "members" => (' ', serde_json::from_value(data["members"].clone())?),
        "leave" => ('-', vec![serde_json::from_value(data)?]),
        _ => ('+', vec![serde_json::from_value(data)?]),
    };
    for member in &members {
        writeln!(out, "{sign} {}", line(member))?;
    }
    Ok(())
}

/// A member on one line.
fn line(member: &GroupMember) -> String {
    let principal = member.principal.as_deref().unwrap_or("-");
    let (session, route) = (&member.session, &member.route);
    let mut line = format!(
        "{}  {}  {}",
        visible(session),
        visible(route),
        visible(principal)
    );
    if let Some(metadata) = &member.metadata {
        line.push_str(&format!("  {}", visible(&metadata.to_string())));
    }
    line
}
