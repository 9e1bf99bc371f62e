//! A stream of a Redis server as a log that all gateways write and read in the same order: the
//! history of groups. One connection appends, another reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::base::history_id::HistoryId;
use crate::config::snapshot::Broker;
use crate::io::broker::history_log::{Append, EventSender, LogEnd, LogEntry, LogEvent};
use crate::io::broker::redis::Redis;
use crate::io::broker::{NotCarried, PAYLOAD_MAX};
use crate::io::redis::resp::{Found, Item, NOT_REDIS, command, scan};
use crate::io::service::fault::{Fault, shown};
use crate::io::service::wire::Wire;

const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Entries that are appended at once.
const BATCH: usize = 64;
/// Bytes of entries that are asked for at once, and so many entries of the largest size.
const READ_BYTES: usize = 16 << 20;
const READ_MAX: usize = READ_BYTES / PAYLOAD_MAX;
/// How long the server waits for new entries before it answers that there are none.
const BLOCK: Duration = Duration::from_secs(2);
/// For an answer of the server, beside that.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The one field of an entry.
const FIELD: &[u8] = b"m";

/// Keeps both connections, until the gateway ends.
pub(in crate::io::broker) async fn drive(end: LogEnd, settings: Broker, node: Arc<str>) {
    let key = format!("{}.history", settings.prefix);
    let log = Log {
        redis: Redis { settings, node },
        key: key.into_bytes(),
        age: end.age,
    };
    tokio::join!(
        log.append_all(end.appends, &end.writable),
        log.read_all(end.events)
    );
}

struct Log {
    redis: Redis,
    key: Vec<u8>,
    age: Duration,
}

impl Log {
    async fn connect(&self, turn: usize) -> Result<Wire, Fault> {
        let servers = &self.redis.settings.servers;
        let within = self.redis.settings.connect_timeout;
        let signed_in = self.redis.sign_in(&servers[turn % servers.len()]);
        match timeout(within, signed_in).await {
            Ok(Ok((wire, false))) => Ok(wire),
            Ok(Ok((_, true))) => Err(Fault::Unfit(
                "history needs one server, this one belongs to a cluster",
            )),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(Fault::Late(within)),
        }
    }

    async fn append_all(&self, mut appends: mpsc::Receiver<Append>, writable: &AtomicBool) {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        for turn in 0.. {
            let connected = async {
                tokio::select! {
                    connected = self.connect(turn) => connected,
                    () = refuse(&mut appends) => Err(Fault::Closed),
                }
            };
            if let Ok(wire) = connected.await {
                backoff.reset();
                writable.store(true, Ordering::Relaxed);
                let served = self.append(wire, &mut appends).await;
                writable.store(false, Ordering::Relaxed);
                match served {
                    Ok(()) => return,
                    Err(fault) => {
                        tracing::warn!(error = %fault.text(), "the history cannot be written")
                    }
                }
            }
            if appends.is_closed() {
                return;
            }
            tokio::select! {
                () = sleep(backoff.next(fastrand::f64())) => {}
                () = refuse(&mut appends) => return,
            }
        }
    }

    /// Appends until the connection breaks, or all handles of the log are dropped.
    async fn append(
        &self,
        mut wire: Wire,
        appends: &mut mpsc::Receiver<Append>,
    ) -> Result<(), Fault> {
        loop {
            let mut batch = Vec::new();
            if appends.recv_many(&mut batch, BATCH).await == 0 {
                return Ok(());
            }
            let mut commands = BytesMut::new();
            let oldest = unix_millis()
                .saturating_sub(clock::millis(self.age))
                .to_string();
            for append in &batch {
                let words: [&[u8]; 8] = [
                    b"XADD",
                    &self.key,
                    b"MINID",
                    b"~",
                    oldest.as_bytes(),
                    b"*",
                    FIELD,
                    &append.payload,
                ];
                command(&mut commands, &words);
            }
            let sent = timeout(ANSWER_MAX, wire.send(&commands)).await;
            let sent = sent.map_err(|_| Fault::Silent).and_then(|sent| Ok(sent?));
            let mut broken = sent.err();
            for append in batch {
                let answer = match broken {
                    None => answer(&mut wire, ANSWER_MAX, appended).await,
                    Some(_) => Ok(Err(NotCarried::Lost)),
                };
                let outcome = answer.unwrap_or_else(|fault| {
                    broken = Some(fault);
                    Err(NotCarried::Lost)
                });
                let _ = append.confirm.send(outcome);
            }
            if let Some(fault) = broken {
                return Err(fault);
            }
        }
    }

    async fn read_all(&self, events: EventSender) {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut reading = Reading {
            last: HistoryId::at(unix_millis().saturating_sub(clock::millis(self.age))),
            until: None,
            caught_up: false,
        };
        for turn in 0.. {
            if let Ok(wire) = self.connect(turn).await {
                let before = reading.last;
                match self.read(wire, &mut reading, &events).await {
                    Ok(()) => return,
                    Err(fault) => {
                        tracing::warn!(error = %fault.text(), "the history cannot be read");
                    }
                }
                if reading.last > before {
                    backoff.reset();
                }
            }
            tokio::select! {
                () = sleep(backoff.next(fastrand::f64())) => {}
                () = events.closed() => return,
            }
        }
    }

    /// Reads until the connection breaks, or the reader of the log is dropped.
    async fn read(
        &self,
        mut wire: Wire,
        reading: &mut Reading,
        events: &EventSender,
    ) -> Result<(), Fault> {
        let first = self
            .edge(&mut wire, &[b"XRANGE", &self.key, b"-", b"+"])
            .await?;
        let newest = self
            .edge(&mut wire, &[b"XREVRANGE", &self.key, b"+", b"-"])
            .await?;
        // A log that was emptied, or trimmed beyond what was read.
        let begins = first.unwrap_or_else(|| HistoryId::at(unix_millis()));
        if begins > reading.last && (first.is_some() || reading.caught_up) {
            let begins = LogEvent::Begins(begins);
            if !events.send(begins).await {
                return Ok(());
            }
        }
        let until = *reading
            .until
            .get_or_insert_with(|| newest.unwrap_or_default());
        loop {
            if !reading.caught_up && reading.last >= until {
                reading.caught_up = true;
                if !events.send(LogEvent::CaughtUp).await {
                    return Ok(());
                }
            }
            let (from, count) = (reading.last.to_string(), READ_MAX.to_string());
            let block = BLOCK.as_millis().to_string();
            let mut ask = BytesMut::new();
            let words: [&[u8]; 8] = [
                b"XREAD",
                b"COUNT",
                count.as_bytes(),
                b"BLOCK",
                block.as_bytes(),
                b"STREAMS",
                &self.key,
                from.as_bytes(),
            ];
            command(&mut ask, &words);
            wire.send(&ask).await?;
            let found = answer(&mut wire, BLOCK + ANSWER_MAX, entries).await?;
            let found = found.map_err(Fault::Refused)?;
            for (id, payload) in found {
                reading.last = id;
                let Some(payload) = payload else { continue };
                let entry = LogEvent::Entry(LogEntry { id, payload });
                if !events.send(entry).await {
                    return Ok(());
                }
            }
        }
    }

    /// The id of the entry at one end of the log; `None` if it is empty.
    async fn edge(&self, wire: &mut Wire, words: &[&[u8]; 4]) -> Result<Option<HistoryId>, Fault> {
        let mut ask = BytesMut::new();
        let [verb, key, from, to] = words;
        command(&mut ask, &[verb, key, from, to, b"COUNT", b"1"]);
        wire.send(&ask).await?;
        answer(wire, ANSWER_MAX, |found| match found.items[..] {
            [Item::Array(0)] => Ok(None),
            [Item::Array(1), Item::Array(2), Item::Bulk(id), ..] => id_of(id).map(Some),
            [Item::Error(text)] => Err(Fault::refused(text)),
            _ => Err(NOT_REDIS),
        })
        .await
    }
}

/// How far the log was read.
struct Reading {
    last: HistoryId,
    /// The newest entry when reading began.
    until: Option<HistoryId>,
    caught_up: bool,
}

/// Refuses what comes, until all handles of the log are dropped.
async fn refuse(appends: &mut mpsc::Receiver<Append>) {
    while let Some(append) = appends.recv().await {
        let _ = append.confirm.send(Err(NotCarried::NotConnected));
    }
}

/// The next answer of the server, within this time.
async fn answer<T>(
    wire: &mut Wire,
    within: Duration,
    read: impl Fn(&Found<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    loop {
        if let Some(found) = scan(&wire.input)? {
            if found.skip > 0 {
                return Err(NOT_REDIS);
            }
            let answer = read(&found)?;
            let end = found.end;
            wire.input.advance(end);
            return Ok(answer);
        }
        let more = timeout(within, wire.stream.read_buf(&mut wire.input)).await;
        if more.map_err(|_| Fault::Silent)?? == 0 {
            return Err(Fault::Closed);
        }
    }
}

/// The answer to `XADD`.
fn appended(found: &Found<'_>) -> Result<Result<HistoryId, NotCarried>, Fault> {
    match found.items[..] {
        [Item::Bulk(id)] => id_of(id).map(Ok),
        [Item::Error(text)] => Ok(Err(NotCarried::Refused(shown(text)))),
        _ => Err(NOT_REDIS),
    }
}

/// An entry's id, and its payload if it has one.
type Read = (HistoryId, Option<Bytes>);

/// The answer to `XREAD` of one stream: its entries, or what the server refuses. An entry that no
/// gateway wrote has no payload.
fn entries(found: &Found<'_>) -> Result<Result<Vec<Read>, String>, Fault> {
    let mut rest = match &found.items[..] {
        [Item::Null] => return Ok(Ok(Vec::new())),
        [Item::Error(text)] => return Ok(Err(shown(text))),
        [Item::Map(1), Item::Bulk(_), Item::Array(_), rest @ ..] => rest,
        _ => return Err(NOT_REDIS),
    };
    let mut read = Vec::new();
    while let [
        Item::Array(2),
        Item::Bulk(id),
        Item::Array(words),
        after @ ..,
    ] = rest
    {
        let (fields, after) = after.split_at_checked(*words).ok_or(NOT_REDIS)?;
        let mut pairs = fields.chunks(2);
        let payload = pairs.find_map(|pair| match pair {
            [Item::Bulk(name), Item::Bulk(value)] if *name == FIELD => {
                Some(Bytes::copy_from_slice(value))
            }
            _ => None,
        });
        read.push((id_of(id)?, payload));
        rest = after;
    }
    rest.is_empty().then_some(Ok(read)).ok_or(NOT_REDIS)
}

fn id_of(id: &[u8]) -> Result<HistoryId, Fault> {
    let text = std::str::from_utf8(id).ok();
    text.and_then(|text| text.parse().ok()).ok_or(NOT_REDIS)
}

fn unix_millis() -> u64 {
    clock::unix_millis(clock::wall())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_and_nonsense_is_refused() {
        let read = |text: &str| {
            let found = scan(text.as_bytes()).expect("RESP").expect("whole");
            entries(&found)
        };
        let none = read("_\r\n").expect("an answer").expect("entries");
        assert!(none.is_empty());
        let some = "%1\r\n$1\r\nk\r\n*3\r\n\
                    *2\r\n$3\r\n7-1\r\n*2\r\n$1\r\nm\r\n$2\r\nab\r\n\
                    *2\r\n$3\r\n8-0\r\n*4\r\n$1\r\nx\r\n$1\r\ny\r\n$1\r\nm\r\n$0\r\n\r\n\
                    *2\r\n$3\r\n9-0\r\n*2\r\n$1\r\nx\r\n$1\r\ny\r\n";
        let some = read(some).expect("an answer").expect("entries");
        let shown = some
            .iter()
            .map(|(id, payload)| (id.to_string(), payload.as_deref()));
        let expected = [("7-1", Some(&b"ab"[..])), ("8-0", Some(&[])), ("9-0", None)];
        let expected = expected.map(|(id, payload)| (id.to_owned(), payload));
        assert_eq!(
            shown.collect::<Vec<_>>(),
            expected,
            "an entry of a stranger is passed over"
        );
        assert_eq!(
            read("-ERR no\r\n").expect("an answer").err(),
            Some("ERR no".to_owned())
        );
        for wrong in [
            ":1\r\n",
            "%1\r\n$1\r\nk\r\n*1\r\n*2\r\n$1\r\nx\r\n*2\r\n$1\r\nm\r\n$0\r\n\r\n",
            "%1\r\n$1\r\nk\r\n*1\r\n*1\r\n$3\r\n7-1\r\n",
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
