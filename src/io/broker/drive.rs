//! A protocol that runs over one connection: subscribes to what is wanted, moves bytes and notices
//! when the server is gone. What the bytes mean is the protocol's business.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::snapshot::{Broker, BrokerServer};

use crate::io::broker::link::{Link, Protocol};
use crate::io::broker::reconnect::{BrokerClient, keep_connected};
use crate::io::broker::{DriverEnd, Outgoing};
use crate::io::service::fault::Fault;
use crate::io::service::wire::{Stream, Wire};

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
pub(super) async fn drive(end: DriverEnd, settings: Broker, connect: impl Connect) {
    let client = Single {
        settings: settings.clone(),
        connect,
    };
    keep_connected(end, settings, client).await;
}

/// A broker to which one connection is enough.
struct Single<C> {
    settings: Broker,
    connect: C,
}

impl<C: Connect> BrokerClient for Single<C> {
    type Link = (Wire, C::Protocol);

    async fn connect(&self, server: &BrokerServer) -> Result<Self::Link, Fault> {
        let wire = Wire::connect(&server.address, self.settings.connect_timeout).await?;
        self.connect.sign_in(wire, server).await
    }

    async fn serve(&self, end: &mut DriverEnd, link: Self::Link) -> Result<(), Fault> {
        run(end, link).await
    }
}

/// Carries messages over one connection. Returns without a fault when the last publisher is gone.
pub(super) async fn run(
    end: &mut DriverEnd,
    (wire, protocol): (Wire, impl Protocol),
) -> Result<(), Fault> {
    let mut link = Link::new(end.incoming.clone());
    let ended = serve(end, wire, protocol, &mut link).await;
    link.pending.lost();
    ended
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
    process_input(&mut protocol, &mut input, link)?;
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
                process_input(&mut protocol, &mut input, link)?;
                report_refusals(end, link);
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
fn process_input(
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
    if message.confirm.is_closed() {
        return;
    }
    let number = link.pending.last() + 1;
    let written = protocol.publish(&message, number, link);
    match written {
        Ok(()) => {
            link.pending.push(message.confirm);
        }
        Err(refused) => {
            let _ = message.confirm.send(Err(refused));
        }
    }
}

fn report_refusals(end: &DriverEnd, link: &mut Link) {
    if let Some(refused) = link.refused.take() {
        end.status
            .send_modify(|status| status.error = Some(refused));
    }
}
