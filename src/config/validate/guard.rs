//! What a route asks before it asks who somebody is: where a request comes from.

use crate::config::model;
use crate::config::origin::OriginRule;
use crate::config::validate::scope::Scope;

/// Asks nobody.
const ANY: &str = "*";

pub(super) fn origins(at: &Scope<'_>, model: &model::Route) -> Option<OriginRule> {
    let required = model.origin_required;
    let at = at.key("origins");
    if model.origins.is_empty() {
        return Some(OriginRule {
            allowed: None,
            required,
        });
    }
    if model.origins.iter().any(|text| text == ANY) {
        if model.origins.len() > 1 {
            at.fault_with(
                "`*` allows every origin, so the others mean nothing",
                "take `*` out, or the others",
            );
            return None;
        }
        return Some(OriginRule {
            allowed: None,
            required,
        });
    }
    Some(OriginRule {
        allowed: Some(at.each(&model.origins, |at, text| at.parse(text))?),
        required,
    })
}
