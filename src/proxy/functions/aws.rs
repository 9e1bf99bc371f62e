//! The dialect of AWS: one JSON form for all events, and answers of proxy integrations.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, Response};

use crate::base::clock;
use crate::base::message::Message;
use crate::config::snapshot::{CONNECT, DISCONNECT, Function};
use crate::core::functions::aws::{self, ConnectRequest, Disconnect, EventIds, Fault, Reply};
use crate::core::relay::ClientMessage;
use crate::core::routing::groups::take_groups_of_answer;
use crate::io::client::ClientError;
use crate::io::ends::{Called, Caller, End};
use crate::proxy::functions::connecting::{Accepted, Connecting, Verdict};
use crate::proxy::functions::error::CallError;
use crate::proxy::functions::requests::{Event, Requests};

/// Set by Lambda where the function itself has failed.
const FUNCTION_ERROR: &str = "x-amz-function-error";

pub(super) async fn connect(
    requests: &Requests,
    config: &Arc<Function>,
    caller: &Caller,
    request: Connecting<'_>,
) -> Result<Verdict, CallError> {
    let Some((url, _)) = config.route(CONNECT) else {
        return Ok(Verdict::Accepted(Accepted::default()));
    };
    let id = new_id();
    let asked = ConnectRequest {
        headers: request.headers,
        query: request.query,
        stage_variables: &config.stage_variables,
    };
    let json = || aws::connect(&caller.connection, asked, ids(&id), clock::wall());
    // A status of Lambda's Invoke API is none of the function's.
    let decides = config.sign.is_none();
    let judge = |answer: Response<Bytes>| match answer.status() {
        status if !status.is_success() && decides => Ok(Verdict::refused(status.as_u16())),
        _ => reply(&answer).map(verdict),
    };
    let event = || event(url, json());
    requests.send(config, "connect", event, judge).await
}

fn verdict(mut reply: Reply) -> Verdict {
    if !(200..300).contains(&reply.status) {
        return Verdict::refused(reply.status);
    }
    Verdict::Accepted(Accepted {
        groups: take_groups_of_answer(&mut reply.headers),
        subprotocol: reply.headers.remove(SEC_WEBSOCKET_PROTOCOL),
    })
}

/// Sends the event of a message, and returns what becomes of it.
pub(super) async fn message(
    requests: &Requests,
    config: &Arc<Function>,
    caller: &Caller,
    message: ClientMessage,
) -> Called {
    let id = new_id();
    let fault = match try_message(requests, config, caller, message, &id).await {
        Ok(None) => return Called::Done,
        Ok(Some(reply)) => return Called::Reply(reply),
        Err(CallError::Busy) => return Called::Close(1013, "the function is busy"),
        Err(error) => {
            let session = &caller.connection.id;
            tracing::debug!(%session, function = %caller.function, %error, "a function has not taken a message");
            fault(&error)
        }
    };
    Called::Reply(aws::fault(fault, &caller.connection.id, &id))
}

/// What the client of a function gets that is not in the configuration.
pub(super) fn no_function(caller: &Caller) -> Called {
    let text = aws::fault(Fault::Failed, &caller.connection.id, &new_id());
    Called::Reply(text)
}

fn fault(error: &CallError) -> Fault {
    match error {
        CallError::NoRoute => Fault::NoRoute,
        CallError::Client(ClientError::TimedOut(_)) => Fault::TimedOut,
        _ => Fault::Failed,
    }
}

async fn try_message(
    requests: &Requests,
    config: &Arc<Function>,
    caller: &Caller,
    message: ClientMessage,
    request_id: &str,
) -> Result<Option<Message>, CallError> {
    let ClientMessage { is_text, payload } = message;
    let key = match is_text {
        true => config.route_key.key(&payload),
        false => None,
    };
    let key = config.key_of_message(key.as_deref());
    let (url, replies) = config.route(key).ok_or(CallError::NoRoute)?;
    let message_id = new_id();
    let ids = EventIds {
        message: Some(&message_id),
        ..ids(request_id)
    };
    let event = move || {
        let text = match std::str::from_utf8(&payload) {
            Ok(text) if is_text => Ok(text),
            _ => Err(&*payload),
        };
        event(
            url,
            aws::message(&caller.connection, key, text, ids, clock::wall()),
        )
    };
    let judge = |answer: Response<Bytes>| reply(&answer);
    let reply = requests.send(config, "message", event, judge).await?;
    Ok(reply.body.filter(|_| replies))
}

pub(super) async fn disconnect(
    requests: &Requests,
    config: &Arc<Function>,
    caller: &Caller,
    end: End,
) -> Result<(), CallError> {
    let Some((url, _)) = config.route(DISCONNECT) else {
        return Ok(());
    };
    let end = Disconnect {
        code: end.code,
        reason: end.reason,
    };
    let id = new_id();
    let event = || {
        let json = aws::disconnect(&caller.connection, end, ids(&id), clock::wall());
        event(url, json)
    };
    let judge = |answer: Response<Bytes>| reply(&answer).map(drop);
    requests.send(config, "disconnect", event, judge).await
}

fn event(url: &str, json: Vec<u8>) -> Event<'_> {
    Event {
        url,
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
fn new_id() -> String {
    let mut bytes = [0; 11];
    fastrand::fill(&mut bytes);
    URL_SAFE.encode(bytes)
}
