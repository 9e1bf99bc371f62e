//! Drains: sessions leave a backend according to a plan. An operator, the configuration or the
//! removal of the backend starts it. This file also keeps operators' orders for backends: an order
//! overrides the configuration until it is taken back, through swaps of tables, restarts and
//! hand-overs.

mod drain;
mod elsewhere;
mod orders;
mod swap_effects;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::{MissedTickBehavior, interval};

use crate::base::clock;
use crate::base::names::{BackendId, UpstreamName};
use crate::config::snapshot::{self, AdminState};
use crate::control::state_dir::StateDir;
use crate::control::state_file::StateFile;
use crate::control::worker_commands;
use crate::core::routing::RoutingTable;
use crate::core::session::drain::{BackendOrder, Millis, Profile};
use crate::core::session::orders::LeaveOrder;
use crate::core::session::record::Cause;
use crate::core::session::resume::ResumeReason;
use crate::live::{Live, SessionQuery};
use crate::telemetry::metrics::NodeMetrics;

use drain::Drain;
pub(super) use drain::{BackendKey, LIST_EVERY};
pub use drain::{By, Order};
pub use elsewhere::Elsewhere;
use swap_effects::swap_effects;
pub use view::DrainView;

/// Name in the state directory.
const FILE: &str = "orders";
/// What its first line begins with; the number is the version of the form.
const MARK: &str = "sessile-orders 1 ";
/// Between two steps of a plan.
pub(super) const STEP: Duration = Duration::from_millis(100);

/// All drains of a gateway, and what operators ordered.
pub struct Drainer {
    live: Arc<Live>,
    node: Arc<NodeMetrics>,
    began: Instant,
    state: Mutex<State>,
    /// There is something to do.
    begun: Notify,
    /// The file of orders, and the lock of its writer.
    file: Option<StateFile<Vec<BackendOrder>>>,
    writing: Arc<AsyncMutex<()>>,
    /// Whether sessions of this gateway are out of this process' sight.
    elsewhere: Arc<Elsewhere>,
}

impl fmt::Debug for Drainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drainer").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    orders: BTreeMap<BackendKey, BackendOrder>,
    drains: BTreeMap<BackendKey, Drain>,
}

/// An order that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderFault {
    /// There is no such backend.
    #[error("no backend `{1}` in upstream `{0}`")]
    Unknown(UpstreamName, BackendId),
    /// There is nothing to pause or to speed up.
    #[error("backend `{0}` is not draining; give `\"state\": \"draining\"` too")]
    NotDraining(BackendId),
    /// It takes no sessions anyway.
    #[error("backend `{0}` has left its upstream; it can only be drained")]
    Removed(BackendId),
}

impl Drainer {
    /// With the orders that the process before this one left in the directory, over the table in
    /// force. Drains are carried out by [`run`](Self::run). Blocks.
    pub fn open(
        live: Arc<Live>,
        node: Arc<NodeMetrics>,
        state_dir: Option<&Arc<StateDir>>,
    ) -> Arc<Self> {
        let file = state_dir.map(|directory| StateFile::new(directory, FILE, MARK));
        let kept = file.as_ref().map(StateFile::load).transpose();
        let kept = kept.unwrap_or_else(|error| {
            tracing::error!(%error, "orders to the process before this one are lost");
            None
        });
        let drainer = Self {
            live,
            node,
            began: clock::now(),
            state: Mutex::default(),
            begun: Notify::new(),
            file,
            writing: Arc::default(),
            elsewhere: Arc::default(),
        };
        for order in kept.flatten().unwrap_or_default() {
            let (upstream, backend) = (&order.upstream, &order.backend);
            tracing::info!(%upstream, %backend, state = order.state.as_str(), "an operator's order from before the restart is in force");
            drainer.state().orders.insert(order.key(), order);
        }
        drainer.before_swap(&drainer.live.table());
        Arc::new(drainer)
    }

    /// What operators ordered, and have not taken back.
    pub fn orders(&self) -> Vec<BackendOrder> {
        self.state().orders.values().cloned().collect()
    }

    /// Takes over the orders of the previous process. The caller saves them.
    pub fn adopt(&self, orders: Vec<BackendOrder>) {
        if orders == self.orders() {
            return;
        }
        let table = self.live.table();
        {
            let mut state = self.state();
            for (upstream, backend) in std::mem::take(&mut state.orders).into_keys() {
                // Drains start again if the order still holds.
                state.drains.remove(&(upstream.clone(), backend.clone()));
                let upstream = table.upstream(&upstream);
                if let Some(member) = upstream.and_then(|upstream| upstream.member(&backend)) {
                    member.state.order(None);
                }
            }
            for order in orders {
                state.drains.remove(&order.key());
                state.orders.insert(order.key(), order);
            }
        }
        self.swapped(&table, &table);
    }

    /// Saves the orders for the next process. Returns whether that succeeded.
    pub async fn save(&self) -> bool {
        let Some(file) = self.file.clone() else {
            return false;
        };
        // In a separate task, since the caller may be cancelled during the write.
        let turn = Arc::clone(&self.writing).lock_owned().await;
        let orders = self.orders();
        let saved = tokio::task::spawn_blocking(move || {
            let saved = file.save(&orders);
            drop(turn);
            saved
        });
        let saved = saved.await;
        match saved.expect("writing a file does not panic") {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "a restart will not know the orders of now");
                false
            }
        }
    }

    /// Carries out an operator's order.
    ///
    /// # Errors
    /// When there is no such backend, or no drain that could be changed; nothing has changed then.
    pub fn order(
        &self,
        upstream: &UpstreamName,
        backend: &BackendId,
        order: &Order,
    ) -> Result<(), OrderFault> {
        let table = self.live.table();
        let known = table.upstream(upstream);
        let member = known.and_then(|upstream| upstream.member(backend));
        let key = (upstream.clone(), backend.clone());
        let mut state = self.state();
        let drains = state.drains.contains_key(&key);
        let known_here = drains || state.orders.contains_key(&key);
        let is_known = || known_here || table.removed_backend(upstream, backend).is_some();
        if member.is_none() && !is_known() {
            return Err(OrderFault::Unknown(upstream.clone(), backend.clone()));
        }
        let wanted = match (member, order.state) {
            (Some(member), Some(wanted)) => wanted.unwrap_or(member.configured),
            (Some(member), None) => member.admin_state(),
            // It left: its drain and the order end.
            (None, Some(Some(AdminState::Active) | None)) => {
                state.orders.remove(&key);
                AdminState::Active
            }
            (None, Some(Some(AdminState::Disabled))) => {
                return Err(OrderFault::Removed(backend.clone()));
            }
            (None, Some(Some(AdminState::Draining))) => {
                // It stays in force if the backend returns before it is done.
                state
                    .orders
                    .entry(key.clone())
                    .or_insert_with(|| BackendOrder::new(key.clone(), AdminState::Draining));
                AdminState::Draining
            }
            (None, None) if drains => AdminState::Draining,
            (None, None) => AdminState::Active,
        };
        let changes_drain =
            order.tempo.is_some() || order.deadline.is_some() || order.paused.is_some();
        if changes_drain && wanted != AdminState::Draining {
            return Err(OrderFault::NotDraining(backend.clone()));
        }
        if let (Some(member), Some(asked)) = (member, order.state) {
            state.set_order(&key, member, asked);
        }
        if wanted == AdminState::Draining {
            let now = self.now();
            let profile = known.map(|upstream| Profile::from(&upstream.config.drain));
            let drain = state.drains.entry(key.clone()).or_insert_with(|| {
                Drain::new(profile.unwrap_or_else(default_profile), By::Operator, now)
            });
            if order.state.is_some() {
                drain.of_removed = member.is_none();
                drain.by = By::Operator;
                drain.operator.clone_from(&order.operator);
            }
            drain.change(order, now);
            state.note(&key, order);
        } else if state.drains.remove(&key).is_some() {
            tracing::info!(%upstream, %backend, "drain stopped");
        }
        drop(state);
        self.begun.notify_one();
        Ok(())
    }

    /// What an operator ordered of this backend.
    pub fn ordered(&self, upstream: &str, backend: &str) -> Option<AdminState> {
        let key = (UpstreamName::from(upstream), BackendId::from(backend));
        self.state().orders.get(&key).map(|order| order.state)
    }

    /// Puts what operators ordered over a table that is about to be swapped in.
    pub(super) fn before_swap(&self, table: &RoutingTable) {
        for order in self.state().orders.values() {
            let upstream = table.upstream(&order.upstream);
            if let Some(member) = upstream.and_then(|upstream| upstream.member(&order.backend)) {
                member.state.order(Some(order.state));
            }
        }
    }

    /// Starts and stops drains for a new table. Returns whether completed orders were removed,
    /// which [`save`](Self::save) has to know.
    pub(super) fn swapped(&self, old: &RoutingTable, new: &RoutingTable) -> bool {
        let now = self.now();
        // For what was ordered while the table was being swapped.
        self.before_swap(new);
        let mut state = self.state();
        let ordered = state.orders.len();
        state.forget_idle_orders(new);
        let forgotten = state.orders.len() < ordered;
        for effect in swap_effects(old, new) {
            let wanted = effect.wanted || state.drains_on_leaving(&effect);
            state.want(effect.key, wanted, effect.by, effect.profile, now);
        }
        drop(state);
        self.begun.notify_one();
        forgotten
    }

    /// Which sessions of this gateway another process has, for the hand-over to set.
    pub fn elsewhere(&self) -> &Arc<Elsewhere> {
        &self.elsewhere
    }

    /// Backends whose sessions would start to leave if `new` replaced `old`.
    pub(super) fn would_begin(
        &self,
        old: &RoutingTable,
        new: &RoutingTable,
    ) -> BTreeSet<BackendKey> {
        let state = self.state();
        let begins = swap_effects(old, new).filter(|effect| {
            let ordered = state.orders.get(&effect.key);
            // An order overrides the table for a backend in the table.
            let wanted = match (ordered, effect.by) {
                (Some(order), By::Configuration) => order.state == AdminState::Draining,
                _ => effect.wanted || state.drains_on_leaving(effect),
            };
            wanted && !state.drains.contains_key(&effect.key)
        });
        begins.map(|effect| effect.key).collect()
    }

    /// Carries out plans. Never returns.
    pub async fn run(self: Arc<Self>) {
        let mut steps = interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            steps.tick().await;
            let keys: Vec<_> = self.state().drains.keys().cloned().collect();
            if keys.is_empty() {
                self.begun.notified().await;
                continue;
            }
            for key in keys {
                self.step(&key).await;
            }
        }
    }

    async fn step(&self, key: &BackendKey) {
        let query = SessionQuery {
            upstream: Some(key.0.to_string()),
            backend: Some(key.1.to_string()),
            ..SessionQuery::default()
        };
        if self.with(key, Drain::wants_a_look) == Some(true) {
            let briefs = worker_commands::briefs(&self.live, &query).await;
            let all_seen = !self.elsewhere.any();
            self.with(key, |drain, now| drain.look(key, &briefs, all_seen, now));
            if self.with(key, |drain, _| drain.plan.is_overdue()) == Some(true) {
                let order = self.leave_order(key);
                let (close, given) = (order.close(), order.given());
                let closed =
                    worker_commands::close(&self.live, &query, &close, given.as_ref()).await;
                self.node.drained(&key.0, 0, closed);
            }
            if self.with(key, |drain, _| drain.logged_done) == Some(true) && self.is_gone(key) {
                let ordered = {
                    let mut state = self.state();
                    let drain = state.drains.remove(key);
                    drain.is_some_and(|drain| drain.of_removed)
                        && state.orders.remove(key).is_some()
                };
                if ordered {
                    self.save().await;
                }
            }
        }
        let Some(due) = self.with(key, |drain, now| drain.plan.due(now)) else {
            return;
        };
        if !due.is_empty() {
            let ids: Arc<[_]> = due.iter().map(|one| one.id).collect();
            let order = self.leave_order(key);
            let gone = worker_commands::leave(&self.live, ids, &order).await;
            self.with(key, |drain, _| {
                drain.plan.were_told(&due, gone.moving, gone.closing);
            });
            self.node.drained(&key.0, gone.moving, gone.closing);
        }
    }

    /// What its sessions get, with the operator who gave the order.
    fn leave_order(&self, key: &BackendKey) -> LeaveOrder {
        LeaveOrder {
            code: 1012,
            reason: "backend is draining".into(),
            cause: Cause::Drained,
            resume: ResumeReason::Draining,
            operator: self.with(key, |drain, _| drain.operator.clone()).flatten(),
        }
    }

    /// Whether the backend is no member any more.
    fn is_gone(&self, (upstream, backend): &BackendKey) -> bool {
        let table = self.live.table();
        let upstream = table.upstream(upstream);
        upstream.is_none_or(|upstream| upstream.member(backend).is_none())
    }

    fn with<A>(&self, key: &BackendKey, act: impl FnOnce(&mut Drain, Millis) -> A) -> Option<A> {
        let now = self.now();
        self.state()
            .drains
            .get_mut(key)
            .map(|drain| act(drain, now))
    }

    fn now(&self) -> Millis {
        let passed = clock::now().duration_since(self.began);
        Millis::try_from(passed.as_millis()).unwrap_or(Millis::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For a removed upstream.
fn default_profile() -> Profile {
    Profile::from(&snapshot::Drain::default())
}
