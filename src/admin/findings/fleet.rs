//! The other gateways, as etcd lists them.

use crate::admin::findings::finding::Finding;
use crate::admin::findings::severity::Severity;
use crate::admin::status::StatusView;
use crate::control::fleet::NodeView;

/// A gateway writes its entry every five seconds.
const SILENT_SECONDS: u64 = 15;

pub(super) fn findings(status: &StatusView) -> Vec<Finding> {
    let mut findings: Vec<_> = status.fleet.iter().filter_map(finding).collect();
    if let Some(fault) = &status.fleet_fault {
        let age = match status.fleet_age_seconds {
            Some(age) => format!("it is {age} s old"),
            None => "it was never read".to_owned(),
        };
        let detail = format!("the list of gateways cannot be read ({age}): {fault}");
        findings.push(Finding::new(
            Severity::Warning,
            "fleet_unread",
            "fleet",
            detail,
        ));
    }
    findings
}

fn finding(node: &NodeView) -> Option<Finding> {
    let subject = format!("gateway {}", node.node);
    let warning = |kind, detail: String, remedy: &str| {
        let sessions = node.sessions as u64;
        Some(
            Finding::new(Severity::Warning, kind, subject.clone(), detail)
                .remedy(remedy)
                .of_sessions(sessions),
        )
    };
    let silent = node.silent_seconds;
    if node.phase == "gone" {
        let detail = format!("it disappeared {silent} s ago without signing off");
        return warning("gateway_gone", detail, "check its machine and its log");
    }
    if silent > SILENT_SECONDS {
        let detail = format!("it has been silent for {silent} s");
        return warning("gateway_silent", detail, "check that it can reach etcd");
    }
    if node.duplicate {
        let detail = "another gateway has the same name".to_owned();
        let remedy = "give each its own `node.name`";
        return warning("gateway_duplicate", detail, remedy);
    }
    if node.older {
        let revision = node.revision.unwrap_or_default();
        let detail = format!("its table is older than that of others (revision {revision})");
        let remedy =
            "run `sessile doctor` on that gateway: it shows what is refused or what it waits for";
        return warning("gateway_behind", detail, remedy);
    }
    if node.differs {
        let detail = "it has another table and neither is older: their files differ".to_owned();
        let remedy = "compare the files; `sessile preview` shows what one would change";
        return warning("gateway_differs", detail, remedy);
    }
    None
}
