//! `scaling` of an upstream.

use std::time::Duration;

use crate::config::model;
use crate::config::snapshot::Scaling;
use crate::config::validate::scope::Scope;

const BACKENDS_MAX: u32 = 100_000;
const AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn scaling(at: &Scope<'_>, model: &model::Scaling) -> Option<Scaling> {
    let min = at
        .key("backends_min")
        .within(model.backends_min, 1..=BACKENDS_MAX);
    let max = at
        .key("backends_max")
        .within(model.backends_max, 1..=BACKENDS_MAX);
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        at.key("backends_max")
            .fault(format!("{max} is less than `backends_min`, which is {min}"));
        return None;
    }
    let after = at
        .key("scale_in_after")
        .time(model.scale_in_after, AFTER_MAX);
    let margin = at
        .key("scale_in_margin")
        .within(model.scale_in_margin, 0.0..=0.9);
    Some(Scaling {
        sessions_target: (model.sessions_target > 0).then_some(model.sessions_target),
        backends_min: min?,
        backends_max: max?,
        scale_in_after: after?,
        scale_in_margin: margin?,
    })
}
