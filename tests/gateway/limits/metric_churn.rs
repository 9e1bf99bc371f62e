//! Series of routes that have left go, however many come and leave.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::support::http::get;
use crate::support::{Backend, Client, Gateway};

const ROUND: usize = 100;
/// Series that wait for their last scrape at most; a route has one or more.
const GONE_MAX: usize = 500;

/// Routes `r0` to `r99` of this round, beside one that stays.
fn routes(backend: &Backend, round: usize) -> String {
    let mut text = format!(
        "[upstreams.echo]\nbackends = [\"{}\"]\n\n\
         [[routes]]\nname = \"stays\"\npath = \"/stays\"\nupstream = \"echo\"\n",
        backend.address
    );
    for route in 0..ROUND {
        write!(
            text,
            "[[routes]]\nname = \"r{round}-{route}\"\npath = \"/r{round}-{route}\"\n\
             upstream = \"echo\"\n"
        )
        .unwrap();
    }
    text
}

/// The routes that series are named after.
fn named(gateway: &Gateway) -> Vec<String> {
    let text = gateway.admin("GET", "/metrics", "").body;
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let routes = series.filter_map(|line| line.split("route=\"").nth(1)?.split('"').next());
    routes.map(str::to_owned).collect()
}

#[tokio::test]
async fn series_of_a_thousand_routes_that_left_are_removed() {
    let backend = Backend::echo().await;
    let gateway = Gateway::start(&routes(&backend, 0)).await;
    let mut lasting = Client::connect(gateway.address(), "/r0-0").await;
    lasting.echo("before").await;
    for round in 0..10 {
        if round > 0 {
            gateway.write_config(&routes(&backend, round));
            let answer = gateway.reload();
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        for route in 0..ROUND {
            let target = format!("/r{round}-{route}");
            assert_eq!(get(gateway.address(), &target, &[]).await.status, 200);
        }
        let routes: BTreeSet<_> = named(&gateway).into_iter().collect();
        let bound = GONE_MAX + ROUND + 2;
        assert!(routes.len() <= bound, "{} routes", routes.len());
    }
    get(gateway.address(), "/stays", &[]).await;
    let named = named(&gateway);
    let routes: BTreeSet<_> = named.iter().map(String::as_str).collect();
    assert!(routes.contains("stays") && routes.contains("r9-0"));
    assert!(!routes.contains("r1-0"), "the oldest go first");
    // A session may last longer than its route, and is counted for as long.
    let live = gateway.metric("sessile_sessions", &["route=\"r0-0\""]);
    assert_eq!(live, 1.0);
    lasting.echo("after").await;
    lasting.close().await;
    gateway.wait_until_idle().await;
    let ended = gateway.metric("sessile_sessions_ended_total", &["route=\"r0-0\""]);
    assert_eq!(ended, 1.0, "its end can be scraped");
}
