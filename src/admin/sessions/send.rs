//! Sends a message of the gateway's own in one session, or in all that match.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::{Body, Caller, Parameters};
use crate::admin::orders;
use crate::admin::problem::Problem;
use crate::admin::sessions::filter::{named, selection};
use crate::admin::sessions::{find, parse};
use crate::base::message::Message;
use crate::core::relay::Side;
use crate::live::{OperatorCommand, SendCounts, SessionQuery, WorkerCommand};
use crate::telemetry::events::Fields;

/// Bytes of a message: a session stores at most 16 KiB of them until they can leave.
const MESSAGE_MAX: usize = 8 * 1024;

/// A message: `text` or `base64`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Sent {
    /// Sent as a text message; at most 8 KiB.
    pub(in crate::admin) text: Option<String>,
    /// Sent as a binary message; at most 8 KiB when decoded.
    pub(in crate::admin) base64: Option<String>,
    /// To which side; the client if not given.
    #[serde(default)]
    pub(in crate::admin) to: Recipient,
}

/// A side of a session.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::admin) enum Recipient {
    /// The client.
    #[default]
    Client,
    /// The backend, which takes the message for one of the client's.
    Backend,
}

selection!(
    /// Which sessions get the message.
    SendMany {
        /// Every session; required where there is no filter.
        all: Option<bool>,
    }
);

/// What became of a message to many sessions.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::admin) struct SentMany {
    /// Queued: it leaves at the session's next message boundary.
    delivered: usize,
    /// Not sent: earlier messages have not left yet, or the session is between two backends.
    busy: usize,
    /// Not sent: the session is closing, or is being handed over.
    gone: usize,
    /// Not sent: an extension is in force that the gateway does not know.
    unfit: usize,
    /// Workers that did not answer in time; their sessions are not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unanswered: Vec<usize>,
}

/// A message that was queued.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::admin) struct SentOne {
    id: String,
    /// Of its payload.
    bytes: usize,
}

pub(in crate::admin) async fn one(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<Sent>,
) -> Result<(StatusCode, Json<SentOne>), Problem> {
    let id = parse(&id)?;
    let (message, to) = read(body)?;
    let (counts, _) = send(&gateway, &SessionQuery::one(id), &message, to).await;
    if counts.delivered > 0 {
        let (bytes, to, operator) = (message.len(), to.as_str(), &*caller.name);
        tracing::info!(%id, bytes, to, operator, "message sent by an operator");
        let fields = Fields {
            session: Some(id),
            ..Fields::new(format!("{bytes} bytes to the {to} of {id}"))
        };
        orders::note(&gateway, &caller, "send", fields);
        let id = id.to_string();
        return Ok((StatusCode::ACCEPTED, Json(SentOne { id, bytes })));
    }
    if counts.busy > 0 {
        let detail = format!(
            "session {id} takes no more now: earlier messages have not left yet, or it is between \
             two backends; try again"
        );
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail));
    }
    if counts.unfit > 0 {
        let detail = format!("session {id} has an extension that the gateway does not know");
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    find(&gateway, id).await?;
    let detail = format!("session {id} is closing, or is being handed over");
    Err(Problem::new(StatusCode::CONFLICT, detail))
}

pub(in crate::admin) async fn many(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Parameters(mut which): Parameters<SendMany>,
    Body(body): Body<Sent>,
) -> Result<(StatusCode, Json<SentMany>), Problem> {
    let query = named(which.selection()?, which.all)?;
    let (message, to) = read(body)?;
    let (counts, unanswered) = send(&gateway, &query, &message, to).await;
    let SendCounts {
        delivered,
        busy,
        gone,
        unfit,
    } = counts;
    let (bytes, to, operator) = (message.len(), to.as_str(), &*caller.name);
    tracing::info!(
        bytes,
        to,
        delivered,
        busy,
        gone,
        unfit,
        operator,
        %query,
        "message sent by an operator"
    );
    let fields = Fields {
        sessions: Some(delivered as u64),
        ..Fields::new(format!(
            "{bytes} bytes to the {to} of {delivered} sessions: {query}"
        ))
    };
    orders::note(&gateway, &caller, "send", fields);
    let sent = SentMany {
        delivered,
        busy,
        gone,
        unfit,
        unanswered,
    };
    Ok((StatusCode::ACCEPTED, Json(sent)))
}

/// The message, and the side that gets it.
pub(in crate::admin) fn read(body: Sent) -> Result<(Message, Side), Problem> {
    let message = match (body.text, body.base64) {
        (Some(text), None) => Message::Text(text.into()),
        (None, Some(base64)) => {
            let bytes = STANDARD.decode(base64);
            let bytes = bytes.map_err(|error| Problem::bad_request(format!("base64: {error}")))?;
            Message::Binary(bytes.into())
        }
        _ => return Err(Problem::bad_request("body: give `text` or `base64`")),
    };
    if message.len() > MESSAGE_MAX {
        let detail = format!("{} bytes; at most {MESSAGE_MAX} are sent", message.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let to = match body.to {
        Recipient::Client => Side::Client,
        Recipient::Backend => Side::Backend,
    };
    Ok((message, to))
}

async fn send(
    gateway: &Gateway,
    query: &SessionQuery,
    message: &Message,
    to: Side,
) -> (SendCounts, Vec<usize>) {
    let workers = gateway.live.workers();
    let sent = workers.walk(|slice, answer| {
        WorkerCommand::Operate(OperatorCommand::Send {
            query: query.clone(),
            message: message.clone(),
            to,
            slice,
            answer,
        })
    });
    let sent = sent.await;
    let counts = sent.answers.into_iter();
    (
        counts.fold(SendCounts::default(), SendCounts::plus),
        sent.silent,
    )
}
