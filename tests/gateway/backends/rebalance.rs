//! Sessions that come home after members have changed, and keys that keep together meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::time::run_out;
use crate::support::{Backend, Client, Gateway, config, eventually};

const RECONNECT: &str = "on_backend_loss = \"reconnect\"";
const MANUAL: &str = "rebalance = { mode = \"manual\", pace = \"100/s\", age_min = \"0s\", share_max = 1.0, skew = 0 }";

async fn clients(gateway: &Gateway, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for key in 0..count {
        clients.push(Client::connect(gateway.address(), &format!("/?k={key}")).await);
    }
    clients
}

fn ask(gateway: &Gateway, method: &str, body: &Value, status: u16) -> Value {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let answer = gateway.admin(method, "/v1/upstreams/echo/rebalance", &body);
    assert_eq!(answer.status, status, "{}", answer.body);
    answer.json()
}

fn sessions_of(gateway: &Gateway, backend: SocketAddr) -> u64 {
    gateway.backend("echo", backend)["sessions"]
        .as_u64()
        .unwrap()
}

/// Where a key's next session would go.
fn place(gateway: &Gateway, key: usize) -> Value {
    let body = json!({"url": format!("ws://localhost/?k={key}")});
    let answer = gateway.admin("POST", "/v1/resolve", &body.to_string());
    answer.json()["choice"].clone()
}

async fn scale_out(gateway: &Gateway, members: &[SocketAddr], upstream: &str, route: &str) {
    gateway.write_config(&config::echo(members, upstream, route));
    assert_eq!(gateway.reload().status, 200);
}

#[tokio::test]
async fn i3_a_dry_run_predicts_the_rebalancing_and_no_client_is_disturbed() {
    let (one, two, new) = (
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    );
    let before = [one.address, two.address];
    let after = [one.address, two.address, new.address];
    let gateway = Gateway::start(&config::echo(&before, MANUAL, RECONNECT)).await;
    let mut clients = clients(&gateway, 60).await;
    scale_out(&gateway, &after, MANUAL, RECONNECT).await;
    assert_eq!(
        sessions_of(&gateway, new.address),
        0,
        "I1: a swap moves no session"
    );
    let rehearsed = ask(&gateway, "POST", &json!({"dry_run": true}), 200);
    let going = rehearsed["left"].as_u64().unwrap();
    assert!((8..=35).contains(&going), "about a third: {rehearsed}");
    assert_eq!(rehearsed["away"], going);
    for flow in rehearsed["flows"].as_array().unwrap() {
        assert_eq!(
            flow["to"],
            new.address.to_string(),
            "I3: only to the new one"
        );
        assert_eq!(flow["closed"], 0);
    }
    assert_eq!(
        sessions_of(&gateway, new.address),
        0,
        "a rehearsal moves no session"
    );
    ask(&gateway, "GET", &Value::Null, 404);
    let bounded = |wish: &Value| {
        let answered = ask(&gateway, "POST", wish, 200);
        answered["left"].as_u64().unwrap()
    };
    let share = bounded(&json!({"dry_run": true, "share_max": 0.1}));
    assert_eq!(share, 6, "a tenth of 60");
    let young = bounded(&json!({"dry_run": true, "age_min": "1h"}));
    assert_eq!(young, 0, "all are younger");
    let skewed = bounded(&json!({"dry_run": true, "skew": 1.4}));
    assert!(skewed < going, "down to 28 each: {skewed} of {going}");
    ask(&gateway, "POST", &json!({}), 202);
    eventually("they are home", async || {
        ask(&gateway, "GET", &Value::Null, 200)["state"] == "done"
    })
    .await;
    assert_eq!(ask(&gateway, "GET", &Value::Null, 200)["moved"], going);
    assert_eq!(sessions_of(&gateway, new.address), going);
    for (key, client) in clients.iter_mut().enumerate() {
        let at = client.backend().await;
        assert_eq!(place(&gateway, key)["backend"], at.to_string(), "home");
    }
    let again = ask(&gateway, "POST", &json!({"dry_run": true}), 200);
    assert_eq!((&again["left"], &again["away"]), (&json!(0), &json!(0)));
    for client in clients {
        client.close().await;
    }
    for record in gateway.wait_for_records(60).await {
        assert_eq!(
            (&*record.ended_by, record.close_code),
            ("client", Some(1000))
        );
        assert!(record.resumes <= 1);
    }
}

#[tokio::test]
async fn a_run_keeps_its_pace_can_be_held_and_asks_again_before_each_move() {
    let (one, new) = (Backend::echo().await, Backend::echo().await);
    let before = [one.address];
    let gateway = Gateway::start(&config::echo(&before, MANUAL, RECONNECT)).await;
    let clients = clients(&gateway, 60).await;
    scale_out(&gateway, &[one.address, new.address], MANUAL, RECONNECT).await;
    let rehearsed = ask(&gateway, "POST", &json!({"dry_run": true}), 200);
    let going = rehearsed["left"].as_u64().unwrap();
    assert!(going > 12, "{rehearsed}");
    ask(&gateway, "POST", &json!({"pace": "4/s"}), 202);
    let moved = || {
        let view = ask(&gateway, "GET", &Value::Null, 200);
        view["moved"].as_u64().unwrap()
    };
    eventually("the first go", async || moved() > 0).await;
    assert!(moved() < going / 2, "all at once");
    ask(&gateway, "PATCH", &json!({"paused": true}), 200);
    let held = moved();
    // When it goes on it has just looked who is to go, and will not look again for two seconds.
    run_out(Duration::from_millis(2_500)).await;
    assert_eq!(moved(), held, "gone while it is held");
    ask(&gateway, "PATCH", &json!({"paused": false}), 200);
    eventually("it goes on", async || moved() > held).await;
    // The new one is taken out again: sessions that wait to go there are at home where they are.
    scale_out(&gateway, &before, MANUAL, RECONNECT).await;
    let until = moved();
    eventually("it is over", async || {
        ask(&gateway, "GET", &Value::Null, 200)["state"] == "done"
    })
    .await;
    assert!(moved() <= until + 1, "{} after {until}", moved());
    for client in clients {
        client.close().await;
    }
}

#[tokio::test]
async fn by_itself_only_what_can_move_is_moved() {
    let auto = MANUAL.replace("manual", "auto");
    let (one, new) = (Backend::echo().await, Backend::echo().await);
    for (route, moves) in [(RECONNECT, true), ("", false)] {
        let gateway = Gateway::start(&config::echo(&[one.address], &auto, route)).await;
        let clients = clients(&gateway, 20).await;
        scale_out(&gateway, &[one.address, new.address], &auto, route).await;
        eventually("it is over", async || {
            ask(&gateway, "GET", &Value::Null, 200)["state"] == "done"
        })
        .await;
        let view = ask(&gateway, "GET", &Value::Null, 200);
        assert_eq!(view["automatic"], true);
        assert_eq!(sessions_of(&gateway, new.address) > 0, moves, "{view}");
        assert_eq!(view["closed"], 0);
        for client in clients {
            client.close().await;
        }
    }
}

#[tokio::test]
async fn sessions_that_cannot_move_are_closed_with_1012_only_on_request() {
    let (one, new) = (Backend::echo().await, Backend::echo().await);
    let gateway = Gateway::start(&config::echo(&[one.address], MANUAL, "")).await;
    let mut clients = clients(&gateway, 20).await;
    scale_out(&gateway, &[one.address, new.address], MANUAL, "").await;
    assert_eq!(
        ask(&gateway, "POST", &json!({"dry_run": true}), 200)["left"],
        0
    );
    let rehearsed = ask(
        &gateway,
        "POST",
        &json!({"dry_run": true, "close": true}),
        200,
    );
    ask(&gateway, "POST", &json!({"close": true}), 202);
    eventually("it is over", async || {
        ask(&gateway, "GET", &Value::Null, 200)["state"] == "done"
    })
    .await;
    assert_eq!(
        ask(&gateway, "GET", &Value::Null, 200)["closed"],
        rehearsed["left"]
    );
    let mut closed = 0;
    for (key, client) in clients.iter_mut().enumerate() {
        if place(&gateway, key)["backend"] == new.address.to_string() {
            let end = client.end().await;
            assert_eq!(
                end,
                Some((1012, "another backend has this key now".to_owned()))
            );
            closed += 1;
        } else {
            client.echo("stays").await;
        }
    }
    assert_eq!(rehearsed["left"], closed);
}

#[tokio::test]
async fn it_waits_while_a_backend_drains_can_be_held_and_stopped_and_is_off_at_first() {
    let (one, two, new) = (
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    );
    let before = [one.address, two.address];
    let gateway = Gateway::start(&config::echo(&before, "", RECONNECT)).await;
    let refused = ask(&gateway, "POST", &json!({}), 409);
    assert!(
        refused["detail"].as_str().unwrap().contains("is off"),
        "{refused}"
    );
    ask(&gateway, "GET", &Value::Null, 404);
    let clients = clients(&gateway, 30).await;
    let after = [one.address, two.address, new.address];
    scale_out(&gateway, &after, MANUAL, RECONNECT).await;
    let target = format!("/v1/upstreams/echo/backends/{}", one.address);
    let drain = r#"{"state":"draining","within":"1h","paused":true}"#;
    assert_eq!(gateway.admin("PATCH", &target, drain).status, 200);
    ask(&gateway, "POST", &json!({"pace": "1/h"}), 202);
    eventually("it waits", async || {
        ask(&gateway, "GET", &Value::Null, 200)["state"] == "waiting"
    })
    .await;
    let view = ask(&gateway, "GET", &Value::Null, 200);
    assert_eq!(view["waits_for"], "a backend is draining");
    assert_eq!(
        gateway
            .admin("PATCH", &target, r#"{"state":"active"}"#)
            .status,
        200
    );
    assert_eq!(
        ask(&gateway, "PATCH", &json!({"paused": true}), 200)["state"],
        "paused"
    );
    assert_eq!(
        ask(&gateway, "PATCH", &json!({"paused": false}), 200)["moved"],
        0
    );
    assert_eq!(
        ask(&gateway, "DELETE", &Value::Null, 200)["state"],
        "stopped"
    );
    assert_eq!(sessions_of(&gateway, new.address), 0);
    for client in clients {
        client.close().await;
    }
}

#[tokio::test]
async fn sticky_keys_keep_together_through_a_scale_out() {
    let route = format!("{RECONNECT}\nstick = \"live\"");
    let (one, new) = (Backend::echo().await, Backend::echo().await);
    let gateway = Gateway::start(&config::echo(&[one.address], MANUAL, &route)).await;
    let mut first = clients(&gateway, 20).await;
    scale_out(&gateway, &[one.address, new.address], MANUAL, &route).await;
    for key in 0..20 {
        let choice = place(&gateway, key);
        assert_eq!(choice["backend"], one.address.to_string(), "{choice}");
        assert_eq!(
            choice["walk"][0]["reason"], "sticks to its live session",
            "{choice}"
        );
        let mut tab = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        assert_eq!(
            tab.backend().await,
            one.address,
            "the user's tabs stay together"
        );
        first.push(tab);
    }
    let mut fresh = Vec::new();
    for key in 100..140 {
        let mut client = Client::connect(gateway.address(), &format!("/?k={key}")).await;
        fresh.push(client.backend().await);
        first.push(client);
    }
    assert!(
        fresh.contains(&new.address),
        "keys without sessions go by the ring"
    );
    // All of a key go home together, and then new ones go there too.
    ask(&gateway, "POST", &json!({}), 202);
    eventually("they are home", async || {
        ask(&gateway, "GET", &Value::Null, 200)["state"] == "done"
    })
    .await;
    assert!(
        ask(&gateway, "GET", &Value::Null, 200)["moved"]
            .as_u64()
            .unwrap()
            > 0
    );
    for key in 0..20 {
        let (left, right) = first.split_at_mut(20 + key);
        assert_eq!(left[key].backend().await, right[0].backend().await);
    }
    for client in first {
        client.close().await;
    }
    // Without live sessions a key goes to the backend of the ring.
    eventually("no session is left", async || gateway.sessions_live() == 0).await;
    let reasons = (0..20).map(|key| place(&gateway, key)["walk"][0]["reason"].clone());
    assert!(
        reasons
            .into_iter()
            .all(|reason| reason == "takes the request")
    );
}
