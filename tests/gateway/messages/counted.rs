//! Two gateways and a broker: answers that count all nodes, and sessions that another node has.

use std::net::TcpListener;

use rustix::process::Signal;

use super::connections::talk_by_aws;
use super::fleet::{node, wait_for_subscription};
use super::groups::members;
use super::*;
use crate::support::brokers::BrokerServer;
use crate::support::eventually;
use crate::support::shell::sessile;

/// The other live gateways that a gateway shows.
fn others(gateway: &Gateway) -> Vec<String> {
    let status = gateway.get("/v1/status");
    let nodes = status["broker"]["nodes"].as_array().expect("nodes");
    let names = nodes
        .iter()
        .map(|one| one["node"].as_str().expect("a name"));
    names.map(str::to_owned).collect()
}

pub(super) async fn wait_for_others(gateway: &Gateway, names: &[&str]) {
    eventually("the other gateways live, or do not", async || {
        others(gateway) == names
    })
    .await;
    let nodes = gateway.metric("sessile_broker_nodes", &[]);
    assert!(nodes >= 1.0, "{nodes}");
}

/// Two gateways that see each other.
pub(super) struct Pair {
    pub(super) one: Gateway,
    pub(super) other: Gateway,
    _backend: Backend,
    pub(super) broker: BrokerServer,
}

impl Pair {
    pub(super) async fn start(kind: &'static str) -> Self {
        Self::start_with(kind, "").await
    }

    /// The same with more lines of the route.
    pub(super) async fn start_with(kind: &'static str, more: &str) -> Self {
        let backend = Backend::echo().await;
        let broker = BrokerServer::start(kind).await;
        let one = node("one", &backend, &broker, more).await;
        let other = node("other", &backend, &broker, more).await;
        wait_for_others(&one, &["other"]).await;
        wait_for_others(&other, &["one"]).await;
        Self {
            one,
            other,
            _backend: backend,
            broker,
        }
    }
}

/// Who answered: nodes, and those that are missing.
fn nodes(answer: &Value) -> (u64, Option<u64>) {
    let nodes = answer["nodes"].as_u64().expect("nodes");
    (nodes, answer["nodes_missing"].as_u64())
}

pub(super) async fn counts_all_nodes(kind: &'static str) {
    let pair = Pair::start(kind).await;
    let (one, other) = (&pair.one, &pair.other);
    let (here, _) = enter(one, "a").await;
    let (alone, _) = enter(one, "alone").await;
    let (mut there, there_id) = enter(other, "a").await;
    let (more, _) = enter(other, "a").await;
    wait_for_subscription(one, "a", &mut there).await;
    let session = format!("session:{there_id}");
    // A request that waited for every answer would reach the time limit of the missing node.
    for (to, expected) in [
        (json!(["group:a"]), 3),
        (json!(["group:alone"]), 1),
        (json!(["group:nobody"]), 0),
        (json!(["group:a", "group:alone"]), 4),
        (json!(["all"]), 4),
        (json!(["group:a", "route:rooms", session]), 4),
        (json!([session]), 1),
        (json!(["principal:nobody"]), 0),
    ] {
        let answer = publish(one, &json!({ "to": to, "text": "x", "wait": "10s" }));
        assert_eq!(counts(&answer), [expected, 0, 0], "{to} {answer}");
        assert_eq!(nodes(&answer), (2, Some(0)), "{to} {answer}");
    }
    let answer = publish(one, &json!({ "to": ["group:a"], "text": "x" }));
    assert_eq!((counts(&answer), nodes(&answer)), ([1, 0, 0], (1, None)));
    let batch = json!([
        { "to": ["group:a"], "text": "x", "wait": "10s" },
        { "to": ["all"], "text": "x", "id": "m-1", "wait": "10s" },
    ]);
    let answer = publish(other, &batch);
    let results = answer["results"].as_array().expect("results");
    let all: Vec<_> = results
        .iter()
        .map(|one| (counts(one), nodes(one)))
        .collect();
    assert_eq!(all, [([3, 0, 0], (2, Some(0))), ([4, 0, 0], (2, Some(0)))]);
    // The other node has the id already, and answers at once.
    let again = json!({ "to": ["all"], "text": "x", "id": "m-1", "wait": "10s" });
    assert_eq!(publish(one, &again)["duplicate"], true);
    for client in [here, alone, there, more] {
        client.close().await;
    }
}

#[tokio::test]
async fn nodes_that_hang_or_die_are_missing_and_then_gone() {
    let pair = Pair::start("nats").await;
    let Pair { one, mut other, .. } = pair;
    let all = |wait: &str| publish(&one, &json!({ "to": ["all"], "text": "x", "wait": wait }));
    other.signal(Signal::STOP);
    assert_eq!(nodes(&all("300ms")), (1, Some(1)), "it hangs");
    other.signal(Signal::CONT);
    eventually("it answers again", async || {
        nodes(&all("5s")) == (2, Some(0))
    })
    .await;
    other.signal(Signal::KILL);
    other.wait_for_exit().await;
    assert_eq!(nodes(&all("300ms")), (1, Some(1)), "it was not missed yet");
    // What waits when it is found to be gone waits no longer.
    wait_for_others(&one, &[]).await;
    assert_eq!(nodes(&all("10s")), (1, Some(0)));
    assert!(one.log().contains("a gateway is gone"));
}

#[tokio::test]
async fn a_node_that_ends_says_so() {
    let pair = Pair::start("redis").await;
    let Pair { one, mut other, .. } = pair;
    other.signal(Signal::TERM);
    other.wait_for_exit().await;
    wait_for_others(&one, &[]).await;
    assert!(one.log().contains("a gateway has left the broker"));
}

/// The groups of all nodes, those with most members first, where `a` has a member on each.
async fn listed(one: &Gateway, other: &Gateway) {
    let (_small, _) = enter(other, "a-small").await;
    let all = one.get("/v1/groups");
    let expected = json!([
        { "group": "a", "members": 2 },
        { "group": "a-small", "members": 1 },
    ]);
    assert_eq!(all["items"], expected, "{all}");
    assert_eq!(
        (&all["nodes"], &all["nodes_missing"]),
        (&json!(2), &json!(0))
    );
    let own = one.get("/v1/groups?scope=node");
    assert_eq!(
        own["items"],
        json!([{ "group": "a", "members": 1 }]),
        "{own}"
    );
    let largest = one.get("/v1/groups?limit=1");
    assert_eq!(
        (&largest["items"], &largest["more"]),
        (&json!([expected[0]]), &json!(true))
    );
    let by_name = one.get("/v1/groups?prefix=a-");
    assert_eq!(by_name["items"], json!([expected[1]]), "{by_name}");
    let long = format!("/v1/groups?prefix={}", "x".repeat(129));
    assert_eq!(one.admin("GET", &long, "").status, 400);
    let (code, printed) = shell(one, &["groups"]);
    assert_eq!(code, Some(0), "{printed}");
    let lines: Vec<_> = printed.lines().map(str::split_whitespace).collect();
    let lines: Vec<Vec<_>> = lines.into_iter().map(Iterator::collect).collect();
    assert_eq!(lines[0], ["MEMBERS", "GROUP"]);
    assert_eq!(lines[1], ["2", "a"]);
    assert!(printed.ends_with("2 groups on 2 gateways\n"), "{printed}");
    let (_, printed) = shell(one, &["groups", "--limit", "1"]);
    let rest = "1 group with most members (--limit and --prefix show others) on 2 gateways\n";
    assert!(printed.ends_with(rest), "{printed}");
}

#[tokio::test]
async fn groups_are_those_of_all_nodes() {
    let pair = Pair::start("nats").await;
    let (one, other) = (&pair.one, &pair.other);
    let (here, here_id) = enter(one, "a").await;
    let (mut there, there_id) = enter(other, "a").await;
    let mut ids = [here_id.clone(), there_id.clone()];
    ids.sort_unstable();
    assert_eq!(members(one, "a"), ids);
    assert_eq!(members(other, "a"), ids);
    let list = |target: &str| call(one, "GET", target, &Value::Null).json();
    let own = list("/v1/groups/a?scope=node");
    assert_eq!((&own["count"], &own["nodes"]), (&json!(1), &json!(1)));
    assert_eq!(own["items"][0]["session"], *here_id);
    let first = list("/v1/groups/a?limit=1");
    assert_eq!((&first["count"], &first["nodes"]), (&json!(2), &json!(2)));
    let next = first["next"].as_str().expect("more");
    let second = list(&format!("/v1/groups/a?limit=1&cursor={next}"));
    let session = |page: &Value| page["items"][0]["session"].as_str().map(str::to_owned);
    assert_eq!([session(&first), session(&second)], ids.map(Some));
    assert_eq!(second["next"], Value::Null);

    listed(one, other).await;
    let place = format!("/v1/groups/vip/sessions/{there_id}");
    let change = |method: &str| {
        let answer = call(one, method, &place, &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["changed"].as_bool().expect("changed")
    };
    assert!(change("PUT") && !change("PUT"));
    assert_eq!(members(one, "vip"), [&*there_id]);
    wait_for_subscription(one, "vip", &mut there).await;
    assert!(change("DELETE") && !change("DELETE"));
    assert!(members(other, "vip").is_empty());
    eventually("a session of no node is not found", async || {
        let nobody = "/v1/groups/vip/sessions/01ARZ3NDEKTSV4RRFFQ69G5FAV";
        match call(one, "PUT", nobody, &Value::Null).status {
            404 => true,
            status => {
                assert_eq!(status, 503, "before all nodes must be known");
                false
            }
        }
    })
    .await;
    here.close().await;
    there.close().await;
}

#[tokio::test]
async fn code_written_for_api_gateway_talks_to_sessions_of_other_nodes() {
    let Pair {
        one,
        other,
        _backend,
        mut broker,
    } = Pair::start("nats").await;
    let (mut client, id) = enter(&other, "a").await;
    let (over, gone) = enter(&other, "a").await;
    over.close().await;
    let ask = |id: &str| {
        let target = format!("/@connections/{id}");
        call(&one, "GET", &target, &Value::Null).status
    };
    eventually("all nodes must be known", async || ask(&gone) == 410).await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    admin::expose(listener, one.directory().join("publish.sock"));
    talk_by_aws(&url, &mut client, [&id, &gone]).await;
    let records = other.wait_for_records(2).await;
    let closed = records.iter().find(|one| one.id == id).expect("a record");
    assert_eq!(closed.operator.as_deref(), Some("publisher app"));
    // Without the broker the other node may still have the session.
    broker.kill();
    eventually("the broker is gone", async || {
        one.metric("sessile_broker_connected", &[]) == 0.0
    })
    .await;
    assert_eq!(ask(&gone), 503);
}

/// What a command prints, and its exit code.
fn shell(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String) {
    let ran = sessile(arguments, gateway.directory());
    let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
    (ran.status.code(), printed)
}

#[tokio::test]
async fn the_shell_reaches_and_lists_sessions_of_all_nodes() {
    let pair = Pair::start("nats").await;
    let (one, other) = (&pair.one, &pair.other);
    let (mut here, here_id) = enter(one, "a").await;
    let (mut there, there_id) = enter(other, "a").await;
    wait_for_subscription(one, "a", &mut there).await;
    while here.receive_text().await != "subscribed" {}
    let both = "delivered 2, queued 0, dropped 0 on 2 gateways\n".to_owned();
    for whom in [&["--group", "a"][..], &["--route", "rooms"], &["--all"]] {
        let arguments = [&["send"][..], whom, &["from the shell"]].concat();
        assert_eq!(shell(one, &arguments), (Some(0), both.clone()), "{whom:?}");
    }
    for client in [&mut here, &mut there] {
        for _ in 0..3 {
            let text = loop {
                let text = client.receive_text().await;
                if text != "subscribed" {
                    break text;
                }
            };
            assert_eq!(text, "from the shell");
        }
    }
    let sent = shell(one, &["send", &there_id, "to you"]);
    assert_eq!(sent, (Some(0), "delivered\n".to_owned()));
    assert_eq!(there.receive_text().await, "to you");
    let none = shell(one, &["send", "--principal", "nobody", "x"]);
    assert_eq!(none.0, Some(1), "{}", none.1);
    let (code, listed) = shell(one, &["groups", "a"]);
    assert_eq!(code, Some(0), "{listed}");
    let expected = [&*here_id, &*there_id, "2 members on 2 gateways"];
    assert!(
        expected.iter().all(|part| listed.contains(part)),
        "{listed}"
    );
    here.close().await;
    there.close().await;
}
