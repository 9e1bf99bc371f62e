//! Watches a session: its frames as server-sent events, for a limited time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::Stream;
use futures_util::stream::unfold;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use crate::admin::Gateway;
use crate::admin::extract::{Caller, Parameters};
use crate::admin::orders;
use crate::admin::problem::Problem;
use crate::admin::role::Role;
use crate::admin::sessions::listing::by_id;
use crate::admin::sessions::{find, parse};
use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::base::text::escape_json;
use crate::core::wire::frame::Opcode;
use crate::live::{
    ANSWER_MAX, OperatorCommand, SessionQuery, TapAnswer, TapReader, TappedFrame, WorkerCommand,
    tap,
};
use crate::telemetry::events::Fields;

/// How long a session is watched by default, and at most.
const SECONDS: (u64, u64) = (60, 600);
/// Frames that are shown by default, and at most.
const FRAMES: (u64, u64) = (1_000, 100_000);
/// Bytes of payload that are shown of a frame by default, and at most.
const PAYLOAD: (usize, usize) = (256, 4_096);
/// Between two signs of life on a quiet session.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What to show, and for how long.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Watch {
    /// Seconds; 60 if not given, at most 600.
    seconds: Option<u64>,
    /// Frames at most; 1000 if not given, at most 100000.
    frames: Option<u64>,
    /// Show payload. Needs the right to change something, and `tap_payload = true` at the route.
    payload: Option<bool>,
    /// Bytes of payload that are shown of a frame; 256 if not given, at most 4096.
    payload_bytes: Option<usize>,
}

/// A frame, as an event shows it.
#[derive(Debug, Serialize)]
pub(super) struct FrameView {
    /// When it came; RFC 3339.
    pub(super) at: String,
    /// `client` or `backend`.
    pub(super) from: String,
    /// `text`, `binary`, `continuation`, `ping`, `pong`, `close`, or a number.
    pub(super) opcode: String,
    /// Whether it ends its message.
    pub(super) fin: bool,
    /// Its reserved bits; 4 is set in compressed messages.
    pub(super) reserved: u8,
    /// Bytes of its payload.
    pub(super) bytes: u64,
    /// The first bytes of its payload, if they are text and shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    /// The first bytes of its payload, if they are no text and shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) base64: Option<String>,
    /// The payload is not shown, because it holds a credential.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) withheld: bool,
}

pub(in crate::admin) async fn watch(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Path(id): Path<String>,
    Parameters(how): Parameters<Watch>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let id = parse(&id)?;
    let payload_max = payload_max(&gateway, &caller, id, &how).await?;
    let taps = Arc::clone(&gateway.desk.taps);
    let permit = taps.try_acquire_owned().map_err(|_| {
        let detail = "as many sessions are watched as may be at once; end another tap first";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
    })?;
    let reader = begin(&gateway, id, payload_max).await?;
    let operator = Arc::clone(&caller.name);
    let payload = payload_max.is_some();
    tracing::info!(%id, payload, %operator, "session tapped by an operator");
    let shown = if payload { " with payload" } else { "" };
    let fields = Fields {
        session: Some(id),
        ..Fields::new(format!("tap {id}{shown}"))
    };
    orders::note(&gateway, &caller, "tap", fields);
    let seconds = how.seconds.unwrap_or(SECONDS.0).clamp(1, SECONDS.1);
    let tap = Tap {
        id,
        operator,
        reader,
        until: Instant::now() + Duration::from_secs(seconds),
        left: how.frames.unwrap_or(FRAMES.0).clamp(1, FRAMES.1),
        shown: 0,
        over: false,
        _permit: permit,
    };
    let events = unfold(tap, |mut tap| async move {
        let event = tap.next().await?;
        Some((Ok(event), tap))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

/// Bytes of payload to show; `None` shows headers only.
async fn payload_max(
    gateway: &Gateway,
    caller: &Caller,
    id: SessionId,
    how: &Watch,
) -> Result<Option<usize>, Problem> {
    if how.payload != Some(true) {
        return Ok(None);
    }
    if caller.role != Role::Operate {
        let detail = "payload is shown only to those who may change something";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let session = find(gateway, id).await?;
    let table = gateway.live.table();
    let route = table.route(&session.route.as_str().into());
    if !route.is_some_and(|route| route.config.tap_payload) {
        let detail = format!(
            "route {} does not show payload: set `tap_payload = true` there, or watch frame \
             headers only",
            session.route
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    Ok(Some(how.payload_bytes.unwrap_or(PAYLOAD.0).min(PAYLOAD.1)))
}

/// Begins the tap with the worker that has the session.
async fn begin(
    gateway: &Gateway,
    id: SessionId,
    payload_max: Option<usize>,
) -> Result<TapReader, Problem> {
    let found = by_id(gateway, &SessionQuery::one(id), 1).await;
    let view = found.answers.into_iter().flatten().next();
    let Some(view) = view else {
        find(gateway, id).await?;
        return Err(Problem::not_found(format!("no live session {id}")));
    };
    let (reporter, reader) = tap();
    let mut reporter = Some(Box::new(reporter));
    let workers = gateway.live.workers();
    let answers = workers.ask_each(ANSWER_MAX, |place, answer| {
        let reporter = reporter.take_if(|_| place == view.worker)?;
        Some(WorkerCommand::Operate(OperatorCommand::Tap {
            id,
            reporter,
            payload_max,
            answer,
        }))
    });
    match answers.await.into_iter().flatten().next() {
        Some(TapAnswer::Begun) => Ok(reader),
        Some(TapAnswer::Tapped) => {
            let detail = format!("session {id} is watched already");
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
        Some(TapAnswer::Ending) => {
            let detail = format!("session {id} is closing, or is being handed over");
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
        None => {
            let detail = format!("session {id} has ended, or its worker did not answer");
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail))
        }
    }
}

/// A tap under way.
struct Tap {
    id: SessionId,
    operator: Arc<str>,
    reader: TapReader,
    until: Instant,
    /// Frames that may still be shown.
    left: u64,
    shown: u64,
    /// The last event was sent.
    over: bool,
    /// One of the places for taps.
    _permit: OwnedSemaphorePermit,
}

impl Tap {
    async fn next(&mut self) -> Option<Event> {
        if self.over {
            return None;
        }
        let dropped = self.reader.take_dropped();
        if dropped > 0 {
            let data = serde_json::json!({ "frames": dropped });
            return Some(Event::default().event("dropped").data(data.to_string()));
        }
        let reason = if self.left == 0 {
            "as many frames were shown as were asked for"
        } else {
            match timeout_at(self.until, self.reader.next()).await {
                Ok(Some(frame)) => {
                    (self.left, self.shown) = (self.left - 1, self.shown + 1);
                    return Some(shown(&frame));
                }
                Ok(None) => self.reader.reason(),
                Err(_) => "the time is over",
            }
        };
        self.over = true;
        let data = serde_json::json!({ "reason": reason });
        Some(Event::default().event("end").data(data.to_string()))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let (id, frames, operator) = (self.id, self.shown, &self.operator);
        tracing::info!(%id, frames, %operator, "tap ended");
    }
}

fn shown(frame: &TappedFrame) -> Event {
    let text = frame.payload.as_deref().and_then(text);
    let base64 = match (text, &frame.payload) {
        (None, Some(payload)) => Some(STANDARD.encode(payload)),
        _ => None,
    };
    let opcode = Opcode::from_bits(frame.opcode);
    let view = FrameView {
        at: clock::rfc3339(frame.at),
        from: frame.from.as_str().to_owned(),
        opcode: opcode.map_or_else(|| frame.opcode.to_string(), |known| name(known).to_owned()),
        fin: frame.fin,
        reserved: frame.reserved,
        bytes: frame.bytes,
        text: text.map(str::to_owned),
        base64,
        withheld: frame.withheld,
    };
    let data = serde_json::to_string(&view).expect("plain data serialises");
    // Control characters of a client must not steer the operator's terminal.
    Event::default().event("frame").data(escape_json(&data))
}

/// The text that these bytes are, without a character that was cut at the end.
fn text(bytes: &[u8]) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

const fn name(opcode: Opcode) -> &'static str {
    match opcode {
        Opcode::Continuation => "continuation",
        Opcode::Text => "text",
        Opcode::Binary => "binary",
        Opcode::Close => "close",
        Opcode::Ping => "ping",
        Opcode::Pong => "pong",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_is_text_where_it_is_text() {
        assert_eq!(text(b"abc"), Some("abc"));
        assert_eq!(text("aé".as_bytes()), Some("aé"));
        assert_eq!(text(&"aé".as_bytes()[..2]), Some("a"), "cut inside é");
        assert_eq!(text(b"\xff\x00"), None);
    }
}
