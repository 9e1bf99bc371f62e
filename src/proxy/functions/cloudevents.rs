//! The dialect of Azure Web PubSub: CloudEvents whose attributes are fields.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};

use crate::base::clock;
use crate::base::message::Message;
use crate::core::functions::cloudevents::{
    self, Attributes, EventType, connect_answer, connect_body, disconnected_body, message_answer,
    signature,
};
use crate::core::relay::ClientMessage;
use crate::io::ends::{Caller, SessionEnd};
use crate::proxy::functions::connecting::{Accepted, Connecting, Verdict};
use crate::proxy::functions::error::CallError;
use crate::proxy::functions::requests::{Call, Event};

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

pub(super) async fn connect(call: Call<'_>, request: Connecting<'_>) -> Result<Verdict, CallError> {
    let caller = call.caller;
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
            caller.kept().user = accepted.user;
        }
        let name = accepted.subprotocol;
        Ok(Verdict::accepted(Accepted {
            subprotocol: name.and_then(|name| HeaderValue::try_from(name).ok()),
            groups: accepted.groups,
            ..Accepted::default()
        }))
    };
    send(call, content, judge).await
}

/// The session has begun. The function cannot answer.
pub(super) async fn connected(call: Call<'_>) -> Result<(), CallError> {
    let content = Content {
        kind: "connected",
        event: EventType::Connected,
        content_type: "application/json; charset=utf-8",
        body: b"{}".to_vec(),
    };
    send(call, content, success).await
}

/// What the client gets of the function's answer to a message, if anything. Azure drops clients
/// whose message is not answered with a status of 200 to 299.
pub(super) async fn message(
    call: Call<'_>,
    message: ClientMessage,
) -> Result<Option<Message>, CallError> {
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
        keep_state(call.caller, answer.headers())?;
        Ok(message_answer(
            answer.status(),
            answer.headers(),
            answer.body(),
        ))
    };
    send(call, content, judge).await
}

pub(super) async fn disconnected(call: Call<'_>, end: SessionEnd) -> Result<(), CallError> {
    let content = Content {
        kind: "disconnect",
        event: EventType::Disconnected,
        content_type: "application/json; charset=utf-8",
        body: disconnected_body(end.reason),
    };
    send(call, content, success).await
}

async fn send<T>(
    call: Call<'_>,
    content: Content,
    judge: impl FnOnce(Response<Bytes>) -> Result<T, CallError>,
) -> Result<T, CallError> {
    let (config, caller) = (call.config, call.caller);
    let id = format!("{:032x}", fastrand::u128(..));
    let keys = config.secrets.iter().map(|key| key.reveal());
    let signature = signature(keys, &caller.connection.id);
    let event = || {
        let kept = caller.kept();
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
            fields: cloudevents::fields(content.event, of),
            content_type: content.content_type,
            body: content.body,
        }
    };
    let url = config.url.as_deref();
    call.send((content.kind, url), event, judge).await
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
    caller.kept().state = Some(state);
    Ok(())
}
