//! `drain` and `rebalance` of an upstream, `[shutdown]`, `[admission]`.

use std::time::Duration;

use crate::config::model::{self, OnMemberRemoval, Time, TimeOrOff};
use crate::config::snapshot::{Admission, Drain, Rebalance, RebalanceMode, Shutdown, Tempo};
use crate::config::validate::scope::Scope;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A week; longer drains are not useful.
const DRAIN_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const SLOW_START_MAX: Duration = Duration::from_secs(60 * 60);
const SKEW_MAX: f64 = 100.0;

/// A time that may be zero.
fn time_or_zero(at: &Scope<'_>, time: Time, max: Duration) -> Option<Duration> {
    if time.0.is_zero() {
        return Some(Duration::ZERO);
    }
    at.time(time, max)
}

/// A time, or off; the inner `None` is off.
pub(super) fn time_or_off(
    at: &Scope<'_>,
    time: TimeOrOff,
    max: Duration,
) -> Option<Option<Duration>> {
    match time.0 {
        Some(time) => at.time(Time(time), max).map(Some),
        None => Some(None),
    }
}

pub(super) fn drain(at: &Scope<'_>, model: &model::Drain) -> Option<Drain> {
    let tempo = match (model.pace, model.within) {
        (Some(_), Some(_)) => {
            at.key("within").fault_key(
                "`pace` and `within` both set the pace",
                Some("take one of them out".to_owned()),
            );
            None
        }
        (Some(pace), None) => Some(Tempo::Pace(pace)),
        (None, Some(within)) => at.key("within").time(within, DRAIN_MAX).map(Tempo::Within),
        (None, None) => Some(Drain::default().tempo),
    };
    let jitter = at.key("jitter").within(model.jitter, 0.0..=1.0);
    let deadline = time_or_off(&at.key("deadline"), model.deadline, DRAIN_MAX);
    Some(Drain {
        tempo: tempo?,
        jitter: jitter?,
        deadline: deadline?,
        on_removal: model.on_removal == OnMemberRemoval::Drain,
    })
}

pub(super) fn rebalance(at: &Scope<'_>, model: &model::Rebalance) -> Option<Rebalance> {
    let age_min = time_or_zero(&at.key("age_min"), model.age_min, DRAIN_MAX);
    let share_max = at.key("share_max").within(model.share_max, 0.0..=1.0);
    let skew = match model.skew {
        0.0 => Some(0.0),
        skew => at.key("skew").within(skew, 1.0..=SKEW_MAX),
    };
    Some(Rebalance {
        mode: match model.mode {
            model::RebalanceMode::Off => RebalanceMode::Off,
            model::RebalanceMode::Manual => RebalanceMode::Manual,
            model::RebalanceMode::Auto => RebalanceMode::Auto,
        },
        pace: model.pace,
        age_min: age_min?,
        share_max: share_max?,
        skew: skew?,
        close: model.close,
    })
}

/// `slow_start` of an upstream; the inner `None` is off.
pub(super) fn slow_start(at: &Scope<'_>, model: TimeOrOff) -> Option<Option<Duration>> {
    time_or_off(at, model, SLOW_START_MAX)
}

pub(super) fn shutdown(at: &Scope<'_>, model: &model::Shutdown) -> Option<Shutdown> {
    // Both may be zero: a gateway without sessions need not wait.
    let grace = time_or_zero(&at.key("grace"), model.grace, DAY);
    let delay = time_or_zero(&at.key("delay"), model.delay, DAY);
    let jitter = at.key("jitter").within(model.jitter, 0.0..=1.0);
    Some(Shutdown {
        delay: delay?,
        grace: grace?,
        per_second: model.pace.map(|pace| pace.per_second()),
        jitter: jitter?,
    })
}

/// The inner `None` is no ramp.
pub(super) fn admission(at: &Scope<'_>, model: &model::Admission) -> Option<Option<Admission>> {
    let ramp = time_or_off(&at.key("ramp"), model.ramp, DAY);
    let (from, to) = (model.from.per_second(), model.to.per_second());
    if to < from {
        at.key("to")
            .fault("the ramp goes down: `to` is less than `from`");
        return None;
    }
    Some(ramp?.map(|ramp| Admission { ramp, from, to }))
}
