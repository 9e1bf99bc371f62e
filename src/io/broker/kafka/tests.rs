//! A server that refuses things, and what goes on nevertheless.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI16, AtomicUsize, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::snapshot::{BrokerKind, SaslMechanism, ServiceTls, SignIn};
use crate::io::broker::kafka::connection::{NO_PERMISSION, OFFSET_OUT_OF_RANGE};
use crate::io::broker::kafka::wire::{Reader, put_text};
use crate::io::broker::{Broker as End, Received, ReceivedStream, ends};

/// What the server answers about the topic `x`; it has all others.
#[derive(Default)]
struct Faults {
    /// To a request for its end.
    ends: AtomicI16,
    /// To a request for records.
    records: AtomicI16,
    /// To a record.
    appends: AtomicI16,
    /// Who leads it.
    leader: AtomicUsize,
    /// How often its records were asked for.
    fetches: AtomicUsize,
}

/// A server with one partition of each topic.
struct Fake {
    port: u16,
    /// Batches of each topic.
    log: Mutex<HashMap<String, Vec<Bytes>>>,
    x: Faults,
}

impl Fake {
    async fn start(x: Faults) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let log = Mutex::default();
        let fake = Arc::new(Self { port, log, x });
        let server = Arc::clone(&fake);
        // Ends with the runtime of its test.
        tokio::task::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn(Arc::clone(&server).serve(stream));
            }
        });
        fake
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) -> Option<()> {
        loop {
            let size = stream.read_i32().await.ok()?;
            let mut request = vec![0; usize::try_from(size).ok()?];
            stream.read_exact(&mut request).await.ok()?;
            let mut read = Reader(&request);
            let (api, _version, number) = (read.i16()?, read.i16()?, read.i32()?);
            let _client = read.text()?;
            let mut answer = BytesMut::new();
            match api {
                0 => self.append(read, &mut answer)?,
                1 => self.records(read, &mut answer).await?,
                2 => self.ends(read, &mut answer)?,
                3 => self.metadata(read, &mut answer)?,
                _ => return None,
            }
            stream.write_i32(answer.len() as i32 + 4).await.ok()?;
            stream.write_i32(number).await.ok()?;
            stream.write_all(&answer).await.ok()?;
        }
    }

    fn error(&self, topic: &str, error: &AtomicI16) -> i16 {
        match topic {
            "x" => error.load(Ordering::Relaxed),
            _ => NONE,
        }
    }

    fn metadata(&self, mut read: Reader<'_>, out: &mut BytesMut) -> Option<()> {
        read.i32()?;
        let topic = read.text()?;
        out.put_i32(0);
        out.put_i32(2);
        // Nothing listens where the second one should be.
        for (number, port) in [(0, self.port), (1, 1)] {
            out.put_i32(number);
            put_text(out, "127.0.0.1");
            out.put_i32(port.into());
            out.put_i16(-1);
        }
        out.put_i16(-1);
        out.put_i32(0);
        out.put_i32(1);
        out.put_i16(NONE);
        put_text(out, topic);
        out.put_u8(0);
        let leader = match topic {
            "x" => self.x.leader.load(Ordering::Relaxed) as i32,
            _ => 0,
        };
        // One partition, its leader, no replicas.
        out.put_i32(1);
        out.put_i16(NONE);
        for number in [0, leader, 0, 0] {
            out.put_i32(number);
        }
        Some(())
    }

    fn ends(&self, mut read: Reader<'_>, out: &mut BytesMut) -> Option<()> {
        read.i32()?;
        let topics = read.list()?;
        out.put_i32(topics as i32);
        for _ in 0..topics {
            let topic = read.text()?;
            read.take(4 + 4 + 8)?;
            put_text(out, topic);
            out.put_i32(1);
            out.put_i32(0);
            out.put_i16(self.error(topic, &self.x.ends));
            out.put_i64(-1);
            out.put_i64(self.log.lock().ok()?.get(topic).map_or(0, Vec::len) as i64);
        }
        Some(())
    }

    async fn records(&self, mut read: Reader<'_>, out: &mut BytesMut) -> Option<()> {
        read.take(4 + 4 + 4 + 4 + 1)?;
        let topics = read.list()?;
        out.put_i32(0);
        out.put_i32(topics as i32);
        for _ in 0..topics {
            let topic = read.text()?;
            let (_partitions, _partition) = (read.i32()?, read.i32()?);
            let (offset, _bytes) = (read.i64()?, read.i32()?);
            if topic == "x" {
                self.x.fetches.fetch_add(1, Ordering::Relaxed);
            }
            let error = self.error(topic, &self.x.records);
            let log = self.log.lock().ok()?;
            let batches = log.get(topic).map_or(&[][..], Vec::as_slice);
            let batches = batches.get(offset as usize..).unwrap_or_default().concat();
            put_text(out, topic);
            out.put_i32(1);
            out.put_i32(0);
            out.put_i16(error);
            out.put_i64(0);
            out.put_i64(0);
            out.put_i32(0);
            out.put_i32(batches.len() as i32);
            out.put_slice(&batches);
        }
        Some(())
    }

    fn append(&self, mut read: Reader<'_>, out: &mut BytesMut) -> Option<()> {
        read.take(2 + 2 + 4 + 4)?;
        let topic = read.text()?;
        read.take(4 + 4)?;
        let error = self.error(topic, &self.x.appends);
        if error == NONE {
            self.put(topic, read.bytes()?);
        }
        out.put_i32(1);
        put_text(out, topic);
        out.put_i32(1);
        out.put_i32(0);
        out.put_i16(error);
        Some(())
    }

    /// Keeps one batch of one record, with its offset.
    fn put(&self, topic: &str, batch: &[u8]) {
        let mut log = self.log.lock().expect("no panic");
        let batches = log.entry(topic.to_owned()).or_default();
        let mut placed = BytesMut::new();
        placed.put_i64(batches.len() as i64);
        placed.put_slice(&batch[8..]);
        batches.push(placed.freeze());
    }

    fn settings(&self) -> Broker {
        Broker {
            kind: BrokerKind::Kafka,
            servers: vec![BrokerServer {
                address: format!("127.0.0.1:{}", self.port).parse().expect("one"),
                encrypted: false,
                virtual_host: "/".into(),
            }],
            prefix: "sessile".into(),
            sign_in: SignIn::Open,
            mechanism: SaslMechanism::Plain,
            tls: ServiceTls::default(),
            connect_timeout: Duration::from_secs(10),
            presence: Vec::new(),
        }
    }
}

fn x() -> Topic {
    Topic::Foreign("x".into())
}

/// A broker that is connected, and wants messages of the fleet and of `x`.
async fn connected(fake: &Fake) -> (End, ReceivedStream) {
    let (broker, received, end) = ends();
    // Ends with its last publisher.
    tokio::task::spawn(drive(end, fake.settings(), "node".into()));
    broker.subscribe(Topic::Fleet);
    broker.subscribe(x());
    until(&broker, |status| status.connected).await;
    (broker, received)
}

async fn until(broker: &End, holds: impl FnMut(&crate::io::broker::BrokerStatus) -> bool) {
    let mut status = broker.watch_status();
    let waited = tokio::time::timeout(Duration::from_secs(30), status.wait_for(holds));
    waited.await.expect("in time").expect("a driver");
}

async fn publish(broker: &End, topic: Topic) -> Result<(), NotCarried> {
    let text = topic.to_string();
    broker.publish(topic, text.into(), Vec::new()).await
}

async fn receives(received: &mut ReceivedStream, topic: Topic) {
    let next = tokio::time::timeout(Duration::from_secs(30), received.next());
    let payload = topic.to_string().into();
    let expected = Received { topic, payload };
    assert_eq!(next.await.expect("in time"), Some(expected));
}

/// The topic is refused, and the fleet goes on. It is read as soon as it may be.
async fn refused(faults: Faults) {
    let fake = Fake::start(faults).await;
    let (broker, mut received) = connected(&fake).await;
    let is_refused = |text: &str| text.starts_with("it refuses the subscription of x: ");
    until(&broker, |status| {
        status.error.as_deref().is_some_and(is_refused)
    })
    .await;
    for _ in 0..3 {
        assert_eq!(publish(&broker, Topic::Fleet).await, Ok(()));
        receives(&mut received, Topic::Fleet).await;
    }
    let status = broker.status();
    assert!(status.connected && status.connects == 1, "{status:?}");
    if fake.x.leader.load(Ordering::Relaxed) == 0 {
        fake.x.ends.store(NONE, Ordering::Relaxed);
        fake.x.records.store(NONE, Ordering::Relaxed);
        is_read(&fake).await;
        assert_eq!(publish(&broker, x()).await, Ok(()));
        receives(&mut received, x()).await;
    }
    assert_eq!(broker.status().connects, 1);
}

/// Waits until records of `x` are asked for, time and again.
async fn is_read(fake: &Fake) {
    let before = fake.x.fetches.load(Ordering::Relaxed);
    let read = async {
        while fake.x.fetches.load(Ordering::Relaxed) < before + 3 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(30), read).await;
    read.expect("it is read");
}

#[tokio::test]
async fn a_topic_that_is_refused_leaves_the_fleet_its_connection() {
    let errors = |ends: i16, records: i16, leader: usize| Faults {
        ends: ends.into(),
        records: records.into(),
        leader: leader.into(),
        ..Faults::default()
    };
    let cases = [
        errors(NONE, NO_PERMISSION, 0),
        errors(NONE, UNKNOWN_TOPIC, 0),
        errors(NONE, 6, 0),
        errors(NO_PERMISSION, NONE, 0),
        errors(NONE, NONE, 1),
        errors(NONE, NONE, 7),
    ];
    let mut all: JoinSet<()> = cases.into_iter().map(refused).collect();
    while let Some(done) = all.join_next().await {
        done.expect("no panic");
    }
}

#[tokio::test]
async fn records_that_are_gone_are_passed_over() {
    let fake = Fake::start(Faults::default()).await;
    let (broker, mut received) = connected(&fake).await;
    assert_eq!(publish(&broker, Topic::Fleet).await, Ok(()));
    receives(&mut received, Topic::Fleet).await;
    fake.x.records.store(OFFSET_OUT_OF_RANGE, Ordering::Relaxed);
    let dropped = async {
        while received.dropped() == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let dropped = tokio::time::timeout(Duration::from_secs(30), dropped).await;
    dropped.expect("it is counted");
    fake.x.records.store(NONE, Ordering::Relaxed);
    is_read(&fake).await;
    assert_eq!(publish(&broker, x()).await, Ok(()));
    receives(&mut received, x()).await;
    assert_eq!(broker.status().connects, 1);
}

#[tokio::test]
async fn a_message_to_a_topic_that_is_refused_is_refused_alone() {
    let faults = Faults {
        appends: 6.into(),
        ..Faults::default()
    };
    let fake = Fake::start(faults).await;
    let (broker, mut received) = connected(&fake).await;
    let refused = publish(&broker, x()).await;
    assert!(
        matches!(refused, Err(NotCarried::Refused(_))),
        "{refused:?}"
    );
    assert_eq!(publish(&broker, Topic::Fleet).await, Ok(()));
    receives(&mut received, Topic::Fleet).await;
    assert_eq!(broker.status().connects, 1);
}
