//! What each level of an upstream did with a request.

use std::time::Instant;

use crate::admin::levels::{LevelView, levels};
use crate::admin::resolve::view::LevelStep;
use crate::core::routing::{Upstream, Walk};

/// The levels of a walk.
pub(super) fn walked(upstream: &Upstream, walk: &Walk, now: Instant) -> Vec<LevelStep> {
    let last = walk.candidates.last();
    let taken = last.filter(|last| last.verdict.is_ok());
    let taken = taken.map(|taken| upstream.level_of(taken.index));
    let step = |(place, level): (usize, LevelView)| {
        let passed_on = walk.passed_on & 1 << place != 0;
        let verdict = match taken {
            Some(taken) if taken == place => "taken",
            _ if passed_on => "passed_on",
            Some(taken) if place > taken => "not_reached",
            _ => "exhausted",
        };
        step(level, verdict)
    };
    let all = levels(upstream, now).into_iter().enumerate();
    all.map(step).collect()
}

/// The levels of a choice that did not walk.
pub(super) fn fixed(upstream: &Upstream, index: usize, now: Instant) -> Vec<LevelStep> {
    let taken = upstream.level_of(index);
    let step = |(place, level): (usize, LevelView)| match place == taken {
        true => step(level, "taken"),
        false => step(level, "not_reached"),
    };
    let all = levels(upstream, now).into_iter().enumerate();
    all.map(step).collect()
}

fn step(level: LevelView, verdict: &str) -> LevelStep {
    let condition = level.condition();
    let share = level.takes * 100.0;
    let reason = match verdict {
        "taken" => format!("{condition}; takes the request"),
        "passed_on" => format!(
            "{condition}; it takes {share:.0} % of its keys, and this one is not among them"
        ),
        "exhausted" => format!("{condition}; none of them may take the request"),
        _ => condition,
    };
    LevelStep {
        level,
        verdict: verdict.to_owned(),
        reason,
    }
}
