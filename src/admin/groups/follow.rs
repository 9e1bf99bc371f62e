//! Members of a group, then its joins and leaves, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::groups::member::GroupMember;
use crate::admin::problem::Problem;
use crate::base::group::GroupName;
use crate::base::session_id::SessionId;
use crate::base::text::escape_json;
use crate::control::messages::{Batch, Messages, Place, Watcher};
use crate::core::http::event_stream::{EVENT_STREAM, last_event_id};
use crate::core::messages::presence::Change;

/// Between two signs of life on a stream without events.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a client waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 2_000;
/// Most members in one event.
const PAGE_MAX: usize = 500;

/// The data of the event `members`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MembersEvent {
    /// In the order of the sessions' ids. The first event of a list replaces what came before, the
    /// next ones add to it.
    members: Vec<GroupMember>,
    /// Whether it is the first event of a list.
    first: bool,
    /// Whether the list goes on in the next event.
    more: bool,
    /// How many members there are in all.
    count: usize,
    /// Nodes whose members are known.
    nodes: usize,
    /// Live nodes whose members are not known yet: theirs come as joins.
    nodes_missing: usize,
    /// Whether members are left out because there are too many.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

/// The answer of a stream: members, then joins and leaves.
///
/// # Errors
/// When too much is watched already.
pub(crate) fn stream(
    hub: &Messages,
    group: &GroupName,
    (owner, headers): (&str, &HeaderMap),
) -> Result<Response, Problem> {
    let watcher = hub.watch(group, owner).ok_or_else(|| {
        let detail = "as many groups are watched as may be; try again later";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    let last = last_event_id(headers).and_then(|id| id.parse().ok());
    let known = last.filter(|place| watcher.read(*place) != Batch::Lost);
    let follower = Follower {
        watcher,
        state: match known {
            Some(place) => Follow::Changes(place),
            None => Follow::Begin,
        },
        begun: false,
    };
    let body = unfold(follower, |mut follower| async {
        let text = follower.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), follower))
    });
    let kind = [(CONTENT_TYPE, EVENT_STREAM)];
    Ok((kind, Body::from_stream(body)).into_response())
}

/// A client of the stream.
struct Follower {
    watcher: Watcher,
    state: Follow,
    /// The first text was sent.
    begun: bool,
}

/// What it gets next.
#[derive(Clone, Copy)]
enum Follow {
    /// The first members, when those of all nodes are known.
    Begin,
    /// Further members, and then what changed since this place.
    Members(Place, Option<SessionId>),
    /// What changed since this place.
    Changes(Place),
}

impl Follower {
    /// The next text to send; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        if !self.begun {
            self.begun = true;
            return Some(format!("retry: {RETRY_MS}\n: alive\n\n"));
        }
        loop {
            match self.state {
                Follow::Begin => {
                    self.watcher.ready().await;
                    let place = self.watcher.place();
                    return Some(self.members(place, None));
                }
                Follow::Members(place, after) => return Some(self.members(place, after)),
                Follow::Changes(place) => {
                    self.watcher.mark();
                    match self.watcher.read(place) {
                        Batch::Lost => self.state = Follow::Begin,
                        Batch::Changes(changes) if !changes.is_empty() => {
                            return Some(self.changes(changes));
                        }
                        Batch::Changes(_) => {
                            if !self.watcher.changed(HEARTBEAT).await {
                                return None;
                            }
                            // Also at a change that shows nothing: it costs a client little.
                            if matches!(self.watcher.read(place), Batch::Changes(all) if all.is_empty())
                            {
                                return Some(": alive\n\n".to_owned());
                            }
                        }
                    }
                }
            }
        }
    }

    /// Members behind `after`. Changes since `place` may be in them; they follow once more, which
    /// comes to the same.
    fn members(&mut self, place: Place, after: Option<SessionId>) -> String {
        let view = self.watcher.members(after, PAGE_MAX);
        let last = view.members.last().map(|member| member.id);
        self.state = match view.more {
            true => Follow::Members(place, last),
            false => Follow::Changes(place),
        };
        let members = view
            .members
            .iter()
            .map(|member| GroupMember::from(&**member));
        let event = MembersEvent {
            members: members.collect(),
            first: after.is_none(),
            more: view.more,
            count: view.count,
            nodes: view.nodes,
            nodes_missing: view.nodes_missing,
            cut: view.cut,
        };
        // A client that connects again in the middle of a list gets it from the begin.
        let id = match view.more {
            true => String::new(),
            false => format!("id: {place}\n"),
        };
        format!("event: members\n{id}data: {}\n\n", json(&event))
    }

    fn changes(&mut self, changes: Vec<(Place, Change)>) -> String {
        let mut text = String::new();
        for (place, change) in changes {
            self.state = Follow::Changes(place);
            let (name, member) = match &change {
                Change::Join(member) => ("join", member),
                Change::Leave(member) => ("leave", member),
            };
            let data = json(&GroupMember::from(&**member));
            text.push_str(&format!("event: {name}\nid: {place}\ndata: {data}\n\n"));
        }
        text
    }
}

fn json(data: &impl Serialize) -> String {
    let text = serde_json::to_string(data).expect("plain data serialises");
    // Control characters of a client must not steer a terminal.
    escape_json(&text).to_string()
}
