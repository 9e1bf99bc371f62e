//! Rebalancing as operators see it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::config::snapshot::Rebalance;
use crate::control::rebalancer::run::{End, Run, limit};
use crate::core::routing::Upstream;
use crate::core::session::rebalance::{Move, Resident};

/// What a rebalancing does, did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RebalanceView {
    /// `rehearsed` (a dry run), `running`, `waiting`, `paused`, `done` or `stopped`.
    pub state: String,
    /// What it waits for, such as a backend that is unhealthy.
    pub waits_for: Option<String>,
    /// Begun by a change of members, not by an operator.
    pub automatic: bool,
    /// The operator who ordered it; null if it began by itself.
    #[serde(default)]
    pub operator: Option<String>,
    /// When it began; RFC 3339. Null for a dry run.
    pub started: Option<String>,
    /// How many sessions in a time: `10/s`, `1/h`.
    pub pace: String,
    /// The same as sessions in a second.
    pub per_second: f64,
    /// Backends give sessions away until they have this multiple of their fair share; 0: all keys
    /// go home.
    pub skew: f64,
    /// At most so many sessions go in this run; null until it has looked.
    pub limit: Option<usize>,
    /// Live sessions of the upstream; only in a dry run.
    pub sessions: Option<usize>,
    /// Those whose key belongs to another backend; only in a dry run.
    pub away: Option<usize>,
    /// Who would go, by backend; only in a dry run.
    pub flows: Vec<FlowView>,
    /// Sessions that are still queued; in a dry run, those that would move.
    pub left: usize,
    /// Gone home.
    pub moved: usize,
    /// Closed with 1012.
    pub closed: usize,
    /// Estimated time until the last session is selected; null while paused.
    pub seconds_left: Option<f64>,
}

/// Sessions from one backend to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlowView {
    /// Who has them.
    pub from: String,
    /// Whose their keys are.
    pub to: String,
    /// How many.
    pub sessions: usize,
    /// Those of them that would be closed, since they cannot move.
    pub closed: usize,
}

impl RebalanceView {
    pub(super) fn rehearsed(
        upstream: &Upstream,
        rules: &Rebalance,
        residents: &[Resident],
        moves: &[Move],
    ) -> Self {
        let mut flows = BTreeMap::<(usize, usize), (usize, usize)>::new();
        for one in moves {
            let (sessions, closed) = flows.entry((one.from, one.to)).or_default();
            *sessions += 1;
            *closed += usize::from(!one.movable);
        }
        let id = |index: usize| upstream.members[index].id.to_string();
        let away = |one: &&Resident| one.home.is_some_and(|home| home != one.at);
        Self {
            state: "rehearsed".to_owned(),
            waits_for: upstream.unrest(clock::now()).map(str::to_owned),
            pace: rules.pace.to_string(),
            per_second: rules.pace.per_second(),
            skew: rules.skew,
            limit: Some(limit(rules, residents.len())),
            sessions: Some(residents.len()),
            away: Some(residents.iter().filter(away).count()),
            flows: flows
                .into_iter()
                .map(|((from, to), (sessions, closed))| FlowView {
                    from: id(from),
                    to: id(to),
                    sessions,
                    closed,
                })
                .collect(),
            left: moves.len(),
            seconds_left: Some(tenths(moves.len() as f64 / rules.pace.per_second())),
            ..Self::default()
        }
    }

    pub(super) fn of(run: &Run) -> Self {
        let progress = run.plan.progress();
        let state = match run.end {
            Some(End::Done) => "done",
            Some(End::Stopped) => "stopped",
            None if run.paused => "paused",
            None if run.waits.is_some() => "waiting",
            None => "running",
        };
        let ended = run.end.is_some();
        Self {
            state: state.to_owned(),
            waits_for: run.waits.filter(|_| !ended).map(str::to_owned),
            automatic: run.operator.is_none(),
            operator: run.operator.as_deref().map(str::to_owned),
            started: Some(clock::rfc3339(run.started)),
            pace: run.rules.pace.to_string(),
            per_second: run.rules.pace.per_second(),
            skew: run.rules.skew,
            limit: run.limit,
            left: if ended { 0 } else { progress.left },
            moved: progress.moved,
            closed: progress.closed,
            seconds_left: progress.until_done.map(|left| tenths(left.as_secs_f64())),
            ..Self::default()
        }
    }
}

fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}
