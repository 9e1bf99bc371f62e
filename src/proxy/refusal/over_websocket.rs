//! A refusal that scripts in browsers can read (`reject_with = "close"`): the upgrade is accepted
//! and closed at once, with code and reason. It does not reach a backend.

use std::io;

use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::snapshot::CredentialSource;
use crate::core::routing::Route;
use crate::core::wire::frame;
use crate::core::wire::handshake::{self, Upgrade};
use crate::io::carrier::Carrier;
use crate::proxy::refusal::Refusal;
use crate::proxy::streams::body::Outgoing;

/// What is needed to accept an upgrade without a backend.
pub(crate) struct Acceptance {
    key: HeaderValue,
    /// Browsers fail a 101 that names none of the subprotocols that they offered.
    subprotocol: Option<HeaderValue>,
}

/// A close frame to be sent after the 101.
pub(crate) struct CloseFrame(Vec<u8>);

impl Acceptance {
    /// The acceptance of this offer. A subprotocol that marks a credential goes before those of the
    /// application.
    pub(crate) fn of(offer: &Upgrade, route: &Route) -> Self {
        let markers = route.authenticators.iter().flat_map(|one| &one.config.from);
        let markers: Vec<_> = markers
            .filter_map(|source| match source {
                CredentialSource::Subprotocol(marker) => Some(marker.as_str()),
                _ => None,
            })
            .collect();
        let mut offered = offer.subprotocols();
        let marker = offered.find(|name| markers.contains(name));
        let name = marker.or_else(|| offer.subprotocols().next());
        let key = HeaderValue::from_bytes(&handshake::accept_key(offer.key()));
        Self {
            key: key.expect("base64 may stand in a header"),
            subprotocol: name.and_then(|name| HeaderValue::from_str(name).ok()),
        }
    }

    /// The 101, and the close frame that follows it.
    pub(crate) fn refuse<W>(self, refusal: &Refusal) -> (Response<Outgoing<W>>, CloseFrame) {
        let mut response = Response::new(Outgoing::Empty);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let fields = response.headers_mut();
        handshake::set_upgrade(fields);
        fields.insert(SEC_WEBSOCKET_ACCEPT, self.key);
        if let Some(name) = self.subprotocol {
            fields.insert(SEC_WEBSOCKET_PROTOCOL, name);
        }
        let frame = frame::close_frame(refusal.close_code(), &refusal.to_string(), None);
        (response, CloseFrame(frame))
    }
}

impl CloseFrame {
    /// Sends it and waits for the client's own, or for anything else.
    pub(crate) async fn send(self, carrier: &mut Carrier) -> io::Result<()> {
        carrier.write_all(&self.0).await?;
        carrier.flush().await?;
        let mut answer = [0; 256];
        carrier.read(&mut answer).await.map(drop)
    }
}
