//! One connection to one server: a request and its answer, one after the other.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::config::snapshot::{Broker, BrokerServer, SaslMechanism, SignIn};
use crate::io::broker::kafka::scram::{First, Hash};
use crate::io::broker::kafka::wire::{NOT_KAFKA, Name, Reader, put_text};
use crate::io::service::fault::{Fault, shown};
use crate::io::service::wire::Wire;

/// Largest answer. One batch comes whole, however large it is.
const ANSWER_MAX: usize = 16 * 1024 * 1024;
/// Bytes of records that one answer should have at most.
const FETCH_BYTES: i32 = 4 * 1024 * 1024;
/// How long a server keeps a request for records that are not there yet.
const FETCH_WAIT: Duration = Duration::from_millis(500);
/// Without a byte of an answer, after which the server counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// For the replicas of a partition to take a message.
const REPLICAS_MAX: Duration = Duration::from_secs(3);
const PARTITIONS_MAX: usize = 10_000;

/// Codes of errors (<https://kafka.apache.org/protocol#protocol_error_codes>).
pub(super) const NONE: i16 = 0;
pub(super) const OFFSET_OUT_OF_RANGE: i16 = 1;
pub(super) const UNKNOWN_TOPIC: i16 = 3;
pub(super) const NO_LEADER: i16 = 5;
pub(super) const TIMED_OUT: i16 = 7;
const TOO_LARGE: i16 = 10;
const NO_SUCH_NAME: i16 = 17;
const TOO_LARGE_BATCH: i16 = 18;
pub(super) const NO_PERMISSION: i16 = 29;
const NO_MECHANISM: i16 = 33;

/// What an error means, in words.
pub(super) fn meaning(code: i16) -> String {
    match code {
        UNKNOWN_TOPIC => "there is no such topic".to_owned(),
        TOO_LARGE | TOO_LARGE_BATCH => "it is larger than the server takes".to_owned(),
        NO_SUCH_NAME => "no topic can have that name".to_owned(),
        NO_PERMISSION => "no permission".to_owned(),
        code => format!("error {code} of Kafka"),
    }
}

/// A connection that is signed in.
pub(super) struct Connection {
    wire: Wire,
    client: Name,
    last: i32,
}

/// What a server says of the cluster and of one topic.
pub(super) struct Metadata {
    /// Servers by their number.
    pub(super) servers: HashMap<i32, BrokerServer>,
    pub(super) error: i16,
    /// The server that leads each partition.
    pub(super) leaders: Vec<i32>,
}

/// A partition, and the offset of the next record.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub(super) topic: Name,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// What was fetched of one partition.
pub(super) struct Fetched {
    pub(super) topic: Name,
    pub(super) partition: i32,
    pub(super) error: i16,
    pub(super) batches: Bytes,
}

impl Connection {
    /// Connects and signs in. The caller bounds the time.
    pub(super) async fn open(
        settings: &Broker,
        server: &BrokerServer,
        client: &Name,
    ) -> Result<Self, Fault> {
        let mut wire = Wire::connect(&server.address, settings.connect_timeout).await?;
        if server.encrypted {
            wire = wire.secure(&settings.tls, &server.address).await?;
        }
        let mut connection = Self {
            wire,
            client: Name::clone(client),
            last: 0,
        };
        if let SignIn::Password(user, password) = &settings.sign_in {
            let mechanism = settings.mechanism;
            connection
                .sign_in(mechanism, user, password.reveal())
                .await?;
        }
        Ok(connection)
    }

    async fn sign_in(
        &mut self,
        mechanism: SaslMechanism,
        user: &str,
        password: &str,
    ) -> Result<(), Fault> {
        let mut body = BytesMut::new();
        put_text(&mut body, mechanism.name());
        let answer = self.call((17, 1), &body).await?;
        match Reader(&answer).i16().ok_or(NOT_KAFKA)? {
            NONE => {}
            NO_MECHANISM => {
                return Err(Fault::Unfit(
                    "the server does not take this `mechanism` of SASL",
                ));
            }
            code => return Err(Fault::refused(&meaning(code))),
        }
        let Some(hash) = Hash::of(mechanism) else {
            let proof = Zeroizing::new(format!("\0{user}\0{password}"));
            return self.authenticate(proof.as_bytes()).await.map(drop);
        };
        let nonce = format!("{:032x}", u128::from_ne_bytes(random()?));
        let first = First::new(hash, user, nonce);
        let answer = self.authenticate(first.message().as_bytes()).await?;
        let text = std::str::from_utf8(&answer).map_err(|_| NOT_KAFKA)?;
        let proof = first.prove(text, password).ok_or(NOT_KAFKA)?;
        let answer = self.authenticate(proof.message.as_bytes()).await?;
        match std::str::from_utf8(&answer).is_ok_and(|text| proof.is_answered_by(text)) {
            true => Ok(()),
            false => Err(Fault::Unfit("the server does not know the user itself")),
        }
    }

    /// One message of the sign-in, and its answer.
    async fn authenticate(&mut self, message: &[u8]) -> Result<Bytes, Fault> {
        let mut body = BytesMut::new();
        body.put_i32(i32::try_from(message.len()).map_err(|_| NOT_KAFKA)?);
        body.put_slice(message);
        let bytes = self.call((36, 0), &body).await?;
        let mut answer = Reader(&bytes);
        match (answer.i16().ok_or(NOT_KAFKA)?, answer.text()) {
            (NONE, _) => {
                let answer = answer.bytes().ok_or(NOT_KAFKA)?;
                Ok(bytes.slice_ref(answer))
            }
            (_, reason) => {
                let reason = shown(reason.unwrap_or_default());
                Err(Fault::Refused(format!("authentication failed {reason}")))
            }
        }
    }

    /// One request of this kind and version, and its answer.
    async fn call(&mut self, (api, version): (i16, i16), body: &[u8]) -> Result<Bytes, Fault> {
        self.last = self.last.wrapping_add(1);
        let mut request = BytesMut::new();
        let size = 8 + 2 + self.client.len() + body.len();
        request.put_i32(i32::try_from(size).map_err(|_| NOT_KAFKA)?);
        request.put_i16(api);
        request.put_i16(version);
        request.put_i32(self.last);
        put_text(&mut request, &self.client);
        request.put_slice(body);
        let sent = timeout(SILENCE_MAX, self.wire.send(&request)).await;
        sent.map_err(|_| Fault::Silent)??;
        let size = loop {
            if let Some(size) = Reader(&self.wire.input).i32() {
                let size = usize::try_from(size).ok();
                break size
                    .filter(|size| (4..=ANSWER_MAX).contains(size))
                    .ok_or(NOT_KAFKA)?;
            }
            self.read().await?;
        };
        while self.wire.input.len() < 4 + size {
            self.read().await?;
        }
        self.wire.input.advance(4);
        let mut answer = self.wire.input.split_to(size).freeze();
        match answer.get_i32() == self.last {
            true => Ok(answer),
            false => Err(NOT_KAFKA),
        }
    }

    async fn read(&mut self) -> Result<(), Fault> {
        let read = self.wire.stream.read_buf(&mut self.wire.input);
        match timeout(SILENCE_MAX, read).await {
            Err(_) => Err(Fault::Silent),
            Ok(read) => match read? {
                0 => Err(Fault::Closed),
                _ => Ok(()),
            },
        }
    }

    /// The servers, and one topic, which the server may create if that is allowed.
    pub(super) async fn metadata(
        &mut self,
        topic: &str,
        create: bool,
        encrypted: bool,
    ) -> Result<Metadata, Fault> {
        let mut body = BytesMut::new();
        body.put_i32(1);
        put_text(&mut body, topic);
        body.put_u8(create.into());
        let answer = self.call((3, 4), &body).await?;
        metadata(&answer, encrypted).ok_or(NOT_KAFKA)
    }

    /// Where these partitions end now. Returns the topics whose ends the server does not give, and
    /// its errors.
    pub(super) async fn set_to_end(
        &mut self,
        positions: &mut [Position],
    ) -> Result<Vec<(Name, i16)>, Fault> {
        let mut refused = Vec::new();
        let mut body = BytesMut::new();
        body.put_i32(-1);
        put_topics(&mut body, positions, |body, _| body.put_i64(-1));
        let answer = self.call((2, 1), &body).await?;
        let mut answer = Reader(&answer);
        for _ in 0..answer.list().ok_or(NOT_KAFKA)? {
            let topic = answer.text().ok_or(NOT_KAFKA)?;
            for _ in 0..answer.list().ok_or(NOT_KAFKA)? {
                let read =
                    (|| Some((answer.i32()?, answer.i16()?, answer.i64()?, answer.i64()?)))();
                let (partition, error, _time, offset) = read.ok_or(NOT_KAFKA)?;
                if error != NONE {
                    refused.push((topic.into(), error));
                    continue;
                }
                let mut all = positions.iter_mut();
                let asked = all.find(|one| one.partition == partition && *one.topic == *topic);
                asked.ok_or(NOT_KAFKA)?.offset = offset.max(0);
            }
        }
        Ok(refused)
    }

    /// What came behind these positions, or nothing after a while.
    pub(super) async fn fetch(&mut self, positions: &[Position]) -> Result<Vec<Fetched>, Fault> {
        let mut body = BytesMut::new();
        body.put_i32(-1);
        body.put_i32(millis(FETCH_WAIT));
        body.put_i32(1);
        body.put_i32(FETCH_BYTES);
        body.put_u8(0);
        put_topics(&mut body, positions, |body, position| {
            body.put_i64(position.offset);
            body.put_i32(FETCH_BYTES);
        });
        let answer = self.call((1, 4), &body).await?;
        fetched(&answer).ok_or(NOT_KAFKA)
    }

    /// Appends one batch to a partition; returns the error.
    pub(super) async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: &[u8],
    ) -> Result<i16, Fault> {
        let mut body = BytesMut::new();
        body.put_i16(-1);
        // All replicas that are in step.
        body.put_i16(-1);
        body.put_i32(millis(REPLICAS_MAX));
        body.put_i32(1);
        put_text(&mut body, topic);
        body.put_i32(1);
        body.put_i32(partition);
        body.put_i32(i32::try_from(batch.len()).map_err(|_| NOT_KAFKA)?);
        body.put_slice(batch);
        let answer = self.call((0, 3), &body).await?;
        let mut answer = Reader(&answer);
        let error = (|| {
            let (_topics, _topic) = (answer.list()?, answer.text()?);
            let (_partitions, _partition) = (answer.list()?, answer.i32()?);
            answer.i16()
        })();
        error.ok_or(NOT_KAFKA)
    }
}

fn random() -> Result<[u8; 16], Fault> {
    let mut bytes = [0; 16];
    let filled = aws_lc_rs::rand::fill(&mut bytes);
    filled.map_err(|_| Fault::Unfit("the system gives no random numbers"))?;
    Ok(bytes)
}

fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// The list of partitions in requests, by topic. Partitions of a topic stand together.
fn put_topics(
    body: &mut BytesMut,
    positions: &[Position],
    mut fields: impl FnMut(&mut BytesMut, &Position),
) {
    let count = |count: usize| i32::try_from(count).expect("partitions have a bound");
    let topics = || positions.chunk_by(|one, next| one.topic == next.topic);
    body.put_i32(count(topics().count()));
    for partitions in topics() {
        put_text(body, &partitions[0].topic);
        body.put_i32(count(partitions.len()));
        for position in partitions {
            body.put_i32(position.partition);
            fields(body, position);
        }
    }
}

fn metadata(answer: &[u8], encrypted: bool) -> Option<Metadata> {
    let mut answer = Reader(answer);
    let _throttled = answer.i32()?;
    let mut servers = HashMap::new();
    for _ in 0..answer.list()? {
        let (number, host, port) = (answer.i32()?, answer.text()?, answer.i32()?);
        let _rack = answer.text()?;
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.to_owned(),
        };
        if let Ok(address) = format!("{host}:{port}").parse() {
            let server = BrokerServer {
                address,
                encrypted,
                virtual_host: "".into(),
            };
            servers.insert(number, server);
        }
    }
    let (_cluster, _controller) = (answer.text()?, answer.i32()?);
    if answer.list()? != 1 {
        return None;
    }
    let (error, _topic, _internal) = (answer.i16()?, answer.text()?, answer.i8()?);
    let count = answer.list().filter(|count| *count <= PARTITIONS_MAX)?;
    let mut leaders = vec![-1; count];
    let mut error = error;
    for _ in 0..count {
        let (fault, partition, leader) = (answer.i16()?, answer.i32()?, answer.i32()?);
        for _ in 0..2 {
            for _ in 0..answer.list()? {
                answer.i32()?;
            }
        }
        *leaders.get_mut(usize::try_from(partition).ok()?)? = leader;
        // A replica that is away does not matter here.
        if fault == NO_LEADER {
            error = fault;
        }
    }
    Some(Metadata {
        servers,
        error,
        leaders,
    })
}

/// The partitions in an answer to a request for records.
fn fetched(answer: &Bytes) -> Option<Vec<Fetched>> {
    let mut read = Reader(answer);
    let _throttled = read.i32()?;
    let mut found = Vec::new();
    for _ in 0..read.list()? {
        let topic: Name = read.text()?.into();
        for _ in 0..read.list()? {
            let (partition, error) = (read.i32()?, read.i16()?);
            let (_high, _stable) = (read.i64()?, read.i64()?);
            for _ in 0..read.list()? {
                read.take(16)?;
            }
            found.push(Fetched {
                topic: Name::clone(&topic),
                partition,
                error,
                batches: answer.slice_ref(read.bytes()?),
            });
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a server: one server, and one topic with two partitions, the second without a leader.
    const METADATA: &[u8] = b"\0\0\0\0\0\0\0\x01\0\0\0o\0\x03::1\0\0q\xa4\xff\xff\0\x01c\
        \0\0\0o\0\0\0\x01\0\0\0\x01s\0\0\0\0\x02\
        \0\0\0\0\0\0\0\0\0o\0\0\0\x01\0\0\0o\0\0\0\x01\0\0\0o\
        \0\x05\0\0\0\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0";
    /// One partition with three bytes, and one that was aborted.
    const FETCHED: &[u8] = b"\0\0\0\0\0\0\0\x01\0\x01s\0\0\0\x02\
        \0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\xff\xff\xff\xff\0\0\0\x03abc\
        \0\0\0\x01\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x01\
        0123456789abcdef\xff\xff\xff\xff";

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let read = metadata(METADATA, true).unwrap();
        assert_eq!((read.error, &read.leaders[..]), (NO_LEADER, &[111, -1][..]));
        assert_eq!(read.servers[&111].address.to_string(), "[::1]:29092");
        assert!(read.servers[&111].encrypted);
        for cut in 0..METADATA.len() {
            assert!(metadata(&METADATA[..cut], true).is_none(), "{cut}");
        }
        let read = fetched(&Bytes::from_static(FETCHED)).unwrap();
        let read = read
            .iter()
            .map(|one| (one.partition, one.error, &one.batches[..]));
        assert_eq!(read.collect::<Vec<_>>(), [(0, 0, &b"abc"[..]), (1, 1, b"")]);
        for cut in 0..FETCHED.len() {
            assert!(
                fetched(&Bytes::from_static(&FETCHED[..cut])).is_none(),
                "{cut}"
            );
        }
    }

    #[test]
    fn numbers_that_are_too_large_are_refused() {
        let mut partitions = METADATA.to_vec();
        partitions[40..44].copy_from_slice(&10_001_i32.to_be_bytes());
        assert!(metadata(&partitions, true).is_none());
        let mut topics = FETCHED.to_vec();
        topics[4..8].copy_from_slice(&i32::MAX.to_be_bytes());
        assert!(fetched(&topics.into()).is_none());
    }
}
