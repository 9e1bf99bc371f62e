//! What changed between two looks, as events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use crate::app::change_watch::broker::{self, BrokerState, Change};
use crate::app::change_watch::failover::{self, Spilling};
use crate::base::clock;
use crate::telemetry::events::{Fields, Kind};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Days before its end at which a certificate is spoken of.
const EXPIRING_DAYS: [u32; 6] = [30, 14, 7, 3, 1, 0];

/// What is looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) at: Option<SystemTime>,
    /// Backends that get no new sessions since traffic failed on them.
    pub(super) ejected: BTreeSet<(String, String)>,
    /// Upstreams that run on spill-over.
    pub(super) spilling: Spilling,
    pub(super) drains: BTreeMap<(String, String), DrainState>,
    pub(super) rebalances: BTreeMap<String, RebalanceState>,
    /// By listener and names.
    pub(super) certificates: BTreeMap<(String, String), CertificateState>,
    /// Files that hold what does not replace a certificate, by listener, and why.
    pub(super) files_refused: BTreeSet<(String, String)>,
    /// Names whose last order failed, and why.
    pub(super) orders_failed: BTreeMap<String, String>,
    /// Why each source is not followed; `None` for one that is.
    pub(super) sources: BTreeMap<String, Option<String>>,
    /// Sources that lag, and why.
    pub(super) lagging: BTreeMap<String, String>,
    /// `None` without a broker.
    pub(super) broker: Option<BrokerState>,
    pub(super) taken_over: Option<TakeOverState>,
    /// The peer of a hand-over.
    pub(super) other_process: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DrainState {
    pub(super) done: bool,
    pub(super) by: String,
    pub(super) operator: Option<String>,
    pub(super) pace: String,
    pub(super) total: usize,
    pub(super) moved: usize,
    pub(super) closed: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RebalanceState {
    pub(super) over: bool,
    pub(super) state: String,
    pub(super) operator: Option<String>,
    pub(super) started: Option<String>,
    pub(super) moved: usize,
    pub(super) closed: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CertificateState {
    pub(super) not_after: SystemTime,
    /// By ACME.
    pub(super) ordered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TakeOverState {
    pub(super) sessions: usize,
    pub(super) staying: usize,
    pub(super) from_pid: u32,
}

/// What changed.
pub(super) fn changes(before: &State, now: &State) -> Vec<Change> {
    let mut changes = Vec::new();
    returned(before, now, &mut changes);
    failover::changes(&before.spilling, &now.spilling, &mut changes);
    drains(before, now, &mut changes);
    rebalances(before, now, &mut changes);
    certificates(before, now, &mut changes);
    sources(before, now, &mut changes);
    changes.extend(broker::change(before.broker.as_ref(), now.broker.as_ref()));
    handover(before, now, &mut changes);
    changes
}

fn returned(before: &State, now: &State, changes: &mut Vec<Change>) {
    for (upstream, backend) in before.ejected.difference(&now.ejected) {
        let fields = Fields::new("takes sessions again").of_backend(upstream, backend);
        changes.push((Kind::BackendReturned, fields));
    }
}

fn drains(before: &State, now: &State, changes: &mut Vec<Change>) {
    let told = |drain: &DrainState| {
        let DrainState {
            moved,
            closed,
            total,
            ..
        } = drain;
        format!("{moved} moved, {closed} closed, of {total} sessions")
    };
    for (key @ (upstream, backend), drain) in &now.drains {
        let known = before.drains.get(key);
        let fields = |text: String| Fields {
            sessions: Some(drain.total as u64),
            reason: Some(drain.by.as_str().into()),
            operator: drain.operator.as_deref().map(Into::into),
            ..Fields::new(text).of_backend(upstream, backend)
        };
        if known.is_none() {
            let by = drain.operator.as_ref().unwrap_or(&drain.by);
            let text = format!("{}, by {by}", drain.pace);
            changes.push((Kind::DrainBegan, fields(text)));
        }
        if drain.done && !known.is_some_and(|known| known.done) {
            changes.push((Kind::DrainDone, fields(told(drain))));
        }
    }
    for (key @ (upstream, backend), drain) in &before.drains {
        if !drain.done && !now.drains.contains_key(key) {
            // The event of the order names the operator who stopped it.
            let fields = Fields::new(told(drain)).of_backend(upstream, backend);
            changes.push((Kind::DrainStopped, fields));
        }
    }
}

fn rebalances(before: &State, now: &State, changes: &mut Vec<Change>) {
    for (upstream, run) in &now.rebalances {
        let fields = |text: String| Fields {
            upstream: Some(upstream.as_str().into()),
            operator: run.operator.as_deref().map(Into::into),
            ..Fields::new(text)
        };
        let known = before.rebalances.get(upstream);
        let same = known.filter(|known| known.started == run.started);
        if same.is_none() && run.started.is_some() {
            let why = match &run.operator {
                None => "after a change of members".to_owned(),
                Some(operator) => format!("by {operator}"),
            };
            changes.push((Kind::RebalanceBegan, fields(why)));
        }
        if run.over && run.started.is_some() && !same.is_some_and(|same| same.over) {
            let RebalanceState {
                state,
                moved,
                closed,
                ..
            } = run;
            let text = format!("{state}: {moved} moved, {closed} closed");
            changes.push((Kind::RebalanceDone, fields(text)));
        }
    }
}

fn certificates(before: &State, now: &State, changes: &mut Vec<Change>) {
    for (key @ (listener, names), certificate) in &now.certificates {
        let known = before.certificates.get(key);
        let fields = |text: String| Fields {
            listener: Some(listener.as_str().into()),
            expires: Some(clock::rfc3339(certificate.not_after).into()),
            ..Fields::new(text)
        };
        if known.is_none_or(|known| known.not_after != certificate.not_after) {
            let kind = match certificate.ordered {
                true => Kind::CertificateRenewed,
                false => Kind::CertificateLoaded,
            };
            changes.push((kind, fields(names.clone())));
        }
        let left = |at: Option<SystemTime>| bound(certificate.not_after, at?);
        let bound = left(now.at);
        if let Some(days) = bound.filter(|_| bound != left(before.at)) {
            let text = match days {
                0 => format!("{names} has expired"),
                days => format!("{names}: less than {days} days left"),
            };
            changes.push((Kind::CertificateExpiring, fields(text)));
        }
    }
    for (listener, fault) in now.files_refused.difference(&before.files_refused) {
        let fields = Fields {
            listener: Some(listener.as_str().into()),
            detail: Some(fault.as_str().into()),
            ..Fields::new(format!("what is in a file is refused, {fault}"))
        };
        changes.push((Kind::CertificateFailed, fields));
    }
    for (names, fault) in &now.orders_failed {
        if before.orders_failed.get(names) != Some(fault) {
            let fields = Fields {
                detail: Some(fault.as_str().into()),
                ..Fields::new(format!("{names} could not be ordered: {fault}"))
            };
            changes.push((Kind::CertificateFailed, fields));
        }
    }
}

/// The smallest bound that the time left is below, in days.
fn bound(not_after: SystemTime, at: SystemTime) -> Option<u32> {
    let left = not_after.duration_since(at).unwrap_or(Duration::ZERO);
    let is_over = left.is_zero();
    let below = EXPIRING_DAYS
        .into_iter()
        .filter(|days| left < DAY * *days || is_over);
    below.min()
}

fn sources(before: &State, now: &State, changes: &mut Vec<Change>) {
    for (source, lost) in &now.sources {
        let fields = |text: String| Fields {
            source: Some(source.as_str().into()),
            ..Fields::new(text)
        };
        let known = before.sources.get(source);
        match (known.map(Option::is_some), lost) {
            (None | Some(true), None) => {
                changes.push((
                    Kind::SourceConnected,
                    fields(format!("{source} is followed")),
                ));
            }
            (None | Some(false), Some(fault)) => {
                let text = format!("{source} is not followed: {fault}");
                changes.push((Kind::SourceLost, fields(text)));
            }
            _ => {}
        }
    }
    let fields = |source: &str, text: String| Fields {
        source: Some(source.into()),
        ..Fields::new(text)
    };
    for (source, why) in &now.lagging {
        if !before.lagging.contains_key(source) {
            let text = format!("{source} lags: {why}");
            changes.push((Kind::SourceLagging, fields(source, text)));
        }
    }
    for source in before.lagging.keys() {
        // One that was lost meanwhile has not caught up.
        let followed = now.sources.get(source).is_some_and(Option::is_none);
        if followed && !now.lagging.contains_key(source) {
            let text = format!("{source} is up to date again");
            changes.push((Kind::SourceCaughtUp, fields(source, text)));
        }
    }
}

fn handover(before: &State, now: &State, changes: &mut Vec<Change>) {
    if let Some(pid) = now.other_process
        && now.other_process != before.other_process
    {
        let text = format!("with process {pid}");
        changes.push((Kind::HandoverBegan, Fields::new(text)));
    }
    if let Some(taken) = now.taken_over
        && now.taken_over != before.taken_over
    {
        let TakeOverState {
            sessions,
            staying,
            from_pid,
        } = taken;
        let text =
            format!("{sessions} sessions came from process {from_pid}, {staying} stay there");
        let fields = Fields {
            sessions: Some(sessions as u64),
            ..Fields::new(text)
        };
        changes.push((Kind::HandoverDone, fields));
    }
}

#[cfg(test)]
mod tests;
