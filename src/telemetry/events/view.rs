//! An event as the API and the files show it.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::core::session::record::{EndOrder, Facts, Record};
use crate::telemetry::events::event::{Body, Class, Event, Kind};
use crate::telemetry::events::fields::{Fields, millis, some};

/// An event, as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventView {
    /// Its name: the process that numbered it, and its number there.
    pub id: String,
    /// When it happened; RFC 3339.
    pub time: String,
    /// The class.
    pub class: Class,
    /// What happened.
    pub kind: Kind,
    /// What is known of it.
    #[serde(flatten)]
    pub fields: Fields,
}

impl Fields {
    fn of_session(facts: &Facts) -> Self {
        let right = facts.right.as_deref();
        let expires = right.and_then(|right| right.expires);
        Self {
            listener: some(&facts.listener),
            route: some(&facts.route),
            upstream: some(&facts.upstream),
            backend: some(&facts.backend),
            session: Some(facts.id),
            principal: facts.principal.as_deref().and_then(some),
            authenticator: right.and_then(|right| some(&right.authenticator)),
            client: some(facts.request.client()),
            host: some(facts.request.host()),
            target: some(facts.request.target()),
            request_id: some(&facts.request_id()),
            subprotocol: facts.request.subprotocol().and_then(some),
            started: some(&clock::rfc3339(facts.request.started())),
            expires: expires.and_then(|at| some(&clock::rfc3339(at))),
            handshake_ms: Some(millis(facts.request.handshake())),
            ..Self::default()
        }
    }

    fn ordered(self, order: Option<&EndOrder>) -> Self {
        let Some(order) = order else { return self };
        Self {
            reason: order.reason.as_deref().and_then(some).or(self.reason),
            operator: order.operator.as_deref().and_then(some),
            revocation: order.revocation.as_deref().and_then(some),
            ..self
        }
    }

    fn of_moved(facts: &Facts) -> Self {
        let session = Self::of_session(facts);
        let Some(moved) = facts.details.moves.last() else {
            return session;
        };
        let reason = moved.reason.as_str();
        let mut text = format!("from {} to {}: {reason}", moved.from, moved.to);
        if let Some(by) = &moved.by {
            text.push_str(&format!(", ordered by {by}"));
        }
        if moved.messages_lost > 0 {
            text.push_str(&format!(", {} of its messages lost", moved.messages_lost));
        }
        Self {
            text: text.into(),
            messages_lost: Some(moved.messages_lost),
            from: some(&moved.from),
            to: some(&moved.to),
            reason: some(reason),
            operator: moved.by.as_deref().and_then(some),
            ..session
        }
    }

    fn of_record(record: &Record) -> Self {
        let (facts, ending) = (&*record.facts, &record.ending);
        let session = Self {
            text: ended_text(record),
            duration_ms: Some(millis(record.duration)),
            ended_by: some(ending.by.as_str()),
            cause: some(ending.cause.as_str()),
            close_code: ending.close_code,
            clean: Some(ending.clean),
            resumes: Some(record.moves.resumes),
            messages_lost: Some(record.moves.messages_lost),
            bytes_lost: Some(record.moves.bytes_lost),
            messages_dropped: Some(record.published.dropped),
            to_backend: Some(record.to_backend),
            to_client: Some(record.to_client),
            ..Self::of_session(facts)
        };
        session.ordered(facts.order.as_deref())
    }
}

impl Event {
    /// What is known of it.
    pub fn fields(&self) -> Cow<'_, Fields> {
        Cow::Owned(match &self.body {
            Body::Fields(fields) => return Cow::Borrowed(fields),
            Body::Began(facts) => {
                let text = format!("on {}", facts.backend).into();
                Fields {
                    text,
                    ..Fields::of_session(facts)
                }
            }
            Body::Moved(facts) => Fields::of_moved(facts),
            Body::Ended(record) => Fields::of_record(record),
        })
    }

    /// The event as the API shows it.
    pub fn view(&self) -> EventView {
        EventView {
            id: self.id.to_string(),
            time: clock::rfc3339(self.at),
            class: self.kind.class(),
            kind: self.kind,
            fields: self.fields().into_owned(),
        }
    }
}

fn ended_text(record: &Record) -> Box<str> {
    let (facts, ending) = (&*record.facts, &record.ending);
    let (by, cause) = (ending.by.as_str(), ending.cause.as_str());
    let mut text = format!(
        "after {}: {cause} by {by}",
        clock::readable(record.duration)
    );
    if let Some(code) = ending.close_code {
        text.push_str(&format!(", {code}"));
    }
    let (lost, dropped) = (record.moves.messages_lost, record.published.dropped);
    if lost > 0 {
        text.push_str(&format!(", {lost} of its messages lost"));
    }
    if dropped > 0 {
        text.push_str(&format!(", {dropped} published ones dropped"));
    }
    if let Some(order) = facts.order.as_deref() {
        if let Some(operator) = &order.operator {
            text.push_str(&format!(", ordered by {operator}"));
        }
        if let Some(reason) = &order.reason {
            text.push_str(&format!(": {reason}"));
        }
    }
    text.into()
}
