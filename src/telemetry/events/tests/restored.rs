//! Events of processes before this one: read again, and sent to clients that had some of them.

use super::*;

/// The events of the lines of a file.
fn read_all(file: &[u8]) -> Vec<Event> {
    let lines = file.split(|byte| *byte == b'\n');
    lines.filter_map(lines::read_line).collect()
}

fn ids(batch: &Batch) -> Vec<String> {
    let events = batch.events.iter();
    events.map(|sent| sent.event.id.to_string()).collect()
}

#[test]
fn what_was_written_is_restored_under_its_own_id() {
    let first = Events::new(1);
    let mut collector = first.collector().expect("the first");
    first.session_ended(&record());
    first.change(Kind::Order, Fields::new("drain").by("alice"));
    collector.finish();
    let filter = Filter::default();
    let page = first.read_back(first.before(None), &filter, 10);
    let mut file: Vec<u8> = Vec::new();
    for event in page.events.iter().rev() {
        file.extend(event.line().expect("short"));
    }
    let whole = file.len();
    // Torn, foreign and hostile lines.
    file.extend(b"{\"id\":\"\n[[[[\n\xff\xfe\n");
    file.extend(vec![b'['; 100_000]);
    file.extend(b"\n{}\n");
    assert_eq!(read_all(&file).len(), 2);
    assert_eq!(read_all(&file[..whole - 5]).len(), 1, "torn");

    let second = Events::new(2);
    let mut collector = second.collector().expect("the first");
    second.0.store().restore(read_all(&file), [false; 3]);
    second.change(Kind::NodeStarted, Fields::default());
    collector.finish();
    let views = all(&first);
    let restored = all(&second);
    assert_eq!(restored[..2], views);
    assert_eq!(restored[2].id, "0000000000000002-3");
    let ended = Filter {
        principal: Some("ann".to_owned()),
        cause: Some("kicked".to_owned()),
        ..Filter::default()
    };
    let page = second.read_back(second.before(None), &ended, 10);
    assert_eq!(page.events.len(), 1);
    // A reader of the first process goes on behind what it has.
    let has = views[0].id.parse().expect("an id");
    let resumed = second.resume(Some(has), &filter);
    assert_eq!(resumed.lost, None);
    let mut cursor = resumed.cursor;
    let next = second.read(&mut cursor, &filter);
    assert_eq!(ids(&next), [&*views[1].id, "0000000000000002-3"]);
}

/// An event of a process, as a file has it.
fn of(instance: u64, number: u64) -> Event {
    Event {
        id: EventId { instance, number },
        at: AT,
        kind: KINDS[number as usize % 3],
        body: Body::Fields(Box::default()),
    }
}

#[test]
fn a_reader_goes_on_across_a_hand_over_with_each_event_once() {
    let mut store = store([1000; 3]);
    let history = (1..=1000).map(|number| of(1, number)).skip(990).collect();
    store.restore(history, [false; 3]);
    // Numbers go on behind those of the process before.
    let own = store.push(emitted(Kind::NodeStarted));
    assert_eq!(own.id.number, 1001);
    // What the process before wrote meanwhile comes later.
    store.insert(of(1, 1001));
    store.insert(of(1, 1002));
    let filter = Filter::default();
    let after = |number| {
        let id = EventId {
            instance: 1,
            number,
        };
        let resumed = store.resume(Some(id), &filter);
        let mut cursor = resumed.cursor;
        let batch = store.read(&mut cursor, &filter);
        let numbers = batch.events.iter().map(|sent| sent.event.id.number);
        // Each has an id to resume with that leads to the rest.
        if let Some(first) = batch.events.first() {
            let mut rest = store.resume(Some(first.resume), &filter).cursor;
            let rest = store.read(&mut rest, &filter);
            assert!(rest.events.len() >= batch.events.len() - 1);
        }
        (numbers.collect::<Vec<_>>(), resumed.lost)
    };
    assert_eq!(after(999), (vec![1000, 1001, 1001, 1002], None));
    assert_eq!(after(1000), (vec![1001, 1001, 1002], None));
    // The reader has had one that this process did not know at first.
    assert_eq!(after(1001), (vec![1001, 1002], None));
    assert_eq!(after(1002), (vec![1001], None));
    assert_eq!(after(5).0.len(), 13);
}

#[test]
fn a_reader_is_told_what_files_have_and_memory_has_not() {
    let lost = |cut: bool, number: u64, class: Class| {
        let mut store = store([1000; 3]);
        let history = (1..=30).map(|number| of(1, number)).skip(20).collect();
        store.restore(history, [cut; 3]);
        let id = EventId {
            instance: 1,
            number,
        };
        store.resume(Some(id), &Filter::class(class)).lost
    };
    for class in Class::ALL {
        assert_eq!(lost(false, 5, class), None, "nothing is missing");
        assert_eq!(lost(true, 25, class), None, "what is before is known");
        let told = lost(true, 5, class).expect("something may be missing");
        assert_eq!((told.events, told.reason), (None, "evicted"));
    }
}
