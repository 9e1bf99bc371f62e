//! Events: each thing that happens is told, once, with who did it; a client that was cut off goes
//! on where it was.

use serde_json::{Value, json};

use crate::support::events::EventStream;
use crate::support::tokens::{SECRET, in_seconds, token};
use crate::support::{Backend, Client, Dial, Gateway, config, eventually, http};

async fn follow(gateway: &Gateway, target: &str, last: Option<&str>) -> EventStream {
    let socket = gateway.directory().join("admin.sock");
    EventStream::open(&socket, target, last).await
}

/// The newest events of a page once it has some.
async fn page(gateway: &Gateway, target: &str) -> Vec<Value> {
    let mut items = Vec::new();
    eventually(target, async || {
        items.clone_from(gateway.get(target)["items"].as_array().expect("a list"));
        !items.is_empty()
    })
    .await;
    items
}

#[tokio::test]
async fn i6_a_session_is_told_from_its_begin_to_its_end() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let mut stream = follow(&gateway, "/v1/events?class=sessions", None).await;
    let mut client = Client::connect(gateway.address(), "/a?k=1").await;
    let id = client.session_id().await;
    let began = stream.next_of("session_began").await;
    assert_eq!(began["session"], id);
    assert_eq!(began["target"], "/a?k=1");
    let kick = format!("/v1/sessions/{id}?reason=test%20at%203");
    assert_eq!(gateway.admin("DELETE", &kick, "").status, 202);
    client.end().await.expect("a close frame");
    let ended = stream.next_of("session_ended").await;
    assert_eq!(ended["session"], id);
    assert_eq!(
        (&ended["cause"], &ended["ended_by"]),
        (&json!("kicked"), &json!("gateway"))
    );
    assert_eq!(
        (&ended["operator"], &ended["reason"]),
        (&json!("local"), &json!("test at 3"))
    );
    // The same by the question of somebody on call, and as the record has it.
    let ended = &page(&gateway, "/v1/sessions/ended?since=1h&cause=kicked").await[0];
    let record = &gateway.wait_for_records(1).await[0];
    assert_eq!(ended["session"], record.id);
    assert_eq!(ended["cause"], record.cause);
    let orders = page(&gateway, "/v1/history?kind=order&operator=local").await;
    assert_eq!(
        (&orders[0]["order"], &orders[0]["session"]),
        (&json!("close"), &json!(id))
    );
    assert!(gateway.get("/v1/sessions/ended?principal=ann")["items"] == json!([]));
}

#[tokio::test]
async fn a_client_that_was_cut_off_goes_on_where_it_was() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let mut stream = follow(&gateway, "/v1/events?class=sessions", None).await;
    let client = Client::connect(gateway.address(), "/a").await;
    let began = stream.next_of("session_began").await;
    let last = stream.last_id.clone().expect("an id");
    assert_eq!(began["id"], last);
    drop(stream);
    client.close().await;
    let mut again = follow(&gateway, "/v1/events?class=sessions", Some(&last)).await;
    let next = again.next().await.expect("an event");
    assert_eq!(
        (&next.name, &next.data["kind"]),
        (&None, &json!("session_ended"))
    );
    // An id of another process: a gap comes first, then everything in memory.
    let other = "0123456789abcdef-5";
    let mut lost = follow(&gateway, "/v1/events?class=sessions", Some(other)).await;
    let gap = lost.next().await.expect("a gap");
    assert_eq!(gap.name.as_deref(), Some("gap"));
    assert_eq!(
        gap.data,
        json!({ "lost": null, "reason": "other_instance" })
    );
    let first = lost.next().await.expect("an event");
    assert_eq!(first.data["id"], began["id"]);
    for hostile in ["x", "0123456789abcdef-", "%00"] {
        let target = format!("/v1/events?after={hostile}");
        assert_eq!(gateway.admin("GET", &target, "").status, 400, "{hostile}");
    }
}

#[tokio::test]
async fn a_change_is_told_with_who_did_it_and_the_difference() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let before = config::echo(&[backends[0].address], "", "");
    let secret = "[authenticators.users]\ntype = \"jwt\"\nsecret = ";
    let with = |text: &str, key: &str| format!("{text}{secret}\"{key}\"\n");
    let gateway = Gateway::start(&with(&before, SECRET)).await;
    let mut stream = follow(&gateway, "/v1/events?class=changes", None).await;
    let both = [backends[0].address, backends[1].address];
    let other = "another-secret-that-is-as-long-as-it-has-to-be";
    gateway.write_config(&with(&config::echo(&both, "", ""), other));
    assert_eq!(gateway.reload().status, 200);
    let changed = stream.next_of("configuration_changed").await;
    assert_eq!(
        (&changed["source"], &changed["operator"]),
        (&json!("file"), &json!("local"))
    );
    assert_eq!(changed["generation"], 2);
    let lines = changed["documents"][0]["lines"].as_array().expect("lines");
    let added = format!("+ upstreams.echo.backends[{}]", backends[1].address);
    let named = |line: &Value| line.as_str().is_some_and(|line| line.starts_with(&added));
    assert!(lines.iter().any(named), "{changed:#}");
    // I11: a secret that changed does not show.
    let text = changed.to_string();
    assert!(!text.contains(SECRET) && !text.contains(other), "{text}");
    // Reading it once more changes nothing, and a fault is refused with its place.
    assert_eq!(gateway.reload().status, 200);
    gateway.write_config("[upstreams.echo]\nbackends = 5\n");
    assert_eq!(gateway.reload().status, 422);
    let next = stream.next().await.expect("an event");
    assert_eq!(
        next.data["kind"], "configuration_refused",
        "{:#}",
        next.data
    );
    let text = next.data["text"].as_str().expect("a text");
    assert!(text.contains("gateway.toml:"), "{text}");
    assert_eq!(next.data["operator"], "local");
    let history = page(&gateway, "/v1/history?since=1h&kind=configuration_changed").await;
    assert_eq!(history[0]["documents"], changed["documents"]);
}

#[tokio::test]
async fn a_refusal_names_the_authenticator_the_cause_and_the_route() {
    let backend = Backend::echo().await;
    let users = format!("[authenticators.users]\ntype = \"jwt\"\nsecret = \"{SECRET}\"\n");
    let route = "authenticate = [\"users\"]";
    let gateway = Gateway::start(&(users + &config::echo(&[backend.address], "", route))).await;
    let old = token(&json!({ "sub": "ann", "exp": in_seconds(-60) }));
    let tokens = [None, Some("a.b".to_owned()), Some(old)];
    let reasons = [
        "credential_missing",
        "credential_invalid",
        "credential_expired",
    ];
    for (token, reason) in tokens.into_iter().zip(reasons) {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.iter().map(|it| ("authorization", &**it)).collect();
        let answer = http::get(gateway.address(), "/?token=secret", &headers).await;
        assert_eq!(answer.status, 401);
        let quoted = answer.header("x-request-id").expect("an id to quote");
        let target = format!("/v1/refusals?request_id={quoted}&client=127.0.0.1");
        let refused = &page(&gateway, &target).await[0];
        assert_eq!(refused["reason"], reason);
        assert_eq!(
            (&refused["route"], &refused["status"]),
            (&json!("all"), &json!(401))
        );
        let record = gateway.record_of(answer.text()).await;
        assert_eq!(
            (&record["refusal"], &record["request_id"]),
            (&json!(reason), &json!(quoted))
        );
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
    let refusals = gateway.get("/v1/refusals?since=1h");
    for reason in reasons {
        assert_eq!(refusals["counts"][reason], 1, "{refusals}");
    }
    let expired = &page(&gateway, "/v1/refusals?reason=credential_expired").await[0];
    assert_eq!(expired["authenticator"], "users");
    let detail = expired["detail"].as_str().expect("a detail");
    assert!(
        detail.starts_with("authenticator `users`: the credential expired 1m"),
        "{detail}"
    );
    assert_eq!(
        gateway.get("/v1/refusals?client=192.0.2.1")["items"],
        json!([])
    );
}

#[tokio::test]
async fn i12_hostile_values_come_as_text_and_bad_queries_are_refused() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let mut stream = follow(&gateway, "/v1/events", None).await;
    let mut client = Dial::new("/a?b=%0a%0adata:%20x%1b[31m")
        .header("x-request-id", "%0aid:%201")
        .connect(gateway.address())
        .await
        .expect("a session");
    client.echo("in").await;
    let began = stream.next_of("session_began").await;
    assert!(
        began["target"]
            .as_str()
            .expect("text")
            .starts_with("/a?b=%0a%0adata"),
        "{began}"
    );
    for target in [
        "/v1/events?class=other",
        "/v1/events?kind=session_began,other",
        "/v1/events?session=1",
        "/v1/events?nothing=1",
        "/v1/history?since=yesterday",
        "/v1/history?cursor=1",
        "/v1/sessions/ended?id=x",
        "/v1/refusals?limit=x",
    ] {
        assert_eq!(gateway.admin("GET", target, "").status, 400, "{target}");
    }
    client.close().await;
}

#[tokio::test]
async fn i8_subscribers_are_bounded_and_streams_end_with_the_gateway() {
    let backend = Backend::echo().await;
    let mut gateway = Gateway::start(&config::echo(&[backend.address], "", "")).await;
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(follow(&gateway, "/v1/events", None).await);
    }
    assert_eq!(gateway.admin("GET", "/v1/events", "").status, 503);
    streams.truncate(1);
    eventually("one more may come", async || {
        let socket = gateway.directory().join("admin.sock");
        let answer = tokio::net::UnixStream::connect(&socket).await;
        drop(answer);
        let metric = gateway.metric("sessile_event_subscribers", &[]);
        metric == 1.0
    })
    .await;
    gateway.signal(rustix::process::Signal::TERM);
    streams[0].next_of("node_stopping").await;
    while streams[0].next().await.is_some() {}
    assert!(gateway.wait_for_exit().await.success());
}

/// Waits for an event of this kind in the history.
async fn in_history(gateway: &Gateway, kind: &str) -> Value {
    page(gateway, &format!("/v1/history?kind={kind}")).await[0].clone()
}

#[tokio::test]
async fn a_drain_is_told_from_its_begin_to_its_end_and_by_whom_it_was_ordered() {
    let (one, two) = (Backend::echo().await, Backend::echo().await);
    let text = config::echo(&[one.address, two.address], "", "");
    let gateway = Gateway::start(&text).await;
    let mut client = Client::connect(gateway.address(), "/?k=1").await;
    let at = client.backend().await.to_string();
    let order = r#"{"state":"draining","within":"1s"}"#;
    let target = format!("/v1/upstreams/echo/backends/{at}");
    assert_eq!(gateway.admin("PATCH", &target, order).status, 200);
    client.end().await.expect("a close frame");
    let began = in_history(&gateway, "drain_began").await;
    assert_eq!(
        (&began["backend"], &began["reason"]),
        (&json!(at), &json!("operator"))
    );
    let done = in_history(&gateway, "drain_done").await;
    assert_eq!(
        (&done["backend"], &done["sessions"]),
        (&json!(at), &json!(1))
    );
    let ordered = in_history(&gateway, "order").await;
    assert_eq!(ordered["operator"], "local");
}

#[tokio::test]
async fn a_hand_over_is_told_with_its_sessions() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "");
    let mut old = Gateway::start_with_handover(&text).await;
    let mut client = Client::connect(old.address(), "/?k=1").await;
    client.echo("before").await;
    let new = old.succeed().await;
    client.echo("after").await;
    old.wait_for_exit().await;
    let done = in_history(&new, "handover_done").await;
    assert_eq!(done["sessions"], 1, "{done}");
    client.close().await;
}
