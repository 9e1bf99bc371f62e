//! Keeps a connection to a broker: one server after the other, with growing pauses, until the last
//! publisher is gone.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::config::snapshot::{Broker, BrokerServer};
use crate::io::broker::{BrokerStatus, DriverEnd, NotCarried, Outgoing};
use crate::io::service::fault::Fault;

const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Makes and serves the connections of one kind of broker.
pub(super) trait BrokerClient: Send + Sync {
    /// A connection that is signed in.
    type Link: Send;

    /// Connects and signs in. The caller bounds the time.
    fn connect(
        &self,
        server: &BrokerServer,
    ) -> impl Future<Output = Result<Self::Link, Fault>> + Send;

    /// Carries messages over a connection. Returns without a fault when the last publisher is gone.
    fn serve(
        &self,
        end: &mut DriverEnd,
        link: Self::Link,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// Drives a broker until its last [`Broker`](super::Broker) is dropped.
pub(super) async fn keep_connected(
    mut end: DriverEnd,
    settings: Broker,
    client: impl BrokerClient,
) {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    // Gateways that start together spread over the servers.
    let mut turn = fastrand::usize(..);
    let within = settings.connect_timeout;
    loop {
        let server = &settings.servers[turn % settings.servers.len()];
        turn = turn.wrapping_add(1);
        let attempt = timeout(within, client.connect(server));
        let Some(attempt) = refusing(&mut end.outgoing, attempt).await else {
            return;
        };
        let fault = match attempt.unwrap_or(Err(Fault::Late(within))) {
            Ok(link) => {
                set_connected(&end, server);
                let began = clock::now();
                let Err(fault) = client.serve(&mut end, link).await else {
                    return;
                };
                // A server that signs in and cuts at once is waited for like one that is gone.
                if began.elapsed() > BACKOFF.1 {
                    backoff.reset();
                }
                fault
            }
            Err(fault) => fault,
        };
        set_gone(&end, server, &fault);
        let pause = sleep(backoff.next(fastrand::f64()));
        if refusing(&mut end.outgoing, pause).await.is_none() {
            return;
        }
    }
}

/// Refuses what is to be published until `work` is done. `None` if there is no publisher any more.
async fn refusing<T>(
    outgoing: &mut mpsc::Receiver<Outgoing>,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            message = outgoing.recv() => {
                let _ = message?.confirm.send(Err(NotCarried::NotConnected));
            }
        }
    }
}

fn set_connected(end: &DriverEnd, server: &BrokerServer) {
    let server = &server.address;
    tracing::info!(%server, "the broker is connected");
    end.status.send_modify(|status| {
        *status = BrokerStatus {
            connected: true,
            since: clock::wall(),
            error: None,
            connects: status.connects + 1,
        };
    });
}

/// A fault that lasts is logged once.
fn set_gone(end: &DriverEnd, server: &BrokerServer, fault: &Fault) {
    let (error, server) = (fault.text(), &server.address);
    end.status.send_modify(|status| {
        if status.connected || status.error.as_ref() != Some(&error) {
            tracing::warn!(%server, error, "the broker is not connected");
        }
        if status.connected {
            status.since = clock::wall();
        }
        status.connected = false;
        status.error = Some(error);
    });
}
