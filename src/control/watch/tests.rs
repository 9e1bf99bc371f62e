use std::os::unix::fs::symlink;
use std::pin::pin;

use super::*;

/// Shorter than the poll, so that a timely report came from a notification.
const SOON: Duration = Duration::from_secs(5);

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a directory");
}

/// Changes something while `watch` is waiting, and expects a report.
async fn reports_change(watch: &mut Watch, change: impl FnOnce()) {
    let mut changed = pin!(watch.changed());
    // It looks once by itself, and must be past that.
    let early = timeout(STILL, &mut changed).await;
    assert!(early.is_err(), "nothing has changed yet");
    change();
    timeout(SOON, changed).await.expect("the change is seen");
}

async fn reports_nothing(watch: &mut Watch) {
    let wait = timeout(STILL * 5, watch.changed()).await;
    assert!(wait.is_err(), "nothing has changed");
}

#[tokio::test]
async fn editors_ways_of_saving_are_seen() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("gateway.toml");
    write(&file, "one");
    let mut watch = Watch::new([file.clone()]);

    reports_change(&mut watch, || write(&file, "two")).await;
    reports_change(&mut watch, || {
        let swap = directory.path().join("gateway.toml.swp");
        write(&swap, "new");
        fs::rename(&swap, &file).expect("a file");
    })
    .await;
    reports_change(&mut watch, || fs::remove_file(&file).expect("a file")).await;
    reports_change(&mut watch, || write(&file, "back")).await;

    write(&directory.path().join("other.toml"), "unrelated");
    fs::read(&file).expect("a file");
    reports_nothing(&mut watch).await;
}

#[tokio::test]
async fn kubernetes_swap_of_a_mounted_volume_is_seen() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let version = |name: &str, text: &str| {
        fs::create_dir(at(name)).expect("a directory");
        write(&at(name).join("tls.crt"), text);
        symlink(name, at("..data_tmp")).expect("a link");
        fs::rename(at("..data_tmp"), at("..data")).expect("a link");
    };
    version("..2026_01", "one");
    symlink("..data/tls.crt", at("tls.crt")).expect("a link");
    let mut watch = Watch::new([at("tls.crt")]);
    for (new, old) in [("..2026_02", "..2026_01"), ("..2026_03", "..2026_02")] {
        reports_change(&mut watch, || {
            version(new, new);
            fs::remove_dir_all(at(old)).expect("a directory");
        })
        .await;
        assert_eq!(fs::read_to_string(at("tls.crt")).expect("a file"), new);
    }
}

#[tokio::test]
async fn links_are_followed_to_other_directories() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("live/site")).expect("a directory");
    fs::create_dir_all(at("archive/site")).expect("a directory");
    write(&at("archive/site/1.pem"), "one");
    symlink("../../archive/site/1.pem", at("live/site/cert.pem")).expect("a link");
    symlink("live", at("current")).expect("a link");
    let mut watch = Watch::new([at("current/site/cert.pem")]);

    reports_change(&mut watch, || write(&at("archive/site/1.pem"), "rewritten")).await;
    reports_change(&mut watch, || {
        fs::create_dir_all(at("next/site")).expect("a directory");
        write(&at("next/site/cert.pem"), "two");
        symlink("next", at("current.new")).expect("a link");
        fs::rename(at("current.new"), at("current")).expect("a link");
    })
    .await;
    reports_change(&mut watch, || write(&at("next/site/cert.pem"), "three")).await;
}

#[tokio::test]
async fn a_directory_that_comes_back_is_watched_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let inner = directory.path().join("tls");
    let file = inner.join("a.crt");
    let make = |text: &str| {
        fs::create_dir(&inner).expect("a directory");
        write(&file, text);
    };
    make("one");
    let mut watch = Watch::new([file.clone()]);
    reports_change(&mut watch, || {
        fs::remove_dir_all(&inner).expect("a directory");
        make("two");
    })
    .await;
    reports_change(&mut watch, || write(&file, "three")).await;
    reports_change(&mut watch, || {
        fs::remove_dir_all(&inner).expect("a directory")
    })
    .await;
    reports_change(&mut watch, || make("four")).await;
}

#[tokio::test]
async fn a_change_between_two_calls_is_reported_and_a_dropped_call_loses_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let (first, second) = (directory.path().join("a"), directory.path().join("b"));
    let mut watch = Watch::new([first.clone()]);
    write(&first, "one");
    // Dropped while it waits for the file to keep still.
    let early = timeout(STILL / 2, watch.changed()).await;
    early.expect_err("too early");
    let again = timeout(SOON, watch.changed()).await;
    again.expect("the change is seen");

    watch.set_files([second.clone()]);
    write(&first, "two");
    reports_nothing(&mut watch).await;
    reports_change(&mut watch, || write(&second, "one")).await;
}

#[tokio::test]
async fn polling_finds_changes_without_notices() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("a");
    let mut watch = Watch::polling([file.clone()], Duration::from_millis(10));
    reports_change(&mut watch, || write(&file, "one")).await;
    reports_change(&mut watch, || write(&file, "two!")).await;
}

#[test]
fn a_loop_of_links_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    symlink(&a, &b).expect("a link");
    symlink(&b, &a).expect("a link");
    assert!(directories_of(&a).contains(directory.path()));
}
