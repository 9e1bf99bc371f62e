//! Upstreams whose first level is short of well backends.

use crate::admin::findings::finding::Finding;
use crate::admin::findings::severity::Severity;
use crate::admin::upstreams::UpstreamView;

pub(super) fn findings(upstreams: &[UpstreamView]) -> Vec<Finding> {
    upstreams.iter().filter_map(finding).collect()
}

fn finding(upstream: &UpstreamView) -> Option<Finding> {
    let (name, first) = (&upstream.summary.name, upstream.levels.first()?);
    if !first.is_short() || upstream.summary.eligible == 0 {
        return None;
    }
    let others = upstream.levels.iter().skip(1);
    let next = others.map(|level| level.name.as_str()).collect::<Vec<_>>();
    let share = (1.0 - first.takes) * 100.0;
    let detail = format!(
        "{}: {}, so {share:.0} % of its keys go to {}",
        first.name,
        first.condition(),
        next.join(", ")
    );
    let subject = format!("upstream {name}");
    let finding = Finding::new(Severity::Warning, "upstream_spills", subject, detail);
    let remedy = format!(
        "`sessile backends {name}` shows why; once all are well, `sessile rebalance {name}` brings \
         its sessions home"
    );
    Some(finding.of_sessions(upstream.summary.spilled).remedy(remedy))
}
