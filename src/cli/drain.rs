//! `sessile drain` and `sessile rebalance`: orders sessions to leave a backend or to move home, and
//! shows the progress.

use std::io::Write;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use http::Method;
use serde_json::Value;

use crate::admin::backends::{Change, Wanted};
use crate::admin::departures::Departures;
use crate::admin::rebalance::{Asked, PauseRequest};
use crate::cli::args::{DrainArgs, RebalanceArgs};
use crate::cli::ask::agreed;
use crate::cli::client::{Client, ClientError};
use crate::cli::print::{Form, columns, counted, json, time, visible};
use crate::cli::upstream::{Backend, Removed, Upstream, escaped, unknown};
use crate::control::drainer::DrainView;
use crate::control::rebalancer::{FlowView, RebalanceView};

/// Between two looks of `--watch`.
const POLL: Duration = Duration::from_millis(500);

/// Drains a backend, changes how, takes it in again, or only looks.
///
/// # Errors
/// When the gateway does not answer or refuses, there is no such backend, a confirmation is
/// missing, or `out` cannot be written to.
pub fn drain(args: &DrainArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    if args.who {
        return departures(&client, args, out);
    }
    let looks = args.status || (args.watch && !args.orders());
    // Check that the backend exists before asking or ordering anything.
    let mut drained = DrainTarget::get(&client, args)?;
    if !looks {
        if args.begins() && !confirmed(&client, args, out)? {
            writeln!(out, "nothing was ordered")?;
            return Ok(1);
        }
        let (upstream, id) = (escaped(&args.upstream), escaped(&args.backend));
        let target = format!("/v1/upstreams/{upstream}/backends/{id}");
        client.ask::<Value>(Method::PATCH, &target, Some(&change(args)))?;
        let Some(next) = DrainTarget::still(&client, args)? else {
            writeln!(out, "{}", gone(&args.backend))?;
            return Ok(0);
        };
        drained = next;
    }
    if looks && args.watch && !args.status && drained.drain().is_none() {
        let (upstream, id) = (&args.upstream, &args.backend);
        bail!(
            "`{id}` is not draining, so there is nothing to watch; `sessile drain {upstream} {id}` \
             orders a drain, and --watch after --pace, --within or --deadline follows it"
        );
    }
    loop {
        drained.show(out, args)?;
        out.flush()?;
        let ends = drained.drain().is_none_or(|drain| drain.state == "done");
        if !args.watch || ends {
            return Ok(0);
        }
        thread::sleep(POLL);
        // It is listed for as long as a session lives on it.
        let Some(next) = DrainTarget::still(&client, args)? else {
            writeln!(out, "{}", gone(&args.backend))?;
            return Ok(0);
        };
        drained = next;
    }
}

/// Shows who would leave the backend.
fn departures(client: &Client, args: &DrainArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let (upstream, id) = (escaped(&args.upstream), escaped(&args.backend));
    let target = format!("/v1/upstreams/{upstream}/backends/{id}/departures");
    if args.json {
        let found: Value = client.get(&target)?;
        json(out, &found, Form::Pretty)?;
        return Ok(0);
    }
    let found: Departures = client.get(&target)?;
    writeln!(
        out,
        "{}: {}, {} would move, {} would be closed with 1012",
        visible(&found.backend),
        counted(found.sessions as u64, "live session"),
        found.moving,
        found.closing
    )?;
    for route in &found.routes {
        let reconnects = match route.closing {
            0 => "",
            _ => " (it does not reconnect)",
        };
        let (name, moving, closing) = (visible(&route.route), route.moving, route.closing);
        writeln!(
            out,
            "  route {name}: {moving} move, {closing} close{reconnects}"
        )?;
    }
    for to in &found.to {
        writeln!(out, "  to {}: {}", visible(&to.backend), to.sessions)?;
    }
    if found.nowhere > 0 {
        writeln!(
            out,
            "  NOWHERE TO GO: {}; no other backend takes them",
            found.nowhere
        )?;
    }
    if found.silent_workers > 0 {
        writeln!(
            out,
            "  partial: {} workers did not answer",
            found.silent_workers
        )?;
    }
    Ok(0)
}

fn gone(backend: &str) -> String {
    let id = visible(backend);
    format!("{id}: removed from its upstream, no sessions are left")
}

fn change(args: &DrainArgs) -> Change {
    Change {
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
    }
}

/// Whether the drain may begin: the last backend that takes sessions is not drained by a slip.
fn confirmed(client: &Client, args: &DrainArgs, out: &mut dyn Write) -> anyhow::Result<bool> {
    let upstream = Upstream::get(client, &args.upstream)?;
    let (own, others): (Vec<_>, Vec<_>) =
        (upstream.backends.iter()).partition(|backend| backend.id == args.backend);
    let takes_any = own.iter().any(|backend| backend.state == "active");
    let is_last = takes_any && !others.iter().any(|backend| backend.is_eligible());
    if !is_last || args.yes {
        return Ok(true);
    }
    let question = format!(
        "`{}` is the last backend of `{}` that takes sessions: once it drains, new clients get 503. \
         Drain it?",
        args.backend, args.upstream
    );
    agreed(&question, "add --yes to drain it all the same", out)
}

/// What is drained, as the gateway shows it.
enum DrainTarget {
    Member(Box<Backend>),
    /// It left its upstream.
    Removed(Box<Removed>),
}

impl DrainTarget {
    fn get(client: &Client, args: &DrainArgs) -> anyhow::Result<Self> {
        let upstream = Upstream::get(client, &args.upstream)?;
        let known: Vec<_> = (upstream.backends.iter())
            .map(|backend| backend.id.clone())
            .collect();
        let mut members = upstream.backends.into_iter();
        if let Some(found) = members.find(|one| one.id == args.backend) {
            return Ok(Self::Member(Box::new(found)));
        }
        let mut removed = upstream.removed.into_iter();
        match removed.find(|one| one.id == args.backend) {
            Some(found) => Ok(Self::Removed(Box::new(found))),
            None => {
                let what = format!("backend of `{}` named", args.upstream);
                bail!(unknown(&what, &args.backend, &known))
            }
        }
    }

    /// The same, or `None` once nothing is left of the backend.
    fn still(client: &Client, args: &DrainArgs) -> anyhow::Result<Option<Self>> {
        match Self::get(client, args) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is::<ClientError>() => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn drain(&self) -> Option<&DrainView> {
        match self {
            Self::Member(backend) => backend.drain.as_ref(),
            Self::Removed(removed) => removed.drain.as_ref(),
        }
    }

    fn show(&self, out: &mut dyn Write, args: &DrainArgs) -> anyhow::Result<()> {
        if args.json {
            let value = match self {
                Self::Member(backend) => serde_json::to_value(backend)?,
                Self::Removed(removed) => serde_json::to_value(removed)?,
            };
            // A line for each look, or one that can be read.
            let form = if args.watch { Form::Line } else { Form::Pretty };
            json(out, &value, form)?;
            return Ok(());
        }
        let id = visible(&args.backend);
        let (state, configured, sessions) = match self {
            Self::Member(backend) => (&backend.state, &backend.configured, backend.sessions),
            Self::Removed(removed) => (&removed.state, &removed.configured, removed.sessions),
        };
        let Some(drain) = self.drain() else {
            let sessions = counted(sessions, "session");
            writeln!(
                out,
                "{id}: {state} ({configured} by the configuration), {sessions}"
            )?;
            return Ok(());
        };
        writeln!(
            out,
            "{id}: {}, {sessions} live{}",
            progress(drain),
            remarks(drain)
        )?;
        Ok(())
    }
}

/// `running, 50/s: 3 of 10 remain, 5 moved, 2 closed`
pub(super) fn progress(drain: &DrainView) -> String {
    format!(
        "{}, {}: {} of {} remain, {} moved, {} closed",
        drain.state, drain.pace, drain.left, drain.total, drain.moved, drain.closed
    )
}

/// Further details: how long it takes, and what it waits for.
fn remarks(drain: &DrainView) -> String {
    let left = drain.seconds_left.filter(|_| drain.state == "running");
    let left = left.map_or_else(String::new, |left| format!(", {} to go", time(left)));
    match drain.elsewhere {
        true => format!("{left}, not done before the hand-over to or from another process is"),
        false => left,
    }
}

/// Moves sessions home, previews that, or pauses or ends it.
///
/// # Errors
/// When the gateway does not answer or refuses, or `out` cannot be written to.
pub fn rebalance(args: &RebalanceArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let client = Client::new(&args.admin)?;
    let target = format!("/v1/upstreams/{}/rebalance", escaped(&args.upstream));
    let mut view: RebalanceView = if args.stop {
        client.ask(Method::DELETE, &target, None::<&()>)?
    } else if args.pause || args.resume {
        let hold = PauseRequest { paused: args.pause };
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
            json(out, &serde_json::to_value(&view)?, Form::Pretty)?;
        } else {
            say_how_far(out, &view)?;
        }
        out.flush()?;
        let ends = matches!(view.state.as_str(), "rehearsed" | "done" | "stopped");
        if !args.watch || ends {
            return Ok(0);
        }
        thread::sleep(POLL);
        view = client.get(&target)?;
    }
}

fn say_how_far(out: &mut dyn Write, view: &RebalanceView) -> anyhow::Result<()> {
    if let (Some(sessions), Some(away)) = (view.sessions, view.away) {
        writeln!(
            out,
            "{away} of {sessions} sessions are not where their key belongs; {} would go, {}",
            view.left, view.pace
        )?;
        let row = |flow: &FlowView| {
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
            "{}: {} remain, {} moved, {} closed",
            view.state, view.left, view.moved, view.closed
        )?;
    }
    if let Some(reason) = &view.waits_for {
        writeln!(out, "it waits: {}", visible(reason))?;
    }
    Ok(())
}
