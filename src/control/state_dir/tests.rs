use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn directory_and_files_are_for_their_owner_only() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("deep/down");
    let state = StateDir::open(&path).unwrap();
    assert_eq!(names(&path), [""; 0]);
    state.write("a", b"one".to_vec()).unwrap();
    state.write("a", b"two".to_vec()).unwrap();
    assert_eq!(state.read("a").unwrap(), b"two");
    assert_eq!(names(&path), ["a"]);
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&root.path().join("deep")), 0o700);
    assert_eq!(mode(&path.join("a")), 0o600);
}

#[test]
fn what_cannot_be_a_directory_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let refused = StateDir::open(&path).unwrap_err();
        assert!(matches!(refused, StateDirError::Create(..)), "{refused}");
        assert!(refused.to_string().contains("state_dir"), "{refused}");
    }
}

#[test]
fn links_and_pipes_are_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let (path, other) = (root.path().join("state"), root.path().join("other"));
    fs::write(&other, "theirs").unwrap();
    let state = StateDir::open(&path).unwrap();
    symlink(&other, path.join("a")).unwrap();
    assert!(state.read("a").is_err());
    state.write("a", b"ours".to_vec()).unwrap();
    assert_eq!(fs::read(&other).unwrap(), b"theirs");
    assert_eq!(state.read("a").unwrap(), b"ours");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(CWD, path.join("b"), mode).unwrap();
    assert!(state.read("b").is_err());
}

#[test]
fn what_could_not_be_written_is_written_later() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state");
    let state = StateDir::open(&path).unwrap();
    state.look();
    assert_eq!(state.fault(), None);
    // Holds for root too, which permissions do not stop.
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "").unwrap();
    state.look();
    assert!(state.fault().is_some());
    state.write("a", b"old".to_vec()).unwrap_err();
    state.write("a", b"new".to_vec()).unwrap_err();
    state.write("b", b"other".to_vec()).unwrap_err();
    assert!(state.fault().is_some());
    fs::remove_file(&path).unwrap();
    // One of them succeeds, and the other is still not on disk.
    state.write("b", b"another".to_vec()).unwrap();
    assert!(state.fault().is_some());
    state.look();
    assert_eq!(state.fault(), None);
    assert_eq!(state.read("a").unwrap(), b"new");
    assert_eq!(state.read("b").unwrap(), b"another");
}

#[test]
fn unfinished_files_are_removed_when_they_are_old() {
    let root = tempfile::tempdir().unwrap();
    let (old, _) = create_new(root.path(), "a").unwrap();
    let (young, _) = create_new(root.path(), "a").unwrap();
    let past = std::time::SystemTime::UNIX_EPOCH;
    File::open(&old).unwrap().set_modified(past).unwrap();
    StateDir::open(root.path()).unwrap();
    assert!(!old.exists() && young.exists());
}
