//! Follows a Consul: the services that upstreams name, and the keys below the prefix.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::base::clock;
use crate::base::source_id::SourceId;
use crate::config::consul_service::ConsulService;
use crate::config::snapshot::Consul;
use crate::control::consul::ask::Access;
use crate::control::consul::keys::{documents, full_read};
use crate::control::consul::query::Query;
use crate::control::consul::repeat::{Content, Report, repeat};
use crate::control::sources::mirrored::Identity;
use crate::control::sources::registry::queries::Queries;
use crate::control::sources::registry::state::RegistryState;
use crate::control::sources::registry::{Beside, Registry};
use crate::control::state_dir::StateDir;
use crate::control::supervisor::Supervisor;
use crate::core::consul::Pair;
use crate::core::services::Found;
use crate::live::Live;

/// How often the file of the state is written, stale backends are looked at, and the status is
/// brought up to date.
const BEAT: Duration = Duration::from_secs(1);
/// Services that are followed; each is a connection to Consul, whose agents take 200 of one client.
const SERVICES_MAX: usize = 128;

/// Reports that wait to be taken.
const REPORTS_MAX: usize = 64;

/// Follows one Consul.
pub(super) struct Follower {
    settings: Arc<Consul>,
    registry: Registry<ConsulService>,
    /// The keys below the prefix by the last good answer.
    keys: Option<Vec<Pair>>,
    access: Arc<Access>,
    queries: Queries<Query>,
    reports: mpsc::Receiver<Report>,
    /// It stands otherwise than is shown.
    unshown: bool,
}

impl Follower {
    /// Puts what Consul answered last into force, if `state_dir` has it.
    pub(super) async fn new(
        settings: Consul,
        state_dir: Option<&Arc<StateDir>>,
        supervisor: Arc<Supervisor>,
        live: Arc<Live>,
    ) -> Self {
        let identity = Identity {
            source: SourceId::Consul,
            origin: settings.prefix.as_deref().unwrap_or_default().to_owned(),
            grace: settings.stale_grace,
        };
        let parts = (supervisor, Arc::clone(&live));
        let registry = Registry::new(identity, SERVICES_MAX, state_dir, parts).await;
        let settings = Arc::new(settings);
        let access = Arc::new(Access::new(Arc::clone(&settings), live));
        let (sender, reports) = mpsc::channel(REPORTS_MAX);
        let asked = Arc::clone(&access);
        let queries = Queries::new(move |query| repeat(query, Arc::clone(&asked), sender.clone()));
        Self {
            settings,
            registry,
            keys: None,
            access,
            queries,
            reports,
            unshown: false,
        }
    }

    /// The status, for display.
    pub(super) fn state(&self) -> Arc<RegistryState> {
        Arc::clone(&self.registry.state)
    }

    /// Follows for ever.
    pub(super) async fn run(mut self) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let state = self.state();
        self.take_services().await;
        loop {
            tokio::select! {
                Some(report) = self.reports.recv() => self.take(report).await,
                goes_on = self.registry.swapped() => match goes_on {
                    true => self.take_services().await,
                    false => return,
                },
                () = state.followed().accepted() => self.registry.documents.accept().await,
                _ = beat.tick() => {
                    if std::mem::take(&mut self.unshown) {
                        self.show();
                    }
                    self.registry.documents.beat().await;
                }
            }
        }
    }

    /// Takes the services that all upstreams name.
    async fn take_services(&mut self) {
        let registry = &mut self.registry;
        let others = registry.take_services(|upstream| upstream.consul.clone());
        let others = others.await;
        let services = self.registry.services.followed().cloned();
        let mut queries: BTreeSet<_> = services.map(Query::Service).collect();
        let prefix = self.settings.prefix.as_deref();
        queries.extend(prefix.map(|prefix| Query::Keys(prefix.into())));
        self.queries.set(queries);
        if others {
            // Keys of backends count again, or do not any more.
            self.bring_keys().await;
        }
        self.show();
    }

    /// Takes what came of a question.
    async fn take(&mut self, report: Report) {
        self.note(&report);
        match (report.query, report.outcome) {
            (Query::Service(service), outcome) => {
                let found = outcome.map(|content| match content {
                    Content::Service(found) => found,
                    Content::Keys(_) => Found::default(),
                });
                self.registry.answered(&service, found).await;
            }
            (Query::Keys(_), Ok(Content::Keys(pairs))) => {
                if self.keys.as_ref() != Some(&pairs) {
                    self.keys = Some(pairs);
                    self.bring_keys().await;
                }
            }
            (Query::Keys(_), _) => {}
        }
        // All services are copied for display, so not for each answer. A start waits for the first.
        match self.registry.state.followed().is_synced() {
            true => self.unshown = true,
            false => self.show(),
        }
    }

    /// Notes what an answer says beside its content, and what came of the keys.
    fn note(&self, report: &Report) {
        let query = &report.query;
        if report.back {
            self.registry.went_back(query);
        }
        let answered = report.outcome.is_ok();
        let fault = report.outcome.as_ref().err();
        if *query == Query::Keys(self.settings.prefix.as_deref().unwrap_or_default().into()) {
            self.registry.count(answered);
            let mut statuses = self.registry.state.statuses();
            match (fault, &statuses.keys_fault) {
                (Some(fault), None) => {
                    tracing::warn!(%query, fault, "keys of Consul are not read; the last ones stay");
                }
                (None, Some(_)) => tracing::info!(%query, "keys of Consul are read again"),
                _ => {}
            }
            statuses.keys_fault = fault.cloned();
        }
        let mut statuses = self.registry.state.statuses();
        if answered {
            if report.leaderless && !statuses.leaderless {
                tracing::warn!("Consul has no leader; its answers may be old");
            }
            statuses.leaderless = report.leaderless;
        }
    }

    /// Brings the documents of keys into force.
    async fn bring_keys(&mut self) {
        let Some(pairs) = &self.keys else {
            return;
        };
        let written = documents(pairs, &self.registry.services);
        let documents = &mut self.registry.documents;
        let report = documents.reread(|mirror| {
            let read = full_read(written, mirror);
            mirror.read(read, clock::now())
        });
        if report.doubted > 0 {
            tracing::error!(
                doubted = report.doubted,
                "Consul lacks most of the keys that it had; these documents stay in force; if they \
                 are to go, `POST /v1/sources/consul/accept`"
            );
        }
        documents.apply().await;
    }

    fn show(&self) {
        let fault = self.registry.state.statuses().keys_fault.clone();
        let beside = match self.settings.prefix {
            None => Beside::NOTHING,
            Some(_) => Beside {
                asked: self.keys.is_some() || fault.is_some(),
                known: self.keys.is_some(),
                answers: self.keys.is_some() && fault.is_none(),
                fault: fault.map(|fault| format!("keys: {fault}")),
            },
        };
        self.registry.show(self.access.endpoint().1, beside);
    }
}
