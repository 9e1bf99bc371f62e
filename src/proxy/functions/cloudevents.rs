//! The dialect of Azure Web PubSub: CloudEvents whose attributes are fields.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};

use crate::base::clock;
use crate::base::message::Message;
use crate::config::snapshot::Function;
use crate::core::functions::cloudevents::{
    self, Attributes, EventType, connect_answer, connect_body, disconnected_body, message_answer,
    signature,
};
use crate::core::relay::ClientMessage;
use crate::io::ends::{Called, Caller, End, Kept};
use crate::proxy::functions::connecting::{Accepted, Connecting, Verdict};
use crate::proxy::functions::error::CallError;
use crate::proxy::functions::requests::{Event, Requests};

const STATE: &str = "ce-connectionstate";
/// Largest state of a session.
const STATE_MAX: usize = 8 << 10;

/// An event without its URL.
struct Content {
    kind: &'static str,
    event: EventType,
    content_type: &'static str,
    body: Vec<u8>,
}

pub(super) async fn connect(
    requests: &Requests,
    config: &Arc<Function>,
    caller: &Caller,
    request: Connecting<'_>,
) -> Result<Verdict, CallError> {
    let content = Content {
        kind: "connect",
        event: EventType::Connect,
        content_type: "application/json; charset=utf-8",
        body: connect_body(
            request.claims,
            request.query,
            request.headers,
            request.subprotocols,
        ),
    };
    let judge = |answer: Response<Bytes>| {
        if !answer.status().is_success() {
            return Ok(Verdict::refused(answer.status().as_u16()));
        }
        keep_state(caller, answer.headers())?;
        let accepted = connect_answer(answer.body()).map_err(|_| CallError::Malformed)?;
        if accepted.user.is_some() {
            kept(caller, |kept| kept.user = accepted.user);
        }
        let name = accepted.subprotocol;
        Ok(Verdict::Accepted(Accepted {
            subprotocol: name.and_then(|name| HeaderValue::try_from(name).ok()),
            groups: accepted.groups,
        }))
    };
    send(requests, config, caller, content, judge).await
}

/// The session has begun. The function cannot answer.
pub(super) async fn connected(
    requests: &Requests,
    config: &Arc<Function>,
    caller: &Caller,
) -> Result<(), CallError> {
    let content = Content {
        kind: "connected",
        event: EventType::Connected,
        content_type: "application/json; charset=utf-8",
        body: b"{}".to_vec(),
    };
    send(requests, config, caller, content, success).await
}

/// Sends the event of a message, and returns what becomes of it. Azure drops clients whose message
/// is not answered with a status of 200 to 299.
pub(super) async fn message(
    requests: &Requests,
    config: &Arc<Function>,
    caller: &Caller,
    message: ClientMessage,
) -> Called {
    let content = Content {
        kind: "message",
        event: EventType::Message,
        content_type: match message.is_text {
            true => "text/plain; charset=utf-8",
            false => "application/octet-stream",
        },
        body: message.payload,
    };
    let judge = |answer: Response<Bytes>| -> Result<Option<Message>, CallError> {
        if !answer.status().is_success() {
            return Err(CallError::Failed(answer.status()));
        }
        keep_state(caller, answer.headers())?;
        Ok(message_answer(
            answer.status(),
            answer.headers(),
            answer.body(),
        ))
    };
    match send(requests, config, caller, content, judge).await {
        Ok(None) => Called::Done,
        Ok(Some(reply)) => Called::Reply(reply),
        Err(CallError::Busy) => Called::Close(1013, "the function is busy"),
        Err(error) => {
            let session = &caller.connection.id;
            tracing::debug!(%session, function = %caller.function, %error, "a function has not taken a message");
            Called::Close(1011, "the function failed")
        }
    }
}

pub(super) async fn disconnected(
    requests: &Requests,
    config: &Arc<Function>,
    caller: &Caller,
    end: End,
) -> Result<(), CallError> {
    let content = Content {
        kind: "disconnect",
        event: EventType::Disconnected,
        content_type: "application/json; charset=utf-8",
        body: disconnected_body(end.reason),
    };
    send(requests, config, caller, content, success).await
}

async fn send<T>(
    requests: &Requests,
    config: &Arc<Function>,
    caller: &Caller,
    content: Content,
    judge: impl FnOnce(Response<Bytes>) -> Result<T, CallError>,
) -> Result<T, CallError> {
    let url = config.url.as_ref().ok_or(CallError::NoRoute)?;
    let id = format!("{:032x}", fastrand::u128(..));
    let keys = config.secrets.iter().map(|key| key.reveal());
    let signature = signature(keys, &caller.connection.id);
    let event = || {
        let kept = caller.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let of = Attributes {
            hub: &config.hub,
            origin: &config.origin,
            connection: &caller.connection,
            user: kept.user.as_deref(),
            state: kept.state.as_deref(),
            subprotocol: kept.subprotocol.as_deref(),
            id: &id,
            signature: signature.as_deref(),
            time: clock::wall(),
        };
        Event {
            url,
            fields: cloudevents::fields(content.event, of),
            content_type: content.content_type,
            body: content.body,
        }
    };
    requests.send(config, content.kind, event, judge).await
}

fn success(answer: Response<Bytes>) -> Result<(), CallError> {
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(CallError::Failed(answer.status())),
    }
}

/// Keeps the state that an answer has.
fn keep_state(caller: &Caller, answered: &HeaderMap) -> Result<(), CallError> {
    let Some(state) = answered.get(STATE) else {
        return Ok(());
    };
    let state = state.to_str().ok().filter(|state| state.len() <= STATE_MAX);
    let state = state.ok_or(CallError::Malformed)?.to_owned();
    kept(caller, |kept| kept.state = Some(state));
    Ok(())
}

fn kept(caller: &Caller, change: impl FnOnce(&mut Kept)) {
    change(&mut caller.kept.lock().unwrap_or_else(PoisonError::into_inner));
}
