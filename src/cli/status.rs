//! `sessile status`: the state of a running gateway, on one screen.

pub(super) mod backends;
mod registry;
mod sources;

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::admin::findings::{Finding, Severity};
use crate::admin::status::StatusView;
use crate::admin::{Page, UpstreamSummary};
use crate::cli::args::StatusArgs;
use crate::cli::client::Client;
use crate::cli::doctor::finding;
use crate::cli::print::{self, Form, columns, time, visible};
use crate::cli::upstream;
use crate::cli::watch::watch;
use crate::control::fleet::NodeView;

/// Letters of a digest that are shown.
const DIGEST_SHOWN: usize = 12;
/// Upstreams that are listed.
const UPSTREAMS_SHOWN: usize = 1000;
/// A gateway announces itself every five seconds.
const SILENT_SECONDS: u64 = 15;

/// Shows the status, the sources, the upstreams and their backends. Returns 1 if something is
/// wrong: an upstream without an eligible backend, or a refused configuration or document.
///
/// # Errors
/// When the gateway does not answer, or `out` cannot be written to.
pub fn status(args: &StatusArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    if args.watch {
        return watch(out, |out| show(&client, args, out));
    }
    show(&client, args, out)
}

fn show(client: &Client, args: &StatusArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let status: StatusView = client.get("/v1/status")?;
    let upstreams = upstream::all(client)?;
    let findings: Page<Finding> = client.get("/v1/findings")?;
    if args.json {
        let status: Value = client.get("/v1/status")?;
        let backends = backends::of(client, &upstreams)?;
        let all = json!({ "status": status, "upstreams": upstreams, "backends": backends, "findings": findings.items });
        print::json(out, &all, Form::Pretty)?;
        return Ok(code(&findings.items));
    }
    for one in &findings.items {
        finding(None, one, out)?;
    }
    if !findings.items.is_empty() {
        writeln!(out)?;
    }
    overview(out, &status)?;
    let etcd = status.sources.etcd.iter();
    let etcd = etcd.map(|etcd| etcd.refused + etcd.waiting);
    let consul = status.sources.consul.iter();
    let consul = consul.map(|consul| consul.refused + consul.waiting);
    if etcd.chain(consul).sum::<usize>() > 0 {
        sources::not_in_force(out, &client.get("/v1/config")?)?;
    }
    sources::table(out, &status.sources.items)?;
    writeln!(out)?;
    listeners(out, &status)?;
    store(out, &status)?;
    certificates(out, &status)?;
    writeln!(out)?;
    table(out, &upstreams)?;
    writeln!(out)?;
    backends::table(out, client, &upstreams)?;
    fleet(out, &status)?;
    Ok(code(&findings.items))
}

fn listeners(out: &mut dyn Write, status: &StatusView) -> io::Result<()> {
    let rows = status.listeners.iter().map(|listener| {
        let tls = if listener.tls { "yes" } else { "no" };
        vec![
            listener.name.clone(),
            tls.to_owned(),
            listener.addresses.join(", "),
        ]
    });
    columns(out, &["LISTENER", "TLS", "ADDRESSES"], rows)
}

/// The upstreams, as many as fit a page.
fn table(out: &mut dyn Write, upstreams: &[UpstreamSummary]) -> io::Result<()> {
    let rows = upstreams.iter().take(UPSTREAMS_SHOWN).map(|upstream| {
        let panic = if upstream.panicking {
            ", panicking"
        } else {
            ""
        };
        vec![
            upstream.name.clone(),
            upstream.policy.clone(),
            upstream.probe.clone().unwrap_or_else(|| "none".to_owned()),
            format!(
                "{} of {}{panic}{}",
                upstream.eligible,
                upstream.members,
                spills(upstream)
            ),
            upstream.sessions.to_string(),
        ]
    });
    columns(
        out,
        &["UPSTREAM", "POLICY", "PROBE", "BACKENDS", "SESSIONS"],
        rows,
    )?;
    if upstreams.len() > UPSTREAMS_SHOWN {
        let more = upstreams.len() - UPSTREAMS_SHOWN;
        writeln!(out, "… and {more} more: --json has them all")?;
    }
    Ok(())
}

/// Which part of the keys the first level passes on, if it does.
fn spills(upstream: &UpstreamSummary) -> String {
    match upstream.spills > 0.0 {
        true => format!(", spills {:.0} %", upstream.spills * 100.0),
        false => String::new(),
    }
}

/// Where the fleet counts together, if it does.
fn store(out: &mut dyn Write, status: &StatusView) -> io::Result<()> {
    let Some(state) = &status.state else {
        return Ok(());
    };
    writeln!(out)?;
    let limits = match (state.connected, state.answers) {
        (true, true) => "hold over the fleet",
        (true, false) => "hold for this gateway alone: it is late",
        (false, _) => "hold for this gateway alone: it is not connected",
    };
    let row = [&*state.kind, &*state.server, limits, &*state.since];
    let row = row.map(str::to_owned).to_vec();
    columns(out, &["STORE", "SERVER", "LIMITS", "SINCE"], [row])
}

/// The certificates, if there are any.
fn certificates(out: &mut dyn Write, status: &StatusView) -> io::Result<()> {
    if status.certificates.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let rows = status.certificates.iter().map(|one| {
        let renews = one
            .acme
            .as_ref()
            .map_or("files", |acme| acme.renews.as_str());
        vec![
            one.listener.clone(),
            one.names.join(", "),
            one.not_after
                .clone()
                .unwrap_or_else(|| "self-signed".to_owned()),
            renews.to_owned(),
        ]
    });
    columns(
        out,
        &["LISTENER", "CERTIFICATE", "EXPIRES", "RENEWAL"],
        rows,
    )
}

/// 1 if something is wrong; what is only to know is not.
fn code(findings: &[Finding]) -> u8 {
    let wrong = |one: &Finding| one.severity != Severity::Notice;
    u8::from(findings.iter().any(wrong))
}

/// The other gateways, if there is an etcd.
fn fleet(out: &mut dyn Write, status: &StatusView) -> io::Result<()> {
    if status.fleet.is_empty() && status.fleet_fault.is_none() {
        return Ok(());
    }
    writeln!(out)?;
    let zones = status.fleet.iter().any(|node| node.zone.is_some());
    let rows = status.fleet.iter().map(|node| {
        let revision = node.revision.map(|revision| revision.to_string());
        let mut cells = vec![node.node.clone()];
        cells.extend(zones.then(|| node.zone.clone().unwrap_or_default()));
        cells.extend([
            node.version.clone(),
            node.digest.chars().take(DIGEST_SHOWN).collect(),
            revision.unwrap_or_else(|| "-".to_owned()),
            node.sessions.to_string(),
            remarks(node),
        ]);
        cells
    });
    let mut head = vec!["GATEWAY"];
    head.extend(zones.then_some("ZONE"));
    head.extend(["VERSION", "TABLE", "REVISION", "SESSIONS", ""]);
    columns(out, &head, rows)?;
    if let Some(fault) = &status.fleet_fault {
        let age = status.fleet_age_seconds.map(|age| time(age as f64));
        let age = age.map_or_else(|| "never".to_owned(), |age| format!("{age} ago"));
        writeln!(out, "read {age}: {}", visible(fault))?;
    }
    Ok(())
}

/// Remarks on a gateway.
fn remarks(node: &NodeView) -> String {
    let silent = format!("silent for {}", time(node.silent_seconds as f64));
    let phase = (node.phase != "ready").then_some(node.phase.as_str());
    let remarks = [
        node.this.then_some("this one"),
        phase,
        node.older.then_some("OLDER TABLE"),
        node.differs.then_some("another table: the files differ"),
        node.duplicate.then_some("NAME IS NOT UNIQUE"),
        (node.silent_seconds > SILENT_SECONDS).then_some(silent.as_str()),
    ];
    let remarks: Vec<_> = remarks.into_iter().flatten().collect();
    remarks.join(", ")
}

/// The hand-over that runs, and the one that this process began with.
fn hand_overs(out: &mut dyn Write, status: &StatusView) -> io::Result<()> {
    if let Some(running) = &status.handing_over {
        let to = running
            .to_pid
            .map_or_else(String::new, |pid| format!(" to process {pid}"));
        writeln!(
            out,
            "handing   sessions over{to} since {}, {} of {} left",
            running.since, running.sessions_left, running.total
        )?;
    }
    if let Some(running) = &status.taking_over {
        writeln!(
            out,
            "taking    sessions over from process {} since {}, {} so far",
            running.from_pid, running.since, running.sessions
        )?;
    }
    if let Some(before) = &status.taken_over {
        writeln!(
            out,
            "taken     {} sessions over from process {} at {}",
            before.sessions, before.from_pid, before.at
        )?;
        if !before.staying.is_empty() {
            writeln!(out, "          stayed there: {}", before.staying)?;
        }
    }
    Ok(())
}

fn overview(out: &mut dyn Write, status: &StatusView) -> io::Result<()> {
    let uptime = time(status.uptime_seconds as f64);
    let node = visible(&status.node);
    writeln!(
        out,
        "{node} is {} for {uptime}, sessile {}",
        status.phase, status.version
    )?;
    let workers: Vec<_> = status
        .workers
        .iter()
        .map(|worker| worker.sessions.to_string())
        .collect();
    writeln!(
        out,
        "sessions  {} on {} workers ({}), {} connections",
        status.sessions,
        workers.len(),
        workers.join(", "),
        status.connections
    )?;
    writeln!(
        out,
        "table     generation {}, digest {}",
        status.generation, status.digest
    )?;
    hand_overs(out, status)?;
    let file = &status.sources.file;
    writeln!(
        out,
        "file      {}, loaded {}",
        visible(&file.path),
        file.loaded
    )?;
    if let Some(at) = &file.refused {
        writeln!(
            out,
            "          REFUSED at {at}: `sessile check` or /v1/config say why"
        )?;
    }
    if let Some(state_dir) = &status.state_dir
        && let Some(fault) = &state_dir.fault
    {
        let path = visible(&state_dir.path);
        writeln!(
            out,
            "state     CANNOT BE WRITTEN TO {path}: {}",
            visible(fault)
        )?;
    }
    if let Some(view) = &status.sources.dns {
        sources::dns(out, view)?;
    }
    if let Some(view) = &status.sources.kubernetes {
        registry::registry(out, "kubernetes", view)?;
    }
    if let Some(view) = &status.sources.consul {
        registry::registry(out, "consul", view)?;
    }
    status
        .sources
        .etcd
        .as_ref()
        .map_or(Ok(()), |view| sources::etcd(out, view))
}
