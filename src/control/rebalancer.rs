//! Rebalancing: after a change of members, sessions move to the backend that owns their key now. An
//! operator or a swap of tables starts a run; it waits while the upstream has a problem, and ends
//! when no session is left to move.

mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use xxhash_rust::xxh3::xxh3_64;

use crate::base::clock;
use crate::base::names::UpstreamName;
use crate::config::pace::Pace;
use crate::config::snapshot::{AdminState, Rebalance, RebalanceMode, Tempo};
use crate::control::drainer::{LIST_EVERY, STEP};
use crate::control::worker_commands;
use crate::core::routing::{RoutingTable, Upstream};
use crate::core::session::drain::{Candidate, Millis, Plan, Profile};
use crate::core::session::orders::LeaveOrder;
use crate::core::session::rebalance::{Move, Resident, Rules, choose};
use crate::core::session::record::Cause;
use crate::core::session::resume::ResumeReason;
use crate::live::{Live, SessionBrief, SessionQuery};
use crate::telemetry::metrics::NodeMetrics;

pub use view::{FlowView, RebalanceView};

/// Slots are short and many: a little chance keeps gateways out of step.
const JITTER: f64 = 0.5;

/// All runs of a gateway, the last one of each upstream.
pub struct Rebalancer {
    live: Arc<Live>,
    node: Arc<NodeMetrics>,
    began: Instant,
    runs: Mutex<BTreeMap<UpstreamName, Run>>,
    begun: Notify,
}

impl fmt::Debug for Rebalancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rebalancer").finish_non_exhaustive()
    }
}

/// One upstream's.
struct Run {
    rules: Rebalance,
    plan: Plan,
    automatic: bool,
    started: SystemTime,
    /// Sessions that may move, by `share_max`; set by the first survey.
    limit: Option<usize>,
    looked: Option<Millis>,
    /// What it waits for.
    waits: Option<&'static str>,
    paused: bool,
    end: Option<End>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Stopped,
}

/// The options of an operator; the configuration provides the defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wish {
    /// How many sessions in a time.
    pub pace: Option<Pace>,
    /// See `Rebalance::skew`.
    pub skew: Option<f64>,
    /// See `Rebalance::share_max`.
    pub share_max: Option<f64>,
    /// See `Rebalance::age_min`.
    pub age_min: Option<std::time::Duration>,
    /// See `Rebalance::close`.
    pub close: Option<bool>,
}

/// Why there is no rebalancing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RebalanceFault {
    /// No such upstream.
    #[error("no upstream `{0}`")]
    Unknown(UpstreamName),
    /// Keys have no home.
    #[error("the policy of upstream `{0}` does not place by key, so no session has a home")]
    NotKeyed(UpstreamName),
    /// The configuration forbids it.
    #[error(
        "rebalancing of upstream `{0}` is off; set `rebalance = {{ mode = \"manual\" }}` there, or \
         ask for a dry run"
    )]
    Off(UpstreamName),
    /// There is none.
    #[error("no rebalancing of upstream `{0}` is under way")]
    NoRun(UpstreamName),
}

impl Rebalancer {
    /// Without runs. They are carried out by [`run`](Self::run).
    pub fn new(live: Arc<Live>, node: Arc<NodeMetrics>) -> Arc<Self> {
        Arc::new(Self {
            live,
            node,
            began: clock::now(),
            runs: Mutex::default(),
            begun: Notify::new(),
        })
    }

    /// Who would go if it began now; nothing happens.
    ///
    /// # Errors
    /// When there is no such upstream, or its keys have no home.
    pub async fn rehearse(
        &self,
        name: &UpstreamName,
        wish: &Wish,
    ) -> Result<RebalanceView, RebalanceFault> {
        let upstream = self.upstream(name)?;
        let rules = wish.over(&upstream.config.rebalance);
        let residents = self.residents(&upstream).await;
        let limit = limit(&rules, residents.len());
        let moves = choose(&weights(&upstream), &residents, &bounds(&rules, limit));
        Ok(RebalanceView::rehearsed(
            &upstream, &rules, &residents, &moves,
        ))
    }

    /// Starts a run; a current run starts over.
    ///
    /// # Errors
    /// When it is off for this upstream, or not applicable.
    pub fn begin(&self, name: &UpstreamName, wish: &Wish) -> Result<(), RebalanceFault> {
        let upstream = self.upstream(name)?;
        let configured = upstream.config.rebalance;
        if configured.mode == RebalanceMode::Off {
            return Err(RebalanceFault::Off(name.clone()));
        }
        self.start(name, wish.over(&configured), false);
        Ok(())
    }

    /// Pauses or resumes a run.
    ///
    /// # Errors
    /// When there is none.
    pub fn pause(&self, name: &UpstreamName, paused: bool) -> Result<(), RebalanceFault> {
        self.change(name, |run| run.paused = paused)
    }

    /// Ends a run.
    ///
    /// # Errors
    /// When there is none.
    pub fn stop(&self, name: &UpstreamName) -> Result<(), RebalanceFault> {
        self.change(name, |run| run.end = Some(End::Stopped))
    }

    /// Starts and stops runs for a new table.
    pub(super) fn swapped(&self, old: &RoutingTable, new: &RoutingTable) {
        self.runs().retain(|name, _| {
            let upstream = new.upstream(name);
            upstream.is_some_and(|upstream| upstream.config.rebalance.mode != RebalanceMode::Off)
        });
        for upstream in new.upstreams() {
            let rules = upstream.config.rebalance;
            let before = old.upstream(upstream.name());
            let changed = before.is_some_and(|before| members(before) != members(upstream));
            if changed && rules.mode == RebalanceMode::Auto && upstream.is_keyed() {
                self.start(upstream.name(), rules, true);
            }
        }
    }

    /// Carries out runs. Never returns.
    pub async fn run(self: Arc<Self>) {
        let mut steps = interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            steps.tick().await;
            let names: Vec<_> = {
                let runs = self.runs();
                let live = runs.iter().filter(|(_, run)| run.end.is_none());
                live.map(|(name, _)| name.clone()).collect()
            };
            if names.is_empty() {
                self.begun.notified().await;
                continue;
            }
            for name in names {
                self.step(&name).await;
            }
        }
    }

    async fn step(&self, name: &UpstreamName) {
        let Ok(upstream) = self.upstream(name) else {
            return;
        };
        let unrest = upstream.unrest(clock::now());
        if self.with(name, |run, now| run.wants_a_look(unrest, now)) == Some(true) {
            let residents = self.residents(&upstream).await;
            self.with(name, |run, now| run.look(&upstream, &residents, now));
        }
        let due = self.with(name, |run, now| run.plan.due(now));
        let Some(due) = due.filter(|due| !due.is_empty()) else {
            return;
        };
        let ids: Arc<[_]> = due.iter().map(|one| one.id).collect();
        let gone = worker_commands::leave(&self.live, ids, &order()).await;
        self.with(name, |run, _| {
            run.plan.were_told(&due, gone.moving, gone.closing);
        });
        self.node.rebalanced(name, gone.moving, gone.closing);
    }

    async fn residents(&self, upstream: &Upstream) -> Vec<Resident> {
        let query = SessionQuery {
            upstream: Some(upstream.name().to_string()),
            ..SessionQuery::default()
        };
        let briefs = worker_commands::briefs(&self.live, &query).await;
        let now = clock::now();
        let mut residents: Vec<_> = briefs
            .iter()
            .filter_map(|brief| resident(upstream, brief, now))
            .collect();
        residents.sort_unstable_by_key(|one| one.id);
        residents
    }

    fn start(&self, name: &UpstreamName, rules: Rebalance, automatic: bool) {
        let run = Run::new(rules, automatic, self.now());
        let (pace, skew, share_max) = (rules.pace, rules.skew, rules.share_max);
        tracing::info!(upstream = %name, automatic, %pace, skew, share_max, "rebalancing began");
        self.runs().insert(name.clone(), run);
        self.begun.notify_one();
    }

    fn upstream(&self, name: &UpstreamName) -> Result<Arc<Upstream>, RebalanceFault> {
        let table = self.live.table();
        let upstream = table.upstream(name);
        let upstream = upstream.ok_or_else(|| RebalanceFault::Unknown(name.clone()))?;
        if !upstream.is_keyed() {
            return Err(RebalanceFault::NotKeyed(name.clone()));
        }
        Ok(Arc::clone(upstream))
    }

    fn change(
        &self,
        name: &UpstreamName,
        change: impl FnOnce(&mut Run),
    ) -> Result<(), RebalanceFault> {
        let now = self.now();
        let mut runs = self.runs();
        let run = runs.get_mut(name).filter(|run| run.end.is_none());
        let run = run.ok_or_else(|| RebalanceFault::NoRun(name.clone()))?;
        change(run);
        run.hold(now);
        drop(runs);
        self.begun.notify_one();
        Ok(())
    }

    fn with<A>(&self, name: &UpstreamName, act: impl FnOnce(&mut Run, Millis) -> A) -> Option<A> {
        let now = self.now();
        let mut runs = self.runs();
        let run = runs.get_mut(name).filter(|run| run.end.is_none())?;
        Some(act(run, now))
    }

    fn now(&self) -> Millis {
        let passed = clock::now().duration_since(self.began);
        Millis::try_from(passed.as_millis()).unwrap_or(Millis::MAX)
    }

    fn runs(&self) -> MutexGuard<'_, BTreeMap<UpstreamName, Run>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wish {
    fn over(&self, configured: &Rebalance) -> Rebalance {
        Rebalance {
            mode: configured.mode,
            pace: self.pace.unwrap_or(configured.pace),
            age_min: self.age_min.unwrap_or(configured.age_min),
            share_max: self.share_max.unwrap_or(configured.share_max),
            skew: self.skew.unwrap_or(configured.skew),
            close: self.close.unwrap_or(configured.close),
        }
    }
}

impl Run {
    fn new(rules: Rebalance, automatic: bool, now: Millis) -> Self {
        let profile = Profile {
            tempo: Tempo::Pace(rules.pace),
            jitter: JITTER,
            deadline: None,
        };
        Self {
            rules,
            plan: Plan::new(profile, now, fastrand::u64(..)),
            automatic,
            started: clock::wall(),
            limit: None,
            looked: None,
            waits: None,
            paused: false,
            end: None,
        }
    }

    fn hold(&mut self, now: Millis) {
        if self.paused || self.waits.is_some() {
            self.plan.pause(now);
        } else {
            self.plan.resume(now);
        }
    }

    fn wants_a_look(&mut self, unrest: Option<&'static str>, now: Millis) -> bool {
        self.waits = unrest;
        self.hold(now);
        let rested = self.looked.is_none_or(|looked| now - looked >= LIST_EVERY);
        rested && !self.paused && self.waits.is_none()
    }

    fn look(&mut self, upstream: &Upstream, residents: &[Resident], now: Millis) {
        self.looked = Some(now);
        let limit = *self
            .limit
            .get_or_insert_with(|| limit(&self.rules, residents.len()));
        let progress = self.plan.progress();
        let left = limit.saturating_sub(progress.closed + progress.moved);
        let moves = choose(&weights(upstream), residents, &bounds(&self.rules, left));
        // Those on their way count as such until they have arrived.
        let busy = residents
            .iter()
            .filter(|one| one.busy)
            .map(|one| Candidate {
                id: one.id,
                idle: one.idle,
                movable: one.movable,
                busy: true,
            });
        let candidates: Vec<_> = moves.iter().map(candidate).chain(busy).collect();
        self.plan.survey(&candidates);
        if self.plan.is_done() && !upstream.wakes(clock::now()) {
            self.end = Some(End::Done);
            let (moved, closed) = (progress.moved, progress.closed);
            tracing::info!(upstream = %upstream.name(), moved, closed, "rebalanced");
        }
    }
}

fn candidate(one: &Move) -> Candidate {
    Candidate {
        id: one.id,
        idle: one.idle,
        movable: one.movable,
        busy: false,
    }
}

fn order() -> LeaveOrder {
    LeaveOrder {
        code: 1012,
        reason: "another backend has this key now".into(),
        cause: Cause::Rebalanced,
        resume: ResumeReason::Rebalanced,
    }
}

fn limit(rules: &Rebalance, sessions: usize) -> usize {
    // The rounding is for shares such as 0.29 of 100.
    (rules.share_max * sessions as f64 + 1e-6) as usize
}

fn bounds(rules: &Rebalance, limit: usize) -> Rules {
    Rules {
        age_min: rules.age_min,
        skew: rules.skew,
        close: rules.close,
        limit,
    }
}

/// Those that take sessions now have their weight.
fn weights(upstream: &Upstream) -> Vec<u32> {
    let members = upstream.members.iter();
    members
        .map(|member| match member.admin_state() {
            AdminState::Active => member.weight,
            AdminState::Draining | AdminState::Disabled => 0,
        })
        .collect()
}

/// A session of a backend that is no member any more has no place here.
fn resident(upstream: &Upstream, brief: &SessionBrief, now: Instant) -> Option<Resident> {
    let key = brief.key.as_deref();
    Some(Resident {
        id: brief.id,
        key: key.map_or(0, xxh3_64),
        at: upstream.index_of(&brief.backend)?,
        home: key.and_then(|key| upstream.home(key, now)),
        age: brief.age,
        idle: brief.idle,
        movable: brief.movable,
        busy: brief.busy,
    })
}

/// Whom a change of members is a change of.
fn members(upstream: &Upstream) -> impl PartialEq + use<> {
    let members = upstream.members.iter();
    let who = members.map(|member| (member.id.clone(), member.weight, member.admin_state()));
    who.collect::<Vec<_>>()
}
