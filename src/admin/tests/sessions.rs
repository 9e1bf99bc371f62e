//! Live sessions as the admin API lists, shows and closes them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{ask, check};
use crate::admin::Gateway;
use crate::admin::tests::support::{Fixture, built_in, fixture, session};
use crate::live::Live;

#[tokio::test]
async fn sessions_of_all_workers_are_listed_in_pages() {
    let one = vec![
        session(1, "rooms", Some("ann")),
        session(4, "rooms", Some("bob")),
    ];
    let other = vec![session(2, "pages", None), session(3, "rooms", Some("ann"))];
    let fixture = fixture(built_in(), vec![one, other]);
    let ids = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("a list").iter();
        items
            .map(|item| item["id"].as_str().expect("an id").to_owned())
            .collect()
    };

    let (_, all) = ask(&fixture, "GET /v1/sessions").await;
    let all_ids = ids(&all);
    assert_eq!((all_ids.len(), all_ids.is_sorted()), (4, true), "{all}");
    assert!(
        all["next"].is_null() && all["unanswered"].is_null(),
        "{all}"
    );

    let mut paged = Vec::new();
    let mut target = "GET /v1/sessions?limit=1".to_owned();
    loop {
        let (_, page) = ask(&fixture, &target).await;
        paged.extend(ids(&page));
        let Some(next) = page["next"].as_str() else {
            break;
        };
        target = format!("GET /v1/sessions?limit=1&cursor={next}");
    }
    assert_eq!(paged, all_ids);

    for (filter, count) in [
        ("principal=ann", 2),
        ("route=rooms&principal=bob", 1),
        ("backend=10.0.0.1:9000&upstream=chat", 4),
        ("route=nothing", 0),
    ] {
        let (_, page) = ask(&fixture, &format!("GET /v1/sessions?{filter}")).await;
        assert_eq!(ids(&page).len(), count, "{filter}");
    }
    check(
        &fixture,
        &[
            ("GET /v1/sessions?rout=rooms", 400),
            ("GET /v1/sessions?limit=many", 400),
            ("GET /v1/sessions?cursor=nonsense", 400),
            ("GET /v1/sessions?sort=name", 400),
            ("GET /v1/sessions?interval=1h", 400),
            ("GET /v1/sessions?client=somewhere", 400),
            ("GET /v1/sessions?min_age=old", 400),
            (
                "GET /v1/sessions?sort=age&cursor=00000000010000000000000000",
                400,
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_first_sessions_by_a_number_are_found_on_all_workers() {
    let sessions = |numbers: &[u64]| -> Vec<_> {
        let session = |number: &u64| {
            let mut session = session(*number, "rooms", None);
            session.from_client.traffic.bytes = (number * 7) % 300;
            session
        };
        numbers.iter().map(session).collect()
    };
    let (one, other): (Vec<u64>, Vec<u64>) = (1..=600).partition(|number| number % 3 == 0);
    let fixture = fixture(built_in(), vec![sessions(&one), sessions(&other)]);
    let target = "GET /v1/sessions?sort=-bytes&limit=3&interval=100ms";
    let (code, page) = ask(&fixture, target).await;
    assert_eq!((code, &page["matched"]), (200, &json!(600)), "{page}");
    assert!(page["next"].is_null());
    let items = page["items"].as_array().expect("a list").iter();
    let found: Vec<_> = items
        .map(|item| {
            assert_eq!(item["rate"]["bytes_per_second"], 0.0, "{item}");
            item["to_backend"]["bytes"].as_u64().expect("a number")
        })
        .collect();
    assert_eq!(found, [299, 299, 298]);
    let (_, page) = ask(&fixture, "GET /v1/sessions?sort=-byte_rate&min_bytes=299").await;
    assert_eq!(page["matched"], 2, "{page}");
    assert_eq!(page["items"][0]["rate"]["messages_per_second"], 0.0);
}

#[tokio::test]
async fn a_session_is_shown_with_all_fields() {
    let fixture = fixture(built_in(), vec![vec![session(1, "rooms", Some("ann"))]]);
    let id = "00000000010000000000000000";
    let (code, found) = ask(&fixture, &format!("GET /v1/sessions/{id}")).await;
    let none = json!({ "bytes": 0, "text": 0, "binary": 0, "ping": 0, "pong": 0, "close": 0 });
    let mut expected = json!({
        "id": id, "listener": "edge", "route": "rooms", "upstream": "chat",
        "backend": "10.0.0.1:9000", "principal": "ann", "authenticator": null,
        "expires": null, "client": "192.0.2.1",
        "host": "chat.example.com", "target": "/ws/7", "request_id": "req-1",
        "subprotocol": null, "extensions": null, "key": null, "moved": [], "movable": false,
        "placement": {
            "choice": "unknown", "passed": [], "passed_more": 0, "cookie_issued": false,
            "zone": null, "priority": null, "spilled": null,
        },
        "idle_client_seconds": 0.0, "idle_backend_seconds": 0.0,
        "round_trip_client_ms": null, "round_trip_backend_ms": null,
        "in_flight_to_client": { "held": 0, "queued": 0 },
        "in_flight_to_backend": { "held": 0, "queued": 0 },
        "started": "1970-01-01T00:00:00.000Z", "handshake_ms": 1.5,
        "age_seconds": 60.0, "idle_seconds": 0.3, "worker": 0, "closing": false,
        "resumes": 0, "messages_lost": 0,
        "published": { "sent": 0, "bytes": 0, "dropped": 0, "evicted": 0, "expired": 0 },
        "to_backend": { "bytes": 2048, "text": 3, "binary": 0, "ping": 0, "pong": 0, "close": 0 },
        "to_client": none,
    });
    expected["bytes_lost"] = 0.into();
    assert_eq!((code, found), (200, expected));
}

#[tokio::test]
async fn a_worker_that_does_not_answer_is_named_and_the_others_are_listed() {
    let fixture = fixture(built_in(), vec![vec![session(1, "rooms", None)]]);
    let generation = fixture.gateway.live.generation_arc();
    let live = Live::new(crate::live::Generation::clone(&generation));
    // A worker whose end of the queue is gone.
    let (gone, _) = crate::live::WorkerHandle::new();
    live.set_workers(vec![
        gone,
        fixture.gateway.live.workers().handles()[0].clone(),
    ]);
    let gateway = Arc::into_inner(fixture.gateway).expect("this is the only handle");
    let gateway = Arc::new(Gateway { live, ..gateway });
    let fixture = Fixture {
        gateway,
        received: fixture.received,
    };

    let (code, page) = ask(&fixture, "GET /v1/sessions").await;
    assert_eq!(
        (code, page["items"].as_array().map(Vec::len)),
        (200, Some(1)),
        "{page}"
    );
    assert_eq!(page["unanswered"], json!([0]));
    check(
        &fixture,
        &[
            ("GET /v1/sessions/00000000010000000000000000", 200),
            ("GET /v1/sessions/00000000090000000000000000", 503),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_operator_closes_a_session_once() {
    let sessions = vec![session(1, "rooms", None), session(2, "rooms", None)];
    let fixture = fixture(built_in(), vec![vec![], sessions]);
    let (one, two) = ("00000000010000000000000000", "00000000020000000000000000");
    let none = "00000000030000000000000000";
    let close = format!("DELETE /v1/sessions/{one}");
    let (code, closing) = ask(&fixture, &close).await;
    let expected = json!({ "id": one, "code": 1008, "reason": "closed by an operator" });
    assert_eq!((code, closing), (202, expected));
    let long = "x".repeat(124);
    check(
        &fixture,
        &[
            (close.as_str(), 409),
            (
                &format!("DELETE /v1/sessions/{two}?code=4000&reason=go+away"),
                202,
            ),
            (&format!("DELETE /v1/sessions/{none}"), 404),
            (&format!("GET /v1/sessions/{none}"), 404),
            (&format!("DELETE /v1/sessions/{two}?code=1006"), 400),
            (&format!("DELETE /v1/sessions/{two}?code=1005"), 400),
            (&format!("DELETE /v1/sessions/{two}?code=5000"), 400),
            (&format!("DELETE /v1/sessions/{two}?reason={long}"), 400),
            (&format!("DELETE /v1/sessions/{two}?why=1"), 400),
            ("DELETE /v1/sessions/nonsense", 400),
            ("DELETE /v1/sessions", 400),
        ],
    )
    .await;
    let received = fixture.received.lock().expect("not poisoned");
    let orders: Vec<_> = received
        .closes
        .iter()
        .map(|order| (order.code, &*order.reason))
        .collect();
    assert_eq!(orders, [(1008, "closed by an operator"), (4000, "go away")]);
    assert_eq!(
        received.closes[0].cause,
        crate::core::session::record::Cause::Kicked
    );
}
