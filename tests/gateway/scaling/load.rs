//! The load of an upstream, and how many backends it should have.

use serde_json::{Value, json};

use super::{clients, close, scaling, world};
use crate::support::etcd::Etcd;
use crate::support::etcd_world::following;
use crate::support::shell::sessile;
use crate::support::{Backend, Client, Gateway, config, eventually};

fn load(gateway: &Gateway) -> Value {
    gateway.get("/v1/scaling/echo")
}

#[tokio::test]
async fn an_upstream_grows_at_once_and_shrinks_when_its_peak_is_over() {
    let upstream = scaling(4, "5s", "");
    let (_backends, gateway) = world(2, &upstream).await;
    let mut live = clients(&gateway, 9).await;
    let shown = load(&gateway);
    assert_eq!(
        (
            &shown["sessions"],
            &shown["backends_desired"],
            &shown["why"]
        ),
        (&json!(9), &json!(3), &json!("grow")),
        "{shown}"
    );
    let gone = live.split_off(2);
    eventually("its peak is seen", async || {
        load(&gateway)["sessions_peak"] == 9
    })
    .await;
    close(gone).await;
    eventually("the sessions are gone", async || {
        load(&gateway)["sessions"] == 2
    })
    .await;
    let held = load(&gateway);
    assert_eq!(
        held["backends_desired"], 2,
        "it has two, and does not shrink yet: {held}"
    );
    eventually("one is enough", async || {
        let shown = load(&gateway);
        shown["backends_desired"] == 1 && shown["why"] == "shrink" && shown["sessions_peak"] == 2
    })
    .await;
    let metric = |name: &str| gateway.metric(name, &["upstream=\"echo\""]);
    assert_eq!(metric("sessile_scaling_backends_desired"), 1.0);
    assert_eq!(metric("sessile_scaling_sessions_target"), 4.0);
    assert!(load(&gateway)["sessions_per_second"].as_f64().unwrap() > 0.0);
    close(live).await;
}

#[tokio::test]
async fn what_is_not_well_is_replaced_and_what_drains_is_not_counted_away() {
    let upstream = format!(
        "sessions_per_backend = 8\nprobe = {{ type = \"http\", path = \"/healthz\", \
         interval = \"50ms\", timeout = \"2s\", rise = 1, fall = 1 }}\n{}\n\
         drain = {{ pace = \"1/h\" }}",
        scaling(2, "1s", "")
    );
    let (backends, gateway) = world(3, &upstream).await;
    for backend in &backends {
        gateway
            .wait_for_health("echo", backend.address, "healthy")
            .await;
    }
    let live = clients(&gateway, 6).await;
    assert_eq!(load(&gateway)["utilization"], 0.25);
    backends[2].set_healthy(false);
    gateway
        .wait_for_health("echo", backends[2].address, "unhealthy")
        .await;
    let shown = load(&gateway);
    assert_eq!(
        (&shown["backends_well"], &shown["backends_unwell"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        shown["backends_desired"], 4,
        "three that are well, and the one to replace"
    );
    assert_eq!(shown["capacity"], 16);
    let target = format!("/v1/upstreams/echo/backends/{}", backends[0].address);
    assert_eq!(
        gateway
            .admin("PATCH", &target, "{\"state\":\"draining\"}")
            .status,
        200
    );
    let shown = load(&gateway);
    assert_eq!(
        (&shown["backends_well"], &shown["backends_draining"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        shown["backends_desired"], 5,
        "its sessions are still there: {shown}"
    );
    close(live).await;
    eventually("it is empty", async || {
        load(&gateway)["backends_draining"] == 0
    })
    .await;
}

#[tokio::test]
async fn the_sessions_of_a_fleet_are_summed_up_and_a_silent_gateway_holds_backends() {
    let backend = Backend::echo().await;
    let etcd = Etcd::start().await;
    let upstream = scaling(2, "1s", "");
    let text = config::echo(&[backend.address], &upstream, "") + &following(&[etcd.url()], "");
    let text = format!("# admin: fleet = {{ networks = [\"127.0.0.0/8\"] }}\n{text}");
    let one = Gateway::start_named("edge-1", &text).await;
    // Its admin API is on a socket, so the other one cannot ask it.
    let two = Gateway::start_named("edge-2", &text).await;
    eventually("they see one another", async || {
        one.get("/v1/status")["fleet"].as_array().unwrap().len() == 2
    })
    .await;
    let mut client = Client::connect(one.address(), "/?k=1").await;
    client.echo("hello").await;
    let own = one.get("/v1/scaling/echo");
    assert_eq!((&own["gateways"], &own["sessions"]), (&json!(1), &json!(1)));
    let fleet = one.get("/v1/scaling/echo?scope=fleet");
    assert_eq!(fleet["silent"], json!(["edge-2"]), "{fleet}");
    assert_eq!(
        one.admin("GET", "/v1/scaling/echo?scope=all", "").status,
        400
    );
    assert_eq!(
        one.admin("GET", "/v1/scaling/none?scope=fleet", "").status,
        404
    );
    let list = one.get("/v1/scaling");
    assert_eq!(list["items"][0]["upstream"], "echo");
    client.close().await;
    drop(two);
}

#[tokio::test]
async fn the_command_shows_the_load_of_upstreams() {
    let upstream = scaling(4, "1h", "");
    let (_backends, gateway) = world(2, &upstream).await;
    let live = clients(&gateway, 9).await;
    let output = sessile(&["scaling"], gateway.directory());
    let said = String::from_utf8(output.stdout).unwrap();
    let row: Vec<_> = said.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        (row[0], row[1], row[row.len() - 1]),
        ("echo", "9", "grow"),
        "{said}"
    );
    let output = sessile(
        &["scaling", "echo", "--json", "--fleet"],
        gateway.directory(),
    );
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["backends_desired"], 3, "{shown}");
    let output = sessile(&["scaling", "ecco"], gateway.directory());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("did you mean `echo`"), "{said}");
    close(live).await;
}
