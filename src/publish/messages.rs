//! `POST /v1/messages`: one message, or a batch of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::problem::Problem;
use crate::base::clock;
use crate::base::message::Message;
use crate::base::target::Target;
use crate::control::messages::{Outcome, Published, Publishing, WAIT_MAX};
use crate::core::messages::delivery::{
    EXCEPT_MAX, MESSAGE_ID_MAX, Publication, Recipient, TARGETS_MAX,
};
use crate::publish::Publisher;
use crate::publish::body::JsonBody;
use crate::publish::guard::Caller;

/// Most messages of a batch.
const BATCH_MAX: usize = 1000;
/// Longest life of a message.
const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What is sent: one message, or a list of them, which are published in order.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a message, or a list of messages")]
pub(super) enum Sent {
    /// A batch of at most 1000.
    Batch(Vec<NewMessage>),
    /// One.
    One(Box<NewMessage>),
}

/// A message to publish.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMessage {
    /// Who gets it: `session:ID`, `principal:SUBJECT`, `group:NAME`, `route:NAME` or `all`. A
    /// session that several of them name gets it once.
    to: Vec<String>,
    /// Who of those does not.
    #[serde(default)]
    except: Vec<String>,
    /// The payload as text. Give `text` or `base64`.
    text: Option<String>,
    /// The payload in base64: a binary message, unless `content_type` is one of text.
    base64: Option<String>,
    /// The type of what `base64` holds. `text/…` and `application/json` make it a text message.
    content_type: Option<String>,
    /// Which side of each session.
    #[serde(default)]
    side: Side,
    /// The publisher's name of the message, at most 128 bytes. What is sent again with the same id
    /// within two minutes is not delivered again.
    id: Option<String>,
    /// It is not delivered later than after this time: `30s`, `5m`; at most a day.
    ttl: Option<String>,
    /// Wait so long at most for the counts of the other nodes: `500ms`, `2s`; at most 10 seconds.
    /// Not given: the answer counts the sessions of this node.
    wait: Option<String>,
}

/// A side of a session.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Side {
    /// The client.
    #[default]
    Client,
    /// The backend, which takes the message for one of the client's.
    Backend,
}

/// What became of a message.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct Answer {
    /// Sessions whose socket has it.
    delivered: u64,
    /// Sessions in whose queue it waits.
    queued: u64,
    /// Sessions that do not get it: full queue, ending session, unknown extension.
    dropped: u64,
    /// Nodes whose sessions are counted: this one, and with `wait` those that answered.
    nodes: usize,
    /// With `wait`: live nodes that did not answer in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes_missing: Option<usize>,
    /// Whether the broker has it for the other nodes; null without a broker.
    carried: Option<bool>,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_carried: Option<String>,
    /// A message with this id came before; nothing was delivered again.
    duplicate: bool,
    /// Workers that did not answer in time; their sessions are not counted.
    #[serde(skip_serializing_if = "is_zero")]
    unanswered: usize,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What became of a batch.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct BatchAnswer {
    /// One for each message, in order.
    results: Vec<BatchResult>,
}

/// What became of one message of a batch.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum BatchResult {
    /// It was published.
    Answer(Answer),
    /// It was not.
    Problem {
        /// As the status of a single message.
        status: u16,
        /// Why.
        detail: String,
    },
}

pub(super) async fn publish(
    State(publisher): State<Arc<Publisher>>,
    Extension(caller): Extension<Caller>,
    JsonBody(sent): JsonBody<Sent>,
) -> Result<Response, Problem> {
    match sent {
        Sent::One(message) => {
            let publishing = publish_one(&publisher, &caller, *message).await?;
            Ok(Json(answer(publishing.complete().await)).into_response())
        }
        Sent::Batch(messages) => {
            if messages.len() > BATCH_MAX {
                let detail = format!("a batch has at most {BATCH_MAX} messages");
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
            }
            let mut begun = Vec::with_capacity(messages.len());
            for message in messages {
                begun.push(publish_one(&publisher, &caller, message).await);
            }
            // All are in order now; workers and other nodes count meanwhile.
            let mut results = Vec::with_capacity(begun.len());
            for publishing in begun {
                results.push(match publishing {
                    Ok(publishing) => BatchResult::Answer(answer(publishing.complete().await)),
                    Err(problem) => BatchResult::Problem {
                        status: problem.status().as_u16(),
                        detail: problem.detail().to_owned(),
                    },
                });
            }
            Ok(Json(BatchAnswer { results }).into_response())
        }
    }
}

async fn publish_one(
    publisher: &Publisher,
    caller: &Caller,
    message: NewMessage,
) -> Result<Publishing, Problem> {
    let (mut publication, wait) = read(message, publisher.settings.message_bytes)?;
    for target in publication.to.iter().chain(&publication.except) {
        caller.check(target)?;
    }
    // Publishers do not share ids.
    let id = publication.id.take();
    publication.id = id.map(|id| format!("{}:{id}", caller.name()).into());
    let publishing = publisher.messages.publish(publication, wait).await;
    tracing::debug!(publisher = caller.name(), "message published");
    Ok(publishing)
}

fn answer(published: Published) -> Answer {
    match published {
        Published::Duplicate => Answer {
            duplicate: true,
            nodes: 1,
            ..Answer::default()
        },
        Published::Done(Outcome {
            counts,
            unanswered,
            carried,
            nodes,
            nodes_missing,
        }) => Answer {
            delivered: counts.delivered,
            queued: counts.queued,
            dropped: counts.dropped,
            nodes,
            nodes_missing,
            carried: carried.as_ref().map(Result::is_ok),
            not_carried: carried.and_then(Result::err).map(|why| why.to_string()),
            duplicate: false,
            unanswered,
        },
    }
}

/// What is published, and how long the publisher waits for the counts of other nodes.
type Read = (Publication, Option<Duration>);

fn read(message: NewMessage, bytes_max: usize) -> Result<Read, Problem> {
    let NewMessage {
        to,
        except,
        text,
        base64,
        content_type,
        side,
        id,
        ttl,
        wait,
    } = message;
    if to.is_empty() {
        let detail = "to: name at least one target, `group:lobby` for example";
        return Err(Problem::bad_request(detail));
    }
    let message = payload(text, base64, content_type.as_deref())?;
    if message.len() > bytes_max {
        let detail = format!(
            "the payload has {} bytes; `publish.message_bytes` allows {bytes_max}",
            message.len()
        );
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let wait = wait.map(|wait| waiting(&wait)).transpose()?;
    let publication = Publication {
        id: id.map(|id| message_id(&id)).transpose()?,
        to: targets("to", &to, TARGETS_MAX)?,
        except: targets("except", &except, EXCEPT_MAX)?,
        side: match side {
            Side::Client => Recipient::Client,
            Side::Backend => Recipient::Backend,
        },
        message,
        expires: ttl.map(|ttl| expires(&ttl)).transpose()?,
    };
    Ok((publication, wait))
}

fn waiting(text: &str) -> Result<Duration, Problem> {
    let wait = humantime::parse_duration(text);
    let wait = wait.map_err(|error| Problem::bad_request(format!("wait: {error}; write `1s`")))?;
    match wait <= WAIT_MAX {
        true => Ok(wait),
        false => Err(Problem::bad_request("wait: give at most 10 seconds")),
    }
}

fn payload(
    text: Option<String>,
    base64: Option<String>,
    content_type: Option<&str>,
) -> Result<Message, Problem> {
    match (text, base64) {
        (Some(text), None) => Ok(Message::Text(text.into())),
        (None, Some(base64)) => {
            let bytes = STANDARD.decode(base64);
            let bytes = bytes.map_err(|error| Problem::bad_request(format!("base64: {error}")))?;
            let kind = content_type.unwrap_or_default();
            if !kind.starts_with("text/") && !kind.starts_with("application/json") {
                return Ok(Message::Binary(bytes.into()));
            }
            let text = String::from_utf8(bytes);
            let text = text.map_err(|_| {
                Problem::bad_request(
                    "base64: by its `content_type` it is text, but it is not UTF-8",
                )
            })?;
            Ok(Message::Text(text.into()))
        }
        _ => Err(Problem::bad_request("give `text` or `base64`")),
    }
}

fn message_id(id: &str) -> Result<Arc<str>, Problem> {
    // `~` begins the ids that gateways give.
    if id.is_empty() || id.len() > MESSAGE_ID_MAX || id.starts_with('~') {
        let detail = format!("id: give 1 to {MESSAGE_ID_MAX} bytes that do not begin with `~`");
        return Err(Problem::bad_request(detail));
    }
    Ok(id.into())
}

fn targets(key: &str, texts: &[String], most: usize) -> Result<Vec<Target>, Problem> {
    if texts.len() > most {
        return Err(Problem::bad_request(format!(
            "{key}: name at most {most} targets"
        )));
    }
    let parse = |text: &String| {
        let target = text.parse::<Target>();
        target.map_err(|error| Problem::bad_request(format!("{key}: `{text}`: {error}")))
    };
    texts.iter().map(parse).collect()
}

/// When a life of this length ends.
fn expires(ttl: &str) -> Result<SystemTime, Problem> {
    let ttl = humantime::parse_duration(ttl);
    let ttl = ttl.map_err(|error| Problem::bad_request(format!("ttl: {error}; write `30s`")))?;
    if ttl.is_zero() || ttl > TTL_MAX {
        return Err(Problem::bad_request(
            "ttl: give more than nothing and at most a day",
        ));
    }
    Ok(clock::wall() + ttl)
}

#[cfg(test)]
mod tests;
