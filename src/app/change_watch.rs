//! Events of what changes without an order or a swap: drains, rebalancings, ejections that are
//! over, certificates, sources, hand-overs. The state is read once a second and compared with the
//! one before, so nothing on the way of a session has to report it.

mod broker;
mod compare;
mod failover;
mod rights;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::admin::Gateway;
use crate::app::change_watch::compare::{
    CertificateState, DrainState, RebalanceState, State, TakeOverState, changes,
};
use crate::base::clock;
use crate::control::gateway_list;
use crate::control::sources::SourceStatus;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// Backends between two pauses of a look.
const SLICE: usize = 1024;

/// Follows the gateway for as long as it runs.
pub(super) fn watched(background: &mut JoinSet<()>, gateway: Gateway) -> Arc<Gateway> {
    let gateway = Arc::new(gateway);
    background.spawn(follow(Arc::clone(&gateway)));
    background.spawn(rights::follow(Arc::clone(&gateway)));
    background.spawn(Arc::clone(&gateway.scaling).run());
    let fleet = gateway.fleet.clone();
    background.spawn(gateway_list::keep(Arc::clone(&gateway.live), fleet));
    gateway
}

async fn follow(gateway: Arc<Gateway>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Certificates that are there at the start are no news. Everything else is: a drain or a
    // hand-over may have begun before the first look.
    let mut before = State {
        at: Some(clock::wall()),
        certificates: certificates(&gateway),
        ..State::default()
    };
    loop {
        ticks.tick().await;
        let now = read(&gateway).await;
        for (kind, fields) in changes(&before, &now) {
            gateway.live.events().change(kind, fields);
        }
        before = now;
    }
}

/// The state at this moment.
async fn read(gateway: &Gateway) -> State {
    State {
        at: Some(clock::wall()),
        ejected: ejected(gateway).await,
        spilling: failover::spilling(gateway).await,
        drains: drains(gateway),
        rebalances: rebalances(gateway),
        certificates: certificates(gateway),
        files_refused: files_refused(gateway),
        orders_failed: orders_failed(gateway),
        sources: sources(gateway),
        lagging: lagging(gateway),
        broker: broker::state(gateway),
        taken_over: gateway.live.taken_over().map(|one| TakeOverState {
            sessions: one.sessions,
            staying: one.staying.total(),
            from_pid: one.from_pid,
        }),
        other_process: gateway.live.other_process(),
    }
}

async fn ejected(gateway: &Gateway) -> BTreeSet<(String, String)> {
    let upstreams: Vec<_> = gateway.live.table().upstreams().cloned().collect();
    let (now, mut ejected, mut seen) = (clock::now(), BTreeSet::new(), 0);
    for upstream in upstreams {
        for member in &upstream.members {
            if member.state.ejected(now) {
                ejected.insert((upstream.name().to_string(), member.id.to_string()));
            }
        }
        seen += upstream.members.len();
        if seen >= SLICE {
            seen = 0;
            tokio::task::yield_now().await;
        }
    }
    ejected
}

fn drains(gateway: &Gateway) -> BTreeMap<(String, String), DrainState> {
    let drains = gateway.supervisor.drainer().views().into_iter();
    let states = drains.map(|(upstream, backend, view)| {
        let state = DrainState {
            done: view.state == "done",
            by: view.by,
            operator: view.operator,
            pace: view.pace,
            total: view.total,
            moved: view.moved,
            closed: view.closed,
        };
        ((upstream.to_string(), backend.to_string()), state)
    });
    states.collect()
}

fn rebalances(gateway: &Gateway) -> BTreeMap<String, RebalanceState> {
    let table = gateway.live.table();
    let runs = table.upstreams().filter_map(|upstream| {
        let view = gateway.supervisor.rebalancer().view(upstream.name())?;
        let state = RebalanceState {
            over: matches!(&*view.state, "done" | "stopped"),
            state: view.state,
            operator: view.operator,
            started: view.started,
            moved: view.moved,
            closed: view.closed,
        };
        Some((upstream.name().to_string(), state))
    });
    runs.collect()
}

fn certificates(gateway: &Gateway) -> BTreeMap<(String, String), CertificateState> {
    let mut states = BTreeMap::new();
    for (listener, resolver) in &gateway.certificates {
        let files = resolver.files().into_iter().map(|one| (one, false));
        let ordered = resolver.managed().map(|one| (one, true));
        for (certificate, ordered) in files.chain(ordered) {
            if certificate.placeholder {
                continue;
            }
            let key = (listener.clone(), certificate.names.join(", "));
            let not_after = certificate.not_after;
            let state = CertificateState { not_after, ordered };
            // Several for one name, such as RSA and ECDSA: the first to end.
            let known = states.entry(key).or_insert(state);
            known.not_after = known.not_after.min(not_after);
        }
    }
    states
}

/// Names whose last order failed, and why.
fn orders_failed(gateway: &Gateway) -> BTreeMap<String, String> {
    let orders = gateway.acme.status().into_iter();
    orders
        .filter_map(|one| Some((one.names.join(", "), one.fault?)))
        .collect()
}

/// Why each source is not followed; `None` for one that is.
fn sources(gateway: &Gateway) -> BTreeMap<String, Option<String>> {
    let sources = gateway.sources.iter();
    let states = sources.filter_map(|source| match source.status() {
        SourceStatus::File(_) => None,
        SourceStatus::Followed(status) => {
            let fault = status.fault.unwrap_or_else(|| "not followed".to_owned());
            let lost = status.endpoint.is_none().then_some(fault);
            Some((source.id().to_string(), lost))
        }
    });
    states.collect()
}

/// Listeners with files that hold what does not replace a certificate, and why.
fn files_refused(gateway: &Gateway) -> BTreeSet<(String, String)> {
    let listeners = gateway.certificates.iter();
    let refused = listeners.flat_map(|(listener, resolver)| {
        let refused = resolver.refused().into_iter().flatten();
        refused.map(|why| (listener.clone(), why))
    });
    refused.collect()
}

/// Sources that are followed and all the same not up to date, and why.
fn lagging(gateway: &Gateway) -> BTreeMap<String, String> {
    let now = clock::now();
    let fleet = gateway.fleet.as_deref().map(|fleet| fleet.view(now));
    let mut nodes = fleet.iter().flatten();
    let behind = nodes.any(|node| node.node == *gateway.node && node.older);
    let states = gateway.sources.iter().filter_map(|source| {
        let SourceStatus::Followed(status) = source.status() else {
            return None;
        };
        let silent = status.silence(now);
        let why = match silent {
            Some(silent) => format!("silent for {}s", silent.as_secs()),
            None if behind && status.endpoint.is_some() => {
                format!("other gateways are ahead of revision {}", status.revision)
            }
            None => return None,
        };
        Some((source.id().to_string(), why))
    });
    states.collect()
}
