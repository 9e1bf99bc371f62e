//! A change's way: read the sources, check, compile, swap. A configuration with faults is refused
//! whole and changes nothing (I4); one without is in force after a single swap (I1).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

use crate::base::addr::OwnAddresses;
use crate::base::clock;
use crate::base::names::{BackendId, ListenerName, UpstreamName};
use crate::config::diagnostic::{Diagnostic, Severity, Source};
use crate::config::overlay::{Composer, Overlay};
use crate::config::snapshot::{Listener, Snapshot, Sources};
use crate::config::span::KeyPath;
use crate::control::drainer::Drainer;
use crate::control::load::{self, Faults, LoadOptions, Loaded};
use crate::control::probes::{Next, Observe, ProbeFault, Probes};
use crate::control::rebalancer::Rebalancer;
use crate::control::revocations;
use crate::control::state_dir::StateDir;
use crate::control::supervisor::documents::resolved;
use crate::control::watch::Watch;
use crate::core::health::Health;
use crate::core::routing::RoutingTable;
use crate::core::routing::preview::ending;
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::Cause;
use crate::io::tls::client::{BackendTls, ClientTls, ClientTlsError, Roots};
use crate::live::{Live, SessionQuery, WorkerCommand};
use crate::telemetry::metrics::NodeMetrics;

pub mod documents;
mod pending;
pub mod preview;

/// Keeps what is in force in step with the sources.
pub struct Supervisor {
    live: Arc<Live>,
    configuration: Configuration,
    backend_tls: Arc<BackendTls>,
    node: Arc<NodeMetrics>,
    state_dir: Option<Arc<StateDir>>,
    drainer: Arc<Drainer>,
    rebalancer: Arc<Rebalancer>,
    /// Held for the whole of a change, so that changes come one after the other.
    changing: AsyncMutex<Changing>,
    shown: Mutex<Shown>,
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

/// What operators see of it.
#[derive(Clone)]
struct Shown {
    loaded: Arc<Loaded>,
    at: SystemTime,
    refused: Option<Refused>,
    held: documents::Held,
    restart_pending: Vec<String>,
}

/// A configuration that did not take effect.
#[derive(Clone, Debug)]
pub struct Refused {
    /// When it was read.
    pub at: SystemTime,
    /// Everything that is wrong with it.
    pub faults: Vec<Diagnostic>,
}

/// What a change came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReloadReport {
    /// Of the table in force now.
    pub generation: u64,
    /// Of the table in force now.
    pub digest: String,
    /// Whether a new table was swapped in.
    pub swapped: bool,
    /// Routes by name.
    pub routes: Changes,
    /// Upstreams by name.
    pub upstreams: Changes,
    /// Settings that differ from those in force and take effect at the next start.
    pub restart_for: Vec<String>,
}

/// Names of what a change touched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// New ones.
    pub added: Vec<String>,
    /// Those that differ.
    pub changed: Vec<String>,
    /// Those that went.
    pub removed: Vec<String>,
}

/// Names that a line of the log holds at most, of each kind of change.
const NAMES_LOGGED: usize = 20;

impl fmt::Display for Changes {
    /// For a line of the log: `added a, b; removed c`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("added", &self.added),
            ("changed", &self.changed),
            ("removed", &self.removed),
        ];
        let mut between = "";
        for (what, names) in lists.iter().filter(|(_, names)| !names.is_empty()) {
            let shown = names.len().min(NAMES_LOGGED);
            write!(f, "{between}{what} {}", names[..shown].join(", "))?;
            if names.len() > shown {
                write!(f, " and {} more", names.len() - shown)?;
            }
            between = "; ";
        }
        if between.is_empty() {
            f.write_str("unchanged")?;
        }
        Ok(())
    }
}

/// TLS of the upstreams of a configuration cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("upstream `{0}`: {1}")]
pub struct UpstreamTlsError(UpstreamName, #[source] ClientTlsError);

impl UpstreamTlsError {
    fn upstream(&self) -> &UpstreamName {
        &self.0
    }

    fn diagnostic(&self, path: &Path) -> Diagnostic {
        let key = ["upstreams", &self.0, "tls"].map(str::to_owned);
        Diagnostic {
            severity: Severity::Error,
            source: Source::File(path.to_owned()),
            place: None,
            key: KeyPath(key.to_vec()),
            message: self.1.to_string(),
            help: None,
        }
    }
}

/// What is read at each reload.
#[derive(Clone, Debug)]
pub enum Configuration {
    /// The file that the options name.
    File(LoadOptions),
    /// A text that is built in, as if it stood in that file.
    BuiltIn(LoadOptions, &'static str),
}

impl Configuration {
    /// Reads it.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn load(&self) -> Result<Loaded, Faults> {
        match self {
            Self::File(options) => load::load(options),
            Self::BuiltIn(options, text) => load::load_text(options, text),
        }
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        let (Self::File(options) | Self::BuiltIn(options, _)) = self;
        &options.path
    }
}

/// Reads the roots of all upstreams that have TLS.
///
/// # Errors
/// The first upstream whose roots or name are wrong.
pub fn read_backend_tls(
    snapshot: &Snapshot,
) -> Result<BTreeMap<UpstreamName, ClientTls>, UpstreamTlsError> {
    let mut roots = Roots::default();
    let with_tls = snapshot.upstreams.values().filter_map(|upstream| {
        let tls = ClientTls::with_roots(upstream.tls.as_ref()?, &mut roots);
        let name = || upstream.name.clone();
        Some(
            tls.map(|tls| (name(), tls))
                .map_err(|error| UpstreamTlsError(name(), error)),
        )
    });
    with_tls.collect()
}

impl Supervisor {
    /// Takes over with `loaded` in force. Probes begin with [`start`](Self::start).
    pub fn new(
        live: Arc<Live>,
        configuration: Configuration,
        loaded: Loaded,
        backend_tls: Arc<BackendTls>,
        node: Arc<NodeMetrics>,
        state_dir: Option<Arc<StateDir>>,
    ) -> Arc<Self> {
        let probes = Probes::new(Arc::new(Observer(Arc::clone(&live))));
        let drainer = Drainer::open(Arc::clone(&live), Arc::clone(&node), state_dir.as_ref());
        let rebalancer = Rebalancer::new(Arc::clone(&live), Arc::clone(&node));
        let base = Arc::new(loaded);
        revocations::begin(&live, &base.snapshot.revocations);
        Arc::new(Self {
            drainer,
            rebalancer,
            live,
            configuration,
            backend_tls,
            node,
            state_dir,
            changing: AsyncMutex::new(Changing {
                probes,
                base: Arc::clone(&base),
                overlay: Overlay::default(),
                composer: Composer::default(),
            }),
            previewing: Arc::new(Semaphore::new(1)),
            shown: Mutex::new(Shown {
                loaded: Arc::new(resolved(&base)),
                at: clock::wall(),
                refused: None,
                held: documents::Held::default(),
                restart_pending: Vec::new(),
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
        self.probe(&mut changing.probes, &loaded.snapshot);
        // Sessions may have been taken over from another process.
        let table = self.live.table_arc();
        self.drainer.swapped(&table, &table);
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
    pub async fn reload(&self) -> Result<ReloadReport, Vec<Diagnostic>> {
        let mut changing = self.changing.lock().await;
        let read = self.read(&changing).await;
        match read {
            Ok(read) => Ok(self.take_over(&mut changing, read).await),
            Err(faults) => {
                self.refuse(&faults);
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
            let refused = self.reload().await.is_err();
            let now = self.shown().loaded.files.clone();
            // Watching the same files anew would overlook what changed meanwhile.
            if now != files && !refused {
                files.clone_from(&now);
                watch.set_files(now);
            }
            watch.changed().await;
        }
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

    fn refuse(&self, faults: &[Diagnostic]) {
        self.node.reload_refused();
        for fault in faults {
            tracing::error!(%fault, "configuration refused; the one before it stays in force");
        }
        let refused = Refused {
            at: clock::wall(),
            faults: faults.to_vec(),
        };
        self.show(|shown| shown.refused = Some(refused));
    }

    async fn put_into_force(
        &self,
        probes: &mut Probes,
        loaded: Loaded,
        tls: BTreeMap<UpstreamName, ClientTls>,
    ) -> ReloadReport {
        let before = self.shown().loaded;
        let old = self.live.table_arc();
        let table = RoutingTable::compile(
            &loaded.snapshot,
            Some(&old),
            old.generation + 1,
            clock::now(),
        );
        let swapped = !table.same_as(&old);
        let mut report = ReloadReport {
            generation: if swapped {
                table.generation
            } else {
                old.generation
            },
            digest: table.digest.to_string(),
            swapped,
            routes: route_changes(&before.snapshot, &loaded.snapshot),
            upstreams: changes(&before.snapshot.upstreams, &loaded.snapshot.upstreams),
            restart_for: restart_needs(&before.snapshot, &loaded.snapshot),
        };
        let mut closing = Vec::new();
        if swapped {
            self.drainer.before_swap(&table);
            self.backend_tls.replace(tls, || self.live.swap(table));
            self.node.swapped(report.generation);
            let new = self.live.table_arc();
            let names = ending(&old, &new).into_iter();
            closing.extend(names.map(ToString::to_string));
            if self.drainer.swapped(&old, &new) {
                self.drainer.save().await;
            }
            self.rebalancer.swapped(&old, &new);
        } else {
            self.backend_tls.replace(tls, || ());
        }
        self.live.set_edge(&loaded.snapshot);
        let revoked = (&before.snapshot.revocations, &loaded.snapshot.revocations);
        revocations::follow(&self.live, revoked.0, revoked.1).await;
        self.probe(probes, &loaded.snapshot);
        tracing::info!(
            generation = report.generation, digest = %report.digest, swapped,
            routes = %report.routes, upstreams = %report.upstreams, "configuration in force"
        );
        for key in &report.restart_for {
            tracing::warn!(
                key,
                "this setting has changed and takes effect at the next start"
            );
        }
        self.close_sessions_of(closing).await;
        report.restart_for.sort_unstable();
        let loaded = Arc::new(serving(&before, loaded, &report.restart_for));
        self.show(|shown| {
            shown.loaded = loaded;
            shown.restart_pending.clone_from(&report.restart_for);
        });
        report
    }

    fn probe(&self, probes: &mut Probes, snapshot: &Snapshot) {
        let upstreams = snapshot.upstreams.values();
        probes.apply(upstreams.map(|upstream| (upstream, self.backend_tls.of(&upstream.name))));
    }

    /// Closes the sessions of routes that went away and take them along.
    async fn close_sessions_of(&self, routes: Vec<String>) {
        for route in routes {
            let order = CloseOrder {
                code: 1012,
                reason: "route removed".into(),
                cause: Cause::RouteRemoved,
            };
            let query = SessionQuery {
                route: Some(route),
                ..SessionQuery::default()
            };
            for worker in self.live.workers() {
                let (query, order) = (query.clone(), order.clone());
                worker
                    .ask(|answer| WorkerCommand::Close {
                        query,
                        order,
                        given: None,
                        answer,
                    })
                    .await;
            }
        }
    }
}

/// What serves once `loaded` is in force: what waits for a restart goes on being what it was.
fn serving(before: &Loaded, loaded: Loaded, restart_for: &[String]) -> Loaded {
    let masked = pending::serving(&before.masked, &loaded.masked, restart_for);
    let snapshot = Snapshot {
        node: before.snapshot.node.clone(),
        admin: before.snapshot.admin.clone(),
        listeners: with_addresses(&before.snapshot.listeners, &loaded.snapshot.listeners),
        log: before.snapshot.log.clone(),
        admission: before.snapshot.admission,
        sources: Sources {
            etcd: before.snapshot.sources.etcd.clone(),
            ..loaded.snapshot.sources
        },
        ..loaded.snapshot
    };
    Loaded {
        snapshot,
        masked: Arc::new(masked),
        ..loaded
    }
}

fn route_changes(before: &Snapshot, after: &Snapshot) -> Changes {
    let same = |(one, other)| Arc::ptr_eq(one, other);
    let unchanged = before.routes.len() == after.routes.len();
    if unchanged && before.routes.iter().zip(&after.routes).all(same) {
        return Changes::default();
    }
    let by_name = |snapshot: &Snapshot| -> BTreeMap<_, _> {
        snapshot
            .routes
            .iter()
            .map(|route| (route.name.clone(), Arc::clone(route)))
            .collect()
    };
    changes(&by_name(before), &by_name(after))
}

fn changes<N: Ord + ToString, T: PartialEq>(
    before: &BTreeMap<N, Arc<T>>,
    after: &BTreeMap<N, Arc<T>>,
) -> Changes {
    let names = |from: &BTreeMap<N, Arc<T>>, keep: &dyn Fn(&N, &Arc<T>) -> bool| {
        from.iter()
            .filter(|(name, item)| keep(name, item))
            .map(|(name, _)| name.to_string())
            .collect()
    };
    Changes {
        added: names(after, &|name, _| !before.contains_key(name)),
        changed: names(after, &|name, item| {
            before
                .get(name)
                .is_some_and(|old| !Arc::ptr_eq(old, item) && old != item)
        }),
        removed: names(before, &|name, _| !after.contains_key(name)),
    }
}

/// Listeners as they were, but for the addresses that may connect, which change at once.
fn with_addresses(before: &[Listener], after: &[Listener]) -> Vec<Listener> {
    let of = |name: &ListenerName| after.iter().find(|listener| listener.name == *name);
    let mut listeners = before.to_vec();
    for listener in &mut listeners {
        if let Some(after) = of(&listener.name) {
            listener.addresses = after.addresses.clone();
        }
    }
    listeners
}

/// Settings that are read once.
fn restart_needs(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut keys = Vec::new();
    let mut differs = |key: &str, same: bool| {
        if !same {
            keys.push(key.to_owned());
        }
    };
    differs("node", before.node == after.node);
    differs("admin", before.admin == after.admin);
    differs("log", before.log == after.log);
    differs("admission", before.admission == after.admission);
    let now = with_addresses(&before.listeners, &after.listeners);
    differs("listeners", now == after.listeners);
    differs("sources.etcd", before.sources.etcd == after.sources.etcd);
    keys
}

/// Brings probes' results to the backends' vitals.
struct Observer(Arc<Live>);

impl Observe for Observer {
    fn own(&self) -> &OwnAddresses {
        &self.0.own().all
    }

    fn observe(
        &self,
        upstream: &UpstreamName,
        backend: &BackendId,
        result: Result<Duration, ProbeFault>,
    ) -> Next {
        let table = self.0.table();
        let Some(member) = table
            .upstream(upstream)
            .and_then(|upstream| upstream.member(backend))
        else {
            return Next::InTurn;
        };
        let fault = result.as_ref().err().map(ToString::to_string);
        let result = match (&result, &fault) {
            (Err(_), Some(fault)) => Err(fault.as_str()),
            (Ok(latency), _) => Ok(*latency),
            (Err(_), None) => unreachable!("an error has a text"),
        };
        match member.vitals.observe_probe(result, clock::now()) {
            Some(Health::Unhealthy) => {
                tracing::warn!(%upstream, %backend, reason = fault, "backend is unhealthy");
            }
            Some(health) => {
                let health = health.as_str();
                tracing::info!(%upstream, %backend, health, "health of a backend changed");
            }
            None => {}
        }
        // A backend that recovers is not kept waiting for whole intervals.
        let recovers = fault.is_none() && member.vitals.health() == Health::Unhealthy;
        if recovers { Next::Soon } else { Next::InTurn }
    }
}
