//! The schedule of probes: which backends are probed, and how a change of upstreams changes that.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::base::names::{BackendId, UpstreamName};
use crate::config::snapshot::{AdminState, Backend, Passive, Policy, Upstream};

/// Passes results on to the test.
struct Results(mpsc::Sender<(String, Result<(), String>)>);

impl Observe for Results {
    fn own(&self) -> &OwnAddresses {
        const NONE: &OwnAddresses = &OwnAddresses::new(Vec::new());
        NONE
    }

    fn observe(
        &self,
        upstream: &UpstreamName,
        backend: &BackendId,
        result: Result<Duration, ProbeFault>,
    ) -> Next {
        let result = result.map(drop).map_err(|fault| fault.reason());
        // A full channel is a test that has seen enough.
        let _ = self.0.try_send((format!("{upstream}/{backend}"), result));
        Next::InTurn
    }
}

fn upstream(name: &str, backends: &[BackendAddr], probe: Option<Probe>) -> Arc<Upstream> {
    let backend = |address: &BackendAddr| Backend {
        id: BackendId::new(address.to_string()),
        address: address.clone(),
        weight: 1,
        zone: None,
        priority: 0,
        labels: Default::default(),
        state: AdminState::Active,
    };
    Arc::new(Upstream {
        name: UpstreamName::from(name),
        policy: Policy::ConsistentHash,
        bounded_load: None,
        backends: backends.iter().map(backend).collect(),
        probe,
        passive: Passive {
            failures: 0,
            clients: 2,
            ejection: Duration::ZERO,
            ejection_max: Duration::ZERO,
            ejected_share_max: 0.0,
            early_close: Duration::ZERO,
        },
        panic_threshold: 0.0,
        tls: None,
        proxy_protocol: None,
        forwarded_header: false,
        connect_timeout: Duration::from_secs(1),
        scaling: crate::config::snapshot::Scaling {
            sessions_target: None,
            backends_min: 1,
            backends_max: 1000,
            scale_in_after: Duration::from_secs(600),
            scale_in_margin: 0.1,
        },
        failover: crate::config::snapshot::Failover {
            zones: crate::config::snapshot::ZonePreference::Prefer,
            healthy_share_min: 0.7,
        },
        attempts: 1,
        idle_connections: 0,
        dns: Vec::new(),
        consul: None,
        kubernetes: None,
        response_limits: crate::config::snapshot::HeadLimits::default(),
        drain: crate::config::snapshot::Drain::default(),
        rebalance: crate::config::snapshot::Rebalance::default(),
        slow_start: None,
        sessions_per_backend: None,
    })
}

async fn next_of(
    results: &mut mpsc::Receiver<(String, Result<(), String>)>,
    of: &str,
) -> Result<(), String> {
    let wait = async {
        loop {
            let (who, result) = results.recv().await.expect("probes go on");
            if who == of {
                return result;
            }
        }
    };
    timeout(Duration::from_secs(5), wait)
        .await
        .expect("a result in time")
}

#[tokio::test]
async fn backends_are_probed_until_they_leave_their_upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let to = BackendAddr::Ip(address);
    let gone: BackendAddr = "127.0.0.1:1".parse().expect("an address");
    let (tell, mut results) = mpsc::channel(64);
    let mut probes = Probes::new(Arc::new(Results(tell)));
    let chat = upstream(
        "chat",
        &[to.clone(), gone.clone()],
        Some(as_probe(ProbeKind::Tcp)),
    );
    let quiet = upstream("quiet", std::slice::from_ref(&to), None);
    probes.apply([(&chat, None), (&quiet, None)]);
    assert_eq!(probes.len(), 2);

    let (well, sick) = (format!("chat/{to}"), format!("chat/{gone}"));
    assert_eq!(next_of(&mut results, &well).await, Ok(()));
    assert_eq!(next_of(&mut results, &well).await, Ok(()));
    let refused = Err(format!("{gone} refused the connection"));
    assert_eq!(next_of(&mut results, &sick).await, refused);
    drop(listener);
    while next_of(&mut results, &well).await.is_ok() {}

    probes.apply([]);
    assert!(probes.is_empty());
    drop(probes);
    // The tasks held the only senders.
    let ended = async { while results.recv().await.is_some() {} };
    timeout(Duration::from_secs(5), ended)
        .await
        .expect("every task ends");
}

#[tokio::test]
async fn a_swap_does_not_disturb_unchanged_probes() {
    let (one, two): (BackendAddr, BackendAddr) = (
        "127.0.0.1:1".parse().expect("an address"),
        "127.0.0.1:2".parse().expect("an address"),
    );
    let (tell, _results) = mpsc::channel(64);
    let mut probes = Probes::new(Arc::new(Results(tell)));
    let probe = as_probe(ProbeKind::Tcp);
    let both = [one.clone(), two.clone()];
    probes.apply([(&upstream("chat", &both, Some(probe.clone())), None)]);
    let before = probes.task_ids();

    let mut other = upstream("chat", &both, Some(probe.clone()));
    Arc::make_mut(&mut other).policy = Policy::Maglev;
    Arc::make_mut(&mut other).backends[0].weight = 7;
    probes.apply([(&other, None)]);
    assert_eq!(probes.task_ids(), before);

    Arc::make_mut(&mut other).backends[1].address = "127.0.0.1:3".parse().expect("an address");
    probes.apply([(&other, None)]);
    let moved = probes.task_ids();
    assert_eq!(moved[0], before[0]);
    assert_ne!(moved[1], before[1]);

    let slower = Probe {
        interval: Duration::from_secs(9),
        ..probe
    };
    probes.apply([(&upstream("chat", &[one], Some(slower)), None)]);
    let after = probes.task_ids();
    assert_eq!(after.len(), 1);
    assert_ne!(after[0], before[0]);
}
