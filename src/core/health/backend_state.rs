//! The live state of one backend. It outlives routing tables, so that a swap keeps it, and all
//! workers share it. Picking a backend reads atomics only; results take the lock.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::names::BackendId;
use crate::config::snapshot::{AdminState, Passive, Probe, ProbeKind};
use crate::core::health::{
    Ejection, Health, Occupancy, Outcome, Outlier, Report, Tracker, Witness,
};

/// Health, ejection, live sessions and counters of a backend. Counters only grow.
#[derive(Debug)]
pub struct BackendState {
    /// Where `ejected_until` counts from.
    base: Instant,
    /// The tracker's last `Health` as a number.
    health: AtomicU8,
    /// Milliseconds since `base`; 0 before the first ejection.
    ejected_until: AtomicU64,
    /// When it woke up: one more than milliseconds since `base`, 0 if it was awake from the start.
    woke: AtomicU64,
    /// What an operator ordered: 0 nothing, else one more than the state's place.
    ordered: AtomicU8,
    occupancy: Arc<Occupancy>,
    connects: AtomicU64,
    failures: AtomicU64,
    checks: Mutex<HealthChecks>,
}

/// What results change, together.
#[derive(Debug)]
struct HealthChecks {
    tracker: Tracker,
    outlier: Outlier,
    /// Why the last failed probe failed, until the backend is healthy again.
    reason: Option<String>,
    /// How long the last successful probe took.
    latency: Option<Duration>,
    /// When the last probe ended.
    probed: Option<Instant>,
    /// Whether the probe makes requests.
    speaks_http: bool,
}

impl BackendState {
    /// A backend without results, which may have sessions already. `now` must not be later than any
    /// time passed afterwards.
    pub fn with(
        occupancy: Arc<Occupancy>,
        probe: Option<&Probe>,
        passive: &Passive,
        now: Instant,
    ) -> Self {
        let (rise, fall) = thresholds(probe);
        Self {
            base: now,
            health: AtomicU8::new(0),
            ejected_until: AtomicU64::new(0),
            woke: AtomicU64::new(0),
            ordered: AtomicU8::new(0),
            occupancy,
            connects: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            checks: Mutex::new(HealthChecks {
                tracker: Tracker::new(rise, fall),
                outlier: Outlier::new(passive),
                reason: None,
                latency: None,
                probed: None,
                speaks_http: speaks_http(probe),
            }),
        }
    }

    /// Applies a new routing table. Results stay, except those of a probe or of passive health that
    /// the upstream no longer has.
    pub fn configure(&self, probe: Option<&Probe>, passive: &Passive) {
        let (rise, fall) = thresholds(probe);
        {
            let mut checks = self.checks();
            checks.speaks_http = speaks_http(probe);
            checks.tracker.set_thresholds(rise, fall);
            checks.outlier.set_thresholds(passive);
            if passive.failures == 0 {
                self.ejected_until.store(0, Relaxed);
            }
        }
        if probe.is_none() {
            self.clear_probe();
        }
    }

    /// What probes have found.
    pub fn health(&self) -> Health {
        health_of(self.health.load(Relaxed))
    }

    /// Whether the backend is ejected at `now`.
    pub fn ejected(&self, now: Instant) -> bool {
        let until = self.ejected_until.load(Relaxed);
        until > 0 && self.millis(now) < until
    }

    /// The ejection that runs at `now`, with its cause. Takes the lock; for people.
    pub fn ejection(&self, now: Instant) -> Option<Ejection> {
        self.checks().outlier.ejection(now)
    }

    /// Begins to wake up at `now`: it appeared, recovered, or is taken in again.
    pub fn wake(&self, now: Instant) {
        self.woke.store(self.millis(now) + 1, Relaxed);
    }

    /// Which part of its share it takes at `now`, in 0..=1, if waking up takes so long.
    pub fn awake(&self, slow_start: Duration, now: Instant) -> f64 {
        let now = self.millis(now);
        let woke = self.woke.load(Relaxed);
        let ejected_until = self.ejected_until.load(Relaxed);
        let since = woke.saturating_sub(1).max(ejected_until.min(now));
        if woke == 0 && ejected_until == 0 {
            return 1.0;
        }
        let passed = now.saturating_sub(since) as f64 / 1_000.0;
        (passed / slow_start.as_secs_f64()).min(1.0)
    }

    /// The state ordered by the admin API, which overrides the configuration.
    pub fn ordered(&self) -> Option<AdminState> {
        match self.ordered.load(Relaxed) {
            1 => Some(AdminState::Active),
            2 => Some(AdminState::Draining),
            3 => Some(AdminState::Disabled),
            _ => None,
        }
    }

    /// Puts an operator's order into force, or takes it back.
    pub fn order(&self, state: Option<AdminState>) {
        let number = match state {
            None => 0,
            Some(AdminState::Active) => 1,
            Some(AdminState::Draining) => 2,
            Some(AdminState::Disabled) => 3,
        };
        self.ordered.store(number, Relaxed);
    }

    /// The backend's id.
    pub fn id(&self) -> &BackendId {
        self.occupancy.backend()
    }

    /// Live sessions.
    pub fn sessions(&self) -> u64 {
        self.occupancy.sessions()
    }

    /// A session is about to be established on the backend, and counts from here on, so that a
    /// burst of handshakes spreads; `session_ended` follows once, established or not.
    pub fn session_began(&self) {
        self.occupancy.began();
    }

    /// The backend granted a session that began.
    pub fn session_established(&self) {
        self.occupancy.established();
    }

    /// A session that began is over.
    pub fn session_ended(&self) {
        self.occupancy.ended();
    }

    /// A connection to the backend is tried.
    pub fn connect_began(&self) {
        self.connects.fetch_add(1, Relaxed);
    }

    /// Connections tried.
    pub fn connects(&self) -> u64 {
        self.connects.load(Relaxed)
    }

    /// Outcomes reported that were not `Ok`.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Sessions established.
    pub fn sessions_total(&self) -> u64 {
        self.occupancy.sessions_total()
    }

    /// Takes the result of a probe that ended at `now`: how long it took, or why it failed. Returns
    /// the new health if it changed.
    pub fn observe_probe(&self, result: Result<Duration, &str>, now: Instant) -> Option<Health> {
        let mut checks = self.checks();
        let before = checks.tracker.health();
        let changed = checks.tracker.observe(result.is_ok());
        let health = checks.tracker.health();
        checks.probed = Some(now);
        match result {
            Ok(latency) => {
                checks.latency = Some(latency);
                if health == Health::Healthy {
                    checks.reason = None;
                }
                let tried = now.checked_sub(latency).unwrap_or(now);
                let speaks_http = checks.speaks_http;
                if checks.outlier.disprove(tried, speaks_http, now) {
                    // `awake` counts from here.
                    self.ejected_until.store(self.millis(now).max(1), Relaxed);
                }
            }
            Err(reason) => checks.reason = Some(reason.to_owned()),
        }
        // Under the lock, so that two results cannot store in the wrong order.
        self.health.store(health as u8, Relaxed);
        if (before, changed) == (Health::Unhealthy, Some(Health::Healthy)) {
            self.wake(now);
        }
        changed
    }

    /// Records an outcome of traffic. Returns the end of the ejection that it begins. The caller,
    /// which counts the ejected members, passes `may_eject`.
    pub fn report(
        &self,
        outcome: Outcome,
        witness: Witness,
        now: Instant,
        may_eject: bool,
    ) -> Option<Instant> {
        if outcome != Outcome::Ok {
            self.failures.fetch_add(1, Relaxed);
        }
        let mut checks = self.checks();
        let report = Report {
            outcome,
            witness,
            established: self.sessions_total(),
        };
        let ejection = checks.outlier.report(report, now, may_eject)?;
        self.ejected_until
            .store(self.millis(ejection.until), Relaxed);
        Some(ejection.until)
    }

    /// Why probes fail, until they have made the backend healthy again.
    pub fn reason(&self) -> Option<String> {
        self.checks().reason.clone()
    }

    /// How long the last successful probe took.
    pub fn latency(&self) -> Option<Duration> {
        self.checks().latency
    }

    /// When the last probe ended.
    pub fn probed(&self) -> Option<Instant> {
        self.checks().probed
    }

    /// The upstream has no probe any more: back to `Unknown`, which takes sessions.
    pub fn clear_probe(&self) {
        let mut checks = self.checks();
        checks.tracker.forget();
        checks.reason = None;
        checks.latency = None;
        checks.probed = None;
        self.health.store(Health::Unknown as u8, Relaxed);
    }

    fn millis(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.base);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Nothing panics while it holds the lock halfway through a change, so a poisoned one is whole.
    fn checks(&self) -> MutexGuard<'_, HealthChecks> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `rise` and `fall`; without a probe nothing is observed and they do not matter.
fn thresholds(probe: Option<&Probe>) -> (u32, u32) {
    probe.map_or((1, 1), |probe| (probe.rise, probe.fall))
}

/// Whether a probe sees more than a connection.
fn speaks_http(probe: Option<&Probe>) -> bool {
    probe.is_some_and(|probe| !matches!(probe.kind, ProbeKind::Tcp))
}

const fn health_of(number: u8) -> Health {
    match number {
        1 => Health::Healthy,
        2 => Health::Unhealthy,
        _ => Health::Unknown,
    }
}

#[cfg(test)]
mod tests;
