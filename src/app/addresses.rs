//! Where the gateway listens.

use std::sync::Arc;

use crate::admin;
use crate::admin::api_socket::ApiSocket;
use crate::base::addr::{ListenAddr, OwnAddresses};
use crate::live::GatewayAddresses;
use crate::proxy::worker::ListenerContext;

/// Each listener with its addresses, for the log: `edge 0.0.0.0:8080, edge-tls [::]:8443`.
pub(super) fn listening(listeners: &[Arc<ListenerContext>]) -> String {
    let each = listeners.iter().map(|listener| {
        let addresses: Vec<_> = listener.addresses.iter().map(ToString::to_string).collect();
        format!("{} {}", listener.config.name, addresses.join(" "))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Where the gateway listens; a backend there would be a loop.
/// `handover` is the socket on which the process takes a successor's requests, if it has one.
pub(super) fn gateway_addresses(
    listeners: &[Arc<ListenerContext>],
    admin: &admin::server::Bound,
    publish: Option<&ApiSocket>,
    handover: Option<&ListenAddr>,
) -> GatewayAddresses {
    let listeners = listeners.iter().flat_map(|one| &one.addresses);
    let operators: Vec<_> = [admin.address()].into_iter().chain(handover).collect();
    let publish = publish.map(ApiSocket::address);
    let all = listeners.chain(operators.iter().copied()).chain(publish);
    GatewayAddresses {
        all: OwnAddresses::new(all.cloned().collect()),
        admin: OwnAddresses::new(operators.into_iter().cloned().collect()),
    }
}
