//! `sessile groups`: which groups there are and who is in one, on all gateways.

use std::io::{self, Write};

use form_urlencoded::{Serializer, byte_serialize};
use serde_json::{Value, json};

use crate::admin::groups::{GroupList, GroupMember, GroupSize, MemberList};
use crate::cli::args::GroupsArgs;
use crate::cli::client::Client;
use crate::cli::print::{Form, columns, json as print_json, visible};

/// Lists the groups, or the members of one, or follows who joins and leaves.
///
/// # Errors
/// When the gateway does not answer or refuses, or `out` cannot be written to.
pub fn groups(args: &GroupsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let Some(group) = &args.group else {
        return overview(args, &client, out);
    };
    // A space is `+` in forms only.
    let name: String = byte_serialize(group.as_bytes()).collect();
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
    write!(out, "{} members", list.count)?;
    gateways((list.nodes, list.nodes_missing), out)?;
    Ok(0)
}

/// Lists the groups with most members.
fn overview(args: &GroupsArgs, client: &Client, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut query = Serializer::new(String::new());
    query.append_pair("limit", &args.limit.to_string());
    query.extend_pairs(args.prefix.as_ref().map(|prefix| ("prefix", prefix)));
    let target = format!("/v1/groups?{}", query.finish());
    if args.json {
        let list: Value = client.get(&target)?;
        print_json(out, &list, Form::Pretty)?;
        return Ok(0);
    }
    let list: GroupList = client.get(&target)?;
    let row = |one: &GroupSize| vec![one.members.to_string(), one.group.clone()];
    if !list.items.is_empty() {
        columns(out, &["MEMBERS", "GROUP"], list.items.iter().map(row))?;
    }
    let count = list.items.len();
    write!(
        out,
        "{count} {}",
        if count == 1 { "group" } else { "groups" }
    )?;
    if list.more {
        write!(out, " with most members (--limit and --prefix show others)")?;
    }
    gateways((list.nodes, list.nodes_missing), out)?;
    Ok(0)
}

/// Ends a line with how many gateways answered.
fn gateways((nodes, missing): (usize, usize), out: &mut dyn Write) -> io::Result<()> {
    let gateways = if nodes == 1 { "gateway" } else { "gateways" };
    writeln!(out, " on {nodes} {gateways}")?;
    if missing > 0 {
        writeln!(out, "gateways that did not answer: {missing}")?;
    }
    Ok(())
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
