//! Drains as operators see them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::base::names::{BackendId, UpstreamName};
use crate::config::snapshot::Tempo;
use crate::control::drainer::{By, Drain, Drainer};
use crate::core::session::drain::Plan;

/// How far a drain is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DrainView {
    /// `running`, `paused` or `done`. A drain that is done goes on watching: who still comes leaves
    /// too.
    pub state: String,
    /// Who wants it: `operator`, `configuration` or `removal` (the backend left its upstream).
    pub by: String,
    /// When it began; RFC 3339.
    pub started: String,
    /// How fast: `50/s`, or `within 5m`.
    pub pace: String,
    /// Sessions that it has had to do with.
    pub total: usize,
    /// Not told to go yet.
    pub left: usize,
    /// Closed with 1012.
    pub closed: usize,
    /// Gone on with another backend.
    pub moved: usize,
    /// Until the last one is told, as things go; null while paused.
    pub seconds_left: Option<f64>,
    /// When that is; RFC 3339.
    pub ends: Option<String>,
}

impl DrainView {
    fn of(drain: &Drain) -> Self {
        let progress = drain.plan.progress();
        let state = match () {
            () if drain.told_done => "done",
            () if progress.paused => "paused",
            () => "running",
        };
        let by = match drain.by {
            By::Operator => "operator",
            By::Configuration => "configuration",
            By::Removal => "removal",
        };
        let left = progress.until_done;
        let end = left.and_then(|left| clock::wall().checked_add(left));
        Self {
            state: state.to_owned(),
            by: by.to_owned(),
            started: clock::rfc3339(drain.started),
            pace: pace(&drain.plan),
            total: progress.total,
            left: progress.left,
            closed: progress.closed,
            moved: progress.moved,
            seconds_left: left.map(|left| (left.as_secs_f64() * 10.0).round() / 10.0),
            ends: end.map(clock::rfc3339),
        }
    }
}

/// As operators write it.
pub(in crate::control) fn pace(plan: &Plan) -> String {
    match plan.profile().tempo {
        Tempo::PerSecond(pace) => format!("{}/s", (pace * 1_000.0).round() / 1_000.0),
        Tempo::Within(time) => format!("within {}", humantime::format_duration(time)),
    }
}

impl Drainer {
    /// The drain of this backend.
    pub fn view(&self, upstream: &str, backend: &str) -> Option<DrainView> {
        let place = (UpstreamName::from(upstream), BackendId::from(backend));
        self.state().drains.get(&place).map(DrainView::of)
    }

    /// All drains.
    pub fn views(&self) -> Vec<(UpstreamName, BackendId, DrainView)> {
        let state = self.state();
        let drains = state.drains.iter();
        drains
            .map(|((upstream, backend), drain)| {
                (upstream.clone(), backend.clone(), DrainView::of(drain))
            })
            .collect()
    }
}
