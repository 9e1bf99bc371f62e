use std::net::IpAddr;

use proptest::prelude::*;

use super::members::{WEIGHT_MAX, weight};
use super::*;
use crate::base::clock;

const BOUNDS: TtlBounds = TtlBounds {
    min: Duration::from_secs(1),
    max: Duration::from_secs(60),
};

fn host() -> DnsName {
    "chat.test:9000".parse().expect("a name")
}

fn service() -> DnsName {
    "_ws._tcp.chat.test".parse().expect("a name")
}

fn upstream() -> UpstreamName {
    UpstreamName::from("chat")
}

fn ips(all: &[&str]) -> BTreeSet<IpAddr> {
    all.iter().map(|ip| ip.parse().expect("an IP")).collect()
}

fn addresses(all: &[&str]) -> Answer {
    let (v4, v6) = ips(all).into_iter().partition(|ip| ip.is_ipv4());
    Answer {
        records: Records::Addresses {
            v4: Some(v4),
            v6: Some(v6),
        },
        ttl: Duration::from_secs(30),
    }
}

fn srv(priority: u16, weight: u16, target: &str, addresses: &[&str]) -> Service {
    Service {
        priority,
        weight,
        target: target.to_owned(),
        port: 9000,
        addresses: ips(addresses),
    }
}

fn services(all: Vec<Service>) -> Answer {
    Answer {
        records: Records::Services(all),
        ttl: Duration::from_secs(30),
    }
}

/// Names of one upstream, all due.
fn following(names: &[DnsName], now: Instant) -> Names {
    let mut all = Names::new(BOUNDS);
    let changed = all.follow(BTreeMap::from([(upstream(), names.to_vec())]), now);
    assert_eq!(changed, [upstream()]);
    assert_eq!(all.due(now, 16).len(), names.len());
    all
}

/// Ids, addresses and weights of the members.
fn found(names: &Names) -> Vec<String> {
    let (members, _) = names.members(&upstream());
    let shown = |(id, found): (String, Found)| format!("{id} {} {}", found.address, found.weight);
    members.into_iter().map(shown).collect()
}

#[test]
fn addresses_of_a_name_are_backends_at_its_port() {
    let now = clock::now();
    let mut names = following(&[host()], now);
    let answer = addresses(&["10.0.0.2", "10.0.0.1", "fd00::1"]);
    assert_eq!(
        names.answered(&host(), Ok(answer.clone()), (now, 0.0)),
        [upstream()]
    );
    let expected = [
        "10.0.0.1:9000 10.0.0.1:9000 1",
        "10.0.0.2:9000 10.0.0.2:9000 1",
        "[fd00::1]:9000 [fd00::1]:9000 1",
    ];
    assert_eq!(found(&names), expected);
    // The same answer changes nothing.
    assert!(names.answered(&host(), Ok(answer), (now, 0.0)).is_empty());
}

#[test]
fn services_have_ports_weights_and_ids_that_stay() {
    let now = clock::now();
    let mut names = following(&[service()], now);
    let check = |names: &mut Names, all: Vec<Service>, expected: &[&str]| {
        names.answered(&service(), Ok(services(all)), (now, 0.0));
        assert_eq!(found(names), expected);
    };
    let (a, b) = (
        srv(1, 10, "a.test", &["10.0.0.1"]),
        srv(1, 0, "b.test", &["10.0.0.2"]),
    );
    let both = [
        "a.test:9000 10.0.0.1:9000 10",
        "b.test:9000 10.0.0.2:9000 1",
    ];
    check(&mut names, vec![a, b], &both);
    // Another address of the same target; an address that it still has is kept.
    let moved = srv(1, 10, "a.test", &["10.0.0.9"]);
    let more = srv(1, 0, "b.test", &["10.0.0.1", "10.0.0.2"]);
    let both = [
        "a.test:9000 10.0.0.9:9000 10",
        "b.test:9000 10.0.0.2:9000 1",
    ];
    check(&mut names, vec![moved, more], &both);
    // A target whose addresses are unknown now.
    let unknown = vec![srv(1, 10, "a.test", &[]), srv(1, 0, "c.test", &[])];
    check(&mut names, unknown, &["a.test:9000 10.0.0.9:9000 10"]);
    // Great weights are scaled.
    let heavy = vec![
        srv(1, 65_535, "a.test", &["10.0.0.1"]),
        srv(1, 6_553, "b.test", &["10.0.0.2"]),
    ];
    let scaled = [
        "a.test:9000 10.0.0.1:9000 1000",
        "b.test:9000 10.0.0.2:9000 99",
    ];
    check(&mut names, heavy, &scaled);
}

#[test]
fn priorities_are_counted_up_from_the_lowest_and_bounded() {
    let now = clock::now();
    let mut names = following(&[service()], now);
    let priorities = |names: &Names| {
        let (members, _) = names.members(&upstream());
        let each = members.into_iter();
        let each = each.map(|(id, found)| (id, found.priority, found.weight));
        each.collect::<Vec<_>>()
    };
    let all = vec![
        srv(10, 1, "second.test", &["10.0.0.2"]),
        srv(5, 2_000, "first.test", &["10.0.0.1"]),
        srv(5, 1_000, "heir.test", &["10.0.0.3"]),
        srv(65_535, 7, "lost.test", &[]),
    ];
    names.answered(&service(), Ok(services(all)), (now, 0.0));
    let expected = [
        ("first.test:9000".to_owned(), 0, 1_000),
        ("heir.test:9000".to_owned(), 0, 500),
        // Weights are scaled within their priority.
        ("second.test:9000".to_owned(), 1, 1),
    ];
    assert_eq!(priorities(&names), expected);
    let many = (0..400).map(|n| srv(n, 1, &format!("s{n:03}.test"), &["10.0.0.1"]));
    names.answered(&service(), Ok(services(many.collect())), (now, 0.0));
    let found = priorities(&names);
    assert_eq!(
        (found[0].1, found[14].1, found[15].1, found[399].1),
        (0, 14, 15, 15)
    );
}

#[test]
fn i5_a_failed_lookup_removes_nothing_and_is_repeated_more_and_more_slowly() {
    let mut now = clock::now();
    let mut names = following(&[host()], now);
    names.answered(&host(), Ok(addresses(&["10.0.0.1"])), (now, 0.0));
    let mut waits = Vec::new();
    for _ in 0..8 {
        let due = names.next_due().expect("it is due");
        now = due;
        assert_eq!(names.due(now, 1), [host()]);
        let changed = names.answered(&host(), Err("NXDOMAIN".to_owned()), (now, 1.0));
        assert!(changed.is_empty());
        let wait = names.next_due().expect("it is due") - now;
        waits.push(wait.as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(found(&names), ["10.0.0.1:9000 10.0.0.1:9000 1"]);
    let status = &names.statuses()[&host()];
    assert_eq!(status.fault.as_deref(), Some("NXDOMAIN"));
    assert_eq!(status.members, Some(1));
    // An answer heals it.
    now += Duration::from_secs(60);
    names.due(now, 1);
    names.answered(&host(), Ok(addresses(&["10.0.0.2"])), (now, 0.0));
    assert_eq!(names.statuses()[&host()].fault, None);
    assert_eq!(found(&names), ["10.0.0.2:9000 10.0.0.2:9000 1"]);
}

#[test]
fn i5_a_family_without_an_answer_keeps_what_it_had() {
    let now = clock::now();
    let mut names = following(&[host()], now);
    names.answered(&host(), Ok(addresses(&["10.0.0.1", "fd00::1"])), (now, 0.0));
    let half = Answer {
        records: Records::Addresses {
            v4: Some(ips(&["10.0.0.2"])),
            v6: None,
        },
        ttl: Duration::ZERO,
    };
    names.answered(&host(), Ok(half), (now, 0.0));
    let expected = [
        "10.0.0.2:9000 10.0.0.2:9000 1",
        "[fd00::1]:9000 [fd00::1]:9000 1",
    ];
    assert_eq!(found(&names), expected);
    // The time to live is within its bounds.
    assert_eq!(names.next_due(), Some(now + BOUNDS.min));
}

#[test]
fn i5_members_are_complete_once_each_name_was_answered() {
    let now = clock::now();
    let mut names = following(&[host(), service()], now);
    let complete = |names: &Names| names.members(&upstream()).1;
    assert!(!complete(&names) && !names.all_asked());
    names.answered(&host(), Ok(addresses(&["10.0.0.1"])), (now, 0.0));
    assert!(!complete(&names));
    names.answered(&service(), Err("SERVFAIL".to_owned()), (now, 0.0));
    assert!(!complete(&names) && names.all_asked());
    let answer = services(vec![srv(1, 1, "a.test", &["10.0.0.2"])]);
    names.answered(&service(), Ok(answer), (now, 0.0));
    assert!(complete(&names));
    assert_eq!(found(&names).len(), 2);
}

#[test]
fn names_come_and_go_with_their_upstreams() {
    let now = clock::now();
    let mut names = following(&[host()], now);
    let other = UpstreamName::from("other");
    let wanted = BTreeMap::from([(upstream(), vec![host()]), (other.clone(), vec![host()])]);
    let changed = names.follow(wanted.clone(), now);
    assert_eq!(changed, std::slice::from_ref(&other));
    // It is looked up once for both, and is under way already.
    assert!(names.due(now, 16).is_empty());
    let both = names.answered(&host(), Ok(addresses(&["10.0.0.1"])), (now, 0.0));
    assert_eq!(both, [upstream(), other.clone()]);
    assert!(names.follow(wanted, now).is_empty());
    assert_eq!(names.follow(BTreeMap::new(), now), [upstream(), other]);
    assert!(!names.has("chat") && names.next_due().is_none());
    // An answer that comes too late.
    let late = names.answered(&host(), Ok(addresses(&["10.0.0.1"])), (now, 0.0));
    assert!(late.is_empty() && found(&names).is_empty());
}

#[test]
fn i8_names_and_members_are_bounded() {
    let now = clock::now();
    let all = (0..NAMES_MAX + 10).map(|n| {
        let name = format!("n{n}.test:80").parse().expect("a name");
        (UpstreamName::from(&*format!("u{n}")), vec![name])
    });
    let mut names = Names::new(BOUNDS);
    names.follow(all.collect(), now);
    assert_eq!(names.due(now, usize::MAX).len(), NAMES_MAX);
    let mut names = following(&[host()], now);
    let many = (0..MEMBERS_MAX + 10).map(|n| IpAddr::from([10, 0, (n >> 8) as u8, n as u8]));
    let records = Records::Addresses {
        v4: Some(many.collect()),
        v6: None,
    };
    let ttl = Duration::ZERO;
    names.answered(&host(), Ok(Answer { records, ttl }), (now, 0.0));
    assert_eq!(found(&names).len(), MEMBERS_MAX);
}

proptest! {
    #[test]
    fn weights_keep_their_order_and_their_bounds(weights in prop::collection::vec(0u16.., 1..20)) {
        let heaviest = weights.iter().copied().max().unwrap_or(0);
        let scaled: Vec<_> = weights.iter().map(|one| weight(*one, heaviest)).collect();
        for (one, other) in weights.iter().zip(&scaled) {
            prop_assert!((1..=WEIGHT_MAX).contains(other));
            for (second, of_second) in weights.iter().zip(&scaled) {
                prop_assert!(one > second || other <= of_second);
            }
        }
    }
}
