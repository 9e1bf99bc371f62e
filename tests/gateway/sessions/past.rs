//! Questions about sessions that are no more, and about who moved or ended one.

use serde_json::{Value, json};

use crate::support::shell::sessile;
use crate::support::{Backend, Client, Gateway, config, eventually, http};

/// Runs a command; returns its exit code and what it printed.
fn run(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String) {
    let output = sessile(arguments, gateway.directory());
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), printed + &errors)
}

/// The same, as JSON.
fn json_of(gateway: &Gateway, arguments: &[&str]) -> Value {
    let (_, printed) = run(gateway, arguments);
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

/// The id of a session that was kicked, once its end is known.
async fn kicked(gateway: &Gateway, target: &str) -> String {
    let mut client = Client::connect(gateway.address(), target).await;
    let id = client.session_id().await;
    let kick = format!("/v1/sessions/{id}?reason=test%20at%203");
    assert_eq!(gateway.admin("DELETE", &kick, "").status, 202);
    client.end().await.expect("a close frame");
    let ended = format!("/v1/sessions/ended?id={id}");
    eventually("its end", async || {
        gateway.get(&ended)["items"] != json!([])
    })
    .await;
    id
}

#[tokio::test]
async fn why_says_how_a_session_ended_and_why_a_request_was_refused() {
    let backend = Backend::echo().await;
    let text = config::echo(&[backend.address], "", "path = \"/ws\"");
    let gateway = Gateway::start(&text).await;
    let id = kicked(&gateway, "/ws?k=1").await;
    let (code, shown) = run(&gateway, &["why", &id]);
    assert_eq!(code, Some(0), "{shown}");
    let end = format!("{id} echo/{}  not live: ended ", backend.address);
    assert!(shown.starts_with(&end), "{shown}");
    assert!(
        shown.contains("kicked by gateway, 1008, ordered by local: test at 3"),
        "{shown}"
    );
    assert!(
        shown.contains(&format!("`sessile resolve --session {id}`")),
        "{shown}"
    );
    let known = json_of(&gateway, &["why", &id, "--json"]);
    assert_eq!(
        (&known["live"], &known["ended"][0]["session"]),
        (&json!([]), &json!(id))
    );
    // The same list under both names, with the same filters.
    let here = backend.address.to_string();
    let filters = [
        "--cause",
        "kicked",
        "--operator",
        "local",
        "--backend",
        &here,
        "--json",
    ];
    let ended = json_of(&gateway, &[&["ended"], &filters[..]].concat());
    assert_eq!(ended["items"][0]["session"], id);
    let listed = json_of(&gateway, &[&["sessions", "--ended"], &filters[..]].concat());
    assert_eq!(listed, ended);
    let none = json_of(
        &gateway,
        &["sessions", "--ended", "--client", "192.0.2.1", "--json"],
    );
    assert_eq!(none["items"], json!([]));
    let (code, said) = run(&gateway, &["sessions", "--since", "1h"]);
    assert_eq!(code, Some(2), "{said}");

    let refused = http::get(gateway.address(), "/elsewhere", &[]).await;
    let request = refused.header("x-request-id").expect("an id to quote");
    let target = format!("/v1/refusals?request_id={request}");
    eventually("it is known", async || {
        gateway.get(&target)["items"] != json!([])
    })
    .await;
    for what in [request, "127.0.0.1"] {
        let (code, shown) = run(&gateway, &["why", what]);
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.contains("not live: refused "), "{shown}");
        assert!(shown.contains("404"), "{shown}");
    }
    let (code, said) = run(&gateway, &["why", "stranger"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("nothing found for `stranger`"), "{said}");
}

#[tokio::test]
async fn a_session_is_resolved_again_live_and_ended() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let addresses = backends.each_ref().map(|backend| backend.address);
    let header = "affinity = [\"header:x-user\", \"query:k\"]";
    let text = config::echo(&addresses, "", "path = \"/ws/{room}\"");
    let text = text.replacen("affinity = [\"query:k\"]", header, 1);
    let gateway = Gateway::start(&text).await;
    let client = crate::support::Dial::new("/ws/7?k=9").header("x-user", "ann");
    let mut client = client.connect(gateway.address()).await.expect("a session");
    let id = client.session_id().await;
    let resolved = gateway.get(&format!("/v1/resolve?session={id}"));
    let backend = resolved["then"]["backend"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert_eq!(resolved["live"], true);
    assert_eq!(resolved["differs"], json!([]), "{resolved:#}");
    // By the key that it had, which its target does not show.
    assert_eq!(resolved["now"]["affinity"]["key"], "ann");
    assert_eq!(resolved["now"]["affinity"]["source"], "header:x-user");
    assert_eq!(resolved["now"]["choice"]["backend"], backend);
    let disable = format!("/v1/upstreams/echo/backends/{backend}");
    let disabled = gateway.admin("PATCH", &disable, "{\"state\":\"disabled\"}");
    assert_eq!(disabled.status, 200, "{}", disabled.body);
    let other = addresses
        .iter()
        .map(ToString::to_string)
        .find(|one| *one != backend);
    let other = other.expect("there are two");
    let (code, shown) = run(&gateway, &["resolve", "--session", &id]);
    assert_eq!(code, Some(0), "{shown}");
    let differs = format!("differs   backend {backend} then, {other} now; {backend}: disabled");
    assert!(shown.contains(&differs), "{shown}");
    client.close().await;

    let id = kicked(&gateway, "/ws/7?k=9").await;
    gateway.write_config(&text.replacen("/ws/{room}", "/rooms/{room}", 1));
    assert_eq!(gateway.reload().status, 200);
    let resolved = gateway.get(&format!("/v1/resolve?session={id}"));
    assert_eq!(
        (&resolved["live"], &resolved["ended"]["cause"]),
        (&json!(false), &json!("kicked"))
    );
    let gone = "route `all` then, none takes the request now";
    assert_eq!(resolved["differs"], json!([gone]));
    let (code, shown) = run(&gateway, &["resolve", "--session", &id]);
    assert_eq!(code, Some(1), "it would get nowhere: {shown}");
    assert!(shown.contains("not live: ended at "), "{shown}");
    let unknown = "/v1/resolve?session=01M8F0VXDMVZKWD5PSKG0J71HX";
    assert_eq!(gateway.admin("GET", unknown, "").status, 404);
    assert_eq!(
        gateway.admin("GET", "/v1/resolve?session=x", "").status,
        400
    );
    assert_eq!(gateway.admin("GET", "/v1/resolve", "").status, 400);
}

#[tokio::test]
async fn who_ordered_a_drain_or_a_rebalancing_is_known_of_each_session() {
    let backends = [Backend::echo().await, Backend::echo().await];
    let addresses = backends.each_ref().map(|backend| backend.address);
    let manual = "rebalance = { mode = \"manual\", pace = \"100/s\", age_min = \"0s\", \
                  share_max = 1.0, skew = 0 }";
    let routes = "path = \"/moves\"\non_backend_loss = \"reconnect\"\n\n\
                  [[routes]]\nname = \"stays\"\nupstream = \"echo\"\naffinity = [\"query:k\"]\n\
                  path = \"/stays\"";
    let gateway = Gateway::start(&config::echo(&addresses, manual, routes)).await;
    let mut moves = Client::connect(gateway.address(), "/moves?k=1").await;
    let id = moves.session_id().await;
    let target = format!("/v1/sessions/{id}");
    let home = gateway.get(&target)["backend"]
        .as_str()
        .expect("an id")
        .to_owned();
    let mut stays = Client::connect(gateway.address(), "/stays?k=1").await;
    let stays_id = stays.session_id().await;
    let backend = format!("/v1/upstreams/echo/backends/{home}");
    let drain = "{\"state\":\"draining\",\"within\":\"1s\"}";
    let drained = gateway.admin("PATCH", &backend, drain);
    assert_eq!(drained.status, 200, "{}", drained.body);
    assert_eq!(drained.json()["drain"]["operator"], "local");
    eventually("it moved", async || gateway.get(&target)["resumes"] == 1).await;
    let moved = |place: usize| gateway.get(&target)["moved"][place].clone();
    assert_eq!(
        (&moved(0)["reason"], &moved(0)["by"]),
        (&json!("draining"), &json!("local"))
    );
    stays.end().await.expect("a close frame");
    let ended = format!("/v1/sessions/ended?id={stays_id}&operator=local");
    eventually("its end", async || {
        gateway.get(&ended)["items"] != json!([])
    })
    .await;
    assert_eq!(gateway.get(&ended)["items"][0]["cause"], "drained");
    let began = "/v1/history?kind=drain_began&operator=local";
    eventually("its begin", async || {
        gateway.get(began)["items"] != json!([])
    })
    .await;

    let active = gateway.admin("PATCH", &backend, "{\"state\":\"active\"}");
    assert_eq!(active.status, 200, "{}", active.body);
    let run = gateway.admin("POST", "/v1/upstreams/echo/rebalance", "{}");
    assert_eq!(run.status, 202, "{}", run.body);
    assert_eq!(run.json()["operator"], "local");
    eventually("it went home", async || {
        gateway.get(&target)["resumes"] == 2
    })
    .await;
    assert_eq!(
        (&moved(1)["reason"], &moved(1)["by"]),
        (&json!("rebalanced"), &json!("local"))
    );
    moves.close().await;
}
