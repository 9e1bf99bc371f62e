//! The promise that Sessile is chosen for: a thousand sessions with numbered messages run through
//! everything that operators do and machines suffer, and no peer at the other end of a socket
//! notices; where a route has not opted in, each client gets one close frame, with the documented
//! code, at the time of the plan.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::support::numbered::{PATIENCE, Report, Tally, talk, within_patience};
use crate::support::peers::{Language, Server};
use crate::support::shell::histogram;
use crate::support::{Backend, Client, Gateway, config, raise_open_files};

const SESSIONS: usize = 1_000;
const REBALANCE: &str = "rebalance = { mode = \"manual\", pace = \"200/s\", age_min = \"0s\", \
    share_max = 1.0, skew = 0, close = true }";
const PHASES: [&str; 6] = [
    "begin",
    "table swaps",
    "drain",
    "SIGKILL",
    "scale-out and rebalancing",
    "three hand-overs",
];

fn ask(gateway: &Gateway, method: &str, target: &str, body: &Value) -> Value {
    let target = format!("/v1/upstreams/echo{target}");
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let answer = gateway.admin(method, &target, &body);
    assert!(
        (200..300).contains(&answer.status),
        "{method} {target}: {}",
        answer.body
    );
    answer.json()
}

async fn reload(gateway: &Gateway, members: &[SocketAddr], upstream: &str, route: &str) {
    gateway.write_config(&config::echo(members, upstream, route));
    assert_eq!(gateway.reload().status, 200);
}

async fn drain(gateway: &Gateway, backend: SocketAddr, change: &Value) {
    let target = format!("/backends/{backend}");
    ask(gateway, "PATCH", &target, change);
    within_patience("the drain is done", async || {
        gateway.backend("echo", backend)["drain"]["state"] == "done"
    })
    .await;
    assert_eq!(gateway.backend("echo", backend)["sessions"], 0);
    ask(gateway, "PATCH", &target, &json!({"state": "active"}));
}

async fn rebalance(gateway: &Gateway) -> Value {
    ask(gateway, "POST", "/rebalance", &json!({}));
    within_patience("all keys are home", async || {
        ask(gateway, "GET", "/rebalance", &Value::Null)["state"] == "done"
    })
    .await;
    ask(gateway, "GET", "/rebalance", &Value::Null)
}

async fn connect_all(gateway: &Gateway) -> Vec<Client> {
    let mut clients = Vec::new();
    for key in 0..SESSIONS {
        clients.push(Client::connect(gateway.address(), &format!("/?k={key}")).await);
    }
    clients
}

/// Hands over to a new process.
async fn succeed(gateway: &mut Gateway) {
    let next = gateway.succeed().await;
    assert_eq!(
        gateway.wait_for_exit().await.code(),
        Some(0),
        "{}",
        gateway.log()
    );
    *gateway = next;
}

#[tokio::test]
async fn i1_i6_a_thousand_sessions_survive_every_operation_unharmed() {
    raise_open_files();
    let (one, two, new) = (
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    );
    let mortal = Server::start(Language::Node, "server", &[]);
    let members = [one.address, two.address, mortal.address];
    let route = "on_backend_loss = \"reconnect\"\nreconnect = { timeout = \"30s\" }";
    let text = config::echo(&members, REBALANCE, route);
    let mut gateway = Gateway::start_with_handover(&text).await;
    let tally = Tally::new(SESSIONS, &PHASES, 0);
    let mut talks = JoinSet::new();
    for (index, client) in connect_all(&gateway).await.into_iter().enumerate() {
        talks.spawn(talk(index, client, Arc::clone(&tally)));
    }
    let held = |address| {
        gateway.backend("echo", address)["sessions"]
            .as_u64()
            .unwrap()
    };
    let at_risk = held(mortal.address);
    assert!(
        at_risk > 100,
        "{at_risk} of {SESSIONS} are with the one that will be killed"
    );

    tally.enter(1).await;
    for attempts in 4..8 {
        reload(
            &gateway,
            &members,
            &format!("{REBALANCE}\nattempts = {attempts}"),
            route,
        )
        .await;
    }
    tally.enter(2).await;
    let change = json!({"state": "draining", "within": "3s"});
    drain(&gateway, one.address, &change).await;
    tally.enter(3).await;
    mortal.signal(Signal::KILL);
    within_patience("the killed one is left", async || held(mortal.address) == 0).await;
    tally.enter(4).await;
    let members = [one.address, two.address, new.address];
    reload(&gateway, &members, REBALANCE, route).await;
    let rebalanced = rebalance(&gateway).await;
    assert_eq!(rebalanced["closed"], 0);
    assert!(rebalanced["moved"].as_u64().unwrap() > 100, "{rebalanced}");
    assert!(held(new.address) > 100);
    tally.enter(5).await;
    for _ in 0..3 {
        succeed(&mut gateway).await;
        tally.settle().await;
    }
    judge(&tally, talks, at_risk).await;
    for record in gateway.wait_for_records(SESSIONS).await {
        assert_eq!(
            (&*record.ended_by, record.close_code),
            ("client", Some(1000))
        );
    }
}

/// No client was disconnected, nothing came twice or out of order, and only the killed backend lost
/// any.
async fn judge(tally: &Tally, talks: JoinSet<Report>, at_risk: u64) {
    let (sum, lost) = tally.finish(talks).await;
    let never = sum.sent - sum.received - lost.iter().sum::<u64>();
    assert_eq!(sum.dropped, 0, "a client was disconnected");
    assert_eq!(sum.wrong, 0, "at most once, and in order");
    assert_eq!(never, 0, "every message but those lost came back");
    let allowed = at_risk * 4;
    assert!(
        lost[3] <= allowed,
        "more than was in flight to the killed backend"
    );
    assert_eq!(
        lost.iter().sum::<u64>(),
        lost[3],
        "only the killed backend may lose any"
    );
}

/// When, and how.
type End = (Option<(u16, String)>, Instant);

/// Reads to the end, however long that takes; a second close frame fails the test.
async fn end(client: &mut Client) -> Option<(u16, String)> {
    let mut end = None;
    while let Some(Ok(message)) = client.socket.next().await {
        if let Message::Close(frame) = message {
            assert_eq!(end, None, "closed twice");
            end = frame.map(|frame| (u16::from(frame.code), frame.reason.to_string()));
        }
    }
    end
}

/// Takes those out that have ended.
async fn ended(ends: &mut JoinSet<End>, count: usize) -> Vec<End> {
    let mut found = Vec::new();
    while found.len() < count {
        let next = timeout(PATIENCE, ends.join_next()).await;
        found.push(next.expect("in time").expect("one more").unwrap());
    }
    found
}

/// All of them ended with this code; prints when.
fn spread(what: &str, start: Instant, ends: &[End], code: u16) -> Vec<usize> {
    let mut times = Vec::new();
    for (end, at) in ends {
        let (found, reason) = end.as_ref().expect("a close frame, not a bare end");
        assert_eq!(*found, code, "{what}");
        assert!(!reason.is_empty());
        times.push(at.saturating_duration_since(start));
    }
    histogram(what, &times, Duration::from_millis(500))
}

#[tokio::test]
async fn i6_sessions_that_cannot_move_get_one_close_frame_as_planned() {
    raise_open_files();
    let (one, two, new) = (
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    );
    let mortal = Server::start(Language::Node, "server", &[]);
    let members = [one.address, two.address, mortal.address];
    let shutdown = "[shutdown]\ngrace = \"4s\"\n\n";
    let text =
        |members: &[SocketAddr]| format!("{shutdown}{}", config::echo(members, REBALANCE, ""));
    let mut gateway = Gateway::start_with_handover(&text(&members)).await;
    let mut ends = JoinSet::new();
    for mut client in connect_all(&gateway).await {
        ends.spawn(async move {
            let end = end(&mut client).await;
            (end, Instant::now())
        });
    }
    let held = |gateway: &Gateway, address| {
        let sessions = &gateway.backend("echo", address)["sessions"];
        usize::try_from(sessions.as_u64().unwrap()).unwrap()
    };
    // A swap and a hand-over end no session.
    gateway.write_config(&text(&members).replace("manual", "auto"));
    assert_eq!(gateway.reload().status, 200);
    succeed(&mut gateway).await;
    assert!(ends.try_join_next().is_none(), "I1");

    let (draining, at_risk) = (held(&gateway, one.address), held(&gateway, mortal.address));
    let start = Instant::now();
    drain(
        &gateway,
        one.address,
        &json!({"state": "draining", "within": "4s"}),
    )
    .await;
    let drained = ended(&mut ends, draining).await;
    let counts = spread("drained within 4s", start, &drained, 1012);
    let most = counts.iter().max().unwrap();
    assert!(*most <= draining / 2, "not at once: {counts:?}");

    let start = Instant::now();
    mortal.signal(Signal::KILL);
    let lost = ended(&mut ends, at_risk).await;
    spread("backend killed", start, &lost, 1011);

    gateway.write_config(&text(&[two.address, new.address]));
    assert_eq!(gateway.reload().status, 200);
    let start = Instant::now();
    let view = rebalance(&gateway).await;
    let going = usize::try_from(view["closed"].as_u64().unwrap()).unwrap();
    assert!(going > 50, "{view}");
    let rebalanced = ended(&mut ends, going).await;
    spread("rebalanced at 200/s", start, &rebalanced, 1012);

    let left = SESSIONS - draining - at_risk - going;
    let start = Instant::now();
    gateway.signal(Signal::TERM);
    let stopped = ended(&mut ends, left).await;
    let counts = spread("stopped within 4s", start, &stopped, 1001);
    assert!(
        *counts.iter().max().unwrap() <= left / 2 + 5,
        "not at once: {counts:?}"
    );
    assert!(ends.join_next().await.is_none());
    assert_eq!(gateway.wait_for_exit().await.code(), Some(0));
    let records = gateway.records();
    assert_eq!(records.len(), SESSIONS, "a record each");
    let of = |cause: &str| records.iter().filter(|one| one.cause == cause).count();
    assert_eq!(
        (of("drained"), of("rebalanced"), of("shutdown")),
        (draining, going, left)
    );
}
