//! One server of a cluster: a connection that reads the partitions that it leads, and one that
//! appends to them. What a server refuses of another service's topic ends neither: the topic is
//! reported, and read no longer.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::base::clock;
use crate::io::broker::kafka::connection::{
    Connection, NO_PERMISSION, NONE, OFFSET_OUT_OF_RANGE, Position, TIMED_OUT, meaning,
};
use crate::io::broker::kafka::interest::Interest;
use crate::io::broker::kafka::wire::{Batches, Name, Record, put_batch, read_batches};
use crate::io::broker::{Incoming, NotCarried, Outgoing, PAYLOAD_MAX, Received};
use crate::io::service::fault::Fault;

/// Messages that wait for a server.
const QUEUE_MAX: usize = 1024;
/// Messages and bytes of one batch.
const BATCH_MESSAGES_MAX: usize = 500;
const BATCH_BYTES_MAX: usize = 256 * 1024;
/// A server that answers sooner with nothing does not wait for records, and is not asked at once.
const EMPTY_ANSWER: Duration = Duration::from_millis(100);
const EMPTY_PAUSE: Duration = Duration::from_millis(20);

/// A message for one partition.
pub(super) struct Write {
    pub(super) topic: Name,
    pub(super) partition: i32,
    pub(super) key: Option<String>,
    pub(super) message: Outgoing,
}

/// A topic of another service that a server refuses, and why.
pub(super) struct Trouble {
    pub(super) topic: Name,
    pub(super) reason: String,
}

/// What all servers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) interest: Arc<Interest>,
    pub(super) incoming: Incoming,
    pub(super) troubles: mpsc::Sender<Trouble>,
}

impl Shared {
    fn is_own(&self, topic: &Name) -> bool {
        self.interest.is_own(topic)
    }

    /// Reports a topic of another service. One of the fleet's own is a fault of the connection.
    async fn report(&self, topic: &Name, reason: String) -> Result<(), Fault> {
        if self.is_own(topic) {
            return Err(Fault::Refused(format!("{topic}: {reason}")));
        }
        let topic = Name::clone(topic);
        // The driver goes on to receive until all servers are given up.
        let _ = self.troubles.send(Trouble { topic, reason }).await;
        Ok(())
    }
}

/// A server.
pub(super) struct Node {
    queue: mpsc::Sender<Write>,
    reading: Arc<Reading>,
    tasks: [AbortHandle; 2],
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// What is read of a server.
#[derive(Default)]
struct Reading {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    positions: Vec<Position>,
    /// Told when the positions that are there now are at the ends of their partitions.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Position {
    /// An offset that is not known yet: the end of the partition when it is first read.
    pub(super) const END: i64 = -1;
}

impl Node {
    /// Starts the tasks of the server of this number; each of them ends with a fault.
    pub(super) fn start(
        tasks: &mut JoinSet<(i32, Fault)>,
        number: i32,
        (reader, writer): (Connection, Connection),
        shared: &Shared,
    ) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let reading = Arc::new(Reading::default());
        let (reads, of_writer) = (Arc::clone(&reading), shared.clone());
        let of_reader = shared.clone();
        let tasks = [
            tasks.spawn(async move { (number, read(reader, reads, of_reader).await) }),
            tasks.spawn(async move { (number, write(writer, messages, of_writer).await) }),
        ];
        Self {
            queue,
            reading,
            tasks,
        }
    }

    /// Reads these partitions, too; done once their ends are known.
    pub(super) fn read(&self, positions: Vec<Position>) -> oneshot::Receiver<()> {
        let (ready, done) = oneshot::channel();
        let mut state = self.reading.state();
        let known = |new: &Position| {
            let mut all = state.positions.iter();
            all.any(|one| one.topic == new.topic && one.partition == new.partition)
        };
        let new: Vec<_> = positions.into_iter().filter(|new| !known(new)).collect();
        state.positions.extend(new);
        state.waiting.push(ready);
        drop(state);
        self.reading.changed.notify_one();
        done
    }

    /// Reads a topic no longer.
    pub(super) fn stop_reading(&self, topic: &Name) {
        self.reading.stop(topic);
    }

    /// The topics that are read here.
    pub(super) fn topics(&self) -> BTreeSet<Name> {
        let state = self.reading.state();
        let topics = state.positions.iter().map(|one| Name::clone(&one.topic));
        topics.collect()
    }

    /// Appends a message, or refuses it if too many wait.
    pub(super) fn write(&self, write: Write) {
        if let Err(refused) = self.queue.try_send(write) {
            let confirm = refused.into_inner().message.confirm;
            let _ = confirm.send(Err(NotCarried::Busy));
        }
    }
}

impl Reading {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partitions whose ends are to be found, and the others.
    fn positions(&self) -> (Vec<Position>, Vec<Position>) {
        let mut state = self.state();
        let positions = state.positions.iter().cloned();
        let (new, known): (Vec<_>, _) = positions.partition(|one| one.offset == Position::END);
        if new.is_empty() {
            for ready in state.waiting.drain(..) {
                // The driver waits only while it connects.
                let _ = ready.send(());
            }
        }
        drop(state);
        (new, known)
    }

    /// Reads a topic no longer. Returns whether it was read.
    fn stop(&self, topic: &Name) -> bool {
        let mut state = self.state();
        let before = state.positions.len();
        state.positions.retain(|position| position.topic != *topic);
        state.positions.len() < before
    }

    /// Moves a partition on, unless it is read no longer.
    fn advance(&self, read: &Position, next: i64) {
        let mut state = self.state();
        let mut positions = state.positions.iter_mut();
        let position = positions.find(|one| {
            one.topic == read.topic && one.partition == read.partition && one.offset == read.offset
        });
        if let Some(position) = position {
            position.offset = next;
        }
    }
}

async fn read(mut connection: Connection, reading: Arc<Reading>, shared: Shared) -> Fault {
    loop {
        if let Err(fault) = round(&mut connection, &reading, &shared).await {
            return fault;
        }
    }
}

/// One request for records, or for the ends of partitions that are new.
async fn round(
    connection: &mut Connection,
    reading: &Reading,
    shared: &Shared,
) -> Result<(), Fault> {
    let (new, known) = reading.positions();
    if !new.is_empty() {
        let mut ends = new.clone();
        for (topic, error) in connection.set_to_end(&mut ends).await? {
            give_up(&topic, meaning(error), reading, shared).await?;
        }
        for (new, end) in new.iter().zip(&ends) {
            reading.advance(new, end.offset);
        }
        return Ok(());
    }
    if known.is_empty() {
        reading.changed.notified().await;
        return Ok(());
    }
    let began = clock::now();
    // A change has to wait for the answer: half a second at most.
    let mut is_empty = true;
    for fetched in connection.fetch(&known).await? {
        let mut all = known.iter();
        let same =
            |one: &&Position| one.partition == fetched.partition && one.topic == fetched.topic;
        let Some(position) = all.find(same) else {
            continue;
        };
        let is_own = shared.is_own(&fetched.topic);
        let batches = match fetched.error {
            NONE => read_batches(&fetched.batches, position.offset),
            OFFSET_OUT_OF_RANGE if is_own => {
                return Err(Fault::Unfit("records were deleted before they were read"));
            }
            OFFSET_OUT_OF_RANGE => {
                shared.incoming.count_dropped();
                reading.advance(position, Position::END);
                continue;
            }
            code => Err(Fault::Refused(meaning(code))),
        };
        let batches = match batches {
            Ok(batches) => batches,
            Err(fault) => {
                give_up(&fetched.topic, fault.text(), reading, shared).await?;
                continue;
            }
        };
        is_empty &= batches.next == position.offset;
        match is_own {
            true => shared.incoming.count_missed(batches.unread),
            false => shared.incoming.count_unread(batches.unread),
        }
        pass_on(&fetched.topic, &batches, &shared.interest, &shared.incoming);
        reading.advance(position, batches.next);
    }
    if is_empty && began.elapsed() < EMPTY_ANSWER {
        sleep(EMPTY_PAUSE).await;
    }
    Ok(())
}

/// Reads a topic of another service no longer, and reports it once.
async fn give_up(
    topic: &Name,
    reason: String,
    reading: &Reading,
    shared: &Shared,
) -> Result<(), Fault> {
    match shared.is_own(topic) || reading.stop(topic) {
        true => shared.report(topic, reason).await,
        false => Ok(()),
    }
}

fn pass_on(name: &Name, batches: &Batches<'_>, interest: &Interest, incoming: &Incoming) {
    if batches.compressed > 0 && incoming.count_compressed(batches.compressed) {
        tracing::warn!(
            topic = %name,
            "records are compressed and cannot be read: have producers send without compression, \
             or set `compression.type=uncompressed` on the topic"
        );
    }
    for (key, value) in &batches.records {
        for topic in interest.topics_of(name, key) {
            if value.len() > PAYLOAD_MAX {
                incoming.count_dropped();
                continue;
            }
            let payload = Bytes::copy_from_slice(value);
            incoming.pass_on(Received { topic, payload });
        }
    }
}

async fn write(
    mut connection: Connection,
    mut queue: mpsc::Receiver<Write>,
    shared: Shared,
) -> Fault {
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(first) => first,
            None => match queue.recv().await {
                Some(first) => first,
                None => return Fault::Closed,
            },
        };
        let (batch, after) = gather(first, &mut queue);
        next = after;
        if let Err(fault) = append(&mut connection, batch, &shared).await {
            return fault;
        }
    }
}

/// What waits for the same partition behind a message, and the first message that does not.
fn gather(first: Write, queue: &mut mpsc::Receiver<Write>) -> (Vec<Write>, Option<Write>) {
    let mut bytes = first.message.payload.len();
    let mut batch = vec![first];
    while batch.len() < BATCH_MESSAGES_MAX {
        let Ok(next) = queue.try_recv() else { break };
        bytes += next.message.payload.len();
        let same = next.partition == batch[0].partition && next.topic == batch[0].topic;
        if !same || bytes > BATCH_BYTES_MAX {
            return (batch, Some(next));
        }
        batch.push(next);
    }
    (batch, None)
}

/// A batch whose answer does not come is dropped, which tells its publishers that it is lost.
async fn append(
    connection: &mut Connection,
    mut batch: Vec<Write>,
    shared: &Shared,
) -> Result<(), Fault> {
    // Their publishers were told that they are not carried.
    batch.retain(|write| !write.message.confirm.is_closed());
    let Some(first) = batch.first() else {
        return Ok(());
    };
    let records: Vec<_> = batch
        .iter()
        .map(|write| Record {
            key: write.key.as_deref().map(str::as_bytes),
            value: &write.message.payload,
            headers: &write.message.headers,
        })
        .collect();
    let now = i64::try_from(clock::unix_millis(clock::wall())).unwrap_or(0);
    let mut bytes = BytesMut::new();
    put_batch(&mut bytes, &records, now);
    let (topic, partition) = (Name::clone(&first.topic), first.partition);
    let error = connection.produce(&topic, partition, &bytes).await?;
    let outcome = match error {
        NONE => Ok(()),
        TIMED_OUT => Err(NotCarried::TimedOut),
        code => Err(NotCarried::Refused(meaning(code))),
    };
    for write in batch {
        let _ = write.message.confirm.send(outcome.clone());
    }
    match error {
        NONE | TIMED_OUT => Ok(()),
        code if is_refusal(code) => Ok(()),
        // Such as a leader that has changed: the fleet's topic takes new connections.
        code => shared.report(&topic, meaning(code)).await,
    }
}

/// Whether the server refuses the message itself: too large, no name, no permission.
fn is_refusal(code: i16) -> bool {
    matches!(code, 2 | 10 | 17 | 18 | 19 | NO_PERMISSION | 87)
}
