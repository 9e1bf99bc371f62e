//! `[tracing]`.

use crate::config::model;
use crate::config::snapshot::Tracing;
use crate::config::validate::certificates;
use crate::config::validate::scope::Scope;
use crate::config::validate::values::url;

pub(super) fn tracing(at: &Scope<'_>, model: &model::Tracing) -> Option<Option<Tracing>> {
    let Some(text) = &model.endpoint else {
        return Some(None);
    };
    let place = at.key("endpoint");
    if !cfg!(feature = "otlp") {
        place.fault_with(
            "this build exports no traces",
            "take it out, or build with `--features otlp`",
        );
        return None;
    }
    let endpoint = url(&place, text, model.plain_http);
    let ca = model.ca.as_ref().map(|path| at.resolve(path));
    let roots = match &ca {
        Some(path) => certificates::authorities(&at.key("ca"), path).is_some(),
        None => true,
    };
    let sample_ratio = at.key("sample_ratio");
    let sample_ratio = sample_ratio.within(model.sample_ratio, 0.0..=1.0);
    let tracing = Tracing {
        endpoint: endpoint?.into(),
        ca,
        sample_ratio: sample_ratio?,
    };
    roots.then_some(Some(tracing))
}
