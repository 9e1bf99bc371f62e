//! Keeps a connection to a broker: connects with backoff, subscribes to what is wanted, moves bytes
//! and notices when the server is gone. What the bytes mean is the protocol's business.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::config::snapshot::{Broker, BrokerServer};
use crate::io::broker::dial::{Stream, Wire};
use crate::io::broker::fault::Fault;
use crate::io::broker::link::{Link, Protocol};
use crate::io::broker::{BrokerStatus, DriverEnd, NotCarried, Outgoing};

const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Bytes to be sent from which on no further message is taken.
const OUT_MAX: usize = 256 * 1024;
/// Messages that the broker has not confirmed from which on no further one is sent.
const PENDING_MAX: usize = 4096;
/// How often life is looked for.
const TICK: Duration = Duration::from_secs(1);
/// Ticks without a byte of the server, after which it counts as gone.
const SILENT_TICKS_MAX: u32 = 4;
/// Free room for each read.
const READ_BYTES: usize = 64 * 1024;

/// Makes connections of one protocol.
pub(super) trait Connect: Send + Sync {
    /// What is spoken once the sign-in is over.
    type Protocol: Protocol;

    /// Signs in. The caller bounds the time.
    fn sign_in(
        &self,
        wire: Wire,
        server: &BrokerServer,
    ) -> impl Future<Output = Result<(Wire, Self::Protocol), Fault>> + Send;
}

/// Drives a broker until its last [`Broker`](super::Broker) is dropped.
pub(super) async fn drive(mut end: DriverEnd, settings: Broker, connect: impl Connect) {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    // Gateways that start together spread over the servers.
    let mut turn = fastrand::usize(..);
    loop {
        let server = &settings.servers[turn % settings.servers.len()];
        turn = turn.wrapping_add(1);
        let attempt = attempt(&settings, server, &connect);
        let Some(connected) = refusing(&mut end.outgoing, attempt).await else {
            return;
        };
        let fault = match connected {
            Ok((wire, protocol)) => {
                set_connected(&end, server);
                let began = clock::now();
                let mut link = Link::new(end.incoming.clone());
                let ended = serve(&mut end, wire, protocol, &mut link).await;
                link.pending.lost();
                let Err(fault) = ended else { return };
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

async fn attempt<C: Connect>(
    settings: &Broker,
    server: &BrokerServer,
    connect: &C,
) -> Result<(Wire, C::Protocol), Fault> {
    let attempt = async {
        let wire = Wire::connect(settings, server).await?;
        connect.sign_in(wire, server).await
    };
    let within = settings.connect_timeout;
    let done = timeout(within, attempt).await;
    done.unwrap_or(Err(Fault::Late(within)))
}

/// Refuses what is to be published until `work` is done. `None` if there is no publisher any more.
async fn refusing<T>(
    outgoing: &mut tokio::sync::mpsc::Receiver<Outgoing>,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            message = outgoing.recv() => {
                let _ = message?.taken.send(Err(NotCarried::NotConnected));
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

type Reader = ReadHalf<Box<dyn Stream>>;
type Writer = WriteHalf<Box<dyn Stream>>;

/// Returns without a fault when the last publisher is gone.
async fn serve(
    end: &mut DriverEnd,
    wire: Wire,
    mut protocol: impl Protocol,
    link: &mut Link,
) -> Result<(), Fault> {
    let (mut reader, mut writer): (Reader, Writer) = tokio::io::split(wire.stream);
    let mut input = wire.input;
    let mut wanted = end.wanted.watch();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut silent_ticks, mut unflushed) = (0, false);
    for topic in end.wanted.take_all() {
        protocol.subscribe(topic, link);
    }
    understand(&mut protocol, &mut input, link)?;
    loop {
        input.reserve(READ_BYTES);
        let flushes = link.out.is_empty();
        let sends = unflushed || !flushes;
        let takes = link.out.len() < OUT_MAX && link.pending.len() < PENDING_MAX;
        tokio::select! {
            read = reader.read_buf(&mut input) => {
                if read? == 0 {
                    return Err(Fault::Closed);
                }
                silent_ticks = 0;
                understand(&mut protocol, &mut input, link)?;
                show_refusals(end, link);
            }
            sent = send(&mut writer, &mut link.out), if sends => {
                sent?;
                unflushed = !flushes;
            }
            message = end.outgoing.recv(), if takes => {
                let Some(message) = message else {
                    return Ok(());
                };
                publish(&mut protocol, message, link);
                while link.out.len() < OUT_MAX && link.pending.len() < PENDING_MAX
                    && let Ok(message) = end.outgoing.try_recv()
                {
                    publish(&mut protocol, message, link);
                }
                protocol.settle(link);
            }
            // The driver's own end holds the sender.
            _ = wanted.changed() => {
                for (topic, wanted) in end.wanted.take_changes() {
                    match wanted {
                        true => protocol.subscribe(topic, link),
                        false => protocol.unsubscribe(&topic, link),
                    }
                }
            }
            _ = tick.tick() => {
                if silent_ticks == SILENT_TICKS_MAX {
                    return Err(Fault::Silent);
                }
                silent_ticks += 1;
                // Unsent bytes show that the server does not read; more of them would not help.
                if link.out.len() < OUT_MAX {
                    protocol.ping(link);
                }
            }
        }
    }
}

/// Writes some bytes; once there are none, flushes, since TLS keeps a part of what was written.
/// It may be cancelled and called again.
async fn send(writer: &mut Writer, out: &mut BytesMut) -> io::Result<()> {
    if out.is_empty() {
        return writer.flush().await;
    }
    match writer.write_buf(out).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(()),
    }
}

/// Reads everything that is whole.
fn understand(
    protocol: &mut impl Protocol,
    input: &mut BytesMut,
    link: &mut Link,
) -> Result<(), Fault> {
    loop {
        let skipped = link.skip.min(input.len());
        input.advance(skipped);
        link.skip -= skipped;
        if input.is_empty() || link.skip > 0 || !protocol.read(input, link)? {
            return Ok(());
        }
    }
}

fn publish(protocol: &mut impl Protocol, message: Outgoing, link: &mut Link) {
    // Its publisher was told that it is not carried.
    if message.taken.is_closed() {
        return;
    }
    let number = link.pending.last() + 1;
    let written = protocol.publish(&message, number, link);
    match written {
        Ok(()) => {
            link.pending.push(message.taken);
        }
        Err(refused) => {
            let _ = message.taken.send(Err(refused));
        }
    }
}

fn show_refusals(end: &DriverEnd, link: &mut Link) {
    if let Some(refused) = link.refused.take() {
        end.status
            .send_modify(|status| status.error = Some(refused));
    }
}
