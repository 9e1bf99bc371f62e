//! From the first byte to a connection with its channels, its exchange and its queue.

use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};

use crate::config::snapshot::{Broker, BrokerServer, SignIn};
use crate::io::broker::drive::Connect;
use crate::io::broker::rabbitmq::session::{BINDINGS, FOREIGN, OWN, Session, refusal};
use crate::io::broker::rabbitmq::wire::{
    FRAME_MAX, HEARTBEAT, METHOD, Method, NOT_AMQP, Reader, frame, put_int_field, put_long,
    put_method, put_short, put_table, put_text_field, put_true_field,
};
use crate::io::service::fault::Fault;
use crate::io::service::wire::Wire;

/// Seconds; the server sends a sign of life in half of it.
const HEARTBEAT_SECONDS: u16 = 3;
/// What waits in the queue while the connection is slow; older messages are dropped then.
const QUEUE_MESSAGES_MAX: i32 = 4096;
const QUEUE_BYTES_MAX: i32 = 32 * 1024 * 1024;

/// Makes connections.
pub(in crate::io::broker) struct RabbitMq {
    settings: Broker,
    node: Arc<str>,
}

impl RabbitMq {
    pub(in crate::io::broker) fn new(settings: Broker, node: Arc<str>) -> Self {
        Self { settings, node }
    }

    fn start_ok(&self, out: &mut BytesMut) {
        let (user, password) = match &self.settings.sign_in {
            SignIn::Password(user, password) => (user.as_str(), password.reveal()),
            // What a fresh RabbitMQ lets in from its own machine.
            SignIn::Open | SignIn::Token(_) => ("guest", "guest"),
        };
        put_method(out, 0, (10, 11), |out| {
            put_table(out, |out| {
                put_text_field(out, "product", "Sessile");
                put_text_field(out, "version", env!("CARGO_PKG_VERSION"));
                put_text_field(out, "connection_name", &format!("sessile {}", self.node));
                put_short(out, "capabilities");
                out.put_u8(b'F');
                put_table(out, |out| {
                    put_true_field(out, "authentication_failure_close");
                    put_true_field(out, "connection.blocked");
                    put_true_field(out, "consumer_cancel_notify");
                });
            });
            put_short(out, "PLAIN");
            put_long(out, format!("\0{user}\0{password}").as_bytes());
            put_short(out, "en_US");
        });
    }
}

impl Connect for RabbitMq {
    type Protocol = Session;

    async fn sign_in(
        &self,
        mut wire: Wire,
        server: &BrokerServer,
    ) -> Result<(Wire, Session), Fault> {
        if server.encrypted {
            wire = wire.secure(&self.settings.tls, &server.address).await?;
        }
        wire.send(b"AMQP\0\0\x09\x01").await?;
        let mut out = BytesMut::new();
        expect(&mut wire, (10, 10)).await?;
        self.start_ok(&mut out);
        ask(&mut wire, &mut out).await?;
        let tune = expect(&mut wire, (10, 30)).await?;
        let mut tune = Reader(&tune);
        let (channels, frame_max) = (tune.u16(), tune.u32());
        let (channels, frame_max) = (channels.ok_or(NOT_AMQP)?, frame_max.ok_or(NOT_AMQP)?);
        if channels != 0 && channels < FOREIGN {
            return Err(Fault::Unfit("the server allows fewer than three channels"));
        }
        // Zero is no bound; no server may go below 4,096.
        let frame_max = match frame_max {
            0 => FRAME_MAX,
            bound => bound.clamp(4096, FRAME_MAX),
        };
        put_method(&mut out, 0, (10, 31), |out| {
            out.put_u16(FOREIGN);
            out.put_u32(frame_max);
            out.put_u16(HEARTBEAT_SECONDS);
        });
        put_method(&mut out, 0, (10, 40), |out| {
            put_short(out, &server.virtual_host);
            put_short(out, "");
            out.put_u8(0);
        });
        ask(&mut wire, &mut out).await?;
        expect(&mut wire, (10, 41)).await?;
        let queue = format!("{}.node.{:016x}", self.settings.prefix, fastrand::u64(..));
        self.prepare(&mut wire, &mut out, &queue).await?;
        let session = Session::new(&self.settings.prefix, queue, frame_max as usize);
        Ok((wire, session))
    }
}

impl RabbitMq {
    /// Opens the channels and declares what they use.
    async fn prepare(&self, wire: &mut Wire, out: &mut BytesMut, queue: &str) -> Result<(), Fault> {
        for channel in [OWN, BINDINGS, FOREIGN] {
            put_method(out, channel, (20, 10), |out| put_short(out, ""));
            ask(wire, out).await?;
            expect(wire, (20, 11)).await?;
        }
        for channel in [OWN, FOREIGN] {
            put_method(out, channel, (85, 10), |out| out.put_u8(0));
            ask(wire, out).await?;
            expect(wire, (85, 11)).await?;
        }
        put_method(out, OWN, (40, 10), |out| {
            out.put_u16(0);
            put_short(out, &self.settings.prefix);
            put_short(out, "topic");
            // Durable, so that it need not be made again after a restart of the server.
            out.put_u8(0b0000_0010);
            put_table(out, |_| {});
        });
        ask(wire, out).await?;
        expect(wire, (40, 11)).await?;
        put_method(out, OWN, (50, 10), |out| {
            out.put_u16(0);
            put_short(out, queue);
            // Exclusive, and deleted with its consumer.
            out.put_u8(0b0000_1100);
            put_table(out, |out| {
                put_int_field(out, "x-max-length", QUEUE_MESSAGES_MAX);
                put_int_field(out, "x-max-length-bytes", QUEUE_BYTES_MAX);
                put_text_field(out, "x-overflow", "drop-head");
            });
        });
        ask(wire, out).await?;
        expect(wire, (50, 11)).await?;
        put_method(out, OWN, (60, 20), |out| {
            out.put_u16(0);
            put_short(out, queue);
            put_short(out, "");
            // Without acknowledgements: at most once.
            out.put_u8(0b0000_0010);
            put_table(out, |_| {});
        });
        ask(wire, out).await?;
        expect(wire, (60, 21)).await?;
        Ok(())
    }
}

async fn ask(wire: &mut Wire, out: &mut BytesMut) -> Result<(), Fault> {
    Ok(wire.send(&out.split()).await?)
}

/// The fields of the next method, which must be this one.
async fn expect(wire: &mut Wire, expected: Method) -> Result<Vec<u8>, Fault> {
    loop {
        // A server that speaks another version sends its own header and closes.
        if wire.input.starts_with(b"AMQP") {
            return Err(Fault::Unfit("the server does not speak AMQP 0-9-1"));
        }
        if let Some(found) = frame(&wire.input)? {
            let (kind, size) = (found.kind, found.size);
            let mut fields = Reader(found.payload);
            let method = (kind == METHOD).then(|| fields.method()).flatten();
            let fields = fields.0.to_vec();
            wire.input.advance(size);
            match method {
                Some(method) if method == expected => return Ok(fields),
                Some((10, 50) | (20, 40)) => return Err(refusal(&fields)),
                None if kind == HEARTBEAT => {}
                _ => return Err(NOT_AMQP),
            }
            continue;
        }
        wire.read_more().await?;
    }
}
