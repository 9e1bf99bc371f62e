use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use tempfile::TempDir;

use super::*;
use crate::telemetry::events::event::{Body, Class, EventId, Kind};
use crate::telemetry::events::fields::Fields;
use crate::telemetry::events::files::folder::SegmentName;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CONFIG: Config = Config {
    bytes: 8 << 20,
    age: Duration::from_secs(7 * 24 * 60 * 60),
};

/// A state directory.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn writer(&self, config: Config) -> Writer {
        Writer::new(Arc::new(State::new(self.0.path(), config)))
    }

    fn folder(&self) -> Folder {
        Folder::open(self.0.path()).expect("a folder")
    }

    fn read(&self) -> History {
        read(&self.folder(), Bounds::default(), None).expect("it is read")
    }

    /// The texts of what is in the files, in their order.
    fn texts(&self) -> Vec<String> {
        let events = self.read().events.into_iter();
        events
            .map(|event| event.fields().text.to_string())
            .collect()
    }

    fn files(&self) -> Vec<(String, u64)> {
        let found = fs::read_dir(self.0.path().join(FOLDER_NAME)).expect("a folder");
        let mut files: Vec<_> = found
            .map(|entry| {
                let entry = entry.expect("an entry");
                let bytes = entry.metadata().expect("a file").len();
                (entry.file_name().into_string().expect("text"), bytes)
            })
            .collect();
        files.sort();
        files
    }
}

const FOLDER_NAME: &str = folder::FOLDER;

fn event(number: u64, kind: Kind, text: &str) -> Arc<Event> {
    Arc::new(Event {
        id: EventId {
            instance: 7,
            number,
        },
        at: clock::wall(),
        kind,
        body: Body::Fields(Box::new(Fields::new(text))),
    })
}

fn order(text: &str) -> [Arc<Event>; 1] {
    [event(1, Kind::Order, text)]
}

#[test]
fn what_was_written_is_read_in_its_order_and_only_the_owner_may_read_it() {
    let place = Place::new();
    let mut writer = place.writer(CONFIG);
    let batch = [
        event(1, Kind::Order, "one"),
        event(2, Kind::Refused, "two"),
        event(3, Kind::SessionEnded, "three"),
    ];
    writer.write(&batch, clock::wall());
    assert_eq!(place.texts(), ["one", "two", "three"]);
    assert_eq!(place.files().len(), 3, "one for each class");
    let folder = place.0.path().join(FOLDER_NAME);
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
    };
    assert_eq!(mode(&folder) & 0o7777, 0o700);
    for (name, _) in place.files() {
        assert_eq!(mode(&folder.join(name)) & 0o7777, 0o600);
    }
}

#[test]
fn a_line_that_was_torn_is_skipped_and_the_next_process_goes_on_behind_it() {
    let place = Place::new();
    place.writer(CONFIG).write(&order("one"), clock::wall());
    let (name, bytes) = place.files().remove(0);
    let path = place.0.path().join(FOLDER_NAME).join(&name);
    let mut text = fs::read(&path).expect("it is read");
    text.extend_from_within(..text.len() - 9);
    fs::write(&path, &text).expect("it is written");
    let history = place.read();
    assert_eq!((history.events.len(), history.unreadable), (1, 0));
    assert_eq!(history.ends.into_values().collect::<Vec<_>>(), [bytes]);
    place.writer(CONFIG).write(&order("two"), clock::wall());
    assert_eq!(place.texts(), ["one", "two"]);
    let files = place.files();
    assert_eq!(
        (files.len(), &files[0].0),
        (1, &name),
        "it is the same file"
    );
    assert_eq!(place.read().unreadable, 1);
}

#[test]
fn i8_files_are_bounded_by_bytes_and_refusals_displace_no_change() {
    let place = Place::new();
    let mut writer = place.writer(CONFIG);
    writer.write(&order("kept"), clock::wall());
    let long = "x".repeat(500);
    for round in 0..60 {
        let refusals = (0..200).map(|n| event(round * 200 + n, Kind::Refused, &long));
        let batch: Vec<_> = refusals.collect();
        writer.write(&batch, clock::wall());
        let bytes: u64 = place.files().iter().map(|(_, bytes)| bytes).sum();
        assert!(bytes <= CONFIG.bytes / 4 + 1024, "{bytes}");
    }
    assert!(place.files().len() > 4, "the newest are kept");
    let events = place.read().events;
    assert!(events.iter().any(|event| event.kind == Kind::Order));
    let newest = events.iter().map(|event| event.id.number).max();
    assert_eq!(newest, Some(60 * 200 - 1));
    // A smaller bound holds at once.
    writer.state_of_tests().configure(Config {
        bytes: 1 << 20,
        ..CONFIG
    });
    writer.write(&order("more"), clock::wall());
    writer.tick(clock::wall() + CONFIG.age / 2);
    let bytes: u64 = place.files().iter().map(|(_, bytes)| bytes).sum();
    assert!(bytes <= 1 << 18, "{bytes}");
}

#[test]
fn old_events_are_removed_and_not_read() {
    let place = Place::new();
    let mut writer = place.writer(CONFIG);
    writer.write(&order("old"), clock::wall());
    let oldest = Some(clock::wall() + DAY);
    let history = read(&place.folder(), Bounds::default(), oldest).expect("it is read");
    assert_eq!(history.events.len(), 0);
    // After an eighth of the age another file begins, and the first one goes with its last event.
    let later = |days: u32| clock::wall() + DAY * days;
    writer.write(&order("new"), later(1));
    assert_eq!(place.files().len(), 2);
    writer.tick(later(6));
    assert_eq!(place.files().len(), 2);
    // Both were written now, as their times say.
    writer.tick(later(8));
    assert_eq!(place.files(), []);
}

#[test]
fn two_processes_write_to_different_files_and_the_new_one_reads_on_in_the_old_ones() {
    let place = Place::new();
    let mut old = place.writer(CONFIG);
    old.write(&order("before"), clock::wall());
    let state = Arc::new(State::new(place.0.path(), CONFIG));
    let history = place.read();
    let mut follower = Follower::new(&state, history.ends, 8);
    let mut new = Writer::new(Arc::clone(&state));
    let own = Event {
        id: EventId {
            instance: 8,
            number: 9,
        },
        ..Event::clone(&event(1, Kind::Order, "new"))
    };
    new.write(&[Arc::new(own)], clock::wall());
    assert_eq!(place.files().len(), 2);
    let mut check = |expected: &[&str]| {
        let read = follower.read().expect("it is read").into_iter();
        let texts: Vec<_> = read.map(|event| event.fields().text.to_string()).collect();
        assert_eq!(texts, expected);
    };
    check(&[]);
    old.write(&order("late"), clock::wall());
    check(&["late"]);
    // The first refusal of the old process begins a file that the new one does not know yet.
    old.write(&[event(5, Kind::Refused, "last")], clock::wall());
    drop(old);
    check(&["last"]);
    check(&[]);
    // Events of the same millisecond may come in either order.
    let mut all = place.texts();
    all.sort();
    assert_eq!(all, ["before", "last", "late", "new"]);
    // A file that is being written is never removed by another process.
    let mut other = place.writer(CONFIG);
    other.tick(clock::wall() + DAY * 30);
    assert_eq!(place.texts(), ["new"]);
}

#[test]
fn i12_links_pipes_and_files_with_two_names_are_not_used() {
    let place = Place::new();
    let folder = place.0.path().join(FOLDER_NAME);
    fs::create_dir(&folder).expect("a folder");
    let theirs = place.0.path().join("theirs");
    fs::write(&theirs, "theirs\n").expect("it is written");
    let name = |class, began| SegmentName::new(class, began).to_string();
    let newest = clock::unix_millis(clock::wall());
    symlink(&theirs, folder.join(name(Class::Changes, newest))).expect("a link");
    fs::hard_link(&theirs, folder.join(name(Class::Refusals, newest))).expect("a link");
    let pipe = folder.join(name(Class::Sessions, newest));
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, pipe, mode).expect("a pipe");
    let mut writer = place.writer(CONFIG);
    for kind in [Kind::Order, Kind::SessionEnded] {
        writer.write(&[event(1, kind, "ours")], clock::wall() + DAY);
    }
    assert_eq!(fs::read(&theirs).expect("it is read"), b"theirs\n");
    // A folder that is a link is not used either.
    fs::remove_dir_all(&folder).expect("it goes");
    let elsewhere = tempfile::tempdir().expect("a folder");
    symlink(elsewhere.path(), &folder).expect("a link");
    let mut writer = place.writer(CONFIG);
    writer.write(&order("ours"), clock::wall());
    let status = writer.state_of_tests().status();
    assert!(status.fault.is_some());
    assert_eq!(status.unwritten, [0, 0, 1]);
    assert_eq!(
        fs::read_dir(elsewhere.path()).expect("it is read").count(),
        0
    );
    // The next attempt succeeds, and the fault is over.
    fs::remove_file(&folder).expect("it goes");
    writer.write(&order("again"), clock::wall());
    assert_eq!(writer.state_of_tests().status().fault, None);
    assert_eq!(place.texts(), ["again"]);
}

#[test]
fn a_folder_that_was_removed_by_hand_is_made_again() {
    let place = Place::new();
    let mut writer = place.writer(CONFIG);
    writer.write(&order("one"), clock::wall());
    fs::remove_dir_all(place.0.path().join(FOLDER_NAME)).expect("it goes");
    writer.write(&order("two"), clock::wall());
    writer.write(&order("three"), clock::wall());
    let texts = place.texts();
    assert_eq!(texts.last().map(String::as_str), Some("three"), "{texts:?}");
}

#[test]
fn names_are_read_as_they_are_written_and_nothing_else_is() {
    let name = SegmentName::new(Class::Changes, 1_700_000_000_000);
    assert_eq!(name.to_string(), "changes-01700000000000.jsonl");
    assert_eq!(name.to_string().parse(), Ok(name));
    for text in [
        "",
        "changes-",
        "changes-1.jsonl",
        "others-01700000000000.jsonl",
        "changes-01700000000000.jsonl.1",
        "changes-+1700000000000.jsonl",
    ] {
        assert!(text.parse::<SegmentName>().is_err(), "{text}");
    }
}

#[test]
fn no_more_is_read_than_memory_may_hold() {
    let place = Place::new();
    let mut writer = place.writer(CONFIG);
    for number in 0..100 {
        writer.write(&[event(number, Kind::Order, "x")], clock::wall());
    }
    let bounds = |events, bytes| Bounds {
        events: [events; Class::ALL.len()],
        bytes,
    };
    let numbers = |bounds| {
        let history = read(&place.folder(), bounds, None).expect("it is read");
        let events = history.events.iter().map(|event| event.id.number);
        (events.collect::<Vec<_>>(), history.cut)
    };
    let newest: Vec<_> = (90..100).collect();
    assert_eq!(numbers(bounds(10, 1 << 20)), (newest, [false, false, true]));
    let (few, cut) = numbers(bounds(1000, 4 * 4096));
    assert!(few.len() < 10 && few.last() == Some(&99), "{few:?}");
    assert!(cut[Class::Changes as usize]);
    let (all, cut) = numbers(Bounds::default());
    assert_eq!((all.len(), cut), (100, [false; 3]));
}

#[tokio::test]
async fn what_waits_is_written_before_the_end() {
    let place = Place::new();
    let opened = Files::open(place.0.path(), CONFIG, Bounds::default(), 7);
    for number in 1..=1000 {
        opened.files.write(event(number, Kind::Order, "x"));
    }
    opened.files.end().await;
    assert_eq!(place.texts().len(), 1000);
    opened.files.write(event(1001, Kind::Order, "x"));
    let status = opened.files.status();
    assert_eq!(status.unwritten, [0, 0, 1], "it is counted");
}
