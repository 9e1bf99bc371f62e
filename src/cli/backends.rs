//! `sessile backends`: the backends of a running gateway, how well each is and what it has.

use std::io::Write;

use anyhow::bail;
use serde_json::json;

use crate::admin::UpstreamSummary;
use crate::cli::args::BackendsArgs;
use crate::cli::client::Client;
use crate::cli::print::{self, Form};
use crate::cli::status::backends;
use crate::cli::upstream::{self, unknown};
use crate::cli::watch::watch;

/// Lists the backends of all upstreams, or of one.
///
/// # Errors
/// When the gateway does not answer or has no such upstream, or `out` cannot be written to.
pub fn backends(args: &BackendsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    if args.watch {
        return watch(out, |out| list(&client, args, out));
    }
    list(&client, args, out)
}

fn list(client: &Client, args: &BackendsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let all = upstream::all(client)?;
    let asked = |one: &UpstreamSummary| args.upstream.as_ref().is_none_or(|name| *name == one.name);
    let (asked, others): (Vec<_>, Vec<_>) = all.into_iter().partition(asked);
    if let (Some(name), true) = (&args.upstream, asked.is_empty()) {
        let known: Vec<_> = others.into_iter().map(|one| one.name).collect();
        bail!(unknown("upstream named", name, &known));
    }
    if args.json {
        let rows = json!({ "items": backends::of(client, &asked)? });
        print::json(out, &rows, Form::Pretty)?;
        return Ok(0);
    }
    if !backends::table(out, client, &asked)? {
        writeln!(out, "there are no backends")?;
    }
    Ok(0)
}
