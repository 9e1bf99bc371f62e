//! Settings for the movement of sessions: the pace at which they leave a backend or a gateway,
//! rebalancing, slow start, and the admission ramp.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::pace::{self, Pace};

/// The administrative state of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum AdminState {
    /// Takes sessions.
    #[default]
    Active,
    /// Takes no new sessions; its live sessions leave according to `drain`.
    Draining,
    /// Takes no new ones, keeps those that it has.
    Disabled,
}

impl AdminState {
    /// The word that the log and the admin API show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
}

/// The pace at which sessions are moved or closed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tempo {
    /// So many in a time, in the unit that it was written in.
    #[serde(alias = "per_second", deserialize_with = "pace::text_or_number")]
    Pace(Pace),
    /// All of them, evenly, within this time.
    Within(Duration),
}

impl fmt::Display for Tempo {
    /// As operators write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pace(pace) => pace.fmt(f),
            Self::Within(time) => write!(f, "within {}", humantime::format_duration(*time)),
        }
    }
}

/// `drain` of an upstream: how sessions leave a backend that is draining.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drain {
    /// Default: within 5 minutes.
    pub tempo: Tempo,
    /// By which share of its slot each is moved at random, in 0..=1. Default 0.5.
    pub jitter: f64,
    /// After this time the rest go at once. Default none.
    pub deadline: Option<Duration>,
    /// Sessions of a backend that left its upstream are drained too. Default: they stay.
    pub on_removal: bool,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            tempo: Tempo::Within(Duration::from_secs(5 * 60)),
            jitter: 0.5,
            deadline: None,
            on_removal: false,
        }
    }
}

/// `rebalance` of an upstream: how sessions move home after a change of members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rebalance {
    /// Default off.
    pub mode: RebalanceMode,
    /// How many sessions in a time. Default 10 a second.
    pub pace: Pace,
    /// Younger sessions stay. Default 1 min.
    pub age_min: Duration,
    /// At most this share of the upstream's live sessions moves in one run, in 0..=1. Default
    /// 0.2.
    pub share_max: f64,
    /// Sessions move until each backend has at most this multiple of its fair share; 0 moves every
    /// key home. Default 1.1.
    pub skew: f64,
    /// Sessions that cannot move are closed. Default: they stay.
    pub close: bool,
}

impl Default for Rebalance {
    fn default() -> Self {
        Self {
            mode: RebalanceMode::Off,
            pace: Pace::each_second(10.0),
            age_min: Duration::from_secs(60),
            share_max: 0.2,
            skew: 1.1,
            close: false,
        }
    }
}

/// When sessions are brought home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RebalanceMode {
    /// Never.
    #[default]
    Off,
    /// When an operator orders it.
    Manual,
    /// After each change of members.
    Auto,
}

/// `[shutdown]`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shutdown {
    /// From the signal, with which readiness ends, until new clients are refused and the first
    /// session is closed. Default 0.
    pub delay: Duration,
    /// Live sessions are closed within this time. Default 30 s.
    pub grace: Duration,
    /// Sessions a second; those left at the end of the grace are closed then. Default: evenly over
    /// the grace.
    pub per_second: Option<f64>,
    /// By which share of its slot each is moved at random, in 0..=1. Default 0.5.
    pub jitter: f64,
}

/// `[admission]`: how a gateway that just started takes new sessions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Admission {
    /// How long it takes from one rate to the other; then there is no limit.
    pub ramp: Duration,
    /// New sessions a second at first. Default 50.
    pub from: f64,
    /// New sessions a second at the end of the ramp; not less. Default 500.
    pub to: f64,
}
