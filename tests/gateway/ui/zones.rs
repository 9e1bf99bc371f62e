//! The dashboard of a gateway whose zone is short of backends.

use crate::support::admin::exposed;
use crate::support::peers::{Language, run_client};
use crate::zones::Zones;

#[tokio::test]
async fn the_levels_of_an_upstream_and_its_spill_over_are_shown() {
    let zones = Zones::start(2, 1).await;
    let gateway = zones.gateway("a", "", "").await;
    let lost = &zones.a[0];
    lost.set_healthy(false);
    gateway
        .wait_for_health("echo", lost.address, "unhealthy")
        .await;
    let base = format!("http://{}", exposed(gateway.directory()));
    run_client(Language::Node, "dashboard_zones", vec![base]).await;
}
