//! Publishes a message to targets of the whole fleet, as a service could.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::Gateway;
use crate::admin::extract::{Body, Caller};
use crate::admin::orders;
use crate::admin::problem::Problem;
use crate::admin::sessions::send::{Recipient as Side, Sent, read};
use crate::base::target::Target;
use crate::control::messages::Published;
use crate::core::messages::delivery::{Publication, Recipient, TARGETS_MAX};
use crate::core::relay;
use crate::telemetry::events::Fields;

/// For the other gateways to count their sessions.
const WAIT: Duration = Duration::from_secs(3);

/// A message and its targets.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMessage {
    /// Who gets it: `session:ID`, `principal:SUBJECT`, `group:NAME`, `route:NAME` or `all`.
    targets: Vec<String>,
    /// Sent as a text message; at most 8 KiB.
    text: Option<String>,
    /// Sent as a binary message; at most 8 KiB when decoded.
    base64: Option<String>,
    /// To which side; the client if not given.
    #[serde(default)]
    to: Side,
}

/// What became of a message to targets.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PublishedView {
    /// Sessions whose socket has it.
    delivered: u64,
    /// Sessions in whose queue it waits, behind what their client has not read.
    queued: u64,
    /// Sessions that do not get it: full queue, ending session, unknown extension.
    dropped: u64,
    /// Gateways whose sessions are counted.
    nodes: usize,
    /// Live gateways that did not answer in time: their sessions may have it.
    nodes_missing: usize,
    /// Workers that did not answer in time; their sessions are not counted.
    unanswered: usize,
    /// Why the broker does not have it for the other gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_carried: Option<String>,
}

pub(super) async fn publish(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    Body(body): Body<NewMessage>,
) -> Result<(StatusCode, Json<PublishedView>), Problem> {
    let hub = gateway.messages.as_ref().ok_or_else(|| {
        let detail = "this gateway publishes no messages: `[publish]` is not configured";
        Problem::new(StatusCode::CONFLICT, detail)
    })?;
    if !(1..=TARGETS_MAX).contains(&body.targets.len()) {
        let detail = format!("targets: name 1 to {TARGETS_MAX}, `group:lobby` for example");
        return Err(Problem::bad_request(detail));
    }
    let parse = |text: &String| {
        let target = text.parse::<Target>();
        target.map_err(|error| Problem::bad_request(format!("targets: `{text}`: {error}")))
    };
    let to: Vec<_> = body.targets.iter().map(parse).collect::<Result<_, _>>()?;
    let sent = Sent {
        text: body.text,
        base64: body.base64,
        to: body.to,
    };
    let (message, side) = read(sent)?;
    let what = format!(
        "{} bytes to the {} of {}",
        message.len(),
        side.as_str(),
        body.targets.join(", ")
    );
    let publication = Publication {
        id: None,
        to,
        except: Vec::new(),
        side: match side {
            relay::Side::Client => Recipient::Client,
            relay::Side::Backend => Recipient::Backend,
        },
        message,
        expires: None,
    };
    let publishing = hub.publish(publication, Some(WAIT)).await;
    let Published::Done(outcome) = publishing.complete().await else {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "it was published before",
        ));
    };
    let counts = outcome.counts;
    let fields = Fields {
        sessions: Some(counts.delivered.saturating_add(counts.queued)),
        ..Fields::new(what)
    };
    orders::report(&gateway, &caller, "send", fields);
    let not_carried = outcome.carried.and_then(Result::err);
    let view = PublishedView {
        delivered: counts.delivered,
        queued: counts.queued,
        dropped: counts.dropped,
        nodes: outcome.nodes,
        nodes_missing: outcome.nodes_missing.unwrap_or_default(),
        unanswered: outcome.unanswered,
        not_carried: not_carried.map(|why| why.to_string()),
    };
    Ok((StatusCode::ACCEPTED, Json(view)))
}
