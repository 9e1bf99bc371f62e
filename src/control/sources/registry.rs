//! What registries of services have in common: which services upstreams name, the last good answer
//! about each, and its instances as members of the upstreams.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use tokio::sync::watch;

use crate::base::clock;
use crate::base::names::UpstreamName;
use crate::config::snapshot::Upstream;
use crate::control::sources::mirrored::members::FoundMembers;
use crate::control::sources::mirrored::{Identity, MirroredDocuments};
use crate::control::sources::registry::state::RegistryState;
use crate::control::state_dir::StateDir;
use crate::control::supervisor::Supervisor;
use crate::core::services::{Found, ServiceStatus, Services};
use crate::live::Live;

pub mod queries;
pub mod source;
pub mod state;

/// Which mirror of a registry this is: there is one of each.
pub const CLUSTER: u64 = 1;

/// The services of a registry. `K` is how it names one.
pub struct Registry<K> {
    /// What is in force of it.
    pub documents: MirroredDocuments,
    /// What upstreams name.
    pub services: Services<K>,
    /// For those who look at it.
    pub state: Arc<RegistryState>,
    supervisor: Arc<Supervisor>,
    swaps: watch::Receiver<()>,
    source: &'static str,
}

/// What a registry has beside services, such as keys of documents.
#[derive(Debug)]
pub struct Beside {
    /// It was asked for once.
    pub asked: bool,
    /// It has been answered since the start.
    pub known: bool,
    /// Its last answer was good.
    pub answers: bool,
    /// Why it was not.
    pub fault: Option<String>,
}

impl Beside {
    /// There is nothing.
    pub const NOTHING: Self = Self {
        asked: true,
        known: true,
        answers: false,
        fault: None,
    };
}

impl<K: Clone + Display + Ord> Registry<K> {
    /// Puts what it answered last into force, if `state_dir` has it. At most `max` services will be
    /// followed.
    pub async fn new(
        identity: Identity,
        max: usize,
        state_dir: Option<&Arc<StateDir>>,
        (supervisor, live): (Arc<Supervisor>, Arc<Live>),
    ) -> Self {
        let source = identity.source.as_str();
        let parts = (Arc::clone(&supervisor), live);
        let documents = MirroredDocuments::new(identity, state_dir, parts).await;
        Self {
            state: Arc::new(RegistryState::new(Arc::clone(documents.state()))),
            documents,
            services: Services::new(max),
            swaps: supervisor.swaps(),
            supervisor,
            source,
        }
    }

    /// Waits until upstreams may name other services; `false` if the gateway ends.
    pub async fn swapped(&mut self) -> bool {
        self.swaps.changed().await.is_ok()
    }

    /// Follows the services that upstreams name now. Returns whether an upstream names another one
    /// than before.
    pub async fn take_services(&mut self, named: impl Fn(&Upstream) -> Option<K>) -> bool {
        let wanted: BTreeMap<_, _> = {
            let loaded = self.supervisor.loaded();
            let upstreams = loaded.snapshot.upstreams.iter();
            let naming = upstreams.filter_map(|(name, one)| Some((name.clone(), named(one)?)));
            naming.collect()
        };
        let mut changed = self.services.follow(wanted);
        // Also those of an upstream that was remembered, and names no service any more.
        let known = self.documents.found_upstreams();
        let gone = known.filter(|name| !self.services.has(name));
        changed.extend(gone.map(UpstreamName::from));
        let any = !changed.is_empty();
        self.bring(changed).await;
        any
    }

    /// Takes what came of a question about a service.
    pub async fn answered(&mut self, service: &K, outcome: Result<Found, String>) {
        self.count(outcome.is_ok());
        let failed = self.services.is_failing(service);
        let changed = self.services.answered(service, outcome, clock::now());
        let source = self.source;
        match (failed, self.services.fault(service)) {
            (false, Some(fault)) => {
                tracing::warn!(%source, %service, fault, "a service is not found; its last backends stay");
            }
            (true, None) => tracing::info!(%source, %service, "a service is found again"),
            _ => {}
        }
        self.bring(changed).await;
    }

    /// Counts an answer, or a question in vain.
    pub fn count(&self, answered: bool) {
        let mut statuses = self.state.statuses();
        match answered {
            true => statuses.answered += 1,
            false => statuses.failed += 1,
        }
        drop(statuses);
        if answered {
            let now = Some(clock::now());
            self.state.followed().show(|status| status.progress = now);
        }
    }

    /// An answer was older than the one before.
    pub fn went_back(&self, query: &dyn Display) {
        let source = self.source;
        self.state.statuses().resets += 1;
        tracing::warn!(%source, %query, "what a registry answers is older than before");
    }

    /// Brings the members of upstreams into force.
    async fn bring(&mut self, upstreams: BTreeSet<UpstreamName>) {
        let found = upstreams.into_iter().map(|upstream| {
            let members = self.services.members(&upstream);
            FoundMembers {
                followed: self.services.has(upstream.as_str()),
                complete: members.is_some(),
                members: members.cloned().unwrap_or_default(),
                upstream,
            }
        });
        let found = found.collect();
        self.documents.bring(found).await;
    }

    /// Brings the status up to date.
    pub fn show(&self, endpoint: &str, beside: Beside) {
        let services = self.services.statuses();
        let asked = beside.asked && self.services.all_asked();
        let known = beside.known && services.values().all(|one| one.answered.is_some());
        let good = |one: &ServiceStatus| one.answered.is_some() && one.fault.is_none();
        let nothing = services.is_empty() && beside.asked && beside.fault.is_none();
        let answers = beside.answers || nothing || services.values().any(good);
        let mut failing = services.iter().filter_map(|(service, status)| {
            let fault = status.fault.as_ref()?;
            Some(format!("{service}: {fault}"))
        });
        let fault = beside.fault.or_else(|| failing.next());
        drop(failing);
        self.state.statuses().services = services;
        self.state.followed().show(|status| {
            status.fault = fault;
            status.cluster = CLUSTER;
            status.endpoint = answers.then(|| endpoint.to_owned());
            status.from_last_known_good &= !known;
        });
        if asked {
            self.state.followed().set_synced();
        }
    }
}
