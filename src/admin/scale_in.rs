//! Shrinks an upstream: drains the backends with the fewest sessions.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::extract::{Body, Caller};
use crate::admin::problem::Problem;
use crate::admin::scaling::{MemberState, ScalingMember, ScalingView, of_fleet};
use crate::admin::{Gateway, orders};
use crate::base::names::{BackendId, UpstreamName};
use crate::config::model::{Pace, Time};
use crate::config::snapshot::{AdminState, Tempo};
use crate::control::drainer::Order;
use crate::core::scaling::{Leaving, choose};
use crate::telemetry::events::Fields;

/// How many, and how fast.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Asked {
    /// How many backends are to go; at least 1.
    pub backends: usize,
    /// Only report which ones would.
    pub dry_run: bool,
    /// Sessions per unit of time, such as `50/s`; without this and `within`, the upstream's `drain`
    /// applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    /// All sessions of each, evenly, within this time, such as `5m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Time>,
    /// After this time the remaining sessions are moved at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
}

/// The backends that go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScaleIn {
    /// The upstream.
    pub upstream: String,
    /// Whether they drain now; `false` for a dry run.
    pub ordered: bool,
    /// The first to go first, with their sessions on all gateways that answered.
    pub leaving: Vec<ScalingMember>,
    /// Backends that go on taking sessions.
    pub left: usize,
    /// Gateways that did not answer: their sessions are not counted.
    #[serde(default)]
    pub silent: Vec<String>,
}

pub(super) async fn scale_in(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(name): Path<String>,
    Body(asked): Body<Asked>,
) -> Result<(StatusCode, Json<ScaleIn>), Problem> {
    let order = asked.order(&caller)?;
    let load = of_fleet(&gateway, &name).await;
    let load = load.ok_or_else(|| Problem::not_found(format!("no upstream `{name}`")))?;
    let upstream = UpstreamName::from(&*name);
    let min = {
        let table = gateway.live.table();
        let config = table.upstream(&upstream).map(|one| one.config.scaling);
        config.map_or(1, |scaling| scaling.backends_min)
    };
    let chosen = chosen(&load, asked.backends, min)?;
    let answer = ScaleIn {
        upstream: name,
        ordered: !asked.dry_run,
        left: left(&load, &chosen),
        leaving: chosen,
        silent: load.silent,
    };
    if asked.dry_run {
        return Ok((StatusCode::OK, Json(answer)));
    }
    let drainer = gateway.supervisor.drainer();
    for one in &answer.leaving {
        let id = BackendId::from(&*one.id);
        let ordered = drainer.order(&upstream, &id, &order);
        ordered.map_err(|fault| Problem::new(StatusCode::CONFLICT, fault.to_string()))?;
        let text = format!("drain {upstream}/{id}, to scale in");
        let fields = Fields {
            to: Some("draining".into()),
            ..Fields::new(text)
        };
        let fields = fields.of_backend(&upstream, &id);
        orders::report(&gateway, &caller, "scale_in", fields);
    }
    drainer.save().await;
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// The members that go; at least `min` that are well must stay.
fn chosen(load: &ScalingView, count: usize, min: u32) -> Result<Vec<ScalingMember>, Problem> {
    let may = |one: &&ScalingMember| matches!(one.state, MemberState::Well | MemberState::Unwell);
    let members: Vec<_> = load.members.iter().filter(may).collect();
    let leaving: Vec<_> = members
        .iter()
        .map(|one| Leaving {
            id: &one.id,
            zone: one.zone.as_deref(),
            sessions: one.sessions,
            unwell: one.state == MemberState::Unwell,
        })
        .collect();
    let chosen = choose(&leaving, count).into_iter();
    let chosen: Vec<_> = chosen.map(|place| members[place].clone()).collect();
    let (left, min) = (left(load, &chosen), min.max(1) as usize);
    if left < min {
        let upstream = &load.upstream;
        let detail = format!(
            "{left} backends of `{upstream}` would go on taking sessions, and it needs {min} \
             (`scaling.backends_min`); take fewer out"
        );
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    Ok(chosen)
}

/// How many go on taking sessions.
fn left(load: &ScalingView, leaving: &[ScalingMember]) -> usize {
    let of = |members: &[ScalingMember]| {
        let well = members.iter().filter(|one| one.state == MemberState::Well);
        well.count()
    };
    of(&load.members) - of(leaving)
}

impl Asked {
    fn order(&self, caller: &Caller) -> Result<Order, Problem> {
        if self.backends == 0 {
            let detail = "`backends` says how many are to go; give at least 1";
            return Err(Problem::bad_request(detail));
        }
        let tempo = match (self.pace, self.within) {
            (Some(_), Some(_)) => {
                let detail = "`pace` and `within` both set the pace; give one of them";
                return Err(Problem::bad_request(detail));
            }
            (Some(pace), None) => Some(Tempo::Pace(pace)),
            (None, Some(within)) => Some(Tempo::Within(within.0)),
            (None, None) => None,
        };
        Ok(Order {
            state: Some(Some(AdminState::Draining)),
            tempo,
            deadline: self.deadline.map(|time| time.0),
            paused: None,
            operator: Some(Arc::from(&*caller.name)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(members: &[(&str, MemberState, u64)]) -> ScalingView {
        let members = members.iter().map(|(id, state, sessions)| ScalingMember {
            id: (*id).to_owned(),
            zone: None,
            state: *state,
            sessions: *sessions,
        });
        ScalingView {
            upstream: "chat".to_owned(),
            members: members.collect(),
            ..ScalingView::default()
        }
    }

    #[test]
    fn the_emptiest_go_and_enough_stay() {
        use MemberState::{Draining, Unwell, Well};
        let load = load(&[
            ("a", Well, 9),
            ("b", Well, 2),
            ("c", Draining, 0),
            ("d", Unwell, 4),
        ]);
        let ids = |count, min| {
            let chosen = chosen(&load, count, min).ok()?;
            Some(chosen.into_iter().map(|one| one.id).collect::<Vec<_>>())
        };
        assert_eq!(ids(1, 0), Some(vec!["d".to_owned()]));
        assert_eq!(ids(2, 1), Some(vec!["d".to_owned(), "b".to_owned()]));
        assert_eq!(ids(2, 2), None, "one would stay");
        assert_eq!(ids(3, 0), None, "none would stay");
    }
}
