//! This gateway's entry in the fleet, and the entries of the others: written under a lease after
//! changes, read every two seconds. Nothing waits for it: without etcd the fleet stays as last
//! read, with a growing age.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, GetOptions};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep, timeout};

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::base::source_id::SourceId;
use crate::config::snapshot::Etcd;
use crate::control::etcd::connect::{Endpoints, connector};
use crate::control::etcd::leased_key::{Connect, LeasedKey, LeasedKeyState, error_text};
use crate::control::fleet::{BEAT, Entry, Fleet, FleetRecord, TTL};
use crate::control::gateway_list::load;
use crate::control::sources::Sources;
use crate::live::{Live, Phase};

/// The least time between two writes of changes.
const WRITE: Duration = Duration::from_secs(1);
/// Between two readings.
const READ: Duration = Duration::from_secs(2);
/// For one answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// For the entry to be taken away at the end.
const REMOVAL_MAX: Duration = Duration::from_secs(1);

/// This gateway's place among the others.
pub struct Joined {
    /// The fleet.
    pub fleet: Arc<Fleet>,
    stop: oneshot::Sender<()>,
    announcing: JoinHandle<()>,
    following: JoinHandle<()>,
}

impl Joined {
    /// Takes this gateway's entry away.
    pub async fn leave(self) {
        self.following.abort();
        // It exists until the task is stopped.
        let _ = self.stop.send(());
        let _ = self.announcing.await;
    }
}

/// Joins the gateways that follow this etcd, as `node` with its admin API at `admin`.
///
/// # Panics
/// Outside a runtime.
pub fn join(
    settings: &Etcd,
    live: &Arc<Live>,
    node: &str,
    admin: String,
    sources: Sources,
) -> Joined {
    let connect = || {
        connector(Arc::new(Endpoints::new(
            settings.clone(),
            fastrand::usize(..),
        )))
    };
    let fleet = Arc::new(Fleet::new(format!("{:016x}", fastrand::u64(..))));
    let folder = format!("{}/gateways/", settings.prefix);
    let announcer = Announcer {
        live: Arc::clone(live),
        fleet: Arc::clone(&fleet),
        folder: folder.clone(),
        connect: connect(),
        entry: Entry {
            node: node.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            admin,
            pid: std::process::id(),
            started: clock::rfc3339(live.started()),
            ..Entry::default()
        },
        applied: Box::new(move || {
            let status = sources.followed(SourceId::Etcd)?;
            Some(status.revision).filter(|revision| *revision > 0)
        }),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    Joined {
        announcing: tokio::spawn(announcer.announce(async { drop(stopped.await) })),
        following: tokio::spawn(follow(Arc::clone(&fleet), folder, connect())),
        fleet,
        stop,
    }
}

/// The constant part of this gateway's entry.
struct Announcer {
    live: Arc<Live>,
    fleet: Arc<Fleet>,
    /// `<prefix>/gateways/`
    folder: String,
    connect: Connect,
    /// As it begins: name, version, admin address, start.
    entry: Entry,
    /// The last revision of etcd that is in force.
    applied: Box<dyn Fn() -> Option<i64> + Send + Sync>,
}

impl Announcer {
    /// Keeps the entry until `stop`, and then takes it away.
    async fn announce(self, stop: impl Future<Output = ()>) {
        let instance = self.fleet.instance().to_owned();
        let mut entry = self.entry.clone();
        entry.instance.clone_from(&instance);
        let key = format!("{}{}", self.folder, entry.node);
        let hold = |key| LeasedKey::new(key, TTL, Arc::clone(&self.connect));
        let mut own = hold(key.clone());
        // Where two have one name: the entry of the one that came first.
        let mut aside: Option<LeasedKey> = None;
        let mut beat = interval(WRITE);
        let mut stop = std::pin::pin!(stop);
        let mut warned = false;
        loop {
            tokio::select! {
                _ = beat.tick() => self.refresh(&mut entry),
                holding = own.changed() => match holding {
                    // One that stops is mostly followed by another of its name.
                    LeasedKeyState::Taken(_)
                        if aside.is_none() && self.live.phase() == Phase::Ready =>
                    {
                        aside = Some(hold(format!("{key}@{instance}")));
                    }
                    LeasedKeyState::Held(_) => aside = None,
                    _ => {}
                },
                () = &mut stop => break,
            }
            let value = serde_json::to_string(&entry).expect("plain data serialises");
            own.want(Some(&value));
            if let Some(aside) = &aside {
                aside.want(Some(&value));
            }
            self.fleet
                .set_other_process(self.live.other_process().unwrap_or(0));
            let duplicate = self.fleet.has_duplicate(&entry);
            if duplicate && !std::mem::replace(&mut warned, duplicate) {
                tracing::warn!(
                    node = entry.node,
                    "another gateway has the same name; give each a [node] name of its own"
                );
            }
        }
        own.end(REMOVAL_MAX).await;
        if let Some(mut aside) = aside {
            aside.end(REMOVAL_MAX).await;
        }
    }

    /// Changes are written at once, the number of sessions with them or periodically.
    fn refresh(&self, entry: &mut Entry) {
        let before = entry.clone();
        let table = self.live.table();
        let generation = self.live.generation();
        let edge = &generation.edge;
        entry.zone = edge.zone.as_deref().map(str::to_owned);
        entry.url = edge.discovery.url.as_ref().map(ToString::to_string);
        entry.generation = table.generation;
        entry.digest = table.digest.to_string();
        entry.revision = (self.applied)();
        self.live.phase().as_str().clone_into(&mut entry.phase);
        entry.beat = self.live.uptime().as_secs() / BEAT.as_secs();
        if *entry != before {
            entry.sessions = self.live.workers().sessions();
            entry.load = load(entry.sessions, edge.load.sessions_max);
        }
    }
}

/// Reads the entries of the others while the gateway runs.
async fn follow(fleet: Arc<Fleet>, folder: String, connect: Connect) {
    let mut backoff = Backoff::new(READ, 4 * READ);
    let mut client = None;
    loop {
        match read(&mut client, &folder, &connect).await {
            Ok(read) => {
                fleet.observe(read, clock::now());
                backoff.reset();
                sleep(READ).await;
            }
            Err(fault) => {
                client = None;
                tracing::debug!(fault, "the fleet cannot be read");
                fleet.failed(fault);
                sleep(backoff.next(fastrand::f64())).await;
            }
        }
    }
}

async fn read(
    client: &mut Option<Client>,
    folder: &str,
    connect: &Connect,
) -> Result<Vec<FleetRecord>, String> {
    let late = |_| format!("etcd did not answer within {ANSWER_MAX:?}");
    let client = match client {
        Some(client) => client,
        None => client.insert(timeout(ANSWER_MAX, connect()).await.map_err(late)??),
    };
    // A serialisable read is sufficient, and costs the other members nothing.
    let options = GetOptions::new().with_prefix().with_serializable();
    let answer = timeout(ANSWER_MAX, client.get(folder, Some(options))).await;
    let answer = answer.map_err(late)?.map_err(|error| error_text(&error))?;
    let entries = answer.kvs().iter().filter_map(|one| {
        Some(FleetRecord {
            key: one.key_str().ok()?.to_owned(),
            revision: one.mod_revision(),
            // Invalid entries are ignored.
            entry: serde_json::from_slice(one.value()).ok()?,
        })
    });
    Ok(entries.collect())
}
