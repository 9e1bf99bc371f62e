//! Rebalancing: after a change of members, sessions move to the backend that owns their key now. An
//! operator or a swap of tables starts a run; it waits while the upstream has a problem, and ends
//! when no session is left to move.

mod run;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use xxhash_rust::xxh3::xxh3_64;

use crate::base::clock;
use crate::base::names::UpstreamName;
use crate::config::pace::Pace;
use crate::config::snapshot::{Rebalance, RebalanceMode};
use crate::control::drainer::STEP;
use crate::control::worker_commands;
use crate::core::routing::{RoutingTable, Upstream};
use crate::core::session::drain::Millis;
use crate::core::session::orders::LeaveOrder;
use crate::core::session::rebalance::{Resident, choose};
use crate::core::session::record::Cause;
use crate::core::session::resume::ResumeReason;
use crate::live::{Live, SessionBrief, SessionQuery};
use crate::telemetry::metrics::NodeMetrics;

use run::{End, Run, bounds, limit, places};

pub use view::{FlowView, RebalanceView};

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

/// The options of an operator; the configuration provides the defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RebalanceOptions {
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
        options: &RebalanceOptions,
    ) -> Result<RebalanceView, RebalanceFault> {
        let upstream = self.upstream(name)?;
        let rules = options.over(&upstream.config.rebalance);
        let residents = self.residents(&upstream).await;
        let limit = limit(&rules, residents.len());
        let moves = choose(&places(&upstream), &residents, &bounds(&rules, limit));
        Ok(RebalanceView::rehearsed(
            &upstream, &rules, &residents, &moves,
        ))
    }

    /// Starts a run by the order of this operator; a current run starts over.
    ///
    /// # Errors
    /// When it is off for this upstream, or not applicable.
    pub fn begin(
        &self,
        name: &UpstreamName,
        options: &RebalanceOptions,
        operator: &str,
    ) -> Result<(), RebalanceFault> {
        let upstream = self.upstream(name)?;
        let configured = upstream.config.rebalance;
        if configured.mode == RebalanceMode::Off {
            return Err(RebalanceFault::Off(name.clone()));
        }
        self.start(name, options.over(&configured), Some(operator.into()));
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

    /// The run of this upstream that is under way, or the last one.
    pub fn view(&self, upstream: &UpstreamName) -> Option<RebalanceView> {
        self.runs().get(upstream).map(RebalanceView::of)
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
                self.start(upstream.name(), rules, None);
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
        if self.with(name, |run, now| run.needs_survey(unrest, now)) == Some(true) {
            let residents = self.residents(&upstream).await;
            self.with(name, |run, now| run.survey(&upstream, &residents, now));
        }
        let due = self.with(name, |run, now| run.plan.due(now));
        let Some(due) = due.filter(|due| !due.is_empty()) else {
            return;
        };
        let operator = self.with(name, |run, _| run.operator.clone()).flatten();
        let ids: Arc<[_]> = due.iter().map(|one| one.id).collect();
        let gone = worker_commands::leave(&self.live, ids, &order(operator)).await;
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

    /// Starts a run, by an operator or by itself.
    fn start(&self, name: &UpstreamName, rules: Rebalance, operator: Option<Arc<str>>) {
        let automatic = operator.is_none();
        let run = Run::new(rules, operator, self.now());
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

impl RebalanceOptions {
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

fn order(operator: Option<Arc<str>>) -> LeaveOrder {
    LeaveOrder {
        code: 1012,
        reason: "another backend has this key now".into(),
        cause: Cause::Rebalanced,
        resume: ResumeReason::Rebalanced,
        operator,
    }
}

/// A live session for the plan; `None` on a backend that left the upstream.
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

/// What a change of members changes.
fn members(upstream: &Upstream) -> impl PartialEq + use<> {
    let members = upstream.members.iter();
    let who = members.enumerate().map(|(index, member)| {
        let level = upstream.level_of(index);
        (
            member.id.clone(),
            member.weight,
            level,
            member.admin_state(),
        )
    });
    who.collect::<Vec<_>>()
}
