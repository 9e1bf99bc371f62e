//! A change's way: read the sources, check, compile, swap. A configuration with faults is refused
//! whole and changes nothing (I4); one without is in force after a single swap (I1).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::{Mutex as AsyncMutex, Semaphore, watch};

use crate::base::clock;
use crate::base::names::RouteName;
use crate::base::source_id::SourceId;
use crate::config::diagnostic::Diagnostic;
use crate::config::overlay::{Composer, Overlay};
use crate::control::drainer::Drainer;
use crate::control::load::Loaded;
use crate::control::probes::Probes;
use crate::control::rebalancer::Rebalancer;
use crate::control::state_dir::StateDir;
use crate::control::supervisor::composition::{Held, resolved};
use crate::control::supervisor::observer::Observer;
use crate::control::supervisor::publish::{Next, probe, publish};
use crate::control::supervisor::report::{changes, route_changes};
use crate::control::supervisor::restart::{restart_needs, serving};
use crate::control::watch::Watch;
use crate::control::worker_commands;
use crate::core::routing::RoutingTable;
use crate::core::routing::preview::ending;
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::Cause;
use crate::io::tls::client::BackendTls;
use crate::live::{Live, SessionQuery, Swap};
use crate::telemetry::events::{DocumentChange, Kind};
use crate::telemetry::metrics::NodeMetrics;

mod backend_tls;
pub mod composition;
mod configuration;
pub mod documents;
mod observer;
mod origin;
mod pending;
pub mod preview;
mod publish;
mod report;
mod restart;

pub use backend_tls::UpstreamTlsError;
pub use configuration::Configuration;
pub use origin::Origin;
pub use pending::PendingChange;
pub use publish::first_generation;
pub use report::{Changes, ReloadReport};

/// Keeps what is in force in step with the sources.
pub struct Supervisor {
    live: Arc<Live>,
    configuration: Configuration,
    node: Arc<NodeMetrics>,
    state_dir: Option<Arc<StateDir>>,
    drainer: Arc<Drainer>,
    rebalancer: Arc<Rebalancer>,
    /// Held for the whole of a change, so that changes come one after the other.
    changing: AsyncMutex<Changing>,
    shown: Mutex<Shown>,
    swaps: watch::Sender<()>,
    /// Held while a preview is made.
    previewing: Arc<Semaphore>,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

/// What a change begins with.
struct Changing {
    probes: Probes,
    /// The file, as it was read last without faults.
    base: Arc<Loaded>,
    /// What other sources add to it.
    overlay: Overlay,
    composer: Composer,
}

/// Documents that changed, and how many more did.
type Changed = (Vec<DocumentChange>, u64);

/// What operators see of it.
#[derive(Clone)]
struct Shown {
    loaded: Arc<Loaded>,
    at: SystemTime,
    refused: Option<Refused>,
    held: BTreeMap<SourceId, Held>,
    restart_pending: Vec<String>,
    restart_changes: Vec<PendingChange>,
}

/// A configuration that did not take effect.
#[derive(Clone, Debug)]
pub struct Refused {
    /// When it was read.
    pub at: SystemTime,
    /// Everything that is wrong with it.
    pub faults: Vec<Diagnostic>,
}

impl Supervisor {
    /// Takes over with `loaded` in force. Probes begin with [`start`](Self::start).
    pub fn new(
        live: Arc<Live>,
        configuration: Configuration,
        loaded: Loaded,
        node: Arc<NodeMetrics>,
        state_dir: Option<Arc<StateDir>>,
    ) -> Arc<Self> {
        let probes = Probes::new(Arc::new(Observer(Arc::clone(&live))));
        let drainer = Drainer::open(Arc::clone(&live), Arc::clone(&node), state_dir.as_ref());
        let rebalancer = Rebalancer::new(Arc::clone(&live), Arc::clone(&node));
        let base = Arc::new(loaded);
        Arc::new(Self {
            drainer,
            rebalancer,
            live,
            configuration,
            node,
            state_dir,
            changing: AsyncMutex::new(Changing {
                probes,
                base: Arc::clone(&base),
                overlay: Overlay::default(),
                composer: Composer::default(),
            }),
            previewing: Arc::new(Semaphore::new(1)),
            swaps: watch::Sender::new(()),
            shown: Mutex::new(Shown {
                loaded: Arc::new(resolved(&base)),
                at: clock::wall(),
                refused: None,
                held: BTreeMap::new(),
                restart_pending: Vec::new(),
                restart_changes: Vec::new(),
            }),
        })
    }

    /// The directory of `node.state_dir`, if there is one.
    pub fn state_dir(&self) -> Option<&Arc<StateDir>> {
        self.state_dir.as_ref()
    }

    /// Begins to probe the backends in force.
    pub async fn start(&self) {
        let mut changing = self.changing.lock().await;
        let loaded = self.shown().loaded;
        let generation = self.live.generation_arc();
        probe(&mut changing.probes, &loaded.snapshot, &generation);
        // Sessions may have been taken over from another process.
        self.drainer.swapped(&generation.table, &generation.table);
    }

    /// Has the drains.
    pub fn drainer(&self) -> &Arc<Drainer> {
        &self.drainer
    }

    /// Brings sessions home.
    pub fn rebalancer(&self) -> &Arc<Rebalancer> {
        &self.rebalancer
    }

    /// Reads the sources again and puts what they say into force.
    ///
    /// # Errors
    /// Everything that is wrong with them; nothing has changed then.
    pub async fn reload(&self, origin: &Origin) -> Result<ReloadReport, Vec<Diagnostic>> {
        let mut changing = self.changing.lock().await;
        let read = self.read(&changing).await;
        match read {
            Ok(read) => Ok(self.take_over(&mut changing, read, origin).await),
            Err(faults) => {
                self.refuse(&faults, origin);
                Err(faults)
            }
        }
    }

    /// Reloads whenever a file that was read has changed. Never returns.
    pub async fn follow_files(&self) {
        let mut files = self.shown().loaded.files.clone();
        let mut watch = Watch::new(files.clone());
        loop {
            // At once too, for what changed between the first reading and the watch. What is wrong
            // has been logged, and is shown; the files that held it go on being watched.
            let refused = self.reload(&Origin::file()).await.is_err();
            let now = self.shown().loaded.files.clone();
            // Watching the same files anew would overlook what changed meanwhile.
            if now != files && !refused {
                files.clone_from(&now);
                watch.set_files(now);
            }
            watch.changed().await;
        }
    }

    /// Changes after each change of the configuration.
    pub fn swaps(&self) -> watch::Receiver<()> {
        self.swaps.subscribe()
    }

    /// The file that the configuration comes from.
    pub fn path(&self) -> &Path {
        self.configuration.path()
    }

    /// What is in force, secrets masked.
    pub fn in_force(&self) -> serde_json::Value {
        self.shown().loaded.masked.as_ref().clone()
    }

    /// The configuration in force.
    pub fn loaded(&self) -> Arc<Loaded> {
        self.shown().loaded
    }

    /// When what is in force was read.
    pub fn loaded_at(&self) -> SystemTime {
        self.shown().at
    }

    /// Settings that were read and take effect at the next start.
    pub fn restart_pending(&self) -> Vec<String> {
        self.shown().restart_pending
    }

    /// The same with the values in use and those of the next start.
    pub fn restart_changes(&self) -> Vec<PendingChange> {
        self.shown().restart_changes
    }

    /// The configuration that was read last, if it was refused.
    pub fn refused(&self) -> Option<Refused> {
        self.shown().refused
    }

    fn shown(&self) -> Shown {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn show(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn refuse(&self, faults: &[Diagnostic], origin: &Origin) {
        self.node.reload_refused();
        let events = self.live.events();
        events.change(Kind::ConfigurationRefused, origin.refused(faults));
        for fault in faults {
            tracing::error!(%fault, "configuration refused; the one before it stays in force");
        }
        let refused = Refused {
            at: clock::wall(),
            faults: faults.to_vec(),
        };
        self.show(|shown| shown.refused = Some(refused));
    }

    /// Puts a configuration into force by one swap, then brings everything that follows swaps in
    /// step with it.
    async fn put_into_force(
        &self,
        probes: &mut Probes,
        loaded: Loaded,
        tls: BackendTls,
        (origin, changed): (&Origin, Changed),
    ) -> ReloadReport {
        let before = self.shown().loaded;
        let old = self.live.table();
        let number = old.generation + 1;
        let table = RoutingTable::compile(&loaded.snapshot, Some(&old), number, clock::now());
        let swapped = !table.same_as(&old);
        let table = if swapped { Arc::new(table) } else { old };
        let mut report = ReloadReport {
            generation: table.generation,
            digest: table.digest.to_string(),
            swapped,
            routes: route_changes(&before.snapshot, &loaded.snapshot),
            upstreams: changes(&before.snapshot.upstreams, &loaded.snapshot.upstreams),
            restart_for: restart_needs(&before.snapshot, &loaded.snapshot),
        };
        self.drainer.before_swap(&table);
        let next = Next {
            table,
            backend_tls: tls,
            snapshot: &loaded.snapshot,
            revoked_before: &before.snapshot.revocations,
        };
        let (swap, revoked) = publish(&self.live, next);
        tracing::info!(
            generation = report.generation, digest = %report.digest, swapped,
            routes = %report.routes, upstreams = %report.upstreams, "configuration in force"
        );
        report.restart_for.sort_unstable();
        let waits = report.restart_for != self.restart_pending();
        if swapped || waits || !changed.0.is_empty() {
            let change = origin.in_force(&report, changed);
            self.live
                .events()
                .change(Kind::ConfigurationChanged, change);
        }
        probe(probes, &loaded.snapshot, &swap.new);
        self.follow(&swap).await;
        if revoked > 0 {
            let closed = worker_commands::revoke(&self.live).await;
            tracing::info!(revocations = revoked, closed, "rights were revoked");
        }
        for route in ending(&swap.old.table, &swap.new.table) {
            self.close_sessions_of(route).await;
        }
        for key in &report.restart_for {
            tracing::warn!(
                key,
                "this setting has changed and takes effect at the next start"
            );
        }
        let new = Arc::clone(&loaded.masked);
        let loaded = Arc::new(serving(&before, loaded, &report.restart_for));
        let waiting = pending::changes(&loaded.masked, &new, &report.restart_for);
        self.live.events().configure(&loaded.snapshot.events);
        self.show(|shown| {
            shown.loaded = loaded;
            shown.restart_pending.clone_from(&report.restart_for);
            shown.restart_changes = waiting;
        });
        self.swaps.send_replace(());
        report
    }

    /// Brings drains and rebalancing in step with a swap.
    async fn follow(&self, swap: &Swap) {
        if !swap.replaced_table() {
            return;
        }
        let (old, new) = (&swap.old.table, &swap.new.table);
        self.node.swapped(new.generation);
        if self.drainer.swapped(old, new) {
            self.drainer.save().await;
        }
        self.rebalancer.swapped(old, new);
    }

    /// Closes the sessions of a route that went away and takes them along.
    async fn close_sessions_of(&self, route: &RouteName) {
        let order = CloseOrder {
            code: 1012,
            reason: "route removed".into(),
            cause: Cause::RouteRemoved,
        };
        let query = SessionQuery {
            route: Some(route.to_string()),
            ..SessionQuery::default()
        };
        worker_commands::close(&self.live, &query, &order, None).await;
    }
}
