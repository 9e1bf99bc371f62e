//! What is known of an event, as one flat object in which everything is optional: the form of the
//! API and of the files.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::base::traffic::Traffic;
use crate::telemetry::events::difference::DocumentChange;
use crate::telemetry::records::RequestRecord;

/// Longest text of a stranger that an event keeps, in bytes.
const TEXT_MAX: usize = 512;

macro_rules! fields {
    ($($(#[$doc:meta])+ $(@[$schema:meta])? $field:ident: $kind:ty,)+) => {
        /// What is known of an event; fields that do not apply are absent.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default)]
        pub struct Fields {
            /// In words.
            pub text: Box<str>,
            $(
                $(#[$doc])+
                #[serde(skip_serializing_if = "Option::is_none")]
                $(#[$schema])?
                pub $field: Option<$kind>,
            )+
            /// What changed, by document.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub documents: Vec<DocumentChange>,
        }
    };
}

fields! {
    /// Who gave the order: the subject of a client certificate, else `token`, `read_token` or
    /// `local`.
    operator: Box<str>,
    /// What an operator ordered, such as `close` or `drain`.
    order: Box<str>,
    /// Where the client came in.
    listener: Box<str>,
    /// The matched route.
    route: Box<str>,
    /// The upstream.
    upstream: Box<str>,
    /// The backend; of a session that moved, the new one.
    backend: Box<str>,
    /// The session's id.
    @[schemars(with = "Option<String>")]
    session: SessionId,
    /// The principal, if the request was authenticated.
    principal: Box<str>,
    /// The authenticator that accepted or rejected the credential.
    authenticator: Box<str>,
    /// The client's address.
    client: Box<str>,
    /// The request's method.
    method: Box<str>,
    /// The requested host.
    host: Box<str>,
    /// The request's target, with secrets redacted.
    target: Box<str>,
    /// The request id, as in backends and records.
    request_id: Box<str>,
    /// Negotiated.
    subprotocol: Box<str>,
    /// When the request came; RFC 3339.
    started: Box<str>,
    /// When the right or the certificate expires; RFC 3339.
    expires: Box<str>,
    /// From the request to the 101.
    handshake_ms: f64,
    /// From the 101 to the end; of a refused request, the whole time.
    duration_ms: f64,
    /// The status that the client got; 499 if it left before.
    status: u16,
    /// Who ended the session: `client`, `backend` or `gateway`.
    ended_by: Box<str>,
    /// Why the session ended.
    cause: Box<str>,
    /// The first close frame's code.
    close_code: u16,
    /// Whether both sides closed with a close frame and every byte in flight arrived.
    clean: bool,
    /// The state, or the backend, before.
    from: Box<str>,
    /// The state after.
    to: Box<str>,
    /// Why: the reason of a refusal, of an order, of a change of health.
    reason: Box<str>,
    /// The exact cause, for operators only.
    detail: Box<str>,
    /// The revocation that took the right away.
    revocation: Box<str>,
    /// How often the session changed its backend.
    resumes: u32,
    /// Messages of the client that were lost with a backend.
    messages_lost: u64,
    /// Bytes that were lost so.
    bytes_lost: u64,
    /// Published messages that did not reach the client: its queue was full, they expired, or the
    /// session ended before.
    messages_dropped: u64,
    /// What the client sent.
    to_backend: Traffic,
    /// What the backend sent.
    to_client: Traffic,
    /// Where a change came from: `file`, `etcd`, or `api`.
    source: Box<str>,
    /// The revision of the source.
    revision: i64,
    /// Of the routing table in force after it.
    generation: u64,
    /// Of the routing table in force after it.
    digest: Box<str>,
    /// Documents that changed and are not listed in `documents`.
    documents_more: u64,
    /// A number of sessions.
    sessions: u64,
    /// A number of events.
    events: u64,
}

impl Fields {
    /// Fields with this text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Names a backend.
    #[must_use]
    pub fn of_backend(self, upstream: &str, backend: &str) -> Self {
        Self {
            upstream: some(upstream),
            backend: some(backend),
            ..self
        }
    }

    /// Names the operator who gave the order.
    #[must_use]
    pub fn by(self, operator: &str) -> Self {
        Self {
            operator: some(operator),
            ..self
        }
    }

    /// Of a request that got no backend's whole answer; `None` if it got one.
    pub(super) fn of_refusal(record: &RequestRecord<'_>) -> Option<Self> {
        let reason = record.refusal?;
        let shown = record.detail.unwrap_or(reason);
        Some(Self {
            text: clip(&format!("{} {shown}", record.status)),
            listener: some(record.listener),
            route: record.route.and_then(some),
            upstream: record.upstream.and_then(some),
            backend: record.backend.and_then(some),
            principal: record.principal.and_then(some),
            authenticator: record.authenticator.and_then(some),
            client: some(record.client),
            method: some(record.method),
            host: record.host.and_then(some),
            target: some(record.target),
            request_id: record.request_id.and_then(some),
            started: some(&clock::rfc3339(record.started)),
            duration_ms: Some(millis(record.duration)),
            status: Some(record.status),
            reason: some(reason),
            detail: record.detail.and_then(some),
            ..Self::default()
        })
    }

    /// Bytes behind it.
    pub(super) fn heap(&self) -> usize {
        let texts = [
            &self.operator,
            &self.order,
            &self.listener,
            &self.route,
            &self.upstream,
            &self.backend,
            &self.principal,
            &self.authenticator,
            &self.client,
            &self.method,
            &self.host,
            &self.target,
            &self.request_id,
            &self.subprotocol,
            &self.started,
            &self.expires,
            &self.ended_by,
            &self.cause,
            &self.from,
            &self.to,
            &self.reason,
            &self.detail,
            &self.revocation,
            &self.source,
            &self.digest,
        ];
        let texts = texts.into_iter().flatten();
        let documents = self.documents.iter().map(DocumentChange::heap);
        self.text.len() + texts.map(|text| text.len()).sum::<usize>() + documents.sum::<usize>()
    }
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// A text, unless it is empty.
pub(super) fn some(text: &str) -> Option<Box<str>> {
    (!text.is_empty()).then(|| clip(text))
}

fn clip(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(TEXT_MAX)].into()
}
