//! Follows etcd: reads everything at one revision, watches from the next one on, and continues at
//! another endpoint whenever the watch ends. `core::membership` decides which removals are applied;
//! the supervisor interprets the documents.
//!
//! Only etcd advances the revision at which a watch starts: by events, by a full read, by a
//! progress notification of the watch itself. Elapsed time never advances the revision.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, EventType, WatchOptions, WatchResponse, WatchStream};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout, timeout_at};

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::base::source_id::SourceId;
use crate::config::snapshot::Etcd;
use crate::control::etcd::connect::Endpoints;
use crate::control::etcd::read::{
    FollowError, MESSAGE_MAX, Range, everything, held, living, out_of_range, within,
};
use crate::control::sources::followed::FollowState;
use crate::control::sources::mirrored::{Identity, MirroredDocuments};
use crate::control::state_dir::StateDir;
use crate::control::supervisor::Supervisor;
use crate::core::membership::{Event, Held, Key, Reread};
use crate::live::Live;

/// Changes within this time take effect together.
const COALESCE: Duration = Duration::from_millis(15);
/// Interval between ticks, and between writes of the last known good state.
const BEAT: Duration = Duration::from_secs(1);
/// Between attempts.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// However long etcd is gone.
const RETRY_LAST: Duration = Duration::from_secs(5);
/// How long a start waits for etcd if there is a last known good state.
const START_KNOWN: Duration = Duration::from_millis(500);
/// Progress requests within the permitted silence.
const SIGNS: u32 = 3;

/// Follows one etcd.
pub struct Follower {
    endpoints: Endpoints,
    range: Range,
    supervisor: Arc<Supervisor>,
    documents: MirroredDocuments,
    state: Arc<FollowState>,
}

impl Follower {
    /// Puts the last known good state into force, if `store`'s directory has one.
    pub async fn new(
        settings: Etcd,
        state_dir: Option<&Arc<StateDir>>,
        supervisor: Arc<Supervisor>,
        live: Arc<Live>,
    ) -> Self {
        let identity = Identity {
            source: SourceId::Etcd,
            origin: settings.prefix.to_string(),
            grace: settings.stale_grace,
        };
        let parts = (Arc::clone(&supervisor), live);
        let documents = MirroredDocuments::new(identity, state_dir, parts).await;
        Self {
            range: Range::new(&settings.prefix),
            // Gateways that start together do not all go to the same member.
            endpoints: Endpoints::new(settings, fastrand::usize(..)),
            supervisor,
            state: Arc::clone(documents.state()),
            documents,
        }
    }

    /// The status, for display.
    pub fn state(&self) -> Arc<FollowState> {
        Arc::clone(&self.state)
    }

    /// How long a start may wait for etcd.
    pub fn patience(&self) -> Duration {
        match self.documents.mirror().revision() {
            0 => self.endpoints.settings().answer,
            _ => START_KNOWN.min(self.endpoints.settings().answer),
        }
    }

    /// How many attempts may fail before a start waits no longer: each endpoint's first. Where
    /// nothing could be served yet, it is no use to start.
    pub fn attempts(&self) -> usize {
        match self.supervisor.loaded().snapshot.routes.is_empty() {
            true => usize::MAX,
            false => self.endpoints.settings().endpoints.len(),
        }
    }

    /// Follows for ever.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
        loop {
            let endpoint = self.endpoints.turn().to_owned();
            let Err(error) = self.follow(&endpoint, &mut backoff).await;
            // Changes received before the end take effect in any case.
            self.documents.apply().await;
            let watched = self.state.status().endpoint.is_some();
            self.state.show(|status| {
                status.endpoint = None;
                status.fault = Some(format!("{endpoint}: {error}"));
                status.watch_restarts += u64::from(watched);
            });
            self.state.attempt_failed();
            let wait = backoff.next(fastrand::f64());
            tracing::warn!(
                endpoint, %error, wait = %clock::readable(wait), revision = self.documents.mirror().revision(),
                "etcd is not followed now; its last documents stay in force"
            );
            self.documents.save().await;
            let again = sleep(wait);
            tokio::pin!(again);
            loop {
                tokio::select! {
                    () = &mut again => break,
                    () = self.state.accepted() => self.documents.accept().await,
                }
            }
        }
    }

    /// From a connection to its end.
    async fn follow(
        &mut self,
        endpoint: &str,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, FollowError> {
        let client = self.endpoints.connect(endpoint).await?;
        self.catch_up(&client).await?;
        let stream = self.watch(&client).await?;
        backoff.reset();
        tracing::info!(
            endpoint,
            revision = self.documents.mirror().revision(),
            "etcd is followed"
        );
        self.state.show(|status| {
            status.endpoint = Some(endpoint.to_owned());
            status.fault = None;
            status.progress = Some(clock::now());
            status.from_last_known_good = false;
        });
        self.state.set_synced();
        self.listen(&client, stream).await
    }

    /// Determines the revision from which a watch is complete: the last one, if etcd's history is
    /// unchanged; otherwise that of a full read.
    async fn catch_up(&mut self, client: &Client) -> Result<(), FollowError> {
        let patience = self.endpoints.settings().answer;
        let mut kv = client.kv_client().max_decoding_message_size(MESSAGE_MAX);
        let known = self.documents.mirror().revision();
        let mut diverged = false;
        if known > 0 {
            match everything(&mut kv, &self.range, Some(known), patience).await {
                Ok(then) if self.documents.mirror().agrees(&then) => {
                    self.documents.resumed();
                    return Ok(());
                }
                Ok(_) => diverged = true,
                // Compacted, or from before this revision was reached.
                Err(error) if out_of_range(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let read = everything(&mut kv, &self.range, None, patience).await?;
        let (revision, cluster) = (read.revision, read.cluster);
        let now = clock::now();
        let mut report = self.documents.reread(|mirror| mirror.read(read, now));
        report.restored |= diverged;
        self.documents.resumed();
        self.tell(&report, known, revision, cluster);
        self.documents.apply().await;
        Ok(())
    }

    fn tell(&self, report: &Reread, known: i64, revision: i64, cluster: u64) {
        let Reread {
            changed,
            gone,
            doubted,
            lapsed,
            ..
        } = *report;
        if known > 0 {
            self.state.show(|status| status.rereads += 1);
        }
        if report.restored {
            self.state.show(|status| status.restores += 1);
            tracing::warn!(
                known,
                revision,
                cluster,
                "etcd was restored or replaced: its history is not the one that was followed"
            );
        }
        if doubted > 0 {
            tracing::error!(
                doubted,
                revision,
                "etcd lacks most of what it had, and no deletion was seen: these documents stay in \
                 force; if they are to go, `POST /v1/sources/etcd/accept`"
            );
        }
        tracing::info!(
            revision,
            changed,
            gone,
            doubted,
            lapsed,
            "etcd was read in full"
        );
    }

    async fn watch(&self, client: &Client) -> Result<WatchStream, FollowError> {
        let patience = self.endpoints.settings().answer;
        let options = WatchOptions::new()
            .with_range(self.range.end())
            .with_start_revision(self.documents.mirror().revision() + 1)
            .with_progress_notify();
        let watching = client.watch_client();
        let mut watching = watching.max_decoding_message_size(MESSAGE_MAX);
        let mut stream =
            within(patience, watching.watch(self.range.begin(), Some(options))).await?;
        let created = within(patience, stream.message()).await?;
        match created {
            Some(answer) if answer.created() && !answer.canceled() => Ok(stream),
            Some(answer) => Err(cancelled(&answer)),
            None => Err(FollowError::Ended("nothing more came".to_owned())),
        }
    }

    async fn listen(
        &mut self,
        client: &Client,
        stream: WatchStream,
    ) -> Result<std::convert::Infallible, FollowError> {
        let silence = self.endpoints.settings().silence;
        let (mut asking, mut answers) = stream.split();
        let mut signs = interval(silence / SIGNS);
        signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut due = None;
        loop {
            tokio::select! {
                answer = timeout_at(heard + silence, answers.message()) => {
                    let answer = answer.map_err(|_| FollowError::Silent(silence))??;
                    let ended = || FollowError::Ended("nothing more came".to_owned());
                    let answer = answer.ok_or_else(ended)?;
                    heard = Instant::now();
                    self.state.show(|status| status.progress = Some(heard.into_std()));
                    if self.take(client, &answer).await? {
                        due.get_or_insert(heard + COALESCE);
                    }
                }
                () = sleep_until(due.unwrap_or(heard)), if due.is_some() => {
                    due = None;
                    self.documents.apply().await;
                }
                _ = signs.tick() => {
                    let asked = timeout(silence, asking.request_progress()).await;
                    asked.map_err(|_| FollowError::Silent(silence))??;
                }
                _ = beat.tick() => self.documents.beat().await,
                () = self.state.accepted() => self.documents.accept().await,
            }
        }
    }

    /// Handles an answer of the watch, which holds whole revisions since fragments are not
    /// requested. Returns whether there is something to apply.
    async fn take(&mut self, client: &Client, answer: &WatchResponse) -> Result<bool, FollowError> {
        if answer.canceled() {
            return Err(cancelled(answer));
        }
        if answer.events().is_empty() {
            let header = answer.header().ok_or(FollowError::NoHeader)?;
            // An answer to a progress request belongs to no watch (-1) and may overtake events;
            // only a notification of the watch itself confirms that all earlier events were sent.
            if answer.watch_id() >= 0 && !answer.created() {
                self.documents.progress(header.revision());
                self.documents.show();
            }
            return Ok(false);
        }
        let told: Vec<_> = answer
            .events()
            .iter()
            .filter_map(|event| {
                let kv = event.kv()?;
                Some((self.range.key(kv.key()), event.event_type(), held(kv)))
            })
            .collect();
        let last = told.iter().map(|(_, _, held)| held.revision).max();
        let alive = self.living(client, &told).await;
        let mut leases = HashMap::new();
        let mut events = Vec::new();
        for (key, kind, held) in told {
            let Some(key) = key else { continue };
            if kind == EventType::Put {
                leases.insert(Key::clone(&key), held.lease);
                events.push(Event::Put(key, held));
                continue;
            }
            let lease = leases.get(&key).copied();
            let lease = lease
                .or_else(|| self.documents.mirror().lease_of(&key))
                .unwrap_or(0);
            events.push(Event::Delete {
                key,
                revision: held.revision,
                lapsed: lease != 0 && !alive.contains(&lease),
            });
        }
        let anything = self.documents.take(events);
        self.documents.progress(last.unwrap_or(0));
        Ok(anything)
    }

    /// Leases that live of backends that are gone: those were deleted.
    async fn living(
        &self,
        client: &Client,
        told: &[(Option<Key>, EventType, Held)],
    ) -> BTreeSet<i64> {
        let mut leases = BTreeSet::new();
        let mut put = HashMap::new();
        for (key, kind, held) in told {
            let Some(key) = key else { continue };
            if *kind == EventType::Put {
                put.insert(key, held.lease);
            } else {
                let lease = put.get(key).copied();
                leases.extend(lease.or_else(|| self.documents.mirror().lease_of(key)));
            }
        }
        leases.remove(&0);
        match leases.is_empty() {
            true => leases,
            false => living(client, &leases, self.endpoints.settings().answer).await,
        }
    }
}

fn cancelled(answer: &WatchResponse) -> FollowError {
    FollowError::Ended(match answer.compact_revision() {
        0 => answer.cancel_reason().to_owned(),
        revision => format!("its revision is compacted up to {revision}"),
    })
}
