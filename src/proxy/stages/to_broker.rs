//! The stage "connect" of a route without a backend: the gateway itself grants the session, and
//! publishes what the client sends at the broker.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue};

use crate::core::http::forwarded::SESSILE_SESSION;
use crate::core::wire::handshake::{self, Granted, Upgrade};
use crate::io::broker::Sender;
use crate::io::ends::LocalEnd;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::placed::Placed;
use crate::proxy::stages::answer::Answer;
use crate::proxy::stages::local_grant::{check_open, grant_local};
use crate::proxy::stages::pass_on::add_cookie;
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
    let fields = fields(&placed, offer);
    let subprotocol = fields.get(SEC_WEBSOCKET_PROTOCOL);
    let granted = Granted {
        subprotocol: subprotocol.and_then(|name| name.to_str().ok().map(Into::into)),
        compressed: false,
        extensions: Vec::new(),
    };
    note_not_subscribed(&placed);
    let mut setup = setup(&placed, &granted, None, &Bytes::new());
    let end = match sender {
        Some(sender) => {
            let rules = &mut setup.client_rules;
            let most = sender.message_max() as u64;
            rules.message_bytes = rules.message_bytes.min(most);
            rules.frame_bytes = rules.frame_bytes.min(most);
            LocalEnd::publishing(Arc::new(sender), Arc::clone(&worker.shared.outlet))
        }
        None => LocalEnd::listening(),
    };
    Ok(grant_local(placed, (&granted, fields), (setup, end), None))
}

/// The fields of the 101. No extension is accepted, so nothing is compressed.
fn fields(placed: &Placed<'_>, offer: &Upgrade) -> HeaderMap {
    let mut fields = HeaderMap::new();
    handshake::set_upgrade(&mut fields);
    let plain = |bytes: &[u8]| HeaderValue::from_bytes(bytes).expect("base64 stands in a header");
    let accept = handshake::accept_key(offer.key());
    fields.insert(SEC_WEBSOCKET_ACCEPT, plain(&accept));
    fields.insert(&SESSILE_SESSION, plain(&placed.received.id.encode()));
    if let Some(name) = subprotocol(placed, offer) {
        fields.insert(SEC_WEBSOCKET_PROTOCOL, name);
    }
    add_cookie(&mut fields, placed);
    fields
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
    let id = placed.received.id.encode();
    let principal = placed.principal.as_ref();
    Ok(Some(Sender {
        name: name.map_err(Refusal::NoBrokerName)?,
        session: String::from_utf8_lossy(&id).into_owned(),
        route: placed.route.config.name.to_string(),
        principal: principal.map(|one| Arc::clone(&one.subject)),
        groups: placed.groups.iter().map(ToString::to_string).collect(),
        envelope: publish.envelope,
        wait: publish.wait,
        drops: publish.drops,
    }))
}
