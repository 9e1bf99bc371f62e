//! Which backends are probed, and when. A task each, mostly asleep; a bound on how many are awake.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::base::addr::{BackendAddr, OwnAddresses};
use crate::base::names::{BackendId, UpstreamName};
use crate::config::snapshot::{Probe, ProxyVersion, Upstream, UpstreamTls};
use crate::control::probes::attempt::{Target, probe};
use crate::control::probes::fault::ProbeFault;
use crate::io::tls::client::ClientTls;

/// Probes under way at once. The rest wait, and their time begins when their wait ends.
const IN_FLIGHT_MAX: usize = 256;
/// Between the first probes of backends that come together.
const SPREAD: Duration = Duration::from_millis(1);

/// Takes the results of probes.
pub trait Observe: Send + Sync + 'static {
    /// Addresses that no probe goes to: the gateway's own.
    fn own(&self) -> &OwnAddresses;

    /// One probe of `backend` ended: with the time that it took, or with what was wrong.
    fn observe(
        &self,
        upstream: &UpstreamName,
        backend: &BackendId,
        result: Result<Duration, ProbeFault>,
    ) -> Next;
}

/// When a backend is probed next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// After the interval.
    InTurn,
    /// Soon: it passed, and has to pass more often to count as healthy.
    Soon,
}

/// Between probes of a backend that recovers.
const SOON: Duration = Duration::from_millis(50);

/// Probes every backend of every upstream that has a probe, for as long as this is held.
pub struct Probes {
    groups: HashMap<UpstreamName, Group>,
    permits: Arc<Semaphore>,
    observer: Arc<dyn Observe>,
}

/// The tasks of one upstream.
struct Group {
    upstream: Arc<Upstream>,
    tasks: HashMap<BackendId, Task>,
}

/// All that a backend's probes depend on; while it stays the same, so does the task.
#[derive(Clone, Debug, PartialEq)]
struct Subject {
    address: BackendAddr,
    probe: Probe,
    proxy_protocol: Option<ProxyVersion>,
    tls: Option<UpstreamTls>,
}

/// A backend's task. Dropping it ends the task.
struct Task {
    subject: Subject,
    /// Read again at each probe, since roots may be read anew while the configuration stays.
    tls: Arc<RwLock<Option<ClientTls>>>,
    handle: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Probes {
    /// Nothing is probed yet.
    pub fn new(observer: Arc<dyn Observe>) -> Self {
        Self {
            groups: HashMap::new(),
            permits: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            observer,
        }
    }

    /// Makes `upstreams`, each with its TLS as it was read last, all that is probed. What did not
    /// change goes on undisturbed; new backends are probed at once, a millisecond apart (less where
    /// they would not fit into an interval). Disabled ones are probed too, so that their health is
    /// known when they come back.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn apply<'a>(
        &mut self,
        upstreams: impl IntoIterator<Item = (&'a Arc<Upstream>, Option<ClientTls>)>,
    ) {
        let mut before = std::mem::take(&mut self.groups);
        let mut new = Vec::new();
        for (upstream, tls) in upstreams {
            let Some(probe) = &upstream.probe else {
                continue;
            };
            let group = before.remove(&upstream.name);
            let same = |group: &Group| Arc::ptr_eq(&group.upstream, upstream);
            let unchanged = group.as_ref().is_some_and(same);
            let mut tasks = group.map(|group| group.tasks).unwrap_or_default();
            let mut kept = HashMap::with_capacity(tasks.len());
            if unchanged {
                kept = std::mem::take(&mut tasks);
            } else {
                for backend in &upstream.backends {
                    let subject = Subject {
                        address: backend.address.clone(),
                        probe: probe.clone(),
                        proxy_protocol: upstream.proxy_protocol,
                        tls: upstream.tls.clone(),
                    };
                    match tasks.remove(&backend.id) {
                        Some(task) if task.subject == subject => {
                            kept.insert(backend.id.clone(), task);
                        }
                        _ => {
                            let key = (upstream.name.clone(), backend.id.clone());
                            new.push((key, subject, tls.clone()));
                        }
                    }
                }
            }
            if upstream.tls.is_some() {
                for task in kept.values() {
                    *task.tls.write().unwrap_or_else(PoisonError::into_inner) = tls.clone();
                }
            }
            let group = Group {
                upstream: Arc::clone(upstream),
                tasks: kept,
            };
            self.groups.insert(upstream.name.clone(), group);
        }
        // Those that are left are gone, or changed.
        drop(before);
        let count = new.len();
        for (index, (key, subject, tls)) in new.into_iter().enumerate() {
            let delay = head_start(index, count, subject.probe.interval);
            let task = self.start(key.clone(), subject, tls, delay);
            let (upstream, backend) = key;
            let group = self.groups.get_mut(&upstream);
            let group = group.expect("it was put in above");
            group.tasks.insert(backend, task);
        }
    }

    /// The tasks in the order of their backends' names.
    #[cfg(test)]
    pub(super) fn task_ids(&self) -> Vec<tokio::task::Id> {
        let groups = self.groups.iter();
        let tasks = groups.flat_map(|(upstream, group)| {
            let tasks = group.tasks.iter();
            tasks.map(move |(backend, task)| ((upstream, backend), task))
        });
        let mut tasks: Vec<_> = tasks.collect();
        tasks.sort_by_key(|(key, _)| *key);
        tasks
            .into_iter()
            .map(|(_, task)| task.handle.id())
            .collect()
    }

    /// How many backends are probed.
    pub fn len(&self) -> usize {
        self.groups.values().map(|group| group.tasks.len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn start(
        &self,
        (upstream, backend): (UpstreamName, BackendId),
        subject: Subject,
        tls: Option<ClientTls>,
        delay: Duration,
    ) -> Task {
        let tls = Arc::new(RwLock::new(tls));
        let task = run(
            upstream,
            backend,
            subject.clone(),
            Arc::clone(&tls),
            Arc::clone(&self.permits),
            Arc::clone(&self.observer),
            delay,
        );
        Task {
            subject,
            tls,
            handle: tokio::spawn(task),
        }
    }
}

async fn run(
    upstream: UpstreamName,
    backend: BackendId,
    subject: Subject,
    tls: Arc<RwLock<Option<ClientTls>>>,
    permits: Arc<Semaphore>,
    observer: Arc<dyn Observe>,
    delay: Duration,
) {
    sleep(delay).await;
    loop {
        let permit = permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let start = Instant::now();
        let target = Target {
            backend: subject.address.clone(),
            tls: tls.read().unwrap_or_else(PoisonError::into_inner).clone(),
            proxy_protocol: subject.proxy_protocol,
        };
        // On the heap, so that the thousands that sleep are small.
        let result = Box::pin(probe(&subject.probe, &target, observer.own())).await;
        drop(permit);
        let interval = subject.probe.interval;
        let wait = match observer.observe(&upstream, &backend, result) {
            Next::InTurn => jittered(interval, fastrand::f64()),
            Next::Soon => interval.min(SOON),
        };
        sleep_until(start + wait).await;
    }
}

/// How long the new backend at `index` of `count` waits for its first probe.
fn head_start(index: usize, count: usize, interval: Duration) -> Duration {
    let parts = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    let step = SPREAD.min(interval / parts);
    step * u32::try_from(index).unwrap_or(u32::MAX)
}

/// The interval, up to a tenth shorter; `random` in 0..1.
fn jittered(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.9 + 0.1 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_probes_are_spread_but_begin_within_an_interval() {
        let check = |index, count, interval_ms, expected_us: u128| {
            let delay = head_start(index, count, Duration::from_millis(interval_ms));
            assert_eq!(delay.as_micros(), expected_us, "{index} of {count}");
        };
        check(0, 1, 5_000, 0);
        check(2, 3, 5_000, 2_000);
        check(9_999, 10_000, 5_000, 4_999_500);
        check(0, 0, 5_000, 0);
    }

    #[test]
    fn waits_differ_by_a_tenth_at_most() {
        let interval = Duration::from_secs(10);
        assert_eq!(jittered(interval, 0.0), Duration::from_secs(9));
        assert_eq!(jittered(interval, 0.5), Duration::from_millis(9_500));
        assert_eq!(jittered(interval, 1.0), interval);
    }
}
