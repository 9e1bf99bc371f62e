//! The history of a process in parts, for the one that takes over.
//!
//! A part is a sequence of records, each behind a byte that names its kind: a message, where the
//! messages of a group begin, and what holds for all of them. The process that reads them keeps
//! those before one that it does not understand.

use std::sync::Arc;

use crate::base::group::GroupName;
use crate::base::history_id::HistoryId;
use crate::control::messages::history::{NodeHistory, now, place_of, recorded};
use crate::core::messages::delivery::Publication;
use crate::core::messages::envelope::{Content, Envelope};
use crate::core::messages::history::lineage::Incarnation;
use crate::core::messages::history::{Carried, Head};
use crate::live::Delivery;

/// Bytes in one part of a hand-over, about.
pub(super) const PART_MAX: usize = 1 << 20;
/// Groups in one part: a name has 128 bytes at most.
const FLOORS_MAX: usize = 4096;
const MESSAGE: u8 = b'm';
const FLOOR: u8 = b'f';
const HEAD: u8 = b'h';

/// What a part has.
#[derive(Debug, PartialEq, Eq)]
enum Record {
    Message(Vec<HistoryId>, Publication),
    Floor(GroupName, HistoryId),
    Head(Head),
}

impl NodeHistory {
    /// The messages behind `after`, so many that they fit into one part, and the last of them;
    /// `None` after the last.
    pub(super) async fn part(&self, after: HistoryId) -> Option<(Vec<u8>, HistoryId)> {
        let some = self.history().lock().await.behind(after, PART_MAX);
        let last = *some.last()?.ids.first()?;
        let mut part = Vec::new();
        for message in &some {
            put_message(&mut part, message);
        }
        Some((part, last))
    }

    /// What completes the messages up to `after`, in parts: where those of each group begin, and
    /// last what holds for all. `None` if there are messages behind `after`.
    pub(super) async fn completion(&self, after: HistoryId) -> Option<Vec<Vec<u8>>> {
        // Looked up in one step: what is kept next is not among it.
        let (floors, head) = self.history().lock().await.completion(after)?;
        let part = |some: &[(GroupName, HistoryId)]| {
            let mut part = Vec::new();
            for (group, floor) in some {
                put_floor(&mut part, group, *floor);
            }
            part
        };
        let mut parts: Vec<_> = floors.chunks(FLOORS_MAX).map(part).collect();
        let mut last = Vec::new();
        put_head(&mut last, &head);
        parts.push(last);
        Some(parts)
    }

    /// Keeps what a part has.
    pub(super) async fn adopt(&self, mut part: &[u8]) {
        let mut history = self.history().lock().await;
        while let Some(record) = take(&mut part) {
            match record {
                Record::Message(ids, publication) => {
                    // A group that has no history any more is left out.
                    let groups = self.kept_of(&publication);
                    let Some(id) = ids.first() else { continue };
                    let delivery = recorded(publication, groups, *id, None);
                    let ((groups, name), bytes) = (place_of(&delivery), delivery.bytes_max());
                    history.adopt((&ids, name), groups, bytes, &delivery, now());
                }
                Record::Floor(group, floor) => history.adopt_floor(group, floor),
                Record::Head(head) => history.adopt_head(head),
            }
        }
        self.note_last(&history);
    }
}

fn put_message(part: &mut Vec<u8>, message: &Carried<Arc<Delivery>>) {
    let Some(recorded) = &message.message.recorded else {
        return;
    };
    let envelope = Envelope {
        from: "".into(),
        content: Content::Message {
            publication: recorded.publication.clone(),
            ask: None,
        },
    };
    let envelope = envelope.encode();
    part.push(MESSAGE);
    put_all(part, &message.ids, |part, id| put_id(part, *id));
    put_bytes(part, &envelope);
}

fn put_floor(part: &mut Vec<u8>, group: &GroupName, floor: HistoryId) {
    part.push(FLOOR);
    put_bytes(part, group.as_str().as_bytes());
    put_id(part, floor);
}

fn put_head(part: &mut Vec<u8>, head: &Head) {
    part.push(HEAD);
    put_id(part, head.begins);
    put_id(part, head.interrupted);
    put_all(part, &head.lineage, |part, one| {
        part.extend_from_slice(&one.mark.to_be_bytes());
        put_id(part, one.last);
    });
}

/// Items, of which there are few.
fn put_all<I>(part: &mut Vec<u8>, items: &[I], put: impl Fn(&mut Vec<u8>, &I)) {
    part.push(items.len() as u8);
    items.iter().for_each(|item| put(part, item));
}

fn put_bytes(part: &mut Vec<u8>, bytes: &[u8]) {
    part.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    part.extend_from_slice(bytes);
}

fn put_id(part: &mut Vec<u8>, id: HistoryId) {
    part.extend_from_slice(&id.millis.to_be_bytes());
    part.extend_from_slice(&id.number.to_be_bytes());
}

fn take(part: &mut &[u8]) -> Option<Record> {
    let [kind] = take_array(part)?;
    match kind {
        MESSAGE => {
            let ids = take_all(part, take_id)?;
            let envelope = Envelope::decode(take_bytes(part)?).ok()?;
            match envelope.content {
                Content::Message { publication, .. } => Some(Record::Message(ids, publication)),
                Content::Signal(_) => None,
            }
        }
        FLOOR => {
            let name = std::str::from_utf8(take_bytes(part)?).ok()?;
            Some(Record::Floor(GroupName::parse(name).ok()?, take_id(part)?))
        }
        HEAD => Some(Record::Head(Head {
            begins: take_id(part)?,
            interrupted: take_id(part)?,
            lineage: take_all(part, |part| {
                let mark = u32::from_be_bytes(take_array(part)?);
                let last = take_id(part)?;
                Some(Incarnation { mark, last })
            })?,
        })),
        _ => None,
    }
}

fn take_all<I>(part: &mut &[u8], take: impl Fn(&mut &[u8]) -> Option<I>) -> Option<Vec<I>> {
    let [count] = take_array(part)?;
    (0..count).map(|_| take(part)).collect()
}

fn take_bytes<'a>(part: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(take_array(part)?);
    let (bytes, rest) = part.split_at_checked(length as usize)?;
    *part = rest;
    Some(bytes)
}

fn take_id(part: &mut &[u8]) -> Option<HistoryId> {
    Some(HistoryId {
        millis: u64::from_be_bytes(take_array(part)?),
        number: u64::from_be_bytes(take_array(part)?),
    })
}

fn take_array<const N: usize>(part: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = part.split_first_chunk()?;
    *part = rest;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::message::Message;
    use crate::core::messages::delivery::Recipient;

    #[test]
    fn records_are_read_as_they_were_written_and_nonsense_ends_a_part() {
        let group = GroupName::parse("größe").expect("a name");
        let publication = Publication {
            id: Some("app:m-1".into()),
            to: vec!["group:größe".parse().expect("a target")],
            except: Vec::new(),
            side: Recipient::Client,
            message: Message::Text("hello".into()),
            expires: None,
        };
        let id = |number| HistoryId { millis: 5, number };
        let (ids, head) = (
            vec![id(1), id(u64::MAX)],
            Head {
                begins: id(2),
                interrupted: id(3),
                lineage: vec![
                    Incarnation {
                        mark: 7,
                        last: id(4)
                    };
                    65
                ],
            },
        );
        let message = Carried {
            ids: ids.clone(),
            message: recorded(publication.clone(), vec![group.clone()], ids[0], None),
        };
        let mut part = Vec::new();
        put_message(&mut part, &message);
        put_floor(&mut part, &group, id(9));
        put_head(&mut part, &head);
        let whole = part.len();
        part.extend_from_slice(b"?and what comes behind it");
        let mut rest = part.as_slice();
        let read: Vec<_> = std::iter::from_fn(|| take(&mut rest)).collect();
        let written = [
            Record::Message(ids, publication),
            Record::Floor(group, id(9)),
            Record::Head(head),
        ];
        assert_eq!(read, written);
        for cut in 0..whole {
            let mut rest = &part[..cut];
            let read: Vec<_> = std::iter::from_fn(|| take(&mut rest)).collect();
            assert!(
                read.len() < written.len() && written.starts_with(&read),
                "{cut}"
            );
        }
    }
}
