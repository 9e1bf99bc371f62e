//! The load of an upstream on all gateways that follow the same etcd.

use axum::http::StatusCode;
use futures_util::future::join_all;

use crate::admin::Gateway;
use crate::admin::fleet::ASKED_MAX;
use crate::admin::scaling::node::of_node;
use crate::admin::scaling::view::ScalingView;

/// Sums up what all gateways have; `None` if this one has no such upstream. A gateway that does not
/// answer is named.
pub(in crate::admin) async fn of_fleet(gateway: &Gateway, name: &str) -> Option<ScalingView> {
    let mut view = of_node(gateway, name)?;
    let fleet = gateway.fleet.as_deref();
    let others = fleet.map(|fleet| fleet.others()).unwrap_or_default();
    let (near, far) = others.split_at(others.len().min(ASKED_MAX));
    // The name is one that this gateway's table has, so it is a segment of a path.
    let target = format!("/v1/scaling/{name}");
    let answers = join_all(
        near.iter()
            .map(|other| gateway.fleet_client.ask(other, &target)),
    );
    for (other, given) in near.iter().zip(answers.await) {
        let answer = match given {
            Ok(given) if given.status == StatusCode::OK => {
                serde_json::from_slice::<ScalingView>(&given.body).ok()
            }
            // It has no such upstream, so it has none of its sessions.
            Ok(given) if given.status == StatusCode::NOT_FOUND => Some(ScalingView {
                watched: true,
                ..ScalingView::default()
            }),
            _ => None,
        };
        match answer {
            Some(answer) => view.add(answer),
            None => view.silent.push(other.node.clone()),
        }
    }
    view.silent
        .extend(far.iter().map(|other| other.node.clone()));
    if fleet.is_some_and(|fleet| fleet.fault().is_some()) {
        view.silent
            .push("etcd, which has the list of gateways".to_owned());
    }
    let table = gateway.live.table();
    let config = &table.upstream(name)?.config;
    view.decide(&config.scaling, config.sessions_per_backend);
    Some(view)
}
