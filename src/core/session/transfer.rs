//! The facts of a session as plain data for another process.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::base::names::{BackendId, ListenerName, RouteName, UpstreamName};
use crate::base::right::Right;
use crate::base::session_id::SessionId;
use crate::core::session::details::Details;
use crate::core::session::record::{EndOrder, Facts};
use crate::core::session::request::{RequestFacts, RequestTexts};

/// The facts of a session as another process gets them; the names of the fields are part of the
/// hand-over's format. Unknown fields are skipped: they are only shown, and a session must be able
/// to go back to an older binary. `Right` refuses them, because an unknown field could restrict it.
#[derive(Debug, Serialize, Deserialize)]
pub struct FactsState {
    /// The session's name.
    pub id: SessionId,
    listener: ListenerName,
    route: RouteName,
    upstream: UpstreamName,
    backend: BackendId,
    principal: Option<Arc<str>>,
    right: Option<Arc<Right>>,
    client: Box<str>,
    host: Box<str>,
    target: Box<str>,
    /// Always set: a former version requires it.
    #[serde(default)]
    request_id: Option<Box<str>>,
    subprotocol: Option<Box<str>>,
    started: SystemTime,
    handshake: Duration,
    #[serde(default)]
    order: Option<Arc<EndOrder>>,
}

impl FactsState {
    /// The facts without their details.
    pub fn new(facts: &Facts) -> Self {
        // No `..`: a new field does not compile until its transfer is decided here.
        let Facts {
            id,
            listener,
            route,
            upstream,
            backend,
            principal,
            right,
            request,
            order,
            details: _,
        } = facts;
        Self {
            id: *id,
            listener: listener.clone(),
            route: route.clone(),
            upstream: upstream.clone(),
            backend: backend.clone(),
            principal: principal.clone(),
            right: right.clone(),
            client: request.client().into(),
            host: request.host().into(),
            target: request.target().into(),
            request_id: Some(facts.request_id().into()),
            subprotocol: request.subprotocol().map(Into::into),
            started: request.started(),
            handshake: request.handshake(),
            order: order.clone(),
        }
    }

    /// The facts with these details.
    pub fn into_facts(self, details: Arc<Details>) -> Facts {
        let own = self.id.to_string();
        let foreign_id = self.request_id.as_deref().filter(|id| **id != *own);
        let texts = RequestTexts {
            client: &self.client,
            host: &self.host,
            target: &self.target,
            foreign_id,
            subprotocol: self.subprotocol.as_deref(),
        };
        Facts {
            id: self.id,
            request: RequestFacts::new(texts, self.started, self.handshake),
            listener: self.listener,
            route: self.route,
            upstream: self.upstream,
            backend: self.backend,
            principal: self.principal,
            right: self.right,
            order: self.order,
            details,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::{Value, json};

    use super::*;
    use crate::base::names::AuthenticatorName;

    fn facts(foreign_id: Option<&str>) -> Facts {
        let texts = RequestTexts {
            client: "192.0.2.1:5000",
            host: "chat.example.com",
            target: "/ws",
            foreign_id,
            subprotocol: Some("chat"),
        };
        Facts {
            id: SessionId::new(1, 2),
            listener: "edge".into(),
            route: "chat".into(),
            upstream: "chat-servers".into(),
            backend: "b1".into(),
            principal: Some("ann".into()),
            right: Some(Arc::new(Right {
                authenticator: AuthenticatorName::new("jwt"),
                subject: "ann".into(),
                token_id: None,
                origin_id: None,
                issued: None,
                expires: None,
                leeway: Duration::ZERO,
            })),
            request: RequestFacts::new(texts, UNIX_EPOCH, Duration::from_millis(3)),
            order: Some(Arc::new(EndOrder {
                reason: Some("over".into()),
                ..EndOrder::default()
            })),
            details: Arc::default(),
        }
    }

    fn sent(facts: &Facts) -> Value {
        serde_json::to_value(FactsState::new(facts)).expect("plain data")
    }

    fn received(state: Value) -> Result<Facts, serde_json::Error> {
        let state: FactsState = serde_json::from_value(state)?;
        Ok(state.into_facts(Arc::default()))
    }

    #[test]
    fn facts_come_back_as_they_were() {
        for foreign_id in [None, Some("req-1")] {
            let before = facts(foreign_id);
            let after = received(sent(&before)).expect("its own format");
            assert_eq!(format!("{after:?}"), format!("{before:?}"));
        }
    }

    #[test]
    fn the_names_of_the_fields_are_those_of_former_versions() {
        let state = sent(&facts(None));
        let names: Vec<_> = state.as_object().expect("an object").keys().collect();
        let expected = [
            "backend",
            "client",
            "handshake",
            "host",
            "id",
            "listener",
            "order",
            "principal",
            "request_id",
            "right",
            "route",
            "started",
            "subprotocol",
            "target",
            "upstream",
        ];
        let mut names: Vec<_> = names.into_iter().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, expected);
        let id = SessionId::new(1, 2).to_string();
        assert_eq!(state["request_id"], id, "a former version requires it");
    }

    #[test]
    fn an_older_binary_takes_a_session_with_facts_that_it_does_not_have() {
        let mut state = sent(&facts(None));
        state["groups"] = json!(["vip"]);
        state["order"]["ticket"] = json!(7);
        let facts = received(state).expect("unknown facts are skipped");
        assert_eq!(
            facts
                .order
                .and_then(|order| order.reason.clone())
                .as_deref(),
            Some("over")
        );
    }

    #[test]
    fn a_right_with_an_unknown_restriction_is_refused() {
        let mut state = sent(&facts(None));
        state["right"]["only_until"] = json!(1);
        assert!(received(state).is_err());
    }

    #[test]
    fn facts_of_a_former_version_have_no_order() {
        let mut state = sent(&facts(None));
        let state_fields = state.as_object_mut().expect("an object");
        state_fields.remove("order");
        assert!(received(state).expect("optional").order.is_none());
    }
}
