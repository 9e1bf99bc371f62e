//! Events: the live stream (`text/event-stream`), and what is in memory of the past. A subscriber
//! has no buffer of its own: it reads the rings with a cursor, at its own pace.

mod past;
mod query;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::admin::Gateway;
use crate::admin::extract::Parameters;
use crate::admin::problem::Problem;
use crate::base::text::escape_json;
use crate::core::http::event_stream::{EVENT_STREAM, LAST_EVENT_ID};
use crate::telemetry::events::{Cursor, EventId, Events, Filter, Lost};

pub use past::{EventPage, MemoryView, RefusalPage};
pub(super) use past::{ended, history, refusals};
pub(super) use query::{EndedQuery, HistoryQuery, RefusalQuery, StreamQuery};

/// Between two signs of life on a stream without events.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a browser waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 2_000;

/// Events that a reader cannot get any more: the data of the event `gap` of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// How many, of the classes that were asked for; null if that is unknown.
    pub lost: Option<u64>,
    /// `evicted`: the ring had no more room. `other_instance`: the id is of another process.
    pub reason: String,
}

impl From<Lost> for Gap {
    fn from(lost: Lost) -> Self {
        Self {
            lost: lost.events,
            reason: lost.reason.to_owned(),
        }
    }
}

pub(super) async fn stream(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    Parameters(query): Parameters<StreamQuery>,
) -> Result<Response, Problem> {
    let asked = headers.get(&LAST_EVENT_ID).map(|value| value.to_str());
    let asked = asked
        .transpose()
        .map_err(|_| Problem::bad_request("last-event-id: no text"))?;
    let after = asked.or(query.after.as_deref()).map(str::to_owned);
    let filter = query.filter()?;
    let events = gateway.live.events().clone();
    let permit = events.subscribe().ok_or_else(|| {
        let detail = "as many clients follow the events as may; try again later";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    let (cursor, lost) = begin(&events, after.as_deref(), &filter)?;
    let subscriber = Subscriber {
        newest: events.newest(),
        events,
        filter,
        cursor,
        lost,
        begun: false,
        _permit: permit,
    };
    let body = unfold(subscriber, |mut subscriber| async {
        let text = subscriber.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), subscriber))
    });
    let kind = [(CONTENT_TYPE, EVENT_STREAM)];
    Ok((kind, Body::from_stream(body)).into_response())
}

/// Where a stream begins: behind the newest event, behind a given one, or at the oldest (`0`).
fn begin(
    events: &Events,
    after: Option<&str>,
    filter: &Filter,
) -> Result<(Cursor, Option<Lost>), Problem> {
    let Some(after) = after else {
        return Ok((events.behind_newest(), None));
    };
    let after = match after {
        "0" => None,
        id => Some(id.parse::<EventId>().map_err(|error| {
            Problem::bad_request(format!("after: `{id}`: {error}; `0` is the oldest"))
        })?),
    };
    let resumed = events.resume(after, filter);
    Ok((resumed.cursor, resumed.lost))
}

/// One client of the stream.
struct Subscriber {
    events: Events,
    newest: watch::Receiver<u64>,
    filter: Filter,
    cursor: Cursor,
    /// Events that are missing before the next one.
    lost: Option<Lost>,
    /// The first text was sent.
    begun: bool,
    _permit: OwnedSemaphorePermit,
}

impl Subscriber {
    /// The next text to send; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        if !self.begun {
            self.begun = true;
            let mut text = format!("retry: {RETRY_MS}\n");
            self.sign_of_life(&mut text);
            return Some(text);
        }
        loop {
            // Others have their turn between two slices.
            yield_now().await;
            let closed = self.events.is_closed();
            self.newest.mark_unchanged();
            let batch = self.events.read(&mut self.cursor, &self.filter);
            let mut text = String::new();
            for lost in [self.lost.take(), batch.lost].into_iter().flatten() {
                let gap = serde_json::to_string(&Gap::from(lost)).expect("plain data serialises");
                text.push_str(&format!("event: gap\ndata: {gap}\n\n"));
            }
            for sent in &batch.events {
                let view =
                    serde_json::to_string(&sent.event.view()).expect("plain data serialises");
                let view = escape_json(&view);
                text.push_str(&format!("id: {}\ndata: {view}\n\n", sent.resume));
            }
            if !text.is_empty() {
                return Some(text);
            }
            if batch.more {
                continue;
            }
            if closed {
                return None;
            }
            match timeout(HEARTBEAT, self.newest.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => {
                    self.sign_of_life(&mut text);
                    return Some(text);
                }
            }
        }
    }

    /// A comment, and the id to resume with: filters may have left out many events.
    fn sign_of_life(&self, text: &mut String) {
        text.push_str(&format!(": {}\nid: {}\n\n", "alive", self.cursor.id()));
    }
}
