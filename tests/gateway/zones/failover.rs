//! A zone that fails as a whole or in part, and returns: nothing is lost, nothing moves without
//! need, and every question about it has an answer.

use serde_json::{Value, json};

use super::{Zones, all_are_at, are_of, choice, places};
use crate::support::prometheus::{AdminPort, Prometheus};
use crate::support::shell::sessile;
use crate::support::{Backend, Client, Gateway, eventually};

const RECONNECT: &str = "on_backend_loss = \"reconnect\"";
const MANUAL: &str = "rebalance = { mode = \"manual\", pace = \"100/s\", age_min = \"0s\", \
                      share_max = 1.0 }";
const KEYS: usize = 24;

async fn clients(gateway: &Gateway, keys: std::ops::Range<usize>) -> Vec<Client> {
    let mut clients = Vec::new();
    for key in keys {
        clients.push(Client::connect(gateway.address(), &format!("/?k={key}")).await);
    }
    clients
}

fn kinds(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|one| one["kind"].as_str().unwrap()).collect()
}

fn printed(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = sessile(arguments, gateway.directory());
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn i1_i3_sessions_survive_the_loss_of_their_zone_and_its_return_moves_none_by_itself() {
    let mut zones = Zones::start(2, 2).await;
    let gateway = zones.gateway("a", MANUAL, RECONNECT).await;
    let other = zones.gateway("b", MANUAL, RECONNECT).await;
    let (home, of_other) = (places(&gateway, KEYS), places(&other, KEYS));
    assert!(are_of(&home, &zones.a) && are_of(&of_other, &zones.b));
    let mut live = clients(&gateway, 0..KEYS).await;
    assert!(all_are_at(&mut live, &zones.a).await);

    // The zone is gone, with its sessions' backends.
    let mut addresses = Vec::new();
    for backend in zones.a.drain(..) {
        addresses.push(backend.stop().await);
    }
    for address in &addresses {
        gateway.wait_for_health("echo", *address, "unhealthy").await;
        other.wait_for_health("echo", *address, "unhealthy").await;
    }
    assert!(
        all_are_at(&mut live, &zones.b).await,
        "they go on elsewhere"
    );
    assert!(are_of(&places(&gateway, KEYS), &zones.b));
    assert_eq!(
        places(&other, KEYS),
        of_other,
        "it is no matter of the other zone"
    );
    let mut more = clients(&gateway, KEYS..2 * KEYS).await;
    shows_the_spill_over(&gateway, &mut more).await;

    // It returns: new sessions go home, those that live stay where they are.
    for address in addresses {
        zones.a.push(Backend::echo_at(address).await);
    }
    zones.all_well(&gateway).await;
    assert_eq!(places(&gateway, KEYS), home, "exactly its own keys");
    assert!(all_are_at(&mut live, &zones.b).await);
    assert!(all_are_at(&mut more, &zones.b).await);
    eventually("the spill-over is over", async || {
        kinds(&gateway.get("/v1/history?limit=1000")).contains(&"spill_ended")
    })
    .await;
    assert_eq!(gateway.metric("sessile_upstream_spill_ratio", &[]), 0.0);
    let spilled = 2.0 * KEYS as f64;
    assert_eq!(
        gateway.metric("sessile_upstream_spilled_sessions", &[]),
        spilled
    );

    // An operator brings them home.
    let answer = gateway.admin("POST", "/v1/upstreams/echo/rebalance", "{}");
    assert_eq!(answer.status, 202, "{}", answer.body);
    eventually("all are at home", async || {
        gateway.metric("sessile_upstream_spilled_sessions", &[]) == 0.0
    })
    .await;
    assert!(all_are_at(&mut live, &zones.a).await);
    for client in live.into_iter().chain(more) {
        client.close().await;
    }
    assert_eq!(
        gateway.metric("sessile_sessions_ended_total", &["cause=\"backend_lost\""]),
        0.0
    );
}

/// What operators see while the whole zone is gone.
async fn shows_the_spill_over(gateway: &Gateway, more: &mut [Client]) {
    let shown = gateway.get("/v1/upstreams/echo");
    let levels = json!([
        { "name": "zone a", "priority": 0, "own_zone": true, "members": 2, "draining": 0,
          "well": 0, "takes": 0.0, "sessions": 0 },
        { "name": "other zones", "priority": 0, "own_zone": false, "members": 2, "draining": 0,
          "well": 2, "takes": 1.0, "sessions": 2 * KEYS },
    ]);
    assert_eq!(shown["levels"], levels);
    assert_eq!(
        (&shown["spills"], &shown["spilled"]),
        (&json!(1.0), &json!(2 * KEYS))
    );
    let spilled = gateway.metric("sessile_sessions_spilled_total", &["to=\"zone\""]);
    assert_eq!(spilled, KEYS as f64, "those that began there");
    assert_eq!(gateway.metric("sessile_upstream_spill_ratio", &[]), 1.0);

    let choice = choice(gateway, 0);
    let verdicts = [
        &choice["levels"][0]["verdict"],
        &choice["levels"][1]["verdict"],
    ];
    assert_eq!(verdicts, ["passed_on", "taken"], "{choice}");
    let first = &choice["walk"][0];
    assert_eq!(
        (&first["zone"], &first["verdict"]),
        (&json!("a"), &json!("unhealthy"))
    );
    let id = more[0].session_id().await;
    let session = gateway.get(&format!("/v1/sessions/{id}"));
    let placement = &session["placement"];
    assert_eq!(
        (
            &placement["zone"],
            &placement["priority"],
            &placement["spilled"]
        ),
        (&json!("b"), &json!(0), &json!("zone")),
        "{placement}"
    );
    assert_eq!(placement["passed"][0]["reason"], "unhealthy", "{placement}");

    assert!(kinds(&gateway.get("/v1/findings")).contains(&"upstream_spills"));
    eventually("it is an event", async || {
        kinds(&gateway.get("/v1/history?limit=1000")).contains(&"spill_began")
    })
    .await;
    shows_the_spill_over_in_the_shell(gateway, &id);
}

/// The same by commands, of a session that has spilled over.
fn shows_the_spill_over_in_the_shell(gateway: &Gateway, id: &str) {
    let resolved = printed(
        gateway,
        &[
            "resolve",
            "ws://localhost/?k=0",
            "--admin",
            "unix:admin.sock",
        ],
    );
    let said = "zone a: 0 of 2 backends are well; it takes 0 % of its keys, and this one is not";
    assert!(resolved.contains(said), "{resolved}");
    let status = printed(gateway, &["status"]);
    assert!(
        status.contains("spills 100 %") && status.contains("zone a"),
        "{status}"
    );
    let backends = printed(gateway, &["backends"]);
    let head = backends.lines().next().unwrap();
    assert!(
        head.contains("ZONE") && !head.contains("PRIORITY"),
        "{backends}"
    );
    let why = printed(gateway, &["why", id]);
    assert!(
        why.contains("spilled over to another zone, in zone b"),
        "{why}"
    );
}

#[tokio::test]
async fn i3_a_zone_that_is_partly_down_sends_only_keys_of_its_lost_backends_elsewhere() {
    let zones = Zones::start(3, 2).await;
    let gateway = zones.gateway("a", "", "").await;
    let home = places(&gateway, 200);
    let lost = zones.a[0].address;
    zones.a[0].set_healthy(false);
    gateway.wait_for_health("echo", lost, "unhealthy").await;
    let one = places(&gateway, 200);
    zones.a[1].set_healthy(false);
    let also = zones.a[1].address;
    gateway.wait_for_health("echo", also, "unhealthy").await;
    let two = places(&gateway, 200);
    let away = |places: &[String]| {
        let of = |place: &&String| !are_of(std::slice::from_ref(*place), &zones.a);
        places.iter().filter(of).count()
    };
    // Two thirds are 5 % short of 70 %; one third can take 48 %.
    let (first, second) = (away(&one), away(&two));
    assert!((1..35).contains(&first), "{first}");
    assert!((70..140).contains(&second), "{second}");
    for key in 0..200 {
        let was_lost = home[key] == lost.to_string();
        assert!(
            was_lost || one[key] == home[key],
            "only what the lost one had moves"
        );
        let is_lost = was_lost || home[key] == also.to_string();
        assert!(is_lost || two[key] == home[key]);
        // What went to the other zone does not come back as long as it gets worse.
        assert!(are_of(&one[key..=key], &zones.a) || two[key] == one[key]);
    }
    for backend in &zones.a {
        backend.set_healthy(true);
    }
    zones.all_well(&gateway).await;
    assert_eq!(places(&gateway, 200), home);
}

#[tokio::test]
async fn a_full_zone_spills_over_and_live_keys_stay_together() {
    let zones = Zones::start(1, 1).await;
    let gateway = zones
        .gateway("a", "sessions_per_backend = 2", "stick = \"live\"")
        .await;
    let mut own = clients(&gateway, 0..2).await;
    let mut next = clients(&gateway, 2..4).await;
    assert!(all_are_at(&mut own, &zones.a).await && all_are_at(&mut next, &zones.b).await);
    own.pop().unwrap().close().await;
    eventually("there is room again", async || {
        gateway.backend("echo", zones.a[0].address)["sessions"] == 1
    })
    .await;
    // The tabs of a key that spilled over are together, though its zone has room.
    next.pop().unwrap().close().await;
    eventually("there is room there too", async || {
        gateway.backend("echo", zones.b[0].address)["sessions"] == 1
    })
    .await;
    let mut tab = clients(&gateway, 2..3).await;
    assert!(all_are_at(&mut tab, &zones.b).await);
    for client in own.into_iter().chain(next).chain(tab) {
        client.close().await;
    }
}

#[tokio::test]
async fn a_zone_that_drains_moves_its_sessions_to_the_other_one() {
    let zones = Zones::start(1, 1).await;
    let gateway = zones
        .gateway("a", "drain = { within = \"1s\" }", RECONNECT)
        .await;
    let mut live = clients(&gateway, 0..6).await;
    let target = format!("/v1/upstreams/echo/backends/{}", zones.a[0].address);
    let answer = gateway.admin("PATCH", &target, "{\"state\":\"draining\"}");
    assert_eq!(answer.status, 200, "{}", answer.body);
    eventually("it is empty", async || {
        gateway.backend("echo", zones.a[0].address)["sessions"] == 0
    })
    .await;
    assert!(all_are_at(&mut live, &zones.b).await);
    let shown = gateway.get("/v1/upstreams/echo");
    assert_eq!(shown["levels"][0]["draining"], 1);
    for client in live {
        client.close().await;
    }
}

#[tokio::test]
async fn an_upstream_that_spills_over_fires_its_alert() {
    let zones = Zones::start(1, 1).await;
    let gateway = zones.gateway("a", "", "").await;
    zones.a[0].set_healthy(false);
    let port = AdminPort::of(&gateway);
    let prometheus = Prometheus::start(&[port.address]).await;
    let wanted = [("SessileUpstreamSpillsOver", "upstream", "echo")];
    prometheus.wait_until_fired(&wanted).await;
}
