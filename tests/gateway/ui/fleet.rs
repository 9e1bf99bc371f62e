//! The view of all gateways that follow the same etcd, in Chromium.

use serde_json::json;

use super::{compare_documented, pictures};
use crate::etcd::scope::advertising;
use crate::support::admin::exposed;
use crate::support::etcd::Etcd;
use crate::support::etcd_world::{following, seed};
use crate::support::peers::{Language, run_client};
use crate::support::{Backend, Client, Gateway, eventually};

#[tokio::test]
async fn the_fleet_is_one_page_that_names_who_does_not_answer() {
    let etcd = Etcd::start().await;
    let backend = Backend::echo().await;
    seed(&etcd, &[&backend]).await;
    let networks = "# admin: fleet.networks = [\"127.0.0.1\"]\n";
    let (one, _) = advertising("edge-1", &etcd, networks).await;
    let (two, _) = advertising("edge-2", &etcd, "").await;
    let hidden = Gateway::start_named("edge-3", &following(&[etcd.url()], "")).await;
    let mut clients = Vec::new();
    for (gateway, count) in [(&one, 1), (&two, 3)] {
        for key in 0..count {
            clients.push(Client::connect(gateway.address(), &format!("/?k={key}")).await);
        }
    }
    // A file that only one of them was given, and that it refuses.
    let text = std::fs::read_to_string(two.config_path()).unwrap();
    std::fs::write(two.config_path(), format!("{text}\nnonsense = 1\n")).unwrap();
    assert_eq!(two.reload().status, 422);
    eventually("all are registered", async || {
        let status = one.get("/v1/status");
        status["fleet"].as_array().unwrap().len() == 3
    })
    .await;
    let base = format!("http://{}", exposed(one.directory()));
    let options = json!({ "pictures": pictures() });
    run_client(
        Language::Node,
        "dashboard_fleet",
        vec![base, options.to_string()],
    )
    .await;
    compare_documented(&["fleet-light", "fleet-dark", "fleet-phone"]);
    drop((clients, hidden));
}
