//! What answers do to members, by table, and beside an obvious twin.

use proptest::prelude::*;

use super::*;
use crate::base::clock;

fn found(ids: &[&str]) -> Found {
    let members = ids.iter().map(|id| ((*id).to_owned(), Arc::from("{}")));
    Found {
        members: members.collect(),
        left_out: 0,
    }
}

fn naming(pairs: &[(&str, &'static str)]) -> BTreeMap<UpstreamName, &'static str> {
    let pairs = pairs.iter();
    pairs
        .map(|(upstream, service)| (UpstreamName::from(*upstream), *service))
        .collect()
}

fn names(names: &BTreeSet<UpstreamName>) -> Vec<&str> {
    names.iter().map(|name| name.as_str()).collect()
}

#[test]
fn an_answer_reaches_every_upstream_that_names_the_service() {
    let now = clock::now();
    let mut services = Services::new(8);
    let differs = services.follow(naming(&[("a", "chat"), ("b", "chat"), ("c", "feed")]));
    assert_eq!(names(&differs), ["a", "b", "c"]);
    assert_eq!(services.followed().collect::<Vec<_>>(), [&"chat", &"feed"]);
    let changed = services.answered(&"chat", Ok(found(&["1"])), now);
    assert_eq!(names(&changed), ["a", "b"]);
    assert!(services.members(&"a".into()).is_some());
    assert!(services.members(&"c".into()).is_none(), "it is not known");
    // The same again changes nothing.
    assert!(
        services
            .answered(&"chat", Ok(found(&["1"])), now)
            .is_empty()
    );
    let differs = services.follow(naming(&[("a", "feed"), ("c", "feed")]));
    assert_eq!(names(&differs), ["a", "b"]);
    assert!(!services.has("b"));
    assert!(
        services
            .answered(&"chat", Ok(found(&["2"])), now)
            .is_empty()
    );
}

#[test]
fn i5_a_question_in_vain_and_an_empty_answer_remove_no_member() {
    let now = clock::now();
    let mut services = Services::new(8);
    services.follow(naming(&[("a", "chat")]));
    assert!(!services.all_asked());
    services.answered(&"chat", Ok(found(&["1", "2"])), now);
    assert!(services.all_asked());
    let unusable = Found {
        left_out: 3,
        ..Found::default()
    };
    for (outcome, fault) in [
        (Err("500".to_owned()), "500"),
        (Ok(Found::default()), "no instance that is ready"),
        (Ok(unusable), "none of its 3 instances"),
    ] {
        assert!(services.answered(&"chat", outcome, now).is_empty());
        assert_eq!(services.members(&"a".into()).map(BTreeMap::len), Some(2));
        let status = services.statuses().remove("chat").expect("it is followed");
        assert!(status.fault.is_some_and(|text| text.contains(fault)));
        assert_eq!(status.members, Some(2));
        assert!(services.is_failing(&"chat"));
    }
    services.answered(&"chat", Ok(found(&["1"])), now);
    assert!(!services.is_failing(&"chat"));
}

#[test]
fn i12_services_beyond_the_bound_are_not_followed_and_shown_so() {
    let mut services = Services::new(1);
    services.follow(naming(&[("a", "chat"), ("b", "feed")]));
    assert_eq!(services.followed().count(), 1);
    let fault = services.statuses()["feed"].fault.clone();
    assert_eq!(fault.as_deref(), Some("only 1 services are followed"));
    // A place that becomes free is used.
    services.follow(naming(&[("b", "feed")]));
    assert_eq!(services.followed().collect::<Vec<_>>(), [&"feed"]);
}

proptest! {
    /// Members are always those of the last answer that had some.
    #[test]
    fn members_are_those_of_the_last_good_answer(
        steps in prop::collection::vec((0..3_usize, prop::option::of(0..4_usize)), 1..40),
    ) {
        let now = clock::now();
        let keys = ["x", "y", "z"];
        let mut services = Services::new(8);
        services.follow(naming(&[("a", "x"), ("b", "y"), ("c", "z")]));
        let mut twin: BTreeMap<&str, usize> = BTreeMap::new();
        for (which, count) in steps {
            let ids: Vec<_> = (0..count.unwrap_or(0)).map(|id| id.to_string()).collect();
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            let outcome = count.map(|_| found(&ids)).ok_or_else(String::new);
            services.answered(&keys[which], outcome, now);
            if let Some(count) = count.filter(|count| *count > 0) {
                twin.insert(keys[which], count);
            }
            for (upstream, key) in [("a", "x"), ("b", "y"), ("c", "z")] {
                let members = services.members(&upstream.into()).map(BTreeMap::len);
                prop_assert_eq!(members, twin.get(key).copied());
            }
        }
    }
}
