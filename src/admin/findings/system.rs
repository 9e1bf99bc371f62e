//! Limits of the system that are too low for what is configured or live, and what that costs.

use crate::admin::findings::finding::{Facts, Finding};
use crate::admin::findings::severity::Severity;
use crate::admin::upstreams::UpstreamView;
use crate::io::system_limits::SystemLimits;

/// A session has a descriptor for its client and one for its backend.
const DESCRIPTORS_A_SESSION: u64 = 2;
/// Descriptors of all else: listeners, logs, the admin API, probes, pooled connections.
const DESCRIPTORS_ELSE: u64 = 512;
/// Fewer sessions than that are hardly meant.
const SESSIONS_FEW: u64 = 2_000;

pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let (limits, demands) = (facts.limits, facts.demands);
    let mut findings = Vec::new();
    findings.extend(open_files(limits, demands.sessions_max));
    for (listener, backlog) in &demands.backlogs {
        findings.extend(accept_queue(limits, listener, *backlog));
    }
    findings.extend(tracked(limits));
    findings.extend(facts.upstreams.iter().flat_map(|one| ports(limits, one)));
    findings
}

fn open_files(limits: &SystemLimits, sessions_max: u64) -> Option<Finding> {
    let limit = limits.open_files?;
    let room = limit.saturating_sub(DESCRIPTORS_ELSE) / DESCRIPTORS_A_SESSION;
    let (severity, wanted, configured) = match sessions_max {
        0 => (Severity::Notice, SESSIONS_FEW, String::new()),
        most => (
            Severity::Warning,
            most,
            format!(", `node.sessions_max` is {most}"),
        ),
    };
    if room >= wanted {
        return None;
    }
    let detail = format!(
        "{limit} allow about {room} sessions, two descriptors each{configured}: beyond that clients \
         wait unaccepted"
    );
    let needed = wanted * DESCRIPTORS_A_SESSION + DESCRIPTORS_ELSE;
    Some(
        Finding::new(severity, "open_files_low", "open files", detail).remedy(format!(
            "set `LimitNOFILE={needed}` or more in the unit, or `ulimit -n`"
        )),
    )
}

fn accept_queue(limits: &SystemLimits, listener: &str, backlog: u32) -> Option<Finding> {
    let limit = limits
        .accept_queue
        .filter(|most| *most < u64::from(backlog))?;
    let detail = format!(
        "its `backlog` is {backlog}, the system queues {limit}: in a storm of reconnects the \
         clients beyond try again after a second or more"
    );
    Some(
        Finding::new(
            Severity::Notice,
            "backlog_cut",
            format!("listener {listener}"),
            detail,
        )
        .remedy(format!(
            "`sysctl -w net.core.somaxconn={backlog}`, then start the gateway anew"
        )),
    )
}

fn tracked(limits: &SystemLimits) -> Option<Finding> {
    let (count, most) = limits.tracked?;
    if count < most / 5 * 4 {
        return None;
    }
    let detail = format!(
        "the firewall follows {count} of at most {most} connections: at the limit it drops the \
         packets of new ones"
    );
    Some(
        Finding::new(Severity::Warning, "connections_tracked", "firewall", detail).remedy(
            "raise `net.netfilter.nf_conntrack_max`, or exempt the gateway's ports (`notrack`)",
        ),
    )
}

/// Backends that take nearly as many connections as there are local ports.
fn ports<'a>(
    limits: &'a SystemLimits,
    upstream: &'a UpstreamView,
) -> impl Iterator<Item = Finding> + 'a {
    let near = limits.ports.map(|ports| (ports, ports / 5 * 4));
    let backends = upstream.backends.iter();
    backends.filter_map(move |backend| {
        let (ports, near) = near?;
        if backend.sessions < near || backend.is_local() {
            return None;
        }
        let detail = format!(
            "{} has {} sessions of this gateway, and there are {ports} local ports for one address",
            backend.id, backend.sessions
        );
        let subject = format!("upstream {}", upstream.summary.name);
        Some(
            Finding::new(Severity::Warning, "ports_scarce", subject, detail)
                .of_sessions(backend.sessions)
                .remedy(
                    "widen `net.ipv4.ip_local_port_range`, or give the backend a second address",
                ),
        )
    })
}
