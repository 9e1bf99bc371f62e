//! The swap of a configuration: one pointer replaces table, backend TLS, edge, keys and revocations
//! together, so that no request is decided by a mixture.

use std::sync::Arc;

use crate::base::clock;
use crate::config::snapshot::{Revocations, Snapshot};
use crate::control::probes::Probes;
use crate::control::revocations;
use crate::control::supervisor::backend_tls::{UpstreamTlsError, read_backend_tls};
use crate::core::routing::RoutingTable;
use crate::io::tls::client::BackendTls;
use crate::live::{Edge, Generation, Live, Swap};

/// The generation that a gateway starts with.
///
/// # Errors
/// The first upstream whose roots or name are wrong.
pub fn first_generation(
    snapshot: &Snapshot,
    memory_allowance: u64,
) -> Result<Generation, UpstreamTlsError> {
    let table = RoutingTable::compile(snapshot, None, 1, clock::now());
    Ok(Generation {
        backend_tls: Arc::new(read_backend_tls(snapshot)?),
        edge: Arc::new(Edge::of(snapshot, memory_allowance)),
        revocations: Arc::new(revocations::first(&snapshot.revocations)),
        ..Generation::from(table)
    })
}

/// Probes what the configuration in force has, with the TLS that sessions use.
pub(super) fn probe(probes: &mut Probes, snapshot: &Snapshot, generation: &Generation) {
    let upstreams = snapshot.upstreams.values();
    let tls = &generation.backend_tls;
    probes.apply(upstreams.map(|upstream| (upstream, tls.of(&upstream.name))));
}

/// A configuration that is about to be in force.
pub(super) struct Next<'a> {
    pub(super) table: Arc<RoutingTable>,
    pub(super) backend_tls: BackendTls,
    pub(super) snapshot: &'a Snapshot,
    /// What the configuration in force revokes.
    pub(super) revoked_before: &'a Arc<Revocations>,
}

/// The one swap of a configuration. Returns how many revocations are new with it.
pub(super) fn publish(live: &Live, next: Next<'_>) -> (Swap, usize) {
    let revoked = &next.snapshot.revocations;
    live.publish(|generation| {
        generation.set_table(next.table);
        generation.backend_tls = Arc::new(next.backend_tls);
        let allowance = generation.edge.memory_allowance;
        generation.edge = Arc::new(Edge::of(next.snapshot, allowance));
        revocations::replace(&mut generation.revocations, next.revoked_before, revoked)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;

    use proptest::prelude::*;
    use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};

    use super::*;
    use crate::base::revocation::{Revocation, RevocationOrigin, RevokedWhat};
    use crate::base::source_id::SourceId;
    use crate::control::load::{LoadOptions, load_text};

    /// Threads that look at what is in force while it changes.
    const READERS: usize = 3;

    /// Everything in it is `n`; its backends speak TLS if `n` is odd.
    fn snapshot(directory: &Path, n: u8) -> Snapshot {
        let tls = match n % 2 {
            1 => "tls = { ca = \"ca.pem\" }",
            _ => "",
        };
        let text = format!(
            r#"
[node]
sessions_max = {n}
[[listeners]]
name = "edge"
listen = ["127.0.0.1:8080"]
[upstreams.u]
backends = ["10.0.0.1:9000"]
{tls}
[[routes]]
name = "r{n}"
upstream = "u"
[revocations.v{n}]
subject = "s{n}"
"#
        );
        let options = LoadOptions {
            path: directory.join("gateway.toml"),
            sets: Vec::new(),
            environment: Vec::new(),
        };
        let loaded = load_text(&options, &text).unwrap_or_else(|faults| panic!("{faults}"));
        loaded.snapshot
    }

    /// What each part of a generation is of.
    fn parts(generation: &Generation) -> (usize, usize, usize, bool, bool) {
        let route = &generation.table.routes()[0].config.name;
        let number = |text: &str| text[1..].parse::<usize>().expect("a number");
        let mut file = generation.revocations.valid(clock::wall());
        let revoked = file.find(|one| one.origin == RevocationOrigin::Source(SourceId::File));
        let revoked = revoked.map_or(0, |one| number(&one.id));
        let upstream = generation.table.upstream("u").expect("an upstream");
        (
            number(route.as_str()),
            generation.edge.load.sessions_max,
            revoked,
            upstream.config.tls.is_some(),
            generation.backend_tls.of(upstream.name()).is_some(),
        )
    }

    fn of_one(generation: &Generation) -> bool {
        let (route, limit, revoked, wants_tls, has_tls) = parts(generation);
        let odd = route % 2 == 1;
        route == limit && route == revoked && (wants_tls, has_tls) == (odd, odd)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        /// However often a reader looks, everything that it finds is of one configuration, and what
        /// others publish meanwhile is not lost.
        #[test]
        fn a_swap_is_one(numbers in prop::collection::vec(1u8..200, 1..24)) {
            let directory = tempfile::tempdir().expect("a directory");
            let issuer = CertifiedIssuer::self_signed(
                CertificateParams::default(),
                KeyPair::generate().expect("a key"),
            );
            let ca = issuer.expect("a certificate").pem();
            std::fs::write(directory.path().join("ca.pem"), ca).expect("a file");
            let all: Vec<_> = numbers.iter().map(|n| snapshot(directory.path(), *n)).collect();
            let live = Live::new(first_generation(&all[0], 0).expect("a generation"));
            let (done, looks, mixed) =
                (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
            thread::scope(|scope| {
                for _ in 0..READERS {
                    scope.spawn(|| while !done.load(Ordering::Relaxed) {
                        looks.fetch_add(1, Ordering::Relaxed);
                        if !of_one(&live.generation()) {
                            mixed.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
                let others = scope.spawn(|| (0..200u16).for_each(|n| revoke(&live, n)));
                for pair in all.windows(2) {
                    let seen = looks.load(Ordering::Relaxed);
                    change(&live, &pair[0], &pair[1]);
                    // Each configuration is looked at.
                    while looks.load(Ordering::Relaxed) < seen + READERS {
                        thread::yield_now();
                    }
                }
                others.join().expect("no panic");
                done.store(true, Ordering::Relaxed);
            });
            prop_assert_eq!(mixed.into_inner(), 0);
            let last = live.generation();
            let left = last.revocations.valid(clock::wall());
            let own = left.filter(|one| one.origin == RevocationOrigin::Node).count();
            prop_assert_eq!(own, 200);
        }
    }

    #[test]
    fn changes_at_the_same_time_follow_one_another_and_each_gets_both_generations() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = first_generation(&snapshot(directory.path(), 2), 0);
        let live = Live::new(first.expect("a generation"));
        let begin = live.generation_arc();
        let publish = || {
            let each = (0..500).map(|_| live.publish(|_| thread::yield_now()).0);
            each.collect::<Vec<_>>()
        };
        let swaps: Vec<_> = thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(publish));
            let swaps = threads.map(|thread| thread.join().expect("no panic"));
            swaps.into_iter().flatten().collect()
        });
        let ends = swaps
            .iter()
            .map(|swap| (Arc::as_ptr(&swap.old), Arc::as_ptr(&swap.new)));
        let mut next: BTreeMap<_, _> = ends.collect();
        let (mut at, mut length) = (Arc::as_ptr(&begin), 0);
        while let Some(new) = next.remove(&at) {
            (at, length) = (new, length + 1);
        }
        let last = live.generation_arc();
        assert_eq!((length, at), (swaps.len(), Arc::as_ptr(&last)));
    }

    fn revoke(live: &Live, n: u16) {
        let revocation = Revocation {
            id: format!("n{n}").into(),
            origin: RevocationOrigin::Node,
            what: RevokedWhat::Subject(format!("of-{n}").into()),
            issued_before: None,
            until: None,
            reason: "".into(),
        };
        let add = |next: &mut Generation| {
            Arc::make_mut(&mut next.revocations).add(Arc::new(revocation), clock::wall())
        };
        live.publish(add).1.expect("room");
    }

    fn change(live: &Live, before: &Snapshot, after: &Snapshot) {
        let old = live.table();
        let table = RoutingTable::compile(after, Some(&old), old.generation + 1, clock::now());
        let next = Next {
            table: Arc::new(table),
            backend_tls: read_backend_tls(after).expect("TLS"),
            snapshot: after,
            revoked_before: &before.revocations,
        };
        publish(live, next);
    }
}
