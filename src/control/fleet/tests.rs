use super::*;
use crate::base::clock;

fn read(key: &str, revision: i64, digest: &str, applied: i64) -> FleetRecord {
    FleetRecord {
        key: format!("/sessile/gateways/{key}"),
        revision,
        entry: Entry {
            node: key.split('@').next().unwrap_or_default().to_owned(),
            instance: format!("process of {key}"),
            phase: "ready".to_owned(),
            digest: digest.to_owned(),
            revision: Some(applied),
            ..Entry::default()
        },
    }
}

/// Name, and the marks `older`, `differs`, `duplicate`.
fn check(read: Vec<FleetRecord>, expected: &[(&str, [bool; 3])]) {
    let fleet = Fleet::new("process of a".to_owned());
    fleet.observe(read, clock::now());
    let view = fleet.view(clock::now());
    let shown: Vec<_> = view
        .iter()
        .map(|one| (one.node.as_str(), [one.older, one.differs, one.duplicate]))
        .collect();
    assert_eq!(shown, expected);
}

#[test]
fn a_gateway_with_a_lower_revision_and_another_table_is_older() {
    let none = [false; 3];
    check(
        vec![read("a", 1, "x", 5), read("b", 1, "x", 5)],
        &[("a", none), ("b", none)],
    );
    check(
        vec![read("a", 1, "y", 7), read("b", 1, "x", 5)],
        &[("a", none), ("b", [true, false, false])],
    );
    // It is this one that is behind.
    check(
        vec![read("a", 1, "x", 5), read("b", 1, "y", 7)],
        &[("a", [true, false, false]), ("b", none)],
    );
    // The later revision was about something else.
    check(
        vec![read("a", 1, "x", 5), read("b", 1, "x", 7)],
        &[("a", none), ("b", none)],
    );
    // The same of etcd, and yet another table: their files differ.
    check(
        vec![read("a", 1, "x", 5), read("b", 1, "y", 5)],
        &[("a", none), ("b", [false, true, false])],
    );
}

#[test]
fn two_nodes_of_one_name_are_reported() {
    let both = [false, false, true];
    check(
        vec![read("a", 1, "x", 5), read("a@2", 1, "x", 5)],
        &[("a", both), ("a", both)],
    );
}

#[test]
fn two_processes_of_which_one_hands_over_to_the_other_are_one_gateway() {
    let fleet = Fleet::new("process of a".to_owned());
    let with = |key: &str, pid: u32, admin: &str| {
        let mut read = read(key, 1, "x", 5);
        (read.entry.pid, read.entry.admin) = (pid, admin.to_owned());
        read
    };
    let (own, next) = (with("a", 10, "unix:/a"), with("a@2", 20, "unix:/a"));
    fleet.observe(vec![own.clone(), next.clone()], clock::now());
    assert!(fleet.has_duplicate(&own.entry), "nothing is known of it");
    assert!(fleet.is_duplicated());
    fleet.set_other_process(20);
    assert!(!fleet.has_duplicate(&own.entry) && !fleet.is_duplicated());
    let view = fleet.view(clock::now());
    assert!(view.iter().all(|one| !one.duplicate), "{view:?}");
    // Another gateway on another machine may have the same number.
    let stranger = with("a@3", 20, "unix:/b");
    fleet.observe(vec![own.clone(), stranger], clock::now());
    assert!(fleet.has_duplicate(&own.entry));
}

#[test]
fn a_vanished_gateway_is_remembered_unless_it_left() {
    let fleet = Fleet::new("process of a".to_owned());
    let start = clock::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    fleet.observe(vec![read("a", 1, "x", 5), read("b", 2, "x", 5)], start);
    fleet.observe(
        vec![
            read("a", 1, "x", 5),
            read("b", 2, "x", 5),
            read("c", 3, "x", 5),
        ],
        after(50),
    );
    let phases = |now| {
        let view = fleet.view(now);
        let phases = view.iter().map(|one| (one.node.clone(), one.phase.clone()));
        phases.collect::<Vec<_>>()
    };
    let is = |node: &str, phase: &str| (node.to_owned(), phase.to_owned());

    // One had been silent for as long as a lease runs, the other had just spoken.
    fleet.observe(vec![read("a", 4, "x", 5)], after(60));
    assert_eq!(phases(after(60)), [is("a", "ready"), is("b", "gone")]);
    let silent: Vec<_> = fleet
        .view(after(61))
        .iter()
        .map(|one| one.silent_seconds)
        .collect();
    assert_eq!(silent, [1, 61]);
    fleet.observe(vec![read("a", 4, "x", 5)], after(601));
    assert_eq!(phases(after(601)), [is("a", "ready")]);

    fleet.failed("it is away".to_owned());
    assert_eq!(fleet.age(after(611)), Some(Duration::from_secs(10)));
    assert_eq!(fleet.fault().as_deref(), Some("it is away"));
}
#[test]
fn a_gateway_that_restarted_under_its_name_is_not_gone() {
    let fleet = Fleet::new("process of a".to_owned());
    let start = clock::now();
    fleet.observe(vec![read("a", 1, "x", 5), read("b@1", 2, "x", 5)], start);
    let later = start + LEFT_WITHIN;
    fleet.observe(vec![read("a", 3, "x", 5), read("b@2", 4, "x", 5)], later);
    let view = fleet.view(later);
    let found: Vec<_> = view.iter().map(|one| (&*one.node, &*one.phase)).collect();
    assert_eq!(found, [("a", "ready"), ("b", "ready")]);
}
