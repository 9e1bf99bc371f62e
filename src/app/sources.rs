//! The sources of the configuration: opened, followed, and waited for.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::base::source_id::SourceId;
use crate::control::consul;
#[cfg(feature = "dns")]
use crate::control::dns::source::DnsSource;
#[cfg(feature = "etcd")]
use crate::control::etcd::source::EtcdSource;
use crate::control::kubernetes;
use crate::control::sources::file::FileSource;
use crate::control::sources::{Source, Sources};
use crate::control::supervisor::Supervisor;
use crate::live::Live;

/// How long leaving a source may take.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// Opens every source that is configured. What was remembered of one is in force then.
pub(super) async fn open(supervisor: &Arc<Supervisor>, live: &Arc<Live>) -> Sources {
    let mut all: Vec<Arc<dyn Source>> = vec![Arc::new(FileSource(Arc::clone(supervisor)))];
    #[cfg(feature = "dns")]
    {
        let settings = supervisor.loaded().snapshot.sources.dns.clone();
        let state_dir = supervisor.state_dir().cloned();
        let (supervisor, live) = (Arc::clone(supervisor), Arc::clone(live));
        let dns = DnsSource::open(settings, state_dir.as_ref(), supervisor, live);
        all.push(Arc::new(dns.await));
    }
    if let Some(settings) = supervisor.loaded().snapshot.sources.kubernetes.clone() {
        let state_dir = supervisor.state_dir().cloned();
        let (supervisor, live) = (Arc::clone(supervisor), Arc::clone(live));
        let cluster = kubernetes::source::open(*settings, state_dir.as_ref(), supervisor, live);
        all.push(Arc::new(cluster.await));
    }
    if let Some(settings) = supervisor.loaded().snapshot.sources.consul.clone() {
        let state_dir = supervisor.state_dir().cloned();
        let (supervisor, live) = (Arc::clone(supervisor), Arc::clone(live));
        let consul = consul::source::open(*settings, state_dir.as_ref(), supervisor, live);
        all.push(Arc::new(consul.await));
    }
    if let Some(settings) = supervisor.loaded().snapshot.sources.etcd.clone() {
        #[cfg(feature = "etcd")]
        {
            let state_dir = supervisor.state_dir().cloned();
            let (supervisor, live) = (Arc::clone(supervisor), Arc::clone(live));
            let etcd = EtcdSource::open(settings, state_dir.as_ref(), supervisor, live);
            all.push(Arc::new(etcd.await));
        }
        #[cfg(not(feature = "etcd"))]
        {
            let _ = (settings, live, &mut all);
            unreachable!("validation refuses the table in a build without etcd");
        }
    }
    all.into_iter().collect()
}

/// Follows the sources other than the file, which is in force already, and waits for the first
/// answer of each, but not for long.
pub(super) async fn follow(sources: &Sources, background: &mut JoinSet<()>) {
    let others = || sources.iter().filter(|one| one.id() != SourceId::File);
    for source in others() {
        background.spawn(Arc::clone(source).follow());
    }
    for source in others() {
        if !source.first_answer().await {
            let status = sources.followed(source.id()).unwrap_or_default();
            tracing::warn!(
                fault = status.fault,
                from_last_known_good = status.from_last_known_good,
                "{} has not answered; starting without waiting for it any longer",
                source.id()
            );
        }
    }
}

/// Ends what others would wait for. The gateway ends soon, whatever a source does.
pub(super) async fn leave(sources: &Sources) {
    for source in sources.iter() {
        if timeout(LEAVE_MAX, source.leave()).await.is_err() {
            tracing::warn!("{} was not left in time", source.id());
        }
    }
}

/// Follows the file, once the gateway serves.
pub(super) fn follow_file(sources: &Sources, background: &mut JoinSet<()>) {
    if let Some(file) = sources.get(SourceId::File) {
        background.spawn(Arc::clone(file).follow());
    }
}
