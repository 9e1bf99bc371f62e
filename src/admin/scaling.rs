//! `/v1/scaling`: what a scaler needs to know of an upstream. With `scope=fleet` the sessions of
//! all gateways that follow the same etcd are summed up.

mod fleet;
mod node;
mod view;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::extract::Parameters;
use crate::admin::page::Paging;
use crate::admin::problem::Problem;
use crate::admin::{Gateway, Page};
use crate::telemetry::metrics::{Reading, table};

pub(super) use fleet::of_fleet;
pub use view::{MemberState, ScalingMember, ScalingView};

/// Whose sessions are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum Counted {
    /// Of this gateway.
    #[default]
    Node,
    /// Of all gateways that follow the same etcd.
    Fleet,
}

/// What is asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ScalingQuery {
    /// `node` or `fleet`.
    scope: Counted,
}

pub(super) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Parameters(paging): Parameters<Paging>,
) -> Json<Page<ScalingView>> {
    let all = node::views(&gateway).into_iter().map(|view| ScalingView {
        members: Vec::new(),
        ..view
    });
    Json(Page::of(all, &paging, |view| &view.upstream))
}

pub(super) async fn one(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    Parameters(query): Parameters<ScalingQuery>,
) -> Result<Json<ScalingView>, Problem> {
    let view = match query.scope {
        Counted::Node => node::of_node(&gateway, &name),
        Counted::Fleet => of_fleet(&gateway, &name).await,
    };
    let unknown = || Problem::not_found(format!("no upstream `{name}`"));
    view.map(Json).ok_or_else(unknown)
}

/// The gauges.
pub(super) fn read(gateway: &Gateway, reading: &mut Reading) {
    let views = node::views(gateway);
    let each = |value: &dyn Fn(&ScalingView) -> Option<f64>| {
        let samples = views.iter();
        let samples = samples.filter_map(|view| Some(([view.upstream.as_str()], value(view)?)));
        samples.collect::<Vec<_>>()
    };
    let number = |number: u64| Some(number as f64);
    reading.family(&table::SCALING_SESSIONS, each(&|one| number(one.sessions)));
    let peak = each(&|one| number(one.sessions_peak));
    reading.family(&table::SCALING_PEAK, peak);
    let target = each(&|one| one.sessions_target.and_then(number));
    reading.family(&table::SCALING_TARGET, target);
    reading.family(&table::SCALING_UTILIZATION, each(&|one| one.utilization));
    let desired = each(&|one| one.backends_desired.and_then(number));
    reading.family(&table::SCALING_DESIRED, desired);
    let states = views.iter().flat_map(|one| {
        let upstream = one.upstream.as_str();
        [
            ([upstream, "well"], one.backends_well as f64),
            ([upstream, "unwell"], one.backends_unwell as f64),
            ([upstream, "draining"], one.backends_draining as f64),
        ]
    });
    reading.family(&table::SCALING_BACKENDS, states.collect::<Vec<_>>());
}
