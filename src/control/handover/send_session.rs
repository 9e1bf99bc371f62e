//! A session on its way to the new process: its state, its TLS states and its sockets.

use std::os::fd::AsFd as _;

use crate::io::handover::{FromOld, Wire, WireError};
use crate::live::{EndTransfer, SessionTransfer};

/// Sends a session.
pub(super) async fn send_session(
    wire: &mut Wire,
    transfer: &SessionTransfer,
) -> Result<(), WireError> {
    let SessionTransfer {
        id,
        state,
        client,
        backend,
    } = transfer;
    let client_tls = tls_state(client);
    let backend_tls = backend.as_ref().map(tls_state).unwrap_or_default();
    let lengths = (client_tls.len(), backend_tls.len());
    let message = FromOld::Session {
        id: *id,
        tls: (lengths != (0, 0)).then_some(lengths),
    };
    let mut sockets = vec![client.socket.as_fd()];
    sockets.extend(backend.as_ref().map(|backend| backend.socket.as_fd()));
    let attachment = [state.as_slice(), client_tls, backend_tls];
    wire.send(&message, &attachment, &sockets).await
}

/// Empty without TLS.
fn tls_state(end: &EndTransfer) -> &[u8] {
    end.tls
        .as_ref()
        .map(|tls| tls.as_slice())
        .unwrap_or_default()
}
