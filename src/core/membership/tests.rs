//! The mirror's rules by table, and the mirror beside an obvious twin.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const GRACE: Duration = Duration::from_secs(600);

fn start() -> Instant {
    crate::base::clock::now()
}

fn held(text: &str, revision: i64, lease: i64) -> Held {
    Held {
        text: text.into(),
        revision,
        lease,
    }
}

fn put(key: &str, revision: i64, lease: i64) -> Event {
    Event::Put(key.into(), held("{}", revision, lease))
}

fn delete(key: &str, revision: i64, lapsed: bool) -> Event {
    Event::Delete {
        key: key.into(),
        revision,
        lapsed,
    }
}

fn read(cluster: u64, revision: i64, documents: &[(&str, i64)]) -> FullRead {
    let documents = documents.iter();
    FullRead {
        cluster,
        revision,
        documents: documents
            .map(|&(key, lease)| (Key::from(key), held("{}", 1, lease)))
            .collect(),
    }
}

/// A mirror whose upstream `u` has this many leased backends, all reported.
fn with_backends(count: usize, now: Instant) -> Mirror {
    let mut mirror = Mirror::new(GRACE);
    let keys: Vec<_> = (0..count).map(|n| format!("backends/u/{n}")).collect();
    let leased: Vec<_> = keys.iter().map(|key| (key.as_str(), 7)).collect();
    mirror.read(read(1, 10, &leased), now);
    mirror.take();
    mirror
}

fn fine(_: &str) -> Verdict {
    Verdict::Fine
}

fn lose(mirror: &mut Mirror, which: std::ops::Range<usize>, now: Instant) {
    let from = mirror.revision() + 1;
    let events = which
        .zip(from..)
        .map(|(n, revision)| delete(&format!("backends/u/{n}"), revision, true));
    mirror.events(events.collect::<Vec<_>>(), now);
}

fn in_force(mirror: &Mirror) -> usize {
    mirror.present().len() + mirror.absent().len()
}

#[test]
fn i5_a_read_that_lacks_much_is_doubted() {
    let check = |known: &[(&str, i64)], then: &[(&str, i64)], gone: usize, doubted: usize| {
        let now = start();
        let mut mirror = Mirror::new(GRACE);
        mirror.read(read(1, 10, known), now);
        let report = mirror.read(read(1, 20, then), now);
        assert_eq!(
            (report.gone, report.doubted),
            (gone, doubted),
            "{known:?} {then:?}"
        );
        assert_eq!(in_force(&mirror), known.len() - gone);
    };
    let four = [
        ("routes/a", 0),
        ("routes/b", 0),
        ("routes/c", 0),
        ("upstreams/u", 0),
    ];
    check(&four, &[], 0, 4);
    check(&four[..1], &[], 0, 1);
    check(&four, &four[..1], 0, 3);
    check(&four, &four[..2], 2, 0);
    check(&four[..3], &four[..1], 2, 0);
    check(&four, &four, 0, 0);
    // Leased backends do not count, for either side.
    let leased = [
        ("routes/a", 0),
        ("backends/u/1", 7),
        ("backends/u/2", 7),
        ("backends/u/3", 7),
    ];
    check(&leased, &leased[..1], 0, 0);
}

#[test]
fn what_is_doubted_goes_when_it_is_accepted_and_stays_when_it_comes_back() {
    let now = start();
    let mut mirror = Mirror::new(GRACE);
    mirror.read(read(1, 10, &[("routes/a", 0), ("routes/b", 0)]), now);
    mirror.read(read(1, 20, &[]), now);
    mirror.take();
    mirror.events([put("routes/a", 21, 0)], now);
    assert_eq!(mirror.accept(), 1);
    let changes = mirror.take();
    let gone: Vec<_> = changes.iter().filter(|(_, held)| held.is_none()).collect();
    assert_eq!(gone.len(), 1);
    assert_eq!(&*gone[0].0, "routes/b");
    assert!(mirror.in_force("routes/a").is_some());
}

#[test]
fn a_cluster_that_is_another_or_younger_is_a_restore() {
    let check = |cluster, revision, restored| {
        let mut mirror = Mirror::new(GRACE);
        mirror.read(read(1, 10, &[("routes/a", 0)]), start());
        let report = mirror.read(read(cluster, revision, &[("routes/a", 0)]), start());
        assert_eq!(report.restored, restored, "{cluster} {revision}");
    };
    check(1, 10, false);
    check(1, 11, false);
    check(1, 9, true);
    check(2, 11, true);
}

#[test]
fn a_mirror_never_goes_back() {
    let now = start();
    let mut mirror = Mirror::new(GRACE);
    mirror.read(read(1, 10, &[]), now);
    mirror.events([put("routes/a", 12, 0), put("routes/b", 12, 0)], now);
    mirror.events([delete("routes/a", 12, false), put("routes/c", 9, 0)], now);
    mirror.progress(11);
    assert_eq!(mirror.revision(), 12);
    assert_eq!(mirror.take().len(), 2);
    assert!(mirror.in_force("routes/a").is_some() && mirror.in_force("routes/c").is_none());
}

#[test]
fn a_backend_that_loses_its_lease_alone_goes_after_a_moment() {
    let now = start();
    let mut mirror = with_backends(10, now);
    lose(&mut mirror, 0..1, now);
    mirror.tick(now + SETTLE / 2, fine);
    assert!(mirror.take().is_empty());
    mirror.tick(now + SETTLE, fine);
    assert_eq!(mirror.take(), [(Key::from("backends/u/0"), None)]);
    assert!(!mirror.waits());
}

#[test]
fn what_was_deleted_or_was_draining_goes_at_once() {
    let now = start();
    let mut mirror = with_backends(4, now);
    let draining = held(r#"{"state":"draining"}"#, 11, 7);
    mirror.events([Event::Put("backends/u/0".into(), draining)], now);
    mirror.take();
    let deleted = [
        delete("backends/u/0", 12, true),
        delete("backends/u/1", 13, false),
    ];
    mirror.events(deleted, now);
    assert_eq!(mirror.take().len(), 2);
    assert_eq!(in_force(&mirror), 2);
}

#[test]
fn i5_a_storm_keeps_its_members_for_the_grace_and_lets_them_go_one_by_one() {
    let now = start();
    let mut mirror = with_backends(20, now);
    lose(&mut mirror, 0..20, now);
    mirror.tick(now + SETTLE, fine);
    assert_eq!(in_force(&mirror), 20);
    mirror.tick(now + GRACE, fine);
    assert!(mirror.take().is_empty());
    let mut steps = 0;
    for second in 0..=200 {
        mirror.tick(now + SETTLE + GRACE + Duration::from_secs(second), fine);
        steps += usize::from(!mirror.take().is_empty());
    }
    assert_eq!(in_force(&mirror), 0);
    assert!(steps > 10, "they went in {steps} steps");
}

#[test]
fn a_third_is_no_storm_and_more_is() {
    let check = |count: usize, lost: usize, kept: usize| {
        let now = start();
        let mut mirror = with_backends(count, now);
        lose(&mut mirror, 0..lost, now);
        mirror.tick(now + SETTLE, fine);
        assert_eq!(mirror.absent().len(), kept, "{lost} of {count}");
    };
    check(9, 3, 0);
    check(8, 3, 3);
    check(5, 2, 0);
    check(2, 2, 2);
    check(2, 1, 0);
    check(1, 1, 1);
}

#[test]
fn a_stale_member_goes_when_it_fails_and_is_unmarked_when_it_returns() {
    let now = start();
    let mut mirror = with_backends(4, now);
    lose(&mut mirror, 0..4, now);
    mirror.tick(now + SETTLE, fine);
    mirror.events([put("backends/u/1", 50, 9)], now);
    let third_fails = |key: &str| match key {
        "backends/u/3" => Verdict::Fails,
        _ => Verdict::Fine,
    };
    mirror.take();
    mirror.tick(now + SETTLE * 2, third_fails);
    assert_eq!(mirror.take(), [(Key::from("backends/u/3"), None)]);
    assert_eq!(mirror.absent().len(), 2);
    assert_eq!(mirror.present().len(), 1);
}

#[test]
fn backends_removed_before_a_storm_was_recognised_return() {
    let now = start();
    let mut mirror = with_backends(9, now);
    lose(&mut mirror, 0..2, now);
    mirror.tick(now + SETTLE, fine);
    assert_eq!(mirror.take().len(), 2);
    let later = now + SETTLE * 2;
    lose(&mut mirror, 2..6, later);
    mirror.tick(later + SETTLE, fine);
    assert_eq!(mirror.absent().len(), 6);
    let back = mirror.take();
    assert_eq!(back.len(), 2);
    assert!(back.iter().all(|(_, held)| held.is_some()));
}

#[test]
fn the_grace_begins_anew_when_the_source_is_back() {
    let now = start();
    let mut mirror = with_backends(4, now);
    lose(&mut mirror, 0..4, now);
    mirror.tick(now + SETTLE, fine);
    mirror.resumed(now + GRACE * 3);
    mirror.tick(now + GRACE * 4 - Duration::from_secs(1), fine);
    assert_eq!(in_force(&mirror), 4);
}

/// What happens to a source, by key number.
#[derive(Clone, Debug)]
enum Step {
    /// Writes these keys in one transaction; a flag marks those under a lease.
    Put(Vec<(u8, bool)>),
    Delete(Vec<u8>),
    Lapse(u8),
    /// The watch repeats all its events.
    Again,
    Reread,
    Tick(u16),
    Accept,
}

fn step() -> impl Strategy<Value = Step> {
    let keys = || prop::collection::vec((0..24_u8, any::<bool>()), 1..4);
    prop_oneof![
        6 => keys().prop_map(Step::Put),
        3 => prop::collection::vec(0..24_u8, 1..4).prop_map(Step::Delete),
        3 => (0..24_u8).prop_map(Step::Lapse),
        1 => Just(Step::Again),
        1 => Just(Step::Reread),
        2 => (0..900_u16).prop_map(Step::Tick),
        1 => Just(Step::Accept),
    ]
}

fn key(number: u8) -> Key {
    match number % 3 {
        0 => format!("routes/{number}").into(),
        1 => format!("upstreams/{number}").into(),
        _ => format!("backends/u/{number}").into(),
    }
}

proptest! {
    /// Whatever happens: what was delivered adds up to what is in force; what the source has is in
    /// force as it has it; and what is in force without it has a reason.
    #[test]
    fn what_is_told_adds_up(steps in prop::collection::vec(step(), 1..60)) {
        let mut now = start();
        let mut mirror = Mirror::new(GRACE);
        mirror.read(FullRead { cluster: 1, revision: 1, ..FullRead::default() }, now);
        let mut source: BTreeMap<Key, Held> = BTreeMap::new();
        let mut delivered: BTreeMap<Key, Held> = BTreeMap::new();
        let mut history = Vec::new();
        let mut revision = 1;
        for step in steps {
            revision += 1;
            let mut events = Vec::new();
            match step {
                Step::Put(keys) => for (number, leased) in keys {
                    let one = held(&format!("{{\"n\":{revision}}}"), revision, i64::from(leased));
                    source.insert(key(number), one.clone());
                    events.push(Event::Put(key(number), one));
                },
                Step::Delete(keys) => for number in keys {
                    if source.remove(&key(number)).is_some() {
                        events.push(delete(&key(number), revision, false));
                    }
                },
                Step::Lapse(number) => if source.get(&key(number)).is_some_and(|one| one.lease != 0) {
                    source.remove(&key(number));
                    events.push(delete(&key(number), revision, true));
                },
                Step::Again => mirror.events(history.clone(), now),
                Step::Reread => {
                    mirror.read(FullRead { cluster: 1, revision, documents: source.clone() }, now);
                }
                Step::Tick(seconds) => {
                    now += Duration::from_secs(u64::from(seconds));
                    mirror.tick(now, fine);
                }
                Step::Accept => { mirror.accept(); }
            }
            history.extend(events.clone());
            mirror.events(events, now);
            for (key, held) in mirror.take() {
                match held {
                    Some(held) => delivered.insert(key, held),
                    None => delivered.remove(&key),
                };
            }
            prop_assert_eq!(mirror.present(), &source);
            let mut all = source.clone();
            for (key, (held, _)) in mirror.absent() {
                prop_assert!(all.insert(Key::clone(key), held.clone()).is_none());
            }
            prop_assert_eq!(&delivered, &all);
        }
        // In the end only doubt keeps anything.
        mirror.tick(now + SETTLE, fine);
        mirror.tick(now + SETTLE + GRACE * 2, fine);
        mirror.accept();
        prop_assert!(mirror.absent().is_empty());
    }
}
