//! The rules of RFC 9111, as tables.

use proptest::prelude::*;

use super::*;
use crate::core::http::headers::tests::headers;

fn request(cache_control: &str) -> Directives {
    Directives::of_request(&headers(&[("cache-control", cache_control)]))
}

/// So many seconds after an arbitrary moment.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 + seconds)
}

const MOMENT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER_60: &str = "Sun, 06 Nov 1994 08:50:37 GMT";

#[track_caller]
fn stored(fields: &[(&str, &str)], expected: Result<(), NotStored>) {
    let found = storable(
        &Directives::default(),
        false,
        StatusCode::OK,
        &headers(fields),
    );
    assert_eq!(found, expected, "{fields:?}");
}

#[test]
fn only_what_is_declared_for_all_is_stored() {
    let control = |value| [("cache-control", value)];
    stored(&control("max-age=60"), Ok(()));
    stored(&control("s-maxage=60, max-age=0"), Ok(()));
    stored(&control("max-age=60, no-store"), Err(NotStored::NoStore));
    stored(&control("max-age=60, private"), Err(NotStored::Private));
    stored(
        &control("max-age=60, private=\"x\""),
        Err(NotStored::Private),
    );
    stored(&control("max-age=0"), Err(NotStored::NeverUsable));
    stored(
        &control("s-maxage=0, max-age=60"),
        Err(NotStored::NeverUsable),
    );
    stored(&control("public"), Err(NotStored::NeverUsable));
    stored(&[], Err(NotStored::NeverUsable));
    stored(&[("last-modified", MOMENT)], Ok(()));
    stored(&[("etag", "\"a\"")], Ok(()));
    stored(&[("expires", LATER_60)], Ok(()));
    stored(&[("expires", "0")], Err(NotStored::NeverUsable));
    stored(
        &[("cache-control", "no-cache, max-age=60")],
        Err(NotStored::NeverUsable),
    );
    stored(&[("cache-control", "no-cache"), ("etag", "\"a\"")], Ok(()));
    let cached = ("cache-control", "max-age=60");
    stored(&[cached, ("set-cookie", "a=1")], Err(NotStored::SetsCookie));
    stored(
        &[cached, ("vary", "accept, *")],
        Err(NotStored::VariesByAll),
    );
    stored(&[cached, ("vary", "accept")], Ok(()));
    stored(
        &[cached, ("content-range", "bytes 0-1/2")],
        Err(NotStored::Status),
    );
}

#[test]
fn a_request_can_keep_its_answer_out() {
    let fields = headers(&[("cache-control", "max-age=60")]);
    let found = storable(&request("no-store"), false, StatusCode::OK, &fields);
    assert_eq!(found, Err(NotStored::NoStore));
}

#[test]
fn answers_to_authorized_requests_are_stored_only_if_they_say_so() {
    for (value, expected) in [
        ("max-age=60", Err(NotStored::Authorized)),
        ("max-age=60, proxy-revalidate", Err(NotStored::Authorized)),
        ("max-age=60, public", Ok(())),
        ("s-maxage=60", Ok(())),
        ("max-age=60, must-revalidate", Ok(())),
        ("max-age=60, public, private", Err(NotStored::Private)),
    ] {
        let fields = headers(&[("cache-control", value)]);
        let found = storable(&Directives::default(), true, StatusCode::OK, &fields);
        assert_eq!(found, expected, "{value}");
    }
}

#[test]
fn only_some_statuses_are_stored() {
    let fields = headers(&[("cache-control", "max-age=60")]);
    for status in 200..600 {
        let status = StatusCode::from_u16(status).expect("a status");
        let found = storable(&Directives::default(), false, status, &fields);
        assert_eq!(found.is_ok(), STORED.contains(&status.as_u16()), "{status}");
    }
}

#[test]
fn the_lifetime_is_that_of_the_most_specific_field() {
    for (fields, expected) in [
        (
            &[
                ("cache-control", "s-maxage=5, max-age=10"),
                ("expires", LATER_60),
            ][..],
            5,
        ),
        (
            &[("cache-control", "max-age=10"), ("expires", LATER_60)],
            10,
        ),
        (&[("date", MOMENT), ("expires", LATER_60)], 60),
        (&[("date", LATER_60), ("expires", MOMENT)], 0),
        (&[("expires", LATER_60), ("expires", LATER_60)], 0),
        (&[("expires", "-1")], 0),
        (&[], 0),
        // Without a date the arrival is its date.
        (&[("expires", LATER_60)], 50),
    ] {
        let freshness = Freshness::of(&headers(fields), at(10), at(10));
        assert_eq!(freshness.lifetime.as_secs(), expected, "{fields:?}");
    }
}

#[test]
fn the_age_counts_what_other_caches_and_the_way_took() {
    for (fields, asked, expected) in [
        (&[][..], 10, 0),
        (&[("date", MOMENT)], 10, 10),
        (&[("age", "30")], 10, 30),
        (&[("age", "30")], 5, 35),
        (&[("age", "3"), ("date", MOMENT)], 10, 10),
        (&[("age", "x")], 10, 0),
        // A clock that is ahead makes nothing younger.
        (&[("date", LATER_60)], 10, 0),
    ] {
        let freshness = Freshness::of(&headers(fields), at(asked), at(10));
        assert_eq!(freshness.age(at(10)).as_secs(), expected, "{fields:?}");
        assert_eq!(freshness.age(at(17)).as_secs(), expected + 7, "{fields:?}");
    }
}

#[track_caller]
fn reuse(response: &str, age: u64, asks: &str, expected: Reuse) {
    let fields = headers(&[("cache-control", response)]);
    let freshness = Freshness::of(&fields, at(0), at(0));
    let found = freshness.reuse(&request(asks), at(age));
    assert_eq!(found, expected, "{response} at {age} for {asks}");
}

#[test]
fn a_stored_response_is_used_as_response_and_request_allow() {
    reuse("max-age=60", 59, "", Reuse::Fresh);
    reuse("max-age=60", 60, "", Reuse::AskStale);
    reuse("no-cache, max-age=60", 0, "", Reuse::AskStale);
    reuse("max-age=60", 0, "no-cache", Reuse::AskRequested);
    reuse("max-age=60", 30, "max-age=30", Reuse::Fresh);
    reuse("max-age=60", 31, "max-age=30", Reuse::AskRequested);
    reuse("max-age=60", 50, "min-fresh=10", Reuse::Fresh);
    reuse("max-age=60", 51, "min-fresh=10", Reuse::AskRequested);
    reuse("max-age=60", 70, "max-stale=10", Reuse::Stale);
    reuse("max-age=60", 71, "max-stale=10", Reuse::AskStale);
    reuse("max-age=60", 9_999, "max-stale", Reuse::Stale);
    for strict in [
        "must-revalidate",
        "proxy-revalidate",
        "s-maxage=60",
        "no-cache",
    ] {
        reuse(
            &format!("max-age=60, {strict}"),
            61,
            "max-stale",
            Reuse::AskStale,
        );
    }
    reuse(
        "max-age=60",
        61,
        "max-stale, max-age=60",
        Reuse::AskRequested,
    );
}

#[test]
fn a_stale_response_helps_out_only_as_long_as_it_says() {
    let helps = |response: &str, age: u64| {
        let fields = headers(&[("cache-control", response)]);
        Freshness::of(&fields, at(0), at(0)).helps_out(at(age))
    };
    assert!(helps("max-age=60, stale-if-error=30", 90));
    assert!(!helps("max-age=60, stale-if-error=30", 91));
    assert!(!helps("max-age=60", 61));
    assert!(!helps("max-age=60, stale-if-error=30, must-revalidate", 61));
}

proptest! {
    #[test]
    fn nothing_is_fresh_beyond_its_lifetime(
        lifetime in 0_u64..200, age in 0_u64..100, asked in 0_u64..50, passed in 0_u64..200,
    ) {
        let control = format!("max-age={lifetime}");
        let fields = headers(&[("cache-control", &control), ("age", &age.to_string())]);
        let freshness = Freshness::of(&fields, at(100 - asked), at(100));
        let now = at(100 + passed);
        let expected = age + asked + passed < lifetime;
        let found = freshness.reuse(&Directives::default(), now) == Reuse::Fresh;
        prop_assert_eq!(found, expected);
        prop_assert_eq!(freshness.ttl(now) > 0, expected);
    }
}
