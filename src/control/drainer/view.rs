//! Drains as operators see them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::base::names::{BackendId, UpstreamName};
use crate::control::drainer::{Drain, Drainer};

/// How far a drain is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DrainView {
    /// `running`, `paused` or `done`. A drain that is done goes on watching: who still comes leaves
    /// too.
    pub state: String,
    /// Its origin: `operator`, `configuration` or `removal` (the backend left its upstream).
    pub by: String,
    /// The operator who ordered it; null if none did.
    #[serde(default)]
    pub operator: Option<String>,
    /// When it began; RFC 3339.
    pub started: String,
    /// How fast: `50/s`, or `within 5m`.
    pub pace: String,
    /// Sessions that it has had to do with.
    pub total: usize,
    /// Sessions that are still queued.
    pub left: usize,
    /// Closed with 1012.
    pub closed: usize,
    /// Gone on with another backend.
    pub moved: usize,
    /// Estimated time until the last session is selected; null while paused.
    pub seconds_left: Option<f64>,
    /// When that is; RFC 3339.
    pub ends: Option<String>,
    /// A hand-over keeps sessions out of this process' sight, some of them perhaps on this backend;
    /// until they are here or have ended the drain is not done.
    #[serde(default)]
    pub elsewhere: bool,
}

impl DrainView {
    fn of(drain: &Drain, elsewhere: bool) -> Self {
        let progress = drain.plan.progress();
        let state = match () {
            () if drain.logged_done => "done",
            () if progress.paused => "paused",
            () => "running",
        };
        let left = progress.until_done;
        let end = left.and_then(|left| clock::wall().checked_add(left));
        Self {
            state: state.to_owned(),
            by: drain.by.as_str().to_owned(),
            operator: drain.operator.as_deref().map(str::to_owned),
            started: clock::rfc3339(drain.started),
            pace: drain.plan.profile().tempo.to_string(),
            total: progress.total,
            left: progress.left,
            closed: progress.closed,
            moved: progress.moved,
            seconds_left: left.map(|left| (left.as_secs_f64() * 10.0).round() / 10.0),
            ends: end.map(clock::rfc3339),
            elsewhere,
        }
    }
}

impl Drainer {
    /// The drain of this backend.
    pub fn view(&self, upstream: &str, backend: &str) -> Option<DrainView> {
        let key = (UpstreamName::from(upstream), BackendId::from(backend));
        let elsewhere = self.elsewhere.any();
        let state = self.state();
        let drain = state.drains.get(&key);
        drain.map(|drain| DrainView::of(drain, elsewhere))
    }

    /// All drains.
    pub fn views(&self) -> Vec<(UpstreamName, BackendId, DrainView)> {
        let elsewhere = self.elsewhere.any();
        let state = self.state();
        let drains = state.drains.iter();
        drains
            .map(|((upstream, backend), drain)| {
                let view = DrainView::of(drain, elsewhere);
                (upstream.clone(), backend.clone(), view)
            })
            .collect()
    }
}
