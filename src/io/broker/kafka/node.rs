//! One server of a cluster: a connection that reads the partitions that it leads, and one that
//! appends to them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::base::clock;
use crate::config::broker_name::topic_and_key;
use crate::core::messages::topic::Topic;
use crate::io::broker::kafka::connection::{
    Connection, Fetched, NO_PERMISSION, NONE, OFFSET_OUT_OF_RANGE, Position, TIMED_OUT, meaning,
};
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

/// What of the records is passed on.
pub(super) struct Interest {
    prefix: Name,
    topics: Mutex<Topics>,
}

#[derive(Default)]
struct Topics {
    own: HashMap<Vec<u8>, Topic>,
    foreign: HashMap<Name, Records>,
}

/// What is wanted of another service's topic.
#[derive(Default)]
struct Records {
    /// All records.
    all: Option<Topic>,
    by_key: HashMap<Vec<u8>, Topic>,
}

impl Interest {
    pub(super) fn new(prefix: &Name) -> Self {
        Self {
            prefix: Name::clone(prefix),
            topics: Mutex::default(),
        }
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_own(&self, topic: Topic, wanted: bool) {
        let Some(key) = topic.key().map(String::into_bytes) else {
            return;
        };
        let mut topics = self.topics();
        match wanted {
            true => topics.own.insert(key, topic),
            false => topics.own.remove(&key),
        };
    }

    /// Wants a name of another service, `TOPIC` or `TOPIC/KEY`. Returns whether the topic is read
    /// from now on.
    pub(super) fn add_foreign(&self, name: &Name) -> bool {
        let (topic, key) = topic_and_key(name);
        let mut topics = self.topics();
        let is_first = !topics.foreign.contains_key(topic);
        let records = topics.foreign.entry(topic.into()).or_default();
        let wanted = Topic::Foreign(Name::clone(name));
        match key {
            Some(key) => drop(records.by_key.insert(key.into(), wanted)),
            None => records.all = Some(wanted),
        }
        is_first
    }

    /// Wants it no longer. Returns whether the topic is read no longer.
    pub(super) fn remove_foreign(&self, name: &Name) -> bool {
        let (topic, key) = topic_and_key(name);
        let mut topics = self.topics();
        let Some(records) = topics.foreign.get_mut(topic) else {
            return false;
        };
        match key {
            Some(key) => drop(records.by_key.remove(key.as_bytes())),
            None => records.all = None,
        }
        let is_last = records.all.is_none() && records.by_key.is_empty();
        if is_last {
            topics.foreign.remove(topic);
        }
        is_last
    }

    /// The topics under which a record is wanted.
    fn topics_of(&self, name: &Name, key: &[u8]) -> impl Iterator<Item = Topic> + use<> {
        let topics = self.topics();
        let (one, other) = match *name == self.prefix {
            true => (topics.own.get(key).cloned(), None),
            false => match topics.foreign.get(name) {
                Some(records) => (records.all.clone(), records.by_key.get(key).cloned()),
                None => (None, None),
            },
        };
        one.into_iter().chain(other)
    }
}

/// A message for one partition.
pub(super) struct Write {
    pub(super) topic: Name,
    pub(super) partition: i32,
    pub(super) key: Option<String>,
    pub(super) message: Outgoing,
}

/// A server.
pub(super) struct Node {
    queue: mpsc::Sender<Write>,
    reading: Arc<Reading>,
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
    /// Starts the tasks of a server; each of them ends with a fault.
    pub(super) fn start(
        tasks: &mut JoinSet<Fault>,
        (reader, writer): (Connection, Connection),
        interest: Arc<Interest>,
        incoming: Incoming,
    ) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let reading = Arc::new(Reading::default());
        tasks.spawn(read(reader, Arc::clone(&reading), interest, incoming));
        tasks.spawn(write(writer, messages));
        Self { queue, reading }
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
        let mut state = self.reading.state();
        state.positions.retain(|position| position.topic != *topic);
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

async fn read(
    mut connection: Connection,
    reading: Arc<Reading>,
    interest: Arc<Interest>,
    incoming: Incoming,
) -> Fault {
    loop {
        let round = round(&mut connection, &reading, &interest, &incoming);
        if let Err(fault) = round.await {
            return fault;
        }
    }
}

/// One request for records, or for the ends of partitions that are new.
async fn round(
    connection: &mut Connection,
    reading: &Reading,
    interest: &Interest,
    incoming: &Incoming,
) -> Result<(), Fault> {
    let (new, known) = reading.positions();
    if !new.is_empty() {
        let mut ends = new.clone();
        connection.set_to_end(&mut ends).await?;
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
        check(&fetched)?;
        let batches = read_batches(&fetched.batches, position.offset)?;
        is_empty &= batches.next == position.offset;
        pass_on(&fetched.topic, &batches, interest, incoming);
        reading.advance(position, batches.next);
    }
    if is_empty && began.elapsed() < EMPTY_ANSWER {
        sleep(EMPTY_PAUSE).await;
    }
    Ok(())
}

fn check(fetched: &Fetched) -> Result<(), Fault> {
    match fetched.error {
        NONE => Ok(()),
        OFFSET_OUT_OF_RANGE => Err(Fault::Unfit("records were deleted before they were read")),
        code => {
            let (topic, reason) = (&fetched.topic, meaning(code));
            Err(Fault::Refused(format!("{topic}: {reason}")))
        }
    }
}

fn pass_on(name: &Name, batches: &Batches<'_>, interest: &Interest, incoming: &Incoming) {
    for _ in 0..batches.unread {
        incoming.count_dropped();
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

async fn write(mut connection: Connection, mut queue: mpsc::Receiver<Write>) -> Fault {
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
        if let Err(fault) = append(&mut connection, batch).await {
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
async fn append(connection: &mut Connection, mut batch: Vec<Write>) -> Result<(), Fault> {
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
    let (outcome, fault) = match error {
        NONE => (Ok(()), None),
        TIMED_OUT => (Err(NotCarried::TimedOut), None),
        code => {
            let reason = meaning(code);
            // Anything else, such as a leader that has changed, takes new connections.
            let fault = (!is_refusal(code)).then(|| Fault::Refused(reason.clone()));
            (Err(NotCarried::Refused(reason)), fault)
        }
    };
    for write in batch {
        let _ = write.message.confirm.send(outcome.clone());
    }
    fault.map_or(Ok(()), Err)
}

/// Whether the server refuses the message itself: too large, no name, no permission.
fn is_refusal(code: i16) -> bool {
    matches!(code, 2 | 10 | 17 | 18 | 19 | NO_PERMISSION | 87)
}
