//! Rebalancing by an operator: show, begin, pause, end.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::{Body, Caller};
use crate::admin::orders;
use crate::admin::problem::Problem;
use crate::base::names::UpstreamName;
use crate::config::model::{Pace, Time};
use crate::control::rebalancer::{RebalanceFault, RebalanceOptions, RebalanceView};
use crate::telemetry::events::Fields;

/// How to rebalance; fields that are absent default to the upstream's `rebalance`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Asked {
    /// Only report which sessions would move.
    pub dry_run: bool,
    /// Sessions per unit of time, such as `10/s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    /// Sessions move until each backend has at most this multiple of its fair share; with 0, every
    /// session moves to the backend of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skew: Option<f64>,
    /// At most this share of the sessions moves, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_max: Option<f64>,
    /// Sessions younger than this stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_min: Option<Time>,
    /// Sessions that cannot move are closed with 1012.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<bool>,
}

/// Whether the rebalancing is paused.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// `true` pauses it, `false` resumes it.
    pub paused: bool,
}

impl Asked {
    fn options(&self) -> Result<RebalanceOptions, Problem> {
        let shares = self
            .share_max
            .is_none_or(|share| (0.0..=1.0).contains(&share));
        if !shares {
            return Err(Problem::bad_request("share_max: use 0 to 1"));
        }
        let skews = self
            .skew
            .is_none_or(|skew| skew == 0.0 || (1.0..=100.0).contains(&skew));
        if !skews {
            return Err(Problem::bad_request("skew: use 0, or 1 to 100"));
        }
        Ok(RebalanceOptions {
            pace: self.pace,
            skew: self.skew,
            share_max: self.share_max,
            age_min: self.age_min.map(|time| time.0),
            close: self.close,
        })
    }
}

pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
) -> Result<Json<RebalanceView>, Problem> {
    view(&gateway, &UpstreamName::from(&*name))
}

pub(super) async fn begin(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(name): Path<String>,
    Body(asked): Body<Asked>,
) -> Result<(StatusCode, Json<RebalanceView>), Problem> {
    let (name, options) = (UpstreamName::from(&*name), asked.options()?);
    let rebalancer = gateway.supervisor.rebalancer();
    if asked.dry_run {
        let view = rebalancer.rehearse(&name, &options).await;
        return Ok((StatusCode::OK, Json(view.map_err(problem)?)));
    }
    let begun = rebalancer.begin(&name, &options, &caller.name);
    begun.map_err(problem)?;
    report(&gateway, &caller, "rebalance", &name);
    Ok((StatusCode::ACCEPTED, view(&gateway, &name)?))
}

pub(super) async fn change(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(name): Path<String>,
    Body(hold): Body<PauseRequest>,
) -> Result<Json<RebalanceView>, Problem> {
    let name = UpstreamName::from(&*name);
    let rebalancer = gateway.supervisor.rebalancer();
    rebalancer.pause(&name, hold.paused).map_err(problem)?;
    let order = match hold.paused {
        true => "rebalance_pause",
        false => "rebalance_resume",
    };
    report(&gateway, &caller, order, &name);
    view(&gateway, &name)
}

pub(super) async fn stop(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<RebalanceView>, Problem> {
    let name = UpstreamName::from(&*name);
    let rebalancer = gateway.supervisor.rebalancer();
    rebalancer.stop(&name).map_err(problem)?;
    report(&gateway, &caller, "rebalance_stop", &name);
    view(&gateway, &name)
}

fn report(gateway: &Gateway, caller: &Caller, order: &'static str, name: &UpstreamName) {
    let fields = Fields {
        upstream: Some(name.as_str().into()),
        ..Fields::new(format!("{order} {name}"))
    };
    orders::report(gateway, caller, order, fields);
}

fn view(gateway: &Gateway, name: &UpstreamName) -> Result<Json<RebalanceView>, Problem> {
    let view = gateway.supervisor.rebalancer().view(name);
    let none = || problem(RebalanceFault::NoRun(name.clone()));
    view.map(Json).ok_or_else(none)
}

fn problem(fault: RebalanceFault) -> Problem {
    let status = match fault {
        RebalanceFault::Unknown(_) | RebalanceFault::NoRun(_) => StatusCode::NOT_FOUND,
        RebalanceFault::NotKeyed(_) | RebalanceFault::Off(_) => StatusCode::CONFLICT,
    };
    Problem::new(status, fault.to_string())
}
