//! Where the configuration comes from.

use crate::admin::findings::finding::{Facts, Finding, Severity};
use crate::admin::sources::EtcdView;
use crate::config::diagnostic::Diagnostic;

/// A watch that runs reports progress every few seconds.
const PROGRESS_MAX: f64 = 60.0;

/// A fault on one line: place and message.
pub(super) fn brief(fault: &Diagnostic) -> String {
    match fault.line_and_column() {
        (0, _) => format!("{}: {}", fault.source, fault.message),
        (line, column) => format!("{}:{line}:{column}: {}", fault.source, fault.message),
    }
}

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let sources = &facts.status.sources;
    let mut findings = Vec::new();
    if let Some(at) = &sources.file.refused {
        let why = facts.file_fault.unwrap_or("`sessile check` says why");
        let detail = format!("refused at {at}, what was read before is in force: {why}");
        let subject = format!("file {}", sources.file.path);
        findings.push(
            Finding::new(Severity::Warning, "file_refused", subject, detail)
                .remedy("correct it, `sessile check`, and it is read again"),
        );
    }
    if let Some(etcd) = &sources.etcd {
        findings.extend(connection(etcd));
        findings.extend(documents(etcd));
    }
    findings
}

/// Whether etcd is followed.
fn connection(etcd: &EtcdView) -> Option<Finding> {
    let since = etcd.progress_seconds;
    let heard = since.map_or_else(
        || "it was never heard".to_owned(),
        |since| format!("heard {since:.0} s ago"),
    );
    if !etcd.connected {
        let fault = etcd.fault.as_deref().unwrap_or("no watch runs");
        let remembered = match etcd.from_last_known_good {
            true => "; what it said before the start is in force",
            false => "; what it said last is in force",
        };
        let detail = format!("not followed ({heard}): {fault}{remembered}");
        return Some(
            Finding::new(Severity::Warning, "etcd_lost", "etcd", detail)
                .remedy("look after etcd; sessions and new clients do not depend on it meanwhile"),
        );
    }
    let since = since.filter(|since| *since > PROGRESS_MAX)?;
    let detail = format!("a watch runs, and nothing was heard on it for {since:.0} s");
    Some(Finding::new(
        Severity::Warning,
        "etcd_silent",
        "etcd",
        detail,
    ))
}

/// Documents that are not in force.
fn documents(etcd: &EtcdView) -> Vec<Finding> {
    let warning = |kind, detail: String, remedy: &str| {
        Finding::new(Severity::Warning, kind, "etcd", detail).remedy(remedy)
    };
    let mut findings = Vec::new();
    if etcd.refused > 0 {
        let detail = format!(
            "documents refused: {}; the last good version of each stays in force",
            etcd.refused
        );
        let remedy = "`sessile check --etcd` shows each with its fault";
        findings.push(warning("documents_refused", detail, remedy));
    }
    if etcd.waiting > 0 {
        let detail = format!(
            "documents that name something that is missing, and are not in force: {}",
            etcd.waiting
        );
        let remedy = "`sessile status` shows what each waits for";
        findings.push(warning("documents_waiting", detail, remedy));
    }
    if !etcd.doubted.is_empty() {
        let detail = format!(
            "documents that are suddenly gone, which is not believed: {}; they stay in force",
            etcd.doubted.len()
        );
        let remedy = "restore them, or let them go with `sessile etcd accept`";
        findings.push(warning("documents_doubted", detail, remedy));
    }
    if etcd.stale > 0 {
        let detail = format!(
            "backends that lost their leases together: {}; they stay while their probes pass",
            etcd.stale
        );
        let remedy = "look after etcd and after `sessile register` beside the backends";
        findings.push(warning("backends_stale", detail, remedy));
    }
    if let Some(fault) = &etcd.last_known_good_fault {
        let detail = format!("what it says is not remembered for the next start: {fault}");
        let remedy = "make `node.state_dir` writable";
        findings.push(warning("last_known_good_fault", detail, remedy));
    }
    findings
}
