use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct Place {
    folder: tempfile::TempDir,
    config: AccessFile,
}

impl Place {
    fn new(size: Option<u64>, age: Option<Duration>, keep: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let rotation = Some(Rotation { size, age, keep });
        let config = AccessFile { path, rotation };
        Self { folder, config }
    }

    fn open(&self) -> RecordFile {
        RecordFile::open(&self.config, Arc::default()).expect("it opens")
    }

    /// The files by name, with what is in them.
    fn files(&self) -> Vec<(String, String)> {
        let found = fs::read_dir(self.folder.path()).expect("a folder");
        let mut files: Vec<_> = found
            .map(|entry| {
                let entry = entry.expect("an entry");
                let name = entry.file_name().into_string().expect("text");
                (name, fs::read_to_string(entry.path()).expect("text"))
            })
            .collect();
        files.sort();
        files
    }

    #[track_caller]
    fn holds(&self, expected: &[(&str, &str)]) {
        let files = self.files();
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        assert_eq!(files, expected);
    }
}

#[test]
fn a_file_is_rotated_before_it_would_be_too_large() {
    let place = Place::new(Some(8), None, 2);
    let mut file = place.open();
    for line in [
        "one\n",
        "two\n",
        "three\n",
        "a line that is too long\n",
        "4\n",
    ] {
        file.write_all(line.as_bytes()).expect("written");
    }
    // `one` and `two` were the third last.
    place.holds(&[
        ("access.log", "4\n"),
        ("access.log.1", "a line that is too long\n"),
        ("access.log.2", "three\n"),
    ]);
}

#[test]
fn a_file_is_rotated_after_its_period_and_after_a_restart() {
    let place = Place::new(None, Some(DAY), 9);
    let mut file = place.open();
    let today = clock::wall();
    file.write_at(b"one\n", today).expect("written");
    file.write_at(b"two\n", today).expect("written");
    place.holds(&[("access.log", "one\ntwo\n")]);
    file.write_at(b"three\n", today + DAY).expect("written");
    file.write_at(b"four\n", today + DAY).expect("written");
    let expected = [
        ("access.log", "three\nfour\n"),
        ("access.log.1", "one\ntwo\n"),
    ];
    place.holds(&expected);
    drop(file);
    // The file was written to yesterday, as its time says.
    let open = OpenOptions::new().append(true).open(&place.config.path);
    let set = open.expect("a file").set_modified(today - DAY);
    set.expect("its time can be set");
    place.open().write_all(b"five\n").expect("written");
    assert_eq!(place.files()[0].1, "five\n");
    assert_eq!(place.files()[1].1, "three\nfour\n");
}

#[test]
fn of_two_processes_one_rotates_and_both_go_on_in_the_new_file() {
    let place = Place::new(Some(8), None, 5);
    let (mut old, mut new) = (place.open(), place.open());
    old.write_all(b"old 1\n").expect("written");
    new.write_all(b"new 1\n").expect("written");
    old.write_all(b"old 2\n").expect("written");
    place.holds(&[
        ("access.log", "old 2\n"),
        ("access.log.1", "new 1\n"),
        ("access.log.2", "old 1\n"),
    ]);
}

#[test]
fn files_beyond_those_that_are_kept_are_removed() {
    let place = Place::new(Some(8), None, 5);
    for number in 1..=5 {
        let path = place.folder.path().join(format!("access.log.{number}"));
        fs::write(path, "").expect("written");
    }
    let mut fewer = place.config.clone();
    fewer.rotation.as_mut().expect("a rotation").keep = 2;
    let mut file = RecordFile::open(&fewer, Arc::default()).expect("it opens");
    file.write_all(b"one line\n").expect("written");
    file.write_all(b"two\n").expect("written");
    place.holds(&[
        ("access.log", "two\n"),
        ("access.log.1", "one line\n"),
        ("access.log.2", ""),
    ]);
}
