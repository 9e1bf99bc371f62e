//! Handling of process signals.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::base::clock;
use crate::control::supervisor::{Origin, Supervisor};
use crate::live::{Live, Phase};
use crate::telemetry::records::Records;

/// The signals that the gateway handles.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// SIGTERM or SIGINT.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Enters [`Phase::Leaving`] for `delay`: the gateway reports that it is not ready but still
    /// accepts clients. Another signal ends the delay.
    pub(super) async fn leave(&mut self, live: &Live, delay: Duration) {
        if delay.is_zero() {
            return;
        }
        live.enter(Phase::Leaving);
        tracing::info!(sessions = live.workers().sessions(), delay = %clock::readable(delay), "not ready any more");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.stop() => {}
        }
    }

    /// Handles SIGHUP until SIGTERM or SIGINT arrives.
    pub(super) async fn serve_until_stop(&mut self, supervisor: &Supervisor, records: &Records) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {
                    records.reopen();
                    // `reload` has logged any faults, and the admin API shows them.
                    let _ = supervisor.reload(&Origin::signal()).await;
                }
            }
        }
    }
}
