//! The dialect of AWS: one JSON form for all events, and answers of proxy integrations.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, Response};

use crate::base::clock;
use crate::base::message::Message;
use crate::config::snapshot::{CONNECT, DISCONNECT};
use crate::core::functions::aws::{self, ConnectRequest, Disconnect, EventIds, Fault, Reply};
use crate::core::relay::ClientMessage;
use crate::core::routing::groups::take_groups_of_answer;
use crate::io::client::ClientError;
use crate::io::ends::{Caller, SessionEnd};
use crate::proxy::functions::connecting::{Accepted, Connecting, Verdict};
use crate::proxy::functions::error::CallError;
use crate::proxy::functions::requests::{Call, Event};

/// Set by Lambda where the function itself has failed.
const FUNCTION_ERROR: &str = "x-amz-function-error";

pub(super) async fn connect(call: Call<'_>, request: Connecting<'_>) -> Result<Verdict, CallError> {
    let (config, connection) = (call.config, &call.caller.connection);
    let Some((url, _)) = config.route(CONNECT) else {
        return Ok(Verdict::accepted(Accepted::default()));
    };
    let id = new_id();
    let asked = ConnectRequest {
        headers: request.headers,
        query: request.query,
        stage_variables: &config.stage_variables,
    };
    let event = || event(aws::connect(connection, asked, ids(&id), clock::wall()));
    // A status of Lambda's Invoke API is none of the function's.
    let decides = config.sign.is_none();
    let judge = |answer: Response<Bytes>| match answer.status() {
        status if !status.is_success() && decides => Ok(Verdict::refused(status.as_u16())),
        _ => reply(&answer).map(verdict),
    };
    call.send(("connect", Some(url)), event, judge).await
}

fn verdict(mut reply: Reply) -> Verdict {
    if !(200..300).contains(&reply.status) {
        return Verdict::refused(reply.status);
    }
    Verdict::accepted(Accepted {
        groups: take_groups_of_answer(&mut reply.headers),
        subprotocol: reply.headers.remove(SEC_WEBSOCKET_PROTOCOL),
        ..Accepted::default()
    })
}

/// What the client gets of the function's answer to a message, if anything; `id` is the request's.
pub(super) async fn message(
    call: Call<'_>,
    message: ClientMessage,
    id: &str,
) -> Result<Option<Message>, CallError> {
    let (config, connection) = (call.config, &call.caller.connection);
    let ClientMessage { is_text, payload } = message;
    let key = match is_text {
        true => config.route_key.key(&payload),
        false => None,
    };
    let key = config.key_of_message(key.as_deref());
    let (url, replies) = config.route(key).unzip();
    let message_id = new_id();
    let ids = EventIds {
        message: Some(&message_id),
        ..ids(id)
    };
    let event = move || {
        let text = match std::str::from_utf8(&payload) {
            Ok(text) if is_text => Ok(text),
            _ => Err(&*payload),
        };
        event(aws::message(connection, key, text, ids, clock::wall()))
    };
    let judge = |answer: Response<Bytes>| reply(&answer);
    let url = url.map(|url| &**url);
    let reply = call.send(("message", url), event, judge).await?;
    Ok(reply.body.filter(|_| replies == Some(true)))
}

/// What the client gets in the place of an answer.
pub(super) fn fault(error: &CallError, caller: &Caller, id: &str) -> Message {
    let fault = match error {
        CallError::NoRoute => Fault::NoRoute,
        CallError::Client(ClientError::TimedOut(_)) => Fault::TimedOut,
        _ => Fault::Failed,
    };
    aws::fault(fault, &caller.connection.id, id)
}

pub(super) async fn disconnect(call: Call<'_>, end: SessionEnd) -> Result<(), CallError> {
    let Some((url, _)) = call.config.route(DISCONNECT) else {
        return Ok(());
    };
    let end = Disconnect {
        code: end.code,
        reason: end.reason,
    };
    let id = new_id();
    let connection = &call.caller.connection;
    let event = || event(aws::disconnect(connection, end, ids(&id), clock::wall()));
    let judge = |answer: Response<Bytes>| reply(&answer).map(drop);
    call.send(("disconnect", Some(url)), event, judge).await
}

fn event(json: Vec<u8>) -> Event {
    Event {
        fields: HeaderMap::new(),
        content_type: "application/json",
        body: json,
    }
}

fn reply(answer: &Response<Bytes>) -> Result<Reply, CallError> {
    let status = answer.status();
    if !status.is_success() || answer.headers().contains_key(FUNCTION_ERROR) {
        return Err(CallError::Failed(status));
    }
    aws::reply(status.as_u16(), answer.body()).map_err(|_| CallError::Malformed)
}

fn ids(request: &str) -> EventIds<'_> {
    EventIds {
        request,
        message: None,
    }
}

/// An id as AWS has them: 11 random bytes.
pub(super) fn new_id() -> String {
    let mut bytes = [0; 11];
    fastrand::fill(&mut bytes);
    URL_SAFE.encode(bytes)
}
