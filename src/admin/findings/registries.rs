//! Registries of services: what is not found, not read or not believed.

use crate::admin::findings::finding::Finding;
use crate::admin::findings::severity::Severity;
use crate::admin::sources::registry::RegistryView;

/// Services that a finding shows.
const SHOWN: usize = 3;

/// What is wrong with one of them.
pub(super) fn findings(source: &str, view: &RegistryView) -> Vec<Finding> {
    let warning = |kind, detail: String, remedy: &str| {
        Finding::new(Severity::Warning, kind, source, detail).remedy(remedy)
    };
    let mut findings = Vec::new();
    if view.failing > 0 {
        findings.push(warning(
            "services_failing",
            failing(view),
            "look after the source and the checks of the instances, or correct the upstream",
        ));
    }
    if let Some(fault) = &view.keys_fault {
        findings.push(warning(
            "keys_unread",
            format!("documents are not read: {fault}; what was read last is in force"),
            "look after the source, and what the gateway's token may read there",
        ));
    }
    if view.leaderless {
        findings.push(warning(
            "leader_lost",
            "its servers have no leader: answers may be old".to_owned(),
            "look after its servers; sessions and new clients do not depend on them meanwhile",
        ));
    }
    findings.extend(counted(view).map(|(kind, detail, remedy)| warning(kind, detail, remedy)));
    if let Some(fault) = &view.last_known_good_fault {
        findings.push(warning(
            "last_known_good_fault",
            format!("what it says is not remembered for the next start: {fault}"),
            "make `node.state_dir` writable",
        ));
    }
    findings
}

fn failing(view: &RegistryView) -> String {
    let failing = view.services.iter();
    let failing = failing.filter_map(|service| Some((service, service.fault.as_ref()?)));
    let shown = failing.take(SHOWN).map(|(service, fault)| {
        let upstreams = service.upstreams.join(", ");
        let effect = match service.backends {
            Some(_) => "its last backends stay",
            None if view.from_last_known_good => "those of the last run stay",
            None => "it never had a backend",
        };
        let name = &service.service;
        format!("{name} (upstream {upstreams}): {fault}; {effect}")
    });
    let shown: Vec<_> = shown.collect();
    format!("services not found: {}; {}", view.failing, shown.join("; "))
}

fn counted(view: &RegistryView) -> impl Iterator<Item = (&'static str, String, &'static str)> {
    let counted = [
        (
            view.refused,
            "documents_refused",
            "documents refused",
            "the last good version of each stays in force",
            "`GET /v1/config` shows each with its fault",
        ),
        (
            view.waiting,
            "documents_waiting",
            "documents that name something that is missing",
            "they are not in force",
            "`GET /v1/config` shows what each waits for",
        ),
        (
            view.doubted.len(),
            "documents_doubted",
            "documents that are suddenly gone, which is not believed",
            "they stay in force",
            "restore them, or let them go with `POST /v1/sources/{source}/accept`",
        ),
        (
            view.stale,
            "backends_stale",
            "backends that left an answer together",
            "they stay while their probes pass",
            "look after the instances; after `stale_grace` they go in any case",
        ),
    ];
    let counted = counted.into_iter().filter(|(count, ..)| *count > 0);
    counted.map(|(count, kind, what, effect, remedy)| {
        (kind, format!("{what}: {count}; {effect}"), remedy)
    })
}
