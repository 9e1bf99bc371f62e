//! The stage "connect" of a route without a backend: the gateway itself grants the session, and
//! publishes what the client sends at the broker.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

use crate::core::wire::handshake::Upgrade;
use crate::io::broker::Sender;
use crate::io::ends::LocalEnd;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::placed::Placed;
use crate::proxy::stages::answer::Answer;
use crate::proxy::stages::local_grant::{
    bound_messages, check_open, grant_local, granted, switch_fields,
};
use crate::proxy::stages::session_setup::setup;
use crate::proxy::stages::upgrade::note_not_subscribed;

/// Grants the session, whether the broker is connected or not.
///
/// # Errors
/// When it is no WebSocket, the gateway stops, or the request makes no name at the broker.
pub(crate) fn to_broker(
    mut placed: Placed<'_>,
    offer: Option<&Upgrade>,
) -> Result<Answer, Refusal> {
    let received = placed.received;
    let worker = &received.connection.worker;
    let offer = offer.ok_or(Refusal::OnlySessions)?;
    check_open(received)?;
    let sender = sender(&mut placed)?;
    let fields = switch_fields(&placed, offer, subprotocol(&placed, offer));
    let granted = granted(&fields);
    note_not_subscribed(&placed);
    let mut setup = setup(&placed, &granted, None, &Bytes::new());
    let end = match sender {
        Some(sender) => {
            bound_messages(&mut setup, sender.message_max() as u64);
            LocalEnd::publishing(Arc::new(sender), Arc::clone(&worker.shared.outlet))
        }
        None => LocalEnd::listening(),
    };
    Ok(grant_local(placed, (&granted, fields), (setup, end), None))
}

/// The first subprotocol of the client's that the route names; of a route that names none, the
/// first of all. Browsers fail a 101 that names none of those that they offered.
fn subprotocol(placed: &Placed<'_>, offer: &Upgrade) -> Option<HeaderValue> {
    let known = &placed.route.config.subprotocols;
    let mut offered = offer.subprotocols();
    let chosen = offered.find(|name| known.is_empty() || known.iter().any(|one| one == name));
    let chosen = chosen.and_then(|name| HeaderValue::from_str(name).ok());
    chosen.or_else(|| placed.subprotocol.clone())
}

/// Who sends, and under which name; `None` where clients only listen.
fn sender(placed: &mut Placed<'_>) -> Result<Option<Sender>, Refusal> {
    let publish = placed.route.config.messages.publish.as_ref();
    let Some((publish, name)) = publish.zip(placed.publish_name.take()) else {
        return Ok(None);
    };
    let principal = placed.principal.as_ref();
    Ok(Some(Sender {
        name: name.map_err(Refusal::NoBrokerName)?,
        session: placed.received.id.to_string(),
        route: placed.route.config.name.to_string(),
        principal: principal.map(|one| Arc::clone(&one.subject)),
        groups: placed.groups.iter().map(ToString::to_string).collect(),
        envelope: publish.envelope,
        wait: publish.wait,
        drops: publish.drops,
    }))
}
