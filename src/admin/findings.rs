//! What is wrong with a gateway, the worst first, each with where it is and what to do. `sessile
//! doctor`, `sessile status` and the dashboard show this list; the rules are in `findings/`.

mod backends;
mod certificates;
mod failover;
mod finding;
mod fleet;
mod registries;
mod rights;
pub(super) mod severity;
mod sources;
mod system;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::admin::Gateway;
use crate::admin::findings::finding::{Demands, Facts};
use crate::admin::status::{BrokerView, EventFilesView, StateView, StatusView};
use crate::admin::{Page, credentials, tokens, upstreams};
use crate::base::clock;
use crate::io::system_limits::SystemLimits;
use crate::live::Phase;

pub use finding::Finding;
pub use severity::Severity;

/// Settings that wait for a restart and are named.
const CHANGES_SHOWN: usize = 10;
/// Findings that are listed; more of them have the same cause.
const SHOWN_MAX: usize = 200;

pub(super) async fn list(State(gateway): State<Arc<Gateway>>) -> Json<Page<Finding>> {
    let refused = gateway.supervisor.refused();
    let fault = refused.and_then(|refused| refused.faults.first().map(sources::brief));
    let items = of(&Facts {
        status: &StatusView::of(&gateway),
        upstreams: &upstreams::views(&gateway),
        file_fault: fault.as_deref(),
        records_dropped: gateway.records.dropped(),
        keys: &credentials::issuer_keys(&gateway.live.generation(), clock::wall()),
        tokens: &tokens::views(&gateway),
        rights: gateway.desk.rights().as_deref(),
        limits: &SystemLimits::read(),
        demands: &demands(&gateway),
    });
    Json(Page { items, next: None })
}

/// What is configured of that which the system limits.
fn demands(gateway: &Gateway) -> Demands {
    let loaded = gateway.supervisor.loaded();
    let listeners = loaded.snapshot.listeners.iter();
    Demands {
        sessions_max: gateway.live.generation().edge.load.sessions_max as u64,
        backlogs: listeners
            .map(|one| (one.name.to_string(), one.backlog))
            .collect(),
    }
}

/// What is wrong, the worst first.
pub(super) fn of(facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = node(facts);
    findings.extend(backends::findings(facts.upstreams));
    findings.extend(failover::findings(facts.upstreams));
    findings.extend(sources::findings(facts));
    findings.extend(certificates::findings(&facts.status.certificates));
    findings.extend(rights::findings(facts));
    findings.extend(facts.status.broker.as_ref().and_then(broker));
    findings.extend(fleet::findings(facts.status));
    findings.extend(system::findings(facts));
    findings.sort_by(|one, other| {
        let key = |finding: &Finding| finding.severity;
        key(one).cmp(&key(other))
    });
    findings.truncate(SHOWN_MAX);
    findings
}

/// What the file changed that needs a restart.
fn restart(status: &StatusView) -> Option<Finding> {
    if status.restart_pending.is_empty() {
        return None;
    }
    let changes = status.restart_changes.iter().map(ToString::to_string);
    let mut changes: Vec<_> = changes.take(CHANGES_SHOWN).collect();
    if status.restart_changes.len() > CHANGES_SHOWN {
        changes.push("and more".to_owned());
    }
    let changes = changes.join(", ");
    let detail = format!("changed in the file, and in force after a restart: {changes}");
    Some(
        Finding::new(Severity::Notice, "restart_pending", "file", detail)
            .remedy("start the new process with `sessile run --take-over`, which ends no session"),
    )
}

/// The process itself.
fn node(facts: &Facts<'_>) -> Vec<Finding> {
    let status = facts.status;
    let mut findings = Vec::new();
    if status.phase != Phase::Ready.as_str() {
        let detail = format!("it is {} and takes no clients for long", status.phase);
        findings.push(Finding::new(Severity::Warning, "not_ready", "node", detail));
    }
    if let Some(state_dir) = &status.state_dir
        && let Some(fault) = &state_dir.fault
    {
        let detail = format!("cannot be written: {fault}; the next start would know nothing");
        let subject = format!("state directory {}", state_dir.path);
        findings.push(
            Finding::new(Severity::Warning, "state_dir_fault", subject, detail)
                .remedy("make it writable for the gateway's user, or free space on its disk"),
        );
    }
    findings.extend(status.event_files.as_ref().and_then(events));
    findings.extend(status.state.as_ref().and_then(store));
    findings.extend(restart(status));
    if facts.records_dropped > 0 {
        let detail = format!(
            "{} were lost since the start: their output is too slow",
            facts.records_dropped
        );
        findings.push(
            Finding::new(Severity::Warning, "records_dropped", "records", detail).remedy(
                "write `log.access` to a faster disk, or have less read from standard output",
            ),
        );
    }
    if let Some(before) = status.taken_over.as_ref()
        && !before.staying.is_empty()
    {
        let detail = format!(
            "of process {} stay there until they end: {}",
            before.from_pid, before.staying
        );
        findings.push(Finding::new(
            Severity::Notice,
            "sessions_stayed",
            "hand-over",
            detail,
        ));
    }
    findings
}

/// Limits that hold for each gateway alone.
fn store(state: &StateView) -> Option<Finding> {
    let detail = match (&state.error, state.connected && state.answers) {
        (_, true) => return None,
        (Some(error), _) => {
            format!("not connected, so limits hold for each gateway alone: {error}")
        }
        (None, _) => "it is late, so limits hold for each gateway alone".to_owned(),
    };
    let subject = format!("state in {} {}", state.kind, state.server);
    let finding = Finding::new(Severity::Warning, "state_lost", subject, detail);
    Some(finding.remedy("look after the server; it is connected again by itself"))
}

/// What carries published messages.
fn broker(broker: &BrokerView) -> Option<Finding> {
    if broker.connected {
        return None;
    }
    let why = broker.error.as_deref().unwrap_or("it was not reached yet");
    let detail = format!(
        "not connected since {}: {why}; messages reach the sessions of this gateway only",
        broker.since
    );
    let finding = Finding::new(Severity::Warning, "broker_lost", "broker", detail);
    Some(finding.remedy("look after the broker; the gateway connects again by itself"))
}

/// Events that a restart would lose.
fn events(files: &EventFilesView) -> Option<Finding> {
    let detail = match (&files.fault, files.unwritten) {
        (Some(fault), _) => format!("cannot be written: {fault}; events are in memory only"),
        (None, 0) => return None,
        (None, unwritten) => {
            format!("{unwritten} were not written since the start; they are in memory only")
        }
    };
    let subject = format!("events in {}", files.path);
    let finding = Finding::new(Severity::Warning, "events_unwritten", subject, detail);
    Some(finding.remedy("make the folder writable, or free space on its disk"))
}

#[cfg(test)]
mod tests;
