//! The backends in `sessile status`: how well each is, what it has, what was ordered of it.

use std::io::Write;

use serde::Serialize;

use crate::admin::UpstreamSummary;
use crate::cli::client::Client;
use crate::cli::drain::progress;
use crate::cli::print::{columns, time};
use crate::cli::upstream::{Backend, Upstream};

/// Upstreams whose backends are listed: unhealthy ones first.
const UPSTREAMS_ASKED: usize = 50;
/// Backends of one upstream that are listed: those with a remark first.
const SHOWN: usize = 20;

/// A backend and its upstream.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Row {
    upstream: String,
    #[serde(flatten)]
    backend: Backend,
}

/// The backends of each upstream, unhealthy ones first if there are many.
pub(in crate::cli) fn of(
    client: &Client,
    upstreams: &[UpstreamSummary],
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for summary in asked(upstreams) {
        let upstream = Upstream::get(client, &summary.name)?;
        rows.extend(upstream.backends.into_iter().map(|backend| Row {
            upstream: summary.name.clone(),
            backend,
        }));
    }
    Ok(rows)
}

/// The selected upstreams, sorted by name.
fn asked(upstreams: &[UpstreamSummary]) -> Vec<&UpstreamSummary> {
    let mut asked: Vec<_> = upstreams.iter().collect();
    asked.sort_by_key(|upstream| upstream.eligible == upstream.members && upstream.eligible > 0);
    asked.truncate(UPSTREAMS_ASKED);
    asked.sort_by(|one, other| one.name.cmp(&other.name));
    asked
}

/// The table of them; false if there are none.
pub(in crate::cli) fn table(
    out: &mut dyn Write,
    client: &Client,
    upstreams: &[UpstreamSummary],
) -> anyhow::Result<bool> {
    let rows = of(client, upstreams)?;
    if rows.is_empty() {
        return Ok(false);
    }
    let placed = Placed::of(&rows);
    let mut cells = Vec::new();
    let mut hidden = 0;
    for of_one in rows.chunk_by(|one, other| one.upstream == other.upstream) {
        let mut of_one: Vec<_> = of_one
            .iter()
            .map(|row| (row, remarks(&row.backend)))
            .collect();
        if of_one.len() > SHOWN {
            of_one.sort_by_key(|(_, remarks)| remarks.is_empty());
            hidden += of_one.len() - SHOWN;
            of_one.truncate(SHOWN);
        }
        cells.extend(of_one.into_iter().map(|(row, remarks)| {
            let backend = &row.backend;
            let mut cells = vec![row.upstream.clone(), backend.id.clone()];
            cells.extend(placed.cells(backend));
            cells.extend([
                backend.health.clone(),
                backend.state.clone(),
                backend.sessions.to_string(),
                remarks,
            ]);
            cells
        }));
    }
    let mut head = vec!["UPSTREAM", "BACKEND"];
    head.extend(placed.head());
    head.extend(["HEALTH", "STATE", "SESSIONS", ""]);
    columns(out, &head, cells)?;
    let left_out = upstreams.len().saturating_sub(UPSTREAMS_ASKED);
    if hidden > 0 {
        writeln!(
            out,
            "… and {hidden} more: /v1/upstreams/NAME has all of an upstream"
        )?;
    }
    if left_out > 0 {
        writeln!(out, "… and those of {left_out} more upstreams")?;
    }
    Ok(true)
}

/// Which columns about places there are: only those that have something to show.
struct Placed {
    zones: bool,
    priorities: bool,
}

impl Placed {
    fn of(rows: &[Row]) -> Self {
        Self {
            zones: rows.iter().any(|row| row.backend.zone.is_some()),
            priorities: rows.iter().any(|row| row.backend.priority > 0),
        }
    }

    fn head(&self) -> impl Iterator<Item = &'static str> {
        let zones = self.zones.then_some("ZONE");
        zones
            .into_iter()
            .chain(self.priorities.then_some("PRIORITY"))
    }

    fn cells(&self, backend: &Backend) -> impl Iterator<Item = String> {
        let zone = || backend.zone.clone().unwrap_or_default();
        let zone = self.zones.then(zone);
        let priority = self.priorities.then(|| backend.priority.to_string());
        zone.into_iter().chain(priority)
    }
}

/// Why it is not well, what was ordered of it, how far its drain is.
fn remarks(backend: &Backend) -> String {
    let ordered = backend
        .ordered
        .as_ref()
        .map(|state| match state == &backend.configured {
            true => format!("ordered {state}"),
            false => format!("ordered {state}, configured {}", backend.configured),
        });
    let ejected = backend.ejected.as_ref().map(|ejected| {
        let left = time(ejected.seconds_left);
        format!("ejected for {left}: {}", ejected.reason)
    });
    let drain = backend
        .drain
        .as_ref()
        .map(|drain| format!("drain {}", progress(drain)));
    let stale = backend
        .stale
        .then(|| "its lease in etcd is lost".to_owned());
    let remarks = [backend.reason.clone(), ejected, ordered, drain, stale];
    let remarks: Vec<_> = remarks.into_iter().flatten().collect();
    remarks.join("; ")
}
