//! Which events a reader asks for.

use std::time::SystemTime;

use crate::base::session_id::SessionId;
use crate::core::session::record::Facts;
use crate::telemetry::events::event::{Body, Class, Event, Kind};

/// Which events; what is empty or `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of these classes.
    pub classes: Vec<Class>,
    /// Of these kinds.
    pub kinds: Vec<Kind>,
    /// Not before this time.
    pub since: Option<SystemTime>,
    /// Of this session.
    pub session: Option<SessionId>,
    /// Of this principal.
    pub principal: Option<String>,
    /// Of this route.
    pub route: Option<String>,
    /// Of this upstream.
    pub upstream: Option<String>,
    /// Of this backend; of sessions that move, the old one too.
    pub backend: Option<String>,
    /// Of this client: its address, with or without the port.
    pub client: Option<String>,
    /// Of the request with this id.
    pub request_id: Option<String>,
    /// With this reason.
    pub reason: Option<String>,
    /// Sessions that ended for this cause.
    pub cause: Option<String>,
    /// By this operator.
    pub operator: Option<String>,
    /// Only sessions that lost messages.
    pub lost: bool,
}

/// The values of an event that filters look at.
#[derive(Default)]
struct Values<'e> {
    session: Option<SessionId>,
    principal: Option<&'e str>,
    route: Option<&'e str>,
    upstream: Option<&'e str>,
    backend: Option<&'e str>,
    from: Option<&'e str>,
    client: Option<&'e str>,
    request_id: Option<&'e str>,
    reason: Option<&'e str>,
    cause: Option<&'e str>,
    operator: Option<&'e str>,
    lost: bool,
}

impl<'e> Values<'e> {
    fn of(event: &'e Event) -> Self {
        match &event.body {
            Body::Began(facts) => Self::of_facts(facts),
            Body::Moved(facts) => {
                let moved = facts.details.moves.last();
                Self {
                    from: moved.map(|moved| &*moved.from),
                    reason: moved.map(|moved| moved.reason.as_str()),
                    operator: moved.and_then(|moved| moved.by.as_deref()),
                    lost: moved.is_some_and(|moved| moved.messages_lost > 0),
                    ..Self::of_facts(facts)
                }
            }
            Body::Ended(record) => {
                let order = record.facts.order.as_deref();
                Self {
                    cause: Some(record.ending.cause.as_str()),
                    reason: order.and_then(|order| order.reason.as_deref()),
                    operator: order.and_then(|order| order.operator.as_deref()),
                    lost: record.moves.messages_lost > 0 || record.published.dropped > 0,
                    ..Self::of_facts(&record.facts)
                }
            }
            Body::Fields(fields) => Self {
                session: fields.session,
                principal: fields.principal.as_deref(),
                route: fields.route.as_deref(),
                upstream: fields.upstream.as_deref(),
                backend: fields.backend.as_deref(),
                from: fields.from.as_deref(),
                client: fields.client.as_deref(),
                request_id: fields.request_id.as_deref(),
                reason: fields.reason.as_deref(),
                cause: fields.cause.as_deref(),
                operator: fields.operator.as_deref(),
                lost: fields.messages_lost > Some(0) || fields.messages_dropped > Some(0),
            },
        }
    }

    fn of_facts(facts: &'e Facts) -> Self {
        Self {
            session: Some(facts.id),
            principal: facts.principal.as_deref(),
            route: Some(&facts.route),
            upstream: Some(&facts.upstream),
            backend: Some(&facts.backend),
            client: Some(facts.request.client()),
            request_id: facts.request.foreign_id(),
            ..Self::default()
        }
    }
}

impl Filter {
    /// Events of one class.
    pub fn class(class: Class) -> Self {
        Self {
            classes: vec![class],
            ..Self::default()
        }
    }

    /// Whether events of a class can match.
    pub fn wants(&self, class: Class) -> bool {
        let of_kind = |kinds: &[Kind]| kinds.iter().any(|kind| kind.class() == class);
        (self.classes.is_empty() || self.classes.contains(&class))
            && (self.kinds.is_empty() || of_kind(&self.kinds))
    }

    /// Whether an event of a wanted class matches.
    pub(super) fn takes(&self, event: &Event) -> bool {
        let same = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == is)
        };
        let values = Values::of(event);
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && self.since.is_none_or(|since| event.at >= since)
            && self.session.is_none_or(|id| values.session == Some(id))
            && same(&self.principal, values.principal)
            && same(&self.route, values.route)
            && same(&self.upstream, values.upstream)
            && (same(&self.backend, values.backend) || same(&self.backend, values.from))
            && self.takes_client(values.client)
            && self.takes_request(&values)
            && same(&self.reason, values.reason)
            && same(&self.cause, values.cause)
            && same(&self.operator, values.operator)
            && (!self.lost || values.lost)
    }

    /// A session's request has the session's id, unless a trusted peer named it.
    fn takes_request(&self, values: &Values<'_>) -> bool {
        let Some(wanted) = self.request_id.as_deref() else {
            return true;
        };
        match (values.request_id, values.session) {
            (Some(is), _) => is == wanted,
            (None, Some(id)) => wanted.parse() == Ok(id),
            (None, None) => false,
        }
    }

    fn takes_client(&self, is: Option<&str>) -> bool {
        let Some(wanted) = self.client.as_deref() else {
            return true;
        };
        let Some(is) = is else { return false };
        let address = is.rsplit_once(':').map(|(address, _)| address);
        let bare = address.map(|address| address.trim_matches(['[', ']']));
        wanted == is || (is.parse::<std::net::SocketAddr>().is_ok() && bare == Some(wanted))
    }
}
