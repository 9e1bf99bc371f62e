//! The `authorize` conditions of a route: what the claims, the path and the query must hold.

use crate::config::expression::{Expression, Operand};
use crate::core::auth::{Claims, RequestValue, Values, first_unmet};
use crate::core::http::query;
use crate::core::routing::Route;

/// A condition that does not hold. It is for the log and the records: clients are not shown rules.
#[derive(Debug, thiserror::Error)]
#[error("{asks} `{condition}`, which does not hold")]
pub(crate) struct Unmet {
    /// Which part of the configuration has the condition.
    pub(crate) asks: String,
    pub(crate) condition: String,
}

/// Whether a principal with these claims may keep a session of this route with this target, by the
/// route's current conditions. Query parameters that are cut out of targets do not count.
pub(crate) fn may_keep(route: &Route, claims: &Claims, target: &str) -> bool {
    let (path, raw_query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let parameter = |name: &str| route.config.path.value(path, name);
    unmet(route, claims, &parameter, raw_query).is_none()
}

/// The route's first condition that does not hold. `parameter` returns path values in their encoded
/// form.
pub fn unmet<'r, 'p>(
    route: &'r Route,
    claims: &Claims,
    parameter: &dyn Fn(&str) -> Option<&'p str>,
    raw_query: Option<&str>,
) -> Option<&'r Expression> {
    let rules = &route.config.auth.authorize;
    if rules.is_empty() {
        return None;
    }
    let request = |operand: &Operand| match operand {
        Operand::Path(name) => match parameter(name) {
            Some(value) => {
                query::decode_path(value).map_or(RequestValue::Ambiguous, RequestValue::Text)
            }
            None => RequestValue::Absent,
        },
        Operand::Query(name) => from_query(raw_query.unwrap_or_default(), name),
        Operand::Claim(_) | Operand::Text(_) => RequestValue::Absent,
    };
    first_unmet(rules, &Values::with(claims, &request))
}

/// A repeated parameter is ambiguous, since readers differ in which one they take. So is one that
/// is not UTF-8, and one that only some readers take for this parameter.
fn from_query(raw: &str, name: &str) -> RequestValue {
    if query::holds_lookalike(raw, name) {
        return RequestValue::Ambiguous;
    }
    let mut values = query::query_values(raw, name);
    match (values.next(), values.next()) {
        (None, _) => RequestValue::Absent,
        (Some(value), None) if !value.contains('\u{fffd}') => {
            RequestValue::Text(value.into_owned())
        }
        _ => RequestValue::Ambiguous,
    }
}
