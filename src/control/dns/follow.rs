//! Follows the names in DNS of all upstreams.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::base::clock;
use crate::base::names::UpstreamName;
use crate::base::source_id::SourceId;
use crate::config::dns_name::DnsName;
use crate::config::snapshot::Dns;
use crate::control::dns::state::DnsState;
use crate::control::sources::mirrored::members::FoundMembers;
use crate::control::sources::mirrored::{Identity, MirroredDocuments};
use crate::control::state_dir::StateDir;
use crate::control::supervisor::Supervisor;
use crate::core::discovery::{Answer, Found, Names, TtlBounds};
use crate::io::dns::Resolver;
use crate::live::Live;

/// How often the file of the state is written, stale backends are looked at, and the status is
/// brought up to date.
const BEAT: Duration = Duration::from_secs(1);
/// Names that are looked up at the same time.
const LOOKUPS_MAX: usize = 32;
/// Which mirror this is: there is one DNS.
const CLUSTER: u64 = 1;

/// The outcome of a lookup.
type Looked = (DnsName, Result<Answer, String>);

/// Follows the names.
pub(super) struct Follower {
    settings: Dns,
    documents: MirroredDocuments,
    supervisor: Arc<Supervisor>,
    swaps: watch::Receiver<()>,
    names: Names,
    state: Arc<DnsState>,
    resolver: Option<Arc<Resolver>>,
    lookups: JoinSet<Looked>,
    /// Every name was looked up once.
    synced: bool,
    /// Names stand otherwise than is shown.
    unshown: bool,
}

impl Follower {
    /// Puts what DNS answered last into force, if `state_dir` has it.
    pub(super) async fn new(
        settings: Dns,
        state_dir: Option<&Arc<StateDir>>,
        supervisor: Arc<Supervisor>,
        live: Arc<Live>,
    ) -> Self {
        let identity = Identity {
            source: SourceId::Dns,
            origin: "dns".to_owned(),
            grace: settings.stale_grace,
        };
        let parts = (Arc::clone(&supervisor), live);
        let documents = MirroredDocuments::new(identity, state_dir, parts).await;
        let bounds = TtlBounds {
            min: settings.ttl_min,
            max: settings.ttl_max,
        };
        Self {
            state: Arc::new(DnsState::new(Arc::clone(documents.state()))),
            swaps: supervisor.swaps(),
            documents,
            supervisor,
            names: Names::new(bounds),
            resolver: None,
            lookups: JoinSet::new(),
            synced: false,
            unshown: false,
            settings,
        }
    }

    /// The status, for display.
    pub(super) fn state(&self) -> Arc<DnsState> {
        Arc::clone(&self.state)
    }

    /// Whether an upstream has a name now.
    pub(super) fn has_names(&self) -> bool {
        let loaded = self.supervisor.loaded();
        let mut upstreams = loaded.snapshot.upstreams.values();
        upstreams.any(|upstream| !upstream.dns.is_empty())
    }

    /// Follows for ever.
    pub(super) async fn run(mut self) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.take_names().await;
        loop {
            self.start_lookups();
            let due = self.names.next_due().map(Instant::from_std);
            let room = self.lookups.len() < LOOKUPS_MAX;
            tokio::select! {
                Some(looked) = self.lookups.join_next() => {
                    let first = looked.expect("a lookup does not panic");
                    self.take(first).await;
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && room => {}
                changed = self.swaps.changed() => match changed {
                    Ok(()) => self.take_names().await,
                    // The gateway ends.
                    Err(_) => return,
                },
                () = self.state.followed().accepted() => self.documents.accept().await,
                _ = beat.tick() => self.beat().await,
            }
        }
    }

    async fn beat(&mut self) {
        if std::mem::take(&mut self.unshown) {
            self.show();
        }
        self.documents.beat().await;
    }

    fn start_lookups(&mut self) {
        let room = LOOKUPS_MAX.saturating_sub(self.lookups.len());
        let due = self.names.due(clock::now(), room);
        if due.is_empty() {
            return;
        }
        let resolver = match &self.resolver {
            Some(resolver) => Ok(Arc::clone(resolver)),
            None => Resolver::new(&self.settings).map(Arc::new),
        };
        if let Ok(resolver) = &resolver {
            self.resolver = Some(Arc::clone(resolver));
        }
        for name in due {
            let resolver = resolver.clone();
            self.lookups.spawn(async move {
                let outcome = match resolver {
                    Ok(resolver) => resolver.look_up(&name).await,
                    Err(fault) => Err(fault),
                };
                (name, outcome)
            });
        }
    }

    /// Takes the outcomes of lookups that have ended.
    async fn take(&mut self, first: Looked) {
        let mut changed = BTreeSet::new();
        let mut next = Some(first);
        while let Some((name, outcome)) = next {
            self.report(&name, &outcome);
            self.state.count(outcome.is_ok());
            let when = (clock::now(), fastrand::f64());
            changed.extend(self.names.answered(&name, outcome, when));
            next = self.lookups.try_join_next().and_then(Result::ok);
        }
        self.bring(changed).await;
        // All names are copied for display, so not for each answer. A start waits for the first.
        match self.synced {
            true => self.unshown = true,
            false => self.show(),
        }
    }

    /// A name begins to fail, or does so no more.
    fn report(&self, name: &DnsName, outcome: &Result<Answer, String>) {
        let failed = self.names.is_failing(name);
        match outcome {
            Err(fault) if !failed => {
                tracing::warn!(%name, fault, "a name is not found; its last backends stay");
            }
            Ok(_) if failed => tracing::info!(%name, "a name is found again"),
            _ => {}
        }
    }

    /// Takes the names of all upstreams.
    async fn take_names(&mut self) {
        let wanted: BTreeMap<_, _> = {
            let loaded = self.supervisor.loaded();
            let upstreams = loaded.snapshot.upstreams.iter();
            let with = upstreams.filter(|(_, upstream)| !upstream.dns.is_empty());
            with.map(|(name, upstream)| (name.clone(), upstream.dns.clone()))
                .collect()
        };
        let mut changed: BTreeSet<_> = self
            .names
            .follow(wanted, clock::now())
            .into_iter()
            .collect();
        // Also those of an upstream that was remembered, and has no name any more.
        let known = self.documents.found_upstreams();
        let gone = known.filter(|name| !self.names.has(name));
        changed.extend(gone.map(UpstreamName::from));
        self.bring(changed).await;
        self.show();
    }

    /// Brings the backends of upstreams into force.
    async fn bring(&mut self, upstreams: BTreeSet<UpstreamName>) {
        let found = upstreams.into_iter().map(|upstream| {
            let (members, complete) = self.names.members(&upstream);
            let members = members.iter();
            FoundMembers {
                members: members
                    .map(|(id, one)| (id.clone(), document(one)))
                    .collect(),
                followed: self.names.has(upstream.as_str()),
                complete,
                upstream,
            }
        });
        let found = found.collect();
        self.documents.bring(found).await;
    }

    fn show(&mut self) {
        self.state.set_names(self.names.statuses());
        let failing = self.state.first_fault();
        let servers = self.settings.servers.iter().map(ToString::to_string);
        let servers: Vec<_> = servers.collect();
        let servers = match servers.is_empty() {
            true => "/etc/resolv.conf".to_owned(),
            false => servers.join(", "),
        };
        self.state.followed().show(|status| {
            status.fault = failing;
            status.cluster = CLUSTER;
            status.endpoint = Some(servers);
        });
        if self.names.all_asked() {
            self.state.followed().set_synced();
            self.synced = true;
        }
    }
}

/// A backend as a document.
fn document(found: &Found) -> Arc<str> {
    let mut document = json!({ "address": found.address.to_string(), "weight": found.weight });
    if found.priority > 0 {
        document["priority"] = found.priority.into();
    }
    document.to_string().into()
}
