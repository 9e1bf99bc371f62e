//! Scaling in: the backends with the fewest sessions drain.

use serde_json::{Value, json};

use super::{clients, close, scaling, world};
use crate::support::shell::sessile;
use crate::support::{Gateway, eventually};

fn ask(gateway: &Gateway, body: &Value) -> (u16, Value) {
    let answer = gateway.admin("POST", "/v1/upstreams/echo/scale-in", &body.to_string());
    let json = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    (answer.status, json)
}

fn leaving(answer: &Value) -> Vec<(String, u64)> {
    let leaving = answer["leaving"].as_array().unwrap().iter();
    let each = leaving.map(|one| {
        let id = one["id"].as_str().unwrap().to_owned();
        (id, one["sessions"].as_u64().unwrap())
    });
    each.collect()
}

#[tokio::test]
async fn i1_the_emptiest_backends_drain_first_and_no_session_is_lost() {
    let (backends, gateway) = world(3, "drain = { within = \"1s\" }").await;
    let mut live = clients(&gateway, 9).await;
    // Of the second backend two sessions go, of the third one.
    for (place, count) in [(1, 2), (2, 1)] {
        let mut left = count;
        let mut kept = Vec::new();
        for mut client in live {
            if left > 0 && client.backend().await == backends[place].address {
                client.close().await;
                left -= 1;
            } else {
                kept.push(client);
            }
        }
        live = kept;
    }
    eventually("six are left", async || gateway.sessions_live() == 6).await;
    let expected = [
        (backends[1].address.to_string(), 1),
        (backends[2].address.to_string(), 2),
    ];
    let (status, dry) = ask(&gateway, &json!({ "backends": 2, "dry_run": true }));
    assert_eq!((status, leaving(&dry)), (200, expected.to_vec()), "{dry}");
    assert_eq!((&dry["left"], &dry["ordered"]), (&json!(1), &json!(false)));
    assert_eq!(
        gateway.backend("echo", backends[1].address)["state"],
        "active"
    );

    let (status, answer) = ask(&gateway, &json!({ "backends": 2 }));
    assert_eq!(
        (status, leaving(&answer)),
        (202, expected.to_vec()),
        "{answer}"
    );
    eventually("they are empty", async || {
        let sessions =
            |place: usize| gateway.backend("echo", backends[place].address)["sessions"].clone();
        sessions(1) == 0 && sessions(2) == 0
    })
    .await;
    for client in &mut live {
        client.echo("still here").await;
        assert_eq!(client.backend().await, backends[0].address);
    }
    let history = gateway.get("/v1/history?limit=1000").to_string();
    assert!(history.contains("to scale in"), "{history}");
    // A drain of a scale-in is undone as any other.
    let id = backends[1].address.to_string();
    let output = sessile(&["drain", "echo", &id, "--undo"], gateway.directory());
    assert!(output.status.success());
    assert_eq!(
        gateway.backend("echo", backends[1].address)["state"],
        "active"
    );
    close(live).await;
}

#[tokio::test]
async fn enough_backends_stay_and_bad_orders_change_nothing() {
    let (backends, gateway) = world(3, &scaling(10, "1h", ", backends_min = 2")).await;
    for (body, status, said) in [
        (json!({ "backends": 2 }), 409, "`scaling.backends_min`"),
        (json!({ "backends": 9 }), 409, "would go on taking sessions"),
        (json!({}), 400, "give at least 1"),
        (
            json!({ "backends": 1, "pace": "5/s", "within": "1m" }),
            400,
            "give one of them",
        ),
        (json!({ "backend": 1 }), 400, "backend"),
    ] {
        let (found, answer) = ask(&gateway, &body);
        assert_eq!(found, status, "{body}: {answer}");
        assert!(answer.to_string().contains(said), "{body}: {answer}");
    }
    let answer = gateway.admin("POST", "/v1/upstreams/none/scale-in", "{\"backends\":1}");
    assert_eq!(answer.status, 404);
    for backend in &backends {
        assert_eq!(gateway.backend("echo", backend.address)["state"], "active");
    }
}

#[tokio::test]
async fn the_command_says_which_backends_drain_and_how_that_is_undone() {
    let (_backends, gateway) = world(3, "").await;
    let run = |arguments: &[&str]| {
        let output = sessile(arguments, gateway.directory());
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), said)
    };
    let (code, said) = run(&["scale-in", "echo", "1", "--dry-run"]);
    assert_eq!(code, Some(0));
    assert!(
        said.contains("would drain: 0 sessions") && said.contains("2 backends of echo left"),
        "{said}"
    );
    let (code, said) = run(&["scale-in", "echo", "1"]);
    assert_eq!(code, Some(0));
    let undo = said
        .lines()
        .next()
        .unwrap()
        .split("undo: sessile ")
        .nth(1)
        .unwrap();
    let undo: Vec<_> = undo.split(' ').collect();
    assert_eq!(run(&undo).0, Some(0), "{said}");
    let (_, list) = run(&["backends", "--json"]);
    assert!(!list.contains("draining\","), "{list}");
    assert_eq!(run(&["scale-in", "echo", "3"]).0, Some(1));
    assert_eq!(run(&["scale-in", "echo", "0"]).0, Some(2));
}
