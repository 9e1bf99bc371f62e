use std::time::Duration;

use super::*;
use crate::admin::resolve::view::{Choice, RefusalView, RequestView, Step};

fn request() -> Request {
    let text = str::to_owned;
    Request {
        listener: text("edge"),
        host: text("chat.example.com"),
        target: text("/ws"),
        client: text("[2001:db8::1]:5000"),
        key: None,
        then: Placed {
            route: text("chat"),
            upstream: text("chat"),
            backend: text("b1"),
            ..Placed::default()
        },
        expires: None,
        revoked: false,
    }
}

/// The same answer as then.
fn same() -> Explanation {
    let text = str::to_owned;
    let step = |backend: &str, verdict: &str| Step {
        backend: text(backend),
        address: text("10.0.0.1:1"),
        zone: None,
        priority: 0,
        verdict: text(verdict),
        reason: text("unhealthy"),
    };
    Explanation {
        request: RequestView {
            method: text("GET"),
            host: text("chat.example.com"),
            path: text("/ws"),
            websocket: true,
            client: text("2001:db8::1"),
        },
        routes: Vec::new(),
        route: Some(text("chat")),
        parameters: Default::default(),
        redirect: None,
        refusal: None,
        principal: None,
        target: None,
        affinity: Some(AffinityView {
            key: text("ann"),
            source: text("claim:sub"),
            issued: false,
        }),
        choice: Some(Choice {
            upstream: text("chat"),
            policy: text("consistent_hash"),
            panicking: false,
            levels: Vec::new(),
            walk: vec![step("b1", "unhealthy"), step("b2", "taken")],
            backend: Some(text("b1")),
        }),
        not_checked: Vec::new(),
        notes: Vec::new(),
        of_fleet: None,
    }
}

#[track_caller]
fn check(change: impl FnOnce(&mut Request, &mut Explanation), expected: &[&str]) {
    let (mut request, mut now) = (request(), same());
    change(&mut request, &mut now);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    assert_eq!(differences(&request, &now, at), expected);
}

#[test]
fn only_what_differs_is_named_with_its_reason() {
    check(|_, _| {}, &[]);
    check(
        |_, now| now.choice.as_mut().expect("one").backend = Some("b2".to_owned()),
        &["backend b1 then, b2 now; b1: unhealthy"],
    );
    check(
        |_, now| {
            now.choice.as_mut().expect("one").backend = Some("b2".to_owned());
            now.affinity = None;
        },
        &[],
    );
    check(
        |_, now| now.choice.as_mut().expect("one").backend = None,
        &["no backend may take it now"],
    );
    check(
        |_, now| now.route = None,
        &["route `chat` then, none takes the request now"],
    );
    check(
        |_, now| now.route = Some("room".to_owned()),
        &["route `chat` then, `room` now"],
    );
    check(
        |request, now| {
            request.expires = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(940));
            request.revoked = true;
            now.choice = None;
            now.refusal = Some(RefusalView {
                status: 403,
                reason: "address".to_owned(),
                detail: "not from here".to_owned(),
            });
        },
        &[
            "its right expired 1m ago",
            "its right was revoked",
            "refused now: 403 address, not from here",
        ],
    );
}

#[test]
fn clients_are_known_by_their_address() {
    let ip = |text: &str| text.parse().ok();
    assert_eq!(address("[2001:db8::1]:5000"), ip("2001:db8::1"));
    assert_eq!(address("192.0.2.1:5000"), ip("192.0.2.1"));
    assert_eq!(address("192.0.2.1"), ip("192.0.2.1"));
    assert_eq!(address("unix"), None);
}
