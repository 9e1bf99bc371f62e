//! The life of a client's connection.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::timeout;

use crate::core::limits::LoadPermit;
use crate::io::net::listener::Incoming;
use crate::proxy::context::connection_lease::ConnectionLease;
use crate::proxy::session::begin::{self, ClientEnd};
use crate::proxy::session::registry::Sessions;
use crate::proxy::stages::answer::AfterSwitch;
use crate::proxy::transport::closing::close;
use crate::proxy::transport::http1;
use crate::proxy::transport::opening::open;

/// How long a client has to answer the close frame of a refused upgrade.
const CLOSE_FRAME_WAIT: Duration = Duration::from_secs(2);

/// Serves a connection to its end, or until it becomes a session.
pub(crate) async fn serve(
    sessions: Rc<Sessions>,
    listener: usize,
    incoming: Incoming,
    mut lease: ConnectionLease,
    handshake: Option<LoadPermit>,
) {
    let worker = sessions.worker();
    let opened = open(worker, listener, incoming, &mut lease).await;
    drop(handshake);
    let opened = match opened {
        Ok(opened) => opened,
        Err(fault) => {
            let context = &worker.shared.listeners[listener];
            fault.count(worker, &context.metrics);
            tracing::debug!(listener = %context.config.name, %fault, "connection not opened");
            return;
        }
    };
    let (client, carrier) = opened.into_client(worker, listener);
    let mut ended = http1::speak(client, carrier).await;
    match ended.then {
        Some(AfterSwitch::Session(session)) => {
            let (granted, report) = *session;
            report.discard();
            let client = ClientEnd {
                carrier: ended.carrier,
                early: ended.early,
                unsent: ended.unsent,
                lease,
            };
            begin::start(&sessions, granted, client);
        }
        _ if ended.abrupt => ended.carrier.abort(),
        then => {
            if let Some(AfterSwitch::CloseFrame(close_frame)) = then {
                // Do not wait longer for a client that ignores the close frame.
                let sent = close_frame.send(&mut ended.carrier);
                let _ = timeout(CLOSE_FRAME_WAIT, sent).await;
            }
            close(worker, ended.carrier, ended.last_words, ended.unread).await;
        }
    }
}
