//! Tables about sessions on their way: `drain` and `rebalance` of an upstream, `[shutdown]`,
//! `[admission]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::value::{Time, TimeOrOff, schema};
pub use crate::config::pace::Pace;

schema!(Pace, _generator => schemars::json_schema!({ "type": "string", "x-type": "pace" }));

/// How sessions leave a backend that is draining. Those of routes with `on_backend_loss =
/// "reconnect"` are moved, others are closed with 1012; those that were idle longest go first.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// So many at a time: `"50/s"`, `"600/m"`, `"1000/h"`. Not together with `within`.
    pub pace: Option<Pace>,
    /// All of them, evenly, within this time. Default, without `pace`: 5 minutes.
    pub within: Option<Time>,
    /// By which share of its slot each is moved at random, 0 to 1.
    pub jitter: f64,
    /// After this time the rest go at once. `"off"`: the pace is kept, however long it takes.
    pub deadline: TimeOrOff,
    /// What happens to sessions of a backend that leaves the upstream: `keep` leaves them alone,
    /// `drain` drains them.
    pub on_removal: OnMemberRemoval,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            pace: None,
            within: None,
            jitter: 0.5,
            deadline: TimeOrOff(None),
            on_removal: OnMemberRemoval::Keep,
        }
    }
}

/// What happens to sessions of a backend that leaves its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum OnMemberRemoval {
    /// They live on.
    Keep,
    /// They are drained.
    Drain,
}

/// Rebalancing: moves sessions whose affinity key belongs to another backend after a change of
/// members. Only for policies that place by key.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rebalance {
    /// `off`: never. `manual`: by `sessile rebalance` or the admin API. `auto`: also after each
    /// change of members.
    pub mode: RebalanceMode,
    /// So many at a time.
    pub pace: Pace,
    /// Younger sessions stay.
    pub age_min: Time,
    /// At most this share of the upstream's sessions is moved in one run, 0 to 1.
    pub share_max: f64,
    /// Sessions move until each backend has at most this multiple of its fair share; at least 1. 0
    /// moves every key home.
    pub skew: f64,
    /// Whether sessions that cannot move (their route has no `on_backend_loss = "reconnect"`) are
    /// closed with 1012. `false`: they stay.
    pub close: bool,
}

impl Default for Rebalance {
    fn default() -> Self {
        Self {
            mode: RebalanceMode::Off,
            pace: Pace::each_second(10.0),
            age_min: Time::seconds(60),
            share_max: 0.2,
            skew: 1.1,
            close: false,
        }
    }
}

/// When sessions are brought home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum RebalanceMode {
    /// Never.
    Off,
    /// When an operator orders it.
    Manual,
    /// After each change of members.
    Auto,
}

/// The shutdown.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// From the signal, with which readiness ends, until new clients are refused and the first
    /// session is closed: time for balancers in front to notice.
    pub delay: Time,
    /// Live sessions are closed with 1001 within this time, spread evenly, those that were idle
    /// longest first.
    pub grace: Time,
    /// So many at a time instead, such as `"200/s"`; those that are left at the end of the grace
    /// are closed then.
    pub pace: Option<Pace>,
    /// By which share of its slot each is moved at random, 0 to 1.
    pub jitter: f64,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            delay: Time::seconds(0),
            grace: Time::seconds(30),
            pace: None,
            jitter: 0.5,
        }
    }
}

/// The admission of new sessions after a start: slow at first, so that many reconnecting clients do
/// not overload the gateway or its backends. Clients beyond the rate get a 503 with `Retry-After`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admission {
    /// How long it takes from one rate to the other; then there is no limit. `"off"`: there is
    /// none from the start.
    pub ramp: TimeOrOff,
    /// New sessions at first.
    pub from: Pace,
    /// New sessions at the end of the ramp.
    pub to: Pace,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            ramp: TimeOrOff(None),
            from: Pace::each_second(50.0),
            to: Pace::each_second(500.0),
        }
    }
}
