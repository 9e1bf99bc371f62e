//! What the system tells the gateway, and what it then does.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::base::clock;
use crate::control::supervisor::Supervisor;
use crate::live::{Live, Phase};
use crate::telemetry::records::Records;

/// What the system may tell the gateway.
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

    /// Says for a time that no more clients will be taken before none are; another signal cuts
    /// that short.
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

    /// Carries out SIGHUP until it is time to stop.
    pub(super) async fn serve_until_stop(&mut self, supervisor: &Supervisor, records: &Records) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {
                    records.reopen();
                    // What is wrong has been logged, and is shown.
                    let _ = supervisor.reload().await;
                }
            }
        }
    }
}
