//! Follows a cluster: the Services that upstreams name.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::base::source_id::SourceId;
use crate::config::kubernetes_service::KubernetesService;
use crate::config::snapshot::Kubernetes;
use crate::control::kubernetes::access::Access;
use crate::control::kubernetes::gateway::GatewayFollower;
use crate::control::kubernetes::repeat::{Report, repeat};
use crate::control::sources::mirrored::Identity;
use crate::control::sources::registry::queries::Queries;
use crate::control::sources::registry::state::RegistryState;
use crate::control::sources::registry::{Beside, Registry};
use crate::control::state_dir::StateDir;
use crate::control::supervisor::Supervisor;
use crate::live::Live;

/// How often the file of the state is written, stale backends are looked at, and the status is
/// brought up to date.
const BEAT: Duration = Duration::from_secs(1);
/// Changes of the Gateway API within this time take effect together.
const COLLECTED: Duration = Duration::from_millis(100);
/// Services that are followed; each is a watch.
const SERVICES_MAX: usize = 512;
/// Reports that wait to be taken.
const REPORTS_MAX: usize = 64;

/// Follows one cluster.
pub(super) struct Follower {
    server: Arc<str>,
    registry: Registry<KubernetesService>,
    queries: Queries<KubernetesService>,
    reports: mpsc::Receiver<Report>,
    /// Where the Gateway API is followed.
    gateway: Option<GatewayFollower>,
    /// It stands otherwise than is shown.
    unshown: bool,
}

impl Follower {
    /// Puts what the cluster answered last into force, if `state_dir` has it.
    pub(super) async fn new(
        settings: Kubernetes,
        state_dir: Option<&Arc<StateDir>>,
        supervisor: Arc<Supervisor>,
        live: Arc<Live>,
    ) -> Self {
        let server = Arc::clone(&settings.server);
        let identity = Identity {
            source: SourceId::Kubernetes,
            origin: server.to_string(),
            grace: settings.stale_grace,
        };
        let api = settings.gateway.clone();
        let parts = (Arc::clone(&supervisor), Arc::clone(&live));
        let registry = Registry::new(identity, SERVICES_MAX, state_dir, parts).await;
        let access = Arc::new(Access::new(settings, live));
        let gateway = api.map(|api| GatewayFollower::new(&api, &access, supervisor));
        let (sender, reports) = mpsc::channel(REPORTS_MAX);
        let queries =
            Queries::new(move |service| repeat(service, Arc::clone(&access), sender.clone()));
        Self {
            server,
            registry,
            queries,
            reports,
            gateway,
            unshown: false,
        }
    }

    /// The status, for display.
    pub(super) fn state(&self) -> Arc<RegistryState> {
        Arc::clone(&self.registry.state)
    }

    /// What is to do before the gateway ends.
    pub(super) fn leave(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let leave = self.gateway.as_ref().map(GatewayFollower::leave);
        async move {
            if let Some(leave) = leave {
                leave.await;
            }
        }
    }

    /// Follows for ever.
    pub(super) async fn run(mut self) {
        let mut beat = interval(BEAT);
        let mut collected = interval(COLLECTED);
        collected.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                () = objects(&mut self.gateway) => self.unshown = true,
                _ = collected.tick(), if self.gateway.is_some() => self.translate().await,
                () = state.followed().accepted() => self.registry.documents.accept().await,
                _ = beat.tick() => {
                    if std::mem::take(&mut self.unshown) {
                        self.show();
                    }
                    self.registry.documents.beat().await;
                    if let Some(gateway) = &mut self.gateway {
                        gateway.report(&self.registry).await;
                    }
                }
            }
        }
    }

    /// Takes the Services that all upstreams name.
    async fn take_services(&mut self) {
        let registry = &mut self.registry;
        registry
            .take_services(|upstream| upstream.kubernetes.clone())
            .await;
        self.queries
            .set(self.registry.services.followed().cloned().collect());
        self.show();
    }

    /// Takes what came of a list or a watch.
    async fn take(&mut self, report: Report) {
        let Report {
            service,
            outcome,
            back,
        } = report;
        if back {
            self.registry.went_back(&service);
        }
        self.registry.answered(&service, outcome).await;
        // All services are copied for display, so not for each answer. A start waits for the first.
        match self.registry.state.followed().is_synced() {
            true => self.unshown = true,
            false => self.show(),
        }
    }

    /// Brings routes of the Gateway API into force.
    async fn translate(&mut self) {
        if let Some(gateway) = &mut self.gateway
            && gateway.translate(&mut self.registry).await
        {
            self.show();
        }
    }

    fn show(&self) {
        let gateway = self.gateway.as_ref();
        let beside = gateway.map_or(Beside::NOTHING, GatewayFollower::beside);
        self.registry.show(&self.server, beside);
    }
}

/// Waits for objects of the Gateway API.
async fn objects(gateway: &mut Option<GatewayFollower>) {
    match gateway {
        Some(gateway) => gateway.next().await,
        None => std::future::pending().await,
    }
}
