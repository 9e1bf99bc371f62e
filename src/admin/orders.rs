//! Orders of operators: each is logged and reported as an event, with the operator's name.

use crate::admin::Gateway;
use crate::admin::extract::Caller;
use crate::telemetry::events::{Fields, Kind};

/// Reports an order that was carried out; `fields` say what it was about.
pub(super) fn report(gateway: &Gateway, caller: &Caller, order: &'static str, fields: Fields) {
    let operator = &*caller.name;
    let (what, reason) = (&*fields.text, fields.reason.as_deref());
    tracing::info!(operator, order, what, reason, "order of an operator");
    note(gateway, caller, order, fields);
}

/// Reports an order that was logged already.
pub(super) fn note(gateway: &Gateway, caller: &Caller, order: &'static str, fields: Fields) {
    let operator = &*caller.name;
    let fields = Fields {
        order: Some(order.into()),
        ..fields.by(operator)
    };
    gateway.live.events().change(Kind::Order, fields);
}
