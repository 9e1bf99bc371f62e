//! Where the gateway listens.

use crate::admin;
use crate::base::addr::OwnAddresses;
use crate::live::Own;
use crate::proxy::worker::ListenerContext;

/// Each listener with its addresses, for the log: `edge 0.0.0.0:8080, edge-tls [::]:8443`.
pub(super) fn listening(listeners: &[ListenerContext]) -> String {
    let each = listeners.iter().map(|listener| {
        let addresses: Vec<_> = listener.addresses.iter().map(ToString::to_string).collect();
        format!("{} {}", listener.config.name, addresses.join(" "))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Where the gateway listens; a backend there would be a loop.
pub(super) fn own(listeners: &[ListenerContext], admin: &admin::server::Bound) -> Own {
    let admin = admin.address();
    let listeners = listeners.iter().flat_map(|one| &one.addresses);
    Own {
        all: OwnAddresses::new(listeners.chain([admin]).cloned().collect()),
        admin: OwnAddresses::new(vec![admin.clone()]),
    }
}
