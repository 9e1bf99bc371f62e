//! The dialect of GRIP: events as Pushpin sends them.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, Response, StatusCode};
use tokio::time::sleep;

use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::core::functions::grip::{self, Change, ClientEnd, GripSession, Malformed, Taken};
use crate::core::http::headers::strip_hop_by_hop;
use crate::core::relay::ClientMessage;
use crate::core::routing::groups::take_groups_of_answer;
use crate::io::client::{ClientError, ConnectError};
use crate::io::ends::{Called, Caller, SessionEnd};
use crate::live::{MessageCommand, WorkerCommand};
use crate::proxy::functions::connecting::{Accepted, Connecting, Verdict};
use crate::proxy::functions::error::CallError;
use crate::proxy::functions::requests::{Call, Event};

/// How long an event is sent again to a function that cannot be reached.
const RETRIES_MAX: Duration = Duration::from_secs(30);
/// Before the first time; then twice as long each time, and up to this much more.
const RETRY_DELAY: Duration = Duration::from_secs(1);

impl From<Malformed> for CallError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

pub(super) async fn connect(call: Call<'_>, request: Connecting<'_>) -> Result<Verdict, CallError> {
    let caller = call.caller;
    let Some(handshake) = grip::handshake_fields(request.headers) else {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Ok(Verdict::Refused(status));
    };
    let session = GripSession::new(request.target, handshake);
    caller.kept().grip = Some(Box::new(session));
    let judge = |answer: Response<Bytes>| {
        let (head, body) = answer.into_parts();
        if !is_events(head.status, &head.headers) {
            return Ok(Verdict::refused(head.status.as_u16()));
        }
        let taken = change(caller, |session| session.open(&head.headers, &body))?;
        Ok(Verdict::accepted(accepted(head.headers, taken)))
    };
    let body = |_: &GripSession| GripSession::open_body();
    send(call, "connect", body, judge).await
}

/// The event of a function that has detached itself from the session.
pub(super) async fn detached(call: Call<'_>) -> Result<(), CallError> {
    last(call, ClientEnd::Closed(None)).await
}

fn accepted(mut answered: HeaderMap, taken: Taken) -> Accepted {
    strip_hop_by_hop(&mut answered);
    let mut groups = take_groups_of_answer(&mut answered);
    let mut first = Called::default();
    add(&mut first, &taken);
    for change in taken.changes {
        match change {
            Change::Join(group) => groups.push(group),
            Change::Leave(group) => groups.retain(|one| *one != group),
        }
    }
    Accepted {
        subprotocol: answered.get(SEC_WEBSOCKET_PROTOCOL).cloned(),
        groups,
        fields: grip::answered_fields(&answered),
        first,
    }
}

/// Adds what an answer has for the client.
fn add(called: &mut Called, taken: &Taken) {
    taken.frames.iter().for_each(|frame| called.push(frame));
    let close = taken.close.clone();
    called.close = close.map(|(code, reason)| (code, reason.into()));
}

/// What the client gets for its message, or for none.
pub(super) async fn message(
    call: Call<'_>,
    message: Option<ClientMessage>,
) -> Result<Called, CallError> {
    let caller = call.caller;
    let kind = match message {
        Some(_) => "message",
        None => "keep_alive",
    };
    if let Some(message) = message {
        change(caller, |session| {
            session.push(message.is_text, message.payload);
            Ok(())
        })?;
    }
    let mut called = Called::default();
    loop {
        let taken = ask(call, kind).await?;
        add(&mut called, &taken);
        follow(call, taken.changes).await?;
        if !change(caller, |session| Ok(session.has_more()))? {
            return Ok(called);
        }
        if called.frames.len() > call.config.response_bytes {
            return Err(CallError::Malformed);
        }
    }
}

/// Sends what the function has not accepted. A function that cannot be reached is tried again: it
/// has not had the event.
async fn ask(call: Call<'_>, kind: &'static str) -> Result<Taken, CallError> {
    let judge = |answer: Response<Bytes>| {
        let (head, body) = answer.into_parts();
        match is_events(head.status, &head.headers) {
            true => change(call.caller, |session| session.answer(&head.headers, &body)),
            false => Err(CallError::Failed(head.status)),
        }
    };
    let began = clock::now();
    let mut delay = RETRY_DELAY;
    loop {
        // It may have another URL by now.
        let config = call.requests.config(&call.config.name)?;
        let call = Call {
            config: &config,
            ..call
        };
        let outcome = send(call, kind, GripSession::body, judge).await;
        let waited = clock::now().duration_since(began);
        match outcome {
            Err(CallError::Client(error)) if is_unreached(&error) && waited < RETRIES_MAX => {}
            outcome => return outcome,
        }
        sleep(delay + RETRY_DELAY.mul_f64(fastrand::f64())).await;
        delay *= 2;
    }
}

/// Whether the function has not had a request.
fn is_unreached(error: &ClientError) -> bool {
    match error {
        ClientError::Connect(why) => matches!(**why, ConnectError::Dial(_)),
        _ => false,
    }
}

pub(super) async fn disconnected(call: Call<'_>, end: SessionEnd) -> Result<(), CallError> {
    let code = Some(end.code).filter(|code| *code != 1005);
    let closed = end.by_frame.then_some(code);
    match change(call.caller, |session| {
        Ok(session.last_event(closed, end.by_client))
    })? {
        Some(end) => last(call, end).await,
        None => Ok(()),
    }
}

/// The last event of a session for the function.
async fn last(call: Call<'_>, end: ClientEnd) -> Result<(), CallError> {
    let body = |session: &GripSession| session.last_body(end);
    let judge = |answer: Response<Bytes>| match answer.status() {
        StatusCode::OK => Ok(()),
        status => Err(CallError::Failed(status)),
    };
    send(call, "disconnect", body, judge).await
}

async fn send<T>(
    call: Call<'_>,
    kind: &'static str,
    body: impl FnOnce(&GripSession) -> Vec<u8>,
    judge: impl FnOnce(Response<Bytes>) -> Result<T, CallError>,
) -> Result<T, CallError> {
    let (config, caller) = (call.config, call.caller);
    let event = || {
        let key = config.secrets.first().map(|key| key.reveal().as_bytes());
        let signature = key.and_then(|key| grip::signature(key, &config.origin, clock::wall()));
        let of = |session: &mut GripSession| {
            let id = &caller.connection.id;
            let fields = grip::request_fields(session, id, signature.as_deref());
            Ok((fields, body(session)))
        };
        let (fields, body) = change(caller, of).unwrap_or_default();
        Event {
            fields,
            content_type: grip::CONTENT_TYPE,
            body,
        }
    };
    let target = change(caller, |session| Ok(session.target().to_owned()))?;
    let url = config.url.as_deref();
    let url = url.map(|url| format!("{}{target}", url.trim_end_matches('/')));
    call.send((kind, url.as_deref()), event, judge).await
}

/// Whether an answer is a list of events.
fn is_events(status: StatusCode, fields: &HeaderMap) -> bool {
    let kind = fields.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    let events = kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(grip::CONTENT_TYPE));
    status == StatusCode::OK && events
}

/// Reads or changes what is kept of the session. The dialect of a function may have changed since
/// the session began: then it has nothing of this one.
fn change<T>(
    caller: &Caller,
    change: impl FnOnce(&mut GripSession) -> Result<T, Malformed>,
) -> Result<T, CallError> {
    let mut kept = caller.kept();
    let session = kept.grip.as_mut().ok_or(CallError::Malformed)?;
    Ok(change(session)?)
}

/// Changes the memberships of the session before its client gets what comes with the change.
async fn follow(call: Call<'_>, changes: Vec<Change>) -> Result<(), CallError> {
    let id: SessionId = match call.caller.connection.id.parse() {
        Ok(id) if !changes.is_empty() => id,
        _ => return Ok(()),
    };
    let workers = call.requests.live().workers();
    for change in changes {
        match change {
            Change::Join(group) => {
                let join = |answer| {
                    WorkerCommand::Messages(MessageCommand::Join {
                        id,
                        group: group.clone(),
                        ttl: None,
                        metadata: None,
                        answer,
                    })
                };
                let answers = workers.ask(join).await;
                let silent = answers.missing();
                let joined = answers.into_iter().flatten().next();
                match joined {
                    Some(joined) => joined.map(drop).map_err(CallError::NotJoined)?,
                    // The session has ended meanwhile.
                    None if silent == 0 => {}
                    None => return Err(CallError::Overloaded),
                }
            }
            Change::Leave(group) => {
                let group = &group;
                let leave = |answer| {
                    let group = group.clone();
                    WorkerCommand::Messages(MessageCommand::Leave { id, group, answer })
                };
                drop(workers.ask(leave).await);
            }
        }
    }
    Ok(())
}
