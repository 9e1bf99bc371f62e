//! Kubernetes as a source.

use std::sync::Arc;

use crate::base::source_id::SourceId;
use crate::config::snapshot::Kubernetes;
use crate::control::kubernetes::follow::Follower;
use crate::control::sources::registry::source::RegistrySource;
use crate::control::state_dir::StateDir;
use crate::control::supervisor::Supervisor;
use crate::live::Live;

/// The cluster of `[sources.kubernetes]`. What it answered last is in force then, if the directory
/// has it.
pub async fn open(
    settings: Kubernetes,
    state_dir: Option<&Arc<StateDir>>,
    supervisor: Arc<Supervisor>,
    live: Arc<Live>,
) -> RegistrySource {
    let answer = settings.answer;
    let follower = Follower::new(settings, state_dir, supervisor, live).await;
    let (state, leave) = (follower.state(), follower.leave());
    RegistrySource::new(SourceId::Kubernetes, state, follower.run(), answer).leaving(leave)
}
