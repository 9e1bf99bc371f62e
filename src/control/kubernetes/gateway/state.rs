//! What is known of the objects of the Gateway API, and the routes that they come to.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};

use crate::config::kubernetes_service::KubernetesService;
use crate::config::snapshot::GatewayApi;
use crate::control::kubernetes::access::Access;
use crate::control::kubernetes::gateway::bring::bring;
use crate::control::kubernetes::gateway::lead::{Leadership, lead};
use crate::control::kubernetes::gateway::repeat::{KindReport, repeat};
use crate::control::kubernetes::gateway::statuses::Statuses;
use crate::control::sources::registry::{Beside, Registry};
use crate::control::supervisor::Supervisor;
use crate::core::kubernetes::gateway::{
    Facts, Kind, Objects, Reports, Translation, World, translate,
};

/// Reports that wait to be taken.
const REPORTS_MAX: usize = 16;

/// Follows the Gateway API of one cluster.
pub(in crate::control::kubernetes) struct GatewayFollower {
    settings: GatewayApi,
    supervisor: Arc<Supervisor>,
    reports: mpsc::Receiver<KindReport>,
    objects: BTreeMap<Kind, Objects>,
    faults: BTreeMap<Kind, String>,
    /// Something has changed since the last translation.
    changed: bool,
    /// Something was listed since then.
    listed: bool,
    translated: Option<Reports>,
    statuses: Statuses,
    leadership: Arc<Leadership>,
    access: Arc<Access>,
    _tasks: JoinSet<()>,
}

impl GatewayFollower {
    /// Begins to follow.
    pub(in crate::control::kubernetes) fn new(
        settings: &GatewayApi,
        access: &Arc<Access>,
        supervisor: Arc<Supervisor>,
    ) -> Self {
        let (sender, reports) = mpsc::channel(REPORTS_MAX);
        let mut tasks = JoinSet::new();
        for kind in Kind::ALL {
            tasks.spawn(repeat(kind, Arc::clone(access), sender.clone()));
        }
        let leadership = Arc::new(Leadership::new(&settings.node));
        let candidate = lead(
            Arc::clone(&leadership),
            Arc::clone(access),
            settings.clone(),
        );
        tasks.spawn(candidate);
        Self {
            settings: settings.clone(),
            supervisor,
            reports,
            objects: BTreeMap::new(),
            faults: BTreeMap::new(),
            changed: false,
            listed: false,
            translated: None,
            statuses: Statuses::new(Arc::clone(&leadership), Arc::clone(access)),
            leadership,
            access: Arc::clone(access),
            _tasks: tasks,
        }
    }

    /// Gives up the leadership, before the gateway ends.
    pub(in crate::control::kubernetes) fn leave(
        &self,
    ) -> impl Future<Output = ()> + Send + 'static + use<> {
        let (leadership, access) = (Arc::clone(&self.leadership), Arc::clone(&self.access));
        let settings = self.settings.clone();
        async move { leadership.leave(&access, &settings).await }
    }

    /// Waits for objects, and takes them. It may be dropped at any time.
    pub(in crate::control::kubernetes) async fn next(&mut self) {
        let Some(report) = self.reports.recv().await else {
            return std::future::pending().await;
        };
        match report.outcome {
            Ok(objects) => {
                self.faults.remove(&report.kind);
                self.objects.insert(report.kind, objects);
                self.changed = true;
                self.listed |= report.listed;
            }
            Err(fault) => {
                let kind = report.kind;
                if self.faults.insert(kind, fault.clone()).is_none() {
                    let kind = kind.plural();
                    tracing::warn!(kind, fault, "objects of Kubernetes are not read");
                }
            }
        }
    }

    fn world(&self) -> Option<World> {
        let of = |kind| Some(Arc::clone(self.objects.get(&kind)?.objects()));
        Some(World {
            classes: of(Kind::Class)?,
            gateways: of(Kind::Gateway)?,
            routes: of(Kind::Route)?,
            grants: of(Kind::Grant)?,
            policies: of(Kind::Policy)?,
            policies_left_out: Arc::clone(self.objects.get(&Kind::Policy)?.left_out()),
        })
    }

    fn facts(&self) -> Facts {
        let loaded = self.supervisor.loaded();
        let listeners = &loaded.snapshot.listeners;
        Facts {
            controller: Arc::clone(&self.settings.controller),
            plain: listeners.iter().any(|one| one.tls.is_none()),
            tls: listeners.iter().any(|one| one.tls.is_some()),
            shared_hosts: self.settings.shared_hosts,
        }
    }

    /// Brings what has changed into force. Until every kind has been read, what was in force stays.
    /// Returns whether anything was translated.
    pub(in crate::control::kubernetes) async fn translate(
        &mut self,
        registry: &mut Registry<KubernetesService>,
    ) -> bool {
        if !self.changed {
            return false;
        }
        let Some(world) = self.world() else {
            return false;
        };
        self.changed = false;
        let facts = self.facts();
        let translated = spawn_blocking(move || translate(&world, &facts)).await;
        let translated = translated.expect("a translation does not panic");
        let Translation { documents, reports } = translated;
        let listed = std::mem::take(&mut self.listed);
        bring(&mut registry.documents, &documents, listed).await;
        self.translated = Some(reports);
        self.statuses.changed();
        true
    }

    /// Writes statuses, if this gateway is the leader.
    pub(in crate::control::kubernetes) async fn report(
        &mut self,
        registry: &Registry<KubernetesService>,
    ) {
        let (Some(reports), Some(world)) = (&self.translated, self.world()) else {
            return;
        };
        let parts = (&*self.supervisor, &*self.settings.controller);
        self.statuses.write(parts, registry, reports, world).await;
    }

    /// For display.
    pub(in crate::control::kubernetes) fn beside(&self) -> Beside {
        let crowded = self
            .objects
            .iter()
            .find(|(_, one)| !one.left_out().is_empty());
        let crowded = crowded.map(|(kind, _)| format!("there are too many {}", kind.plural()));
        let mut faults = self.faults.iter();
        let fault = faults.next();
        let fault = fault.map(|(kind, fault)| format!("{}: {fault}", kind.plural()));
        Beside {
            asked: self.translated.is_some() || fault.is_some(),
            known: self.translated.is_some(),
            answers: self.translated.is_some() && fault.is_none(),
            fault: fault.or(crowded),
        }
    }
}
