//! The hand-over from the process before this one and to the next one, and what the service manager
//! is notified of.

use std::io;
use std::sync::Arc;

use sd_notify::NotifyState;

use crate::control::handover::{self, Handover, HandoverOutcome, HandoverRequest, OperatorOrders};
use crate::control::messages::Messages;
use crate::control::revocations::RevocationStore;
use crate::control::supervisor::Supervisor;
use crate::control::ticket_keys::TicketKeyStore;
use crate::io::net::listener::{self, Owner};
use crate::proxy::worker::Shared;

pub(super) fn operator_orders(
    supervisor: &Supervisor,
    revocations: &Arc<RevocationStore>,
) -> OperatorOrders {
    OperatorOrders {
        revocations: Arc::clone(revocations),
        drainer: Arc::clone(supervisor.drainer()),
    }
}

/// The successor of this process, and the notifications of the service manager.
pub(super) struct HandoverLifecycle(Option<handover::Running>);

impl HandoverLifecycle {
    /// The gateway accepts clients; takes over from the process before, if there is one.
    pub(super) fn begin(
        handover: Option<Handover>,
        shared: &Shared,
        kept: (OperatorOrders, Option<Arc<Messages>>),
    ) -> Self {
        let Some(handover) = handover else {
            notify(&[NotifyState::Ready]);
            return Self(None);
        };
        let took_over = handover.takes_over();
        // Only when the other process has ended its part: a manager that sees its main process fail
        // restarts it.
        let ready = move || match took_over {
            true => notify(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]),
            false => notify(&[NotifyState::Ready]),
        };
        let (live, node) = (Arc::clone(&shared.live), Arc::clone(&shared.node));
        Self(Some(handover.start(live, kept, node, ready)))
    }

    /// Waits until another process has this one's place; for ever if none takes it.
    pub(super) async fn outcome(&mut self) -> HandoverOutcome {
        match &mut self.0 {
            Some(running) => running.outcome().await,
            None => std::future::pending().await,
        }
    }

    /// The gateway stops. A process with a successor does not notify the manager that the service
    /// stops.
    pub(super) async fn end(self, outcome: Option<&HandoverOutcome>) {
        if let Some(running) = self.0 {
            running.stop().await;
        }
        if outcome.is_none() {
            notify(&[NotifyState::Stopping]);
        }
    }
}

/// Notifies the service manager, if there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

type Shares = Vec<(Owner, io::Result<listener::Bound>)>;

pub(super) fn settle(
    request: &mut HandoverRequest,
    shares: Shares,
    ticket_keys: &Arc<TicketKeyStore>,
) -> anyhow::Result<Handover> {
    let shares = shares
        .into_iter()
        .map(|(owner, socket)| Ok((owner, socket?)));
    let shares = shares.collect::<io::Result<_>>()?;
    Ok(request.settle(shares, Arc::clone(ticket_keys))?)
}
