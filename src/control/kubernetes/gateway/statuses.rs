//! Writes statuses, by the leader alone: what differs from what stands in the cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::base::causes;
use crate::base::clock;
use crate::base::source_id::SourceId;
use crate::config::diagnostic::Severity;
use crate::config::kubernetes_service::KubernetesService;
use crate::config::overlay::DocumentStatus;
use crate::control::kubernetes::access::Access;
use crate::control::kubernetes::gateway::lead::Leadership;
use crate::control::kubernetes::gateway::repeat::collection;
use crate::control::sources::registry::Registry;
use crate::control::supervisor::Supervisor;
use crate::core::kubernetes::gateway::{Patch, Reports, ServiceFaults, World, patches};

/// Statuses that are written in one go; others follow a second later.
const WRITES_MAX: usize = 100;
/// How long nothing is written after the API did not take something.
const AFTER_FAULT: Duration = Duration::from_secs(5);

/// Writes statuses.
pub(super) struct Statuses {
    leadership: Arc<Leadership>,
    access: Arc<Access>,
    /// The services that were not found, as they were reported.
    faults: ServiceFaults,
    /// Nothing has to be written until something changes.
    done: bool,
    writing: Option<JoinHandle<Written>>,
    /// Where to begin among those that differ: some may never be taken.
    turn: usize,
    not_before: Option<Instant>,
}

/// What came of some writes.
#[derive(Clone, Copy)]
enum Written {
    All,
    /// Others have written meanwhile.
    Some,
    /// The API did not take one.
    Fault,
}

impl Statuses {
    pub(super) fn new(leadership: Arc<Leadership>, access: Arc<Access>) -> Self {
        Self {
            leadership,
            access,
            faults: ServiceFaults::new(),
            done: false,
            writing: None,
            turn: 0,
            not_before: None,
        }
    }

    /// There may be something to write.
    pub(super) fn changed(&mut self) {
        self.done = false;
    }

    /// Writes what differs, in a task; one at a time.
    pub(super) async fn write(
        &mut self,
        (supervisor, controller): (&Supervisor, &str),
        registry: &Registry<KubernetesService>,
        reports: &Reports,
        world: World,
    ) {
        if !self.leadership.leads() {
            self.done = false;
            return;
        }
        match self.writing.take() {
            Some(task) if !task.is_finished() => {
                self.writing = Some(task);
                return;
            }
            Some(task) => self.written(task.await.unwrap_or(Written::Fault)),
            None => {}
        }
        let faults = service_faults(registry);
        let waits = self.not_before.is_some_and(|until| clock::now() < until);
        if waits || self.done && faults == self.faults {
            return;
        }
        let mut reports = reports.clone();
        reports.services(&faults);
        refusals(supervisor, &mut reports).await;
        (self.faults, self.done) = (faults, true);
        let controller = controller.to_owned();
        let now = clock::rfc3339(clock::wall());
        let now = format!("{}Z", now.split('.').next().unwrap_or_default());
        let made = spawn_blocking(move || patches(&world, &reports, &controller, &now)).await;
        let mut patches = made.expect("a comparison does not panic");
        self.done = patches.len() <= WRITES_MAX;
        if !self.done {
            let turn = self.turn % patches.len();
            patches.rotate_left(turn);
            self.turn = turn + WRITES_MAX;
        }
        patches.truncate(WRITES_MAX);
        let (leadership, access) = (Arc::clone(&self.leadership), Arc::clone(&self.access));
        if !patches.is_empty() {
            self.writing = Some(tokio::spawn(write(patches, leadership, access)));
        }
    }

    fn written(&mut self, written: Written) {
        self.done &= matches!(written, Written::All);
        let fault = matches!(written, Written::Fault);
        self.not_before = fault.then(|| clock::now() + AFTER_FAULT);
    }
}

async fn write(patches: Vec<Patch>, leadership: Arc<Leadership>, access: Arc<Access>) -> Written {
    let mut outcome = Written::All;
    for patch in patches {
        if !leadership.leads() {
            return Written::Some;
        }
        let target = target(&patch);
        let merge = "application/merge-patch+json";
        let written = access.write(Method::PATCH, &target, merge, &patch.body);
        if let Err(error) = written.await {
            // A watch shows what stands there meanwhile.
            let faulty = !error.is_conflict() && !error.is_missing();
            outcome = match outcome {
                Written::Fault => outcome,
                _ if faulty => {
                    let error = causes::chain(&error);
                    tracing::warn!(target, error, "a status cannot be written");
                    Written::Fault
                }
                _ => Written::Some,
            };
        }
    }
    outcome
}

fn target(patch: &Patch) -> String {
    let (version, plural) = (patch.kind.group_version(), patch.kind.plural());
    let Patch {
        namespace, name, ..
    } = patch;
    match namespace.is_empty() {
        true => format!("{}/{name}/status", collection(patch.kind)),
        false => format!("/apis/{version}/namespaces/{namespace}/{plural}/{name}/status"),
    }
}

/// Services that were never found, by upstream.
fn service_faults(registry: &Registry<KubernetesService>) -> ServiceFaults {
    let mut faults = ServiceFaults::new();
    for status in registry.services.statuses().into_values() {
        let Some(fault) = status.fault.filter(|_| status.answered.is_none()) else {
            continue;
        };
        let upstreams = status.upstreams.iter();
        faults.extend(upstreams.map(|name| (name.to_string(), fault.to_string())));
    }
    faults
}

/// Documents of routes that are not in force.
async fn refusals(supervisor: &Supervisor, reports: &mut Reports) {
    let views = supervisor.documents().await;
    for view in views
        .iter()
        .filter(|view| view.source == SourceId::Kubernetes)
    {
        let mut errors = view.diagnostics.iter();
        let error = errors.find(|one| one.severity == Severity::Error);
        match (view.status, error, &view.waits_for) {
            (DocumentStatus::Refused, Some(error), _) => {
                reports.refused(&view.key, &error.to_string());
            }
            (DocumentStatus::Waiting, _, Some(what)) => {
                reports.refused(&view.key, &format!("it waits for {what}"));
            }
            _ => {}
        }
    }
}
