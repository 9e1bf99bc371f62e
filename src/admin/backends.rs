//! Orders for one backend: drain it, at what pace, pause the drain, make it active again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::{Body, Caller};
use crate::admin::orders;
use crate::admin::problem::Problem;
use crate::admin::upstreams::{member_view, removed_view};
use crate::base::clock;
use crate::base::names::{BackendId, UpstreamName};
use crate::config::model::{Pace, Time};
use crate::config::snapshot::{AdminState, Tempo};
use crate::control::drainer::{Order, OrderFault};
use crate::telemetry::events::Fields;

/// The change; fields that are absent keep their value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// `draining`, `disabled`, `active`, or `configured` (the configured state). An order overrides
    /// the configuration until it is withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Wanted>,
    /// Sessions per unit of time, such as `50/s`; without this and `within`, the upstream's `drain`
    /// applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    /// All sessions, evenly, within this time, such as `5m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Time>,
    /// After this time the remaining sessions are moved at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// `true` pauses the drain, `false` resumes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// A state to be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Wanted {
    /// Takes sessions.
    Active,
    /// Takes no new sessions; existing sessions leave.
    Draining,
    /// Takes no new sessions.
    Disabled,
    /// The configured state.
    Configured,
}

impl Wanted {
    fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
            Self::Configured => "configured",
        }
    }
}

impl Change {
    /// The order's name in the history.
    fn name(&self) -> &'static str {
        match (self.state, self.paused) {
            (Some(Wanted::Draining), _) => "drain",
            (Some(Wanted::Disabled), _) => "disable",
            (Some(Wanted::Active), _) => "activate",
            (Some(Wanted::Configured), _) => "as_configured",
            (None, Some(true)) => "drain_pause",
            (None, Some(false)) => "drain_resume",
            (None, None) => "drain_pace",
        }
    }

    fn in_words(&self, upstream: &UpstreamName, backend: &BackendId) -> String {
        let mut text = format!("{} {upstream}/{backend}", self.name());
        if let Some(pace) = self.pace {
            text.push_str(&format!(" {pace}"));
        }
        if let Some(within) = self.within {
            text.push_str(&format!(" within {}", clock::readable(within.0)));
        }
        if let Some(deadline) = self.deadline {
            text.push_str(&format!(", deadline {}", clock::readable(deadline.0)));
        }
        text
    }

    fn order(&self, caller: &Caller) -> Result<Order, Problem> {
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
            state: self.state.map(|state| match state {
                Wanted::Active => Some(AdminState::Active),
                Wanted::Draining => Some(AdminState::Draining),
                Wanted::Disabled => Some(AdminState::Disabled),
                Wanted::Configured => None,
            }),
            tempo,
            deadline: self.deadline.map(|time| time.0),
            paused: self.paused,
            operator: Some(Arc::from(&*caller.name)),
        })
    }
}

pub(super) async fn change(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path((name, id)): Path<(String, String)>,
    Body(change): Body<Change>,
) -> Result<Response, Problem> {
    if change == Change::default() {
        return Err(Problem::bad_request(
            "nothing to change; give `state`, `pace`, `within`, `deadline` or `paused`",
        ));
    }
    let (upstream, id) = (UpstreamName::from(&*name), BackendId::from(&*id));
    let drainer = gateway.supervisor.drainer();
    drainer
        .order(&upstream, &id, &change.order(&caller)?)
        .map_err(|fault| match fault {
            OrderFault::Unknown(..) => Problem::not_found(fault.to_string()),
            OrderFault::NotDraining(_) | OrderFault::Removed(_) => {
                Problem::new(StatusCode::CONFLICT, fault.to_string())
            }
        })?;
    let fields = Fields {
        to: change.state.map(|state| state.as_str().into()),
        ..Fields::new(change.in_words(&upstream, &id))
    };
    let fields = fields.of_backend(&upstream, &id);
    orders::report(&gateway, &caller, change.name(), fields);
    drainer.save().await;
    let table = gateway.live.table();
    let member = table.upstream(&upstream).and_then(|upstream| {
        let index = upstream.index_of(&id)?;
        Some(member_view(&gateway, upstream, index))
    });
    Ok(match member {
        Some(view) => Json(view).into_response(),
        None => {
            let removed = removed_view(&table, &upstream, &id, drainer);
            (StatusCode::ACCEPTED, Json(removed)).into_response()
        }
    })
}
