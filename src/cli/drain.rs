//! `sessile drain` and `sessile rebalance`: sessions leave a backend, or come home, and how far
//! that is.

use std::io::Write;
use std::thread;
use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admin::backends::{Change, Wanted};
use crate::admin::rebalance::{Asked, Hold};
use crate::cli::args::{DrainArgs, RebalanceArgs};
use crate::cli::client::Client;
use crate::cli::print::{columns, time, visible};
use crate::control::drainer::DrainView;
use crate::control::rebalancer::RebalanceView;

/// Between two looks of `--watch`.
const LOOK: Duration = Duration::from_millis(500);

/// A backend, as far as this command shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Backend {
    id: String,
    state: String,
    configured: String,
    sessions: u64,
    drain: Option<DrainView>,
}

#[derive(Deserialize)]
struct Upstream {
    backends: Vec<Backend>,
    removed: Vec<Backend>,
}

/// Drains a backend, changes how, or takes it in again.
///
/// # Errors
/// When the gateway does not answer or refuses, or `out` cannot be written to.
pub fn drain(args: &DrainArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let (upstream, id) = (escaped(&args.upstream), escaped(&args.backend));
    let change = Change {
        state: match () {
            () if args.undo => Some(Wanted::Active),
            () if args.configured => Some(Wanted::Configured),
            () if args.pause || args.resume => None,
            () => Some(Wanted::Draining),
        },
        pace: args.pace,
        within: args.within,
        deadline: args.deadline,
        paused: (args.pause || args.resume).then_some(args.pause),
    };
    let target = format!("/v1/upstreams/{upstream}/backends/{id}");
    let backend: Option<Backend> = client.ask(Method::PATCH, &target, Some(&change))?;
    let Some(mut backend) = backend else {
        writeln!(out, "{}", gone(&args.backend))?;
        return Ok(0);
    };
    if args.json && !args.watch {
        writeln!(out, "{:#}", json!(backend))?;
        return Ok(0);
    }
    loop {
        say(out, &backend, args.json)?;
        out.flush()?;
        let ends = backend
            .drain
            .as_ref()
            .is_none_or(|drain| drain.state == "done");
        if !args.watch || ends {
            return Ok(0);
        }
        thread::sleep(LOOK);
        let shown: Upstream = client.get(&format!("/v1/upstreams/{upstream}"))?;
        let mut found = shown.backends.into_iter().chain(shown.removed);
        let Some(next) = found.find(|one| one.id == args.backend) else {
            // It is listed for as long as a session lives on it.
            writeln!(out, "{}", gone(&args.backend))?;
            return Ok(0);
        };
        backend = next;
    }
}

fn gone(backend: &str) -> String {
    let id = visible(backend);
    format!("{id}: removed from its upstream, no sessions are left")
}

fn say(out: &mut dyn Write, backend: &Backend, json: bool) -> anyhow::Result<()> {
    if json {
        writeln!(out, "{}", json!(backend))?;
        return Ok(());
    }
    let id = visible(&backend.id);
    let Some(drain) = &backend.drain else {
        writeln!(
            out,
            "{id}: {} ({} by the configuration), {} sessions",
            backend.state, backend.configured, backend.sessions
        )?;
        return Ok(());
    };
    let left = drain.seconds_left.filter(|_| drain.state == "running");
    let left = left.map_or_else(String::new, |left| format!(", {} to go", time(left)));
    writeln!(
        out,
        "{id}: {}, {}: {} of {} left, {} moved, {} closed, {} live{left}",
        drain.state,
        drain.pace,
        drain.left,
        drain.total,
        drain.moved,
        drain.closed,
        backend.sessions
    )?;
    Ok(())
}

/// Brings sessions home, says who would go, or holds or ends that.
///
/// # Errors
/// When the gateway does not answer or refuses, or `out` cannot be written to.
pub fn rebalance(args: &RebalanceArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let target = format!("/v1/upstreams/{}/rebalance", escaped(&args.upstream));
    let mut view: RebalanceView = if args.stop {
        client.ask(Method::DELETE, &target, None::<&()>)?
    } else if args.pause || args.resume {
        let hold = Hold { paused: args.pause };
        client.ask(Method::PATCH, &target, Some(&hold))?
    } else if args.status {
        client.get(&target)?
    } else {
        let asked = Asked {
            dry_run: args.dry_run,
            pace: args.pace,
            skew: args.skew,
            share_max: args.share_max,
            age_min: args.age_min,
            close: args.close.then_some(true),
        };
        client.ask(Method::POST, &target, Some(&asked))?
    };
    loop {
        if args.json {
            writeln!(out, "{:#}", json!(view))?;
        } else {
            say_how_far(out, &view)?;
        }
        out.flush()?;
        let ends = matches!(view.state.as_str(), "rehearsed" | "done" | "stopped");
        if !args.watch || ends {
            return Ok(0);
        }
        thread::sleep(LOOK);
        view = client.get(&target)?;
    }
}

fn say_how_far(out: &mut dyn Write, view: &RebalanceView) -> anyhow::Result<()> {
    if let (Some(sessions), Some(away)) = (view.sessions, view.away) {
        writeln!(
            out,
            "{away} of {sessions} sessions are not where their key belongs; {} would go, {} a \
             second",
            view.left, view.per_second
        )?;
        let row = |flow: &crate::control::rebalancer::FlowView| {
            vec![
                flow.from.clone(),
                flow.to.clone(),
                flow.sessions.to_string(),
                flow.closed.to_string(),
            ]
        };
        if !view.flows.is_empty() {
            let head = ["FROM", "TO", "SESSIONS", "CLOSED"];
            columns(out, &head, view.flows.iter().map(row))?;
        }
    } else {
        writeln!(
            out,
            "{}: {} left, {} moved, {} closed",
            view.state, view.left, view.moved, view.closed
        )?;
    }
    if let Some(reason) = &view.waits_for {
        writeln!(out, "it waits: {}", visible(reason))?;
    }
    Ok(())
}

/// As a segment of a path (RFC 3986, section 2.1).
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stand_in_a_path() {
        assert_eq!(escaped("10.0.0.1:9000"), "10.0.0.1:9000");
        assert_eq!(escaped("unix:/run/a b"), "unix:%2Frun%2Fa%20b");
    }
}
