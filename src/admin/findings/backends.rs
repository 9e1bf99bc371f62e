//! Upstreams and their backends.

use crate::admin::findings::finding::Finding;
use crate::admin::findings::severity::Severity;
use crate::admin::upstreams::{BackendView, UpstreamView};

/// Backends that are named in one finding.
const NAMED_MAX: usize = 3;

pub(super) fn findings(upstreams: &[UpstreamView]) -> Vec<Finding> {
    upstreams.iter().filter_map(finding).collect()
}

fn finding(upstream: &UpstreamView) -> Option<Finding> {
    let summary = &upstream.summary;
    let subject = format!("upstream {}", summary.name);
    if summary.members == 0 && summary.sessions > 0 && upstream.is_removed() {
        let detail = "it is configured no more, and sessions live on its backends";
        let finding = Finding::new(Severity::Warning, "upstream_removed", subject, detail);
        return Some(
            finding
                .of_sessions(summary.sessions)
                .remedy("`sessile history` says who removed it; `sessile kick` ends its sessions"),
        );
    }
    let sick: Vec<_> = upstream.backends.iter().filter_map(trouble).collect();
    let named = sick.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>();
    let more = sick.len().saturating_sub(NAMED_MAX);
    let why = match more {
        0 => named.join("; "),
        _ => format!("{}; and {more} more", named.join("; ")),
    };
    let remedy = format!(
        "`sessile backends {}` shows why each is not well",
        summary.name
    );
    if summary.eligible == 0 {
        let detail = match (summary.members, summary.panicking) {
            (0, _) => "it has no backend, so every client of its routes is refused".to_owned(),
            (members, true) => {
                format!("0 of {members} backends are well, so health is ignored: {why}")
            }
            (members, false) => {
                format!("0 of {members} backends take sessions, so clients are refused: {why}")
            }
        };
        let finding = Finding::new(Severity::Critical, "upstream_down", subject, detail);
        return Some(finding.of_sessions(summary.sessions).remedy(remedy));
    }
    let unwell = upstream.backends.iter().filter(|one| is_sick(one)).count();
    if unwell == 0 {
        return None;
    }
    let members = summary.members;
    let panic = match summary.panicking {
        true => ", so few are well that health is ignored",
        false => "",
    };
    let detail = format!("{unwell} of {members} backends are not well{panic}: {why}");
    let finding = Finding::new(Severity::Warning, "backends_unwell", subject, detail);
    Some(finding.of_sessions(summary.sessions).remedy(remedy))
}

/// Whether a backend that should take sessions does not.
fn is_sick(backend: &BackendView) -> bool {
    backend.state == "active" && (backend.health == "unhealthy" || backend.ejected.is_some())
}

/// Why a backend takes no sessions, if it takes none.
fn trouble(backend: &BackendView) -> Option<String> {
    let id = &backend.id;
    if backend.state != "active" {
        let who = match backend.ordered {
            Some(_) => "by an operator's order",
            None => "by its configuration",
        };
        return Some(format!("{id} is {} {who}", backend.state));
    }
    if backend.health == "unhealthy" {
        let reason = backend.reason.as_deref().unwrap_or("its probe fails");
        return Some(format!("{id} is unhealthy: {reason}"));
    }
    let ejected = backend.ejected.as_ref()?;
    Some(format!(
        "{id} is ejected for {:.0} s: {}",
        ejected.seconds_left, ejected.reason
    ))
}
