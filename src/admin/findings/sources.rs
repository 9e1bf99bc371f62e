//! Where the configuration comes from.

use crate::admin::findings::finding::{Facts, Finding};
use crate::admin::findings::registries;
use crate::admin::findings::severity::Severity;
use crate::admin::sources::{DnsView, EtcdView};
use crate::config::diagnostic::Diagnostic;
use crate::control::sources::SILENCE_MAX;

/// Names that a finding shows.
const NAMES_SHOWN: usize = 3;

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
    findings.extend(sources.dns.as_ref().into_iter().flat_map(dns));
    let cluster = sources.kubernetes.iter();
    findings.extend(cluster.flat_map(|view| registries::findings("kubernetes", view)));
    let consul = sources.consul.iter();
    findings.extend(consul.flat_map(|view| registries::findings("consul", view)));
    if let Some(etcd) = &sources.etcd {
        findings.extend(connection(etcd));
        findings.extend(documents(etcd));
    }
    findings
}

/// Names in DNS that are not found, and backends that left their answers together.
fn dns(dns: &DnsView) -> Vec<Finding> {
    let mut findings = Vec::new();
    if dns.failing > 0 {
        let failing = dns.names.iter();
        let failing = failing.filter_map(|name| Some((name, name.fault.as_ref()?)));
        let shown = failing.take(NAMES_SHOWN).map(|(name, fault)| {
            let upstreams = name.upstreams.join(", ");
            let effect = match name.backends {
                Some(_) => "its last backends stay",
                None if dns.from_last_known_good => "those of the last run stay",
                None => "it never had an answer",
            };
            format!("{} (upstream {upstreams}): {fault}; {effect}", name.name)
        });
        let shown: Vec<_> = shown.collect();
        let detail = format!("names not found: {}; {}", dns.failing, shown.join("; "));
        findings.push(
            Finding::new(Severity::Warning, "dns_failing", "dns", detail)
                .remedy("look after the DNS servers, or correct `dns` of the upstream"),
        );
    }
    if dns.stale > 0 {
        let detail = format!(
            "backends that left an answer together: {}; they stay while their probes pass",
            dns.stale
        );
        findings.push(
            Finding::new(Severity::Warning, "backends_stale", "dns", detail)
                .remedy("look after the records; after `stale_grace` they go in any case"),
        );
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
    let since = since.filter(|since| *since > SILENCE_MAX.as_secs_f64())?;
    let detail = format!("a watch runs, and nothing was heard on it for {since:.0} s");
    Some(Finding::new(
        Severity::Warning,
        "etcd_silent",
        "etcd",
        detail,
    ))
}

/// Documents that are not as they were written last.
fn documents(etcd: &EtcdView) -> Vec<Finding> {
    // How many, which kind, what they are, what becomes of them, and what to do.
    let counted = [
        (
            etcd.refused,
            "documents_refused",
            "documents refused",
            "the last good version of each stays in force",
            "`sessile check --etcd` shows each with its fault",
        ),
        (
            etcd.waiting,
            "documents_waiting",
            "documents that name something that is missing",
            "they are not in force",
            "`sessile status` shows what each waits for",
        ),
        (
            etcd.doubted.len(),
            "documents_doubted",
            "documents that are suddenly gone, which is not believed",
            "they stay in force",
            "restore them, or let them go with `sessile etcd accept`",
        ),
        (
            etcd.stale,
            "backends_stale",
            "backends that lost their leases together",
            "they stay while their probes pass",
            "look after etcd and after `sessile register` beside the backends",
        ),
    ];
    let warning = |kind, detail: String, remedy: &str| {
        Finding::new(Severity::Warning, kind, "etcd", detail).remedy(remedy)
    };
    let counted = counted.into_iter().filter(|(count, ..)| *count > 0);
    let found = counted.map(|(count, kind, what, effect, remedy)| {
        warning(kind, format!("{what}: {count}; {effect}"), remedy)
    });
    let unremembered = etcd.last_known_good_fault.as_ref().map(|fault| {
        let detail = format!("what it says is not remembered for the next start: {fault}");
        warning(
            "last_known_good_fault",
            detail,
            "make `node.state_dir` writable",
        )
    });
    found.chain(unremembered).collect()
}
