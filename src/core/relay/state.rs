//! A session as plain data, to be put together again in another process over the same streams.
//! Times are differences, because the clocks of two workers have nothing in common.
//!
//! The names are those of the first version that wrote sessions. They are the format between
//! processes and do not follow the names in the code; `io::handover` numbers its versions.

mod directions;

use serde::{Deserialize, Serialize};

use crate::core::relay::direction::Entropy;
use crate::core::relay::limit::{Limit, Prolonged};
use crate::core::relay::liveness::Liveness;
use crate::core::relay::machine::Machine;
use crate::core::relay::migration::Migration;
use crate::core::relay::setup::{Times, Warning};
use crate::core::relay::side::Side;
use crate::core::relay::stage::{Closing, Stage};
use crate::core::relay::state::directions::DirectionState;
use crate::core::relay::throttle::PackedThrottle;
use crate::core::session::record::Ending;
use crate::core::session::wheel::Tick;

/// A session without its streams, for another process. A field that is added here makes another
/// version of the format.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayState {
    up: DirectionState,
    down: DirectionState,
    /// Whether the backend's stream goes with it.
    backend: bool,
    /// Longest silence.
    idle: Option<Tick>,
    /// Until its lifetime ends.
    lifetime_in: Option<Tick>,
    /// Until its credential expires.
    expires_in: Option<Tick>,
    close: Tick,
    backend_lost_code: u16,
    /// Since relayed bytes moved.
    silent: Tick,
    /// Until its end, which has begun, is over at the latest.
    over_in: Option<Tick>,
    /// Only where something moved since the end began: sessions without it are written as they were
    /// before there was this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prolonged: Option<Prolonged>,
    ending: Option<Ending>,
    /// The gateway answered a close frame in place of a peer. Written only then, likewise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unanswered: bool,
    lost: Option<Side>,
    #[serde(rename = "moving")]
    migration: Option<Box<Migration>>,
    #[serde(rename = "alive")]
    liveness: Option<Box<Liveness>>,
    throttle: Option<Box<PackedThrottle>>,
    /// Written only where there is one, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warning: Option<Box<Warning>>,
}

/// What another process wrote cannot be the state of a session.
#[derive(Debug, thiserror::Error)]
#[error("the state is inconsistent")]
pub struct Unsound;

impl Machine {
    /// The session at `now`, between two turns; `None` once it was cut.
    pub fn state(&self, now: Tick) -> Option<RelayState> {
        // No `..`: a field that is added has to be decided about here.
        let Self {
            up,
            down,
            times:
                Times {
                    idle,
                    lifetime_at,
                    expires_at,
                    close,
                },
            up_active,
            down_active,
            backend_lost_code,
            attached,
            stamp_needed: _,
            turn_needed: _,
            stage,
            migration,
            liveness,
            throttle,
            warning,
            // A tap stays behind.
            tap: _,
            entropy: _,
        } = self;
        let closing = match stage {
            Stage::Open => None,
            Stage::Closing(closing) => Some(closing),
            Stage::Cut(_) => return None,
        };
        let left = |at: &Tick| at.saturating_sub(now);
        let limit = closing.map(|closing| closing.limit.pack(now, *close));
        Some(RelayState {
            up: DirectionState::of(up),
            down: DirectionState::of(down),
            backend: *attached,
            idle: *idle,
            lifetime_in: lifetime_at.as_ref().map(left),
            expires_in: expires_at.as_ref().map(left),
            close: *close,
            backend_lost_code: *backend_lost_code,
            silent: now.saturating_sub(*up_active.max(down_active)),
            over_in: limit.map(|(left, _)| left),
            prolonged: limit.and_then(|(_, prolonged)| prolonged),
            ending: closing.and_then(|closing| closing.ending),
            unanswered: closing.is_some_and(|closing| closing.unanswered),
            lost: closing.and_then(|closing| closing.lost),
            migration: migration.as_ref().map(|one| Box::new(one.pack(now))),
            liveness: liveness.as_ref().map(|one| Box::new(one.pack(now))),
            throttle: throttle.as_ref().map(|one| Box::new(one.pack(now))),
            warning: warning.clone(),
        })
    }

    /// Continues where another process stopped; `attached` is whether the backend's stream came
    /// along.
    ///
    /// # Errors
    /// When no session can be in this state.
    pub fn from_state(
        state: RelayState,
        attached: bool,
        entropy: Entropy,
        now: Tick,
    ) -> Result<Self, Unsound> {
        if state.backend != attached {
            return Err(Unsound);
        }
        let stage = state.stage(now);
        Ok(Self {
            up: state.up.into_direction().ok_or(Unsound)?,
            down: state.down.into_direction().ok_or(Unsound)?,
            times: Times {
                idle: state.idle,
                lifetime_at: state.lifetime_in.map(|left| now.saturating_add(left)),
                expires_at: state.expires_in.map(|left| now.saturating_add(left)),
                close: state.close,
            },
            up_active: now.saturating_sub(state.silent),
            down_active: now.saturating_sub(state.silent),
            backend_lost_code: state.backend_lost_code,
            attached,
            stamp_needed: false,
            turn_needed: false,
            stage,
            migration: state.migration.map(|one| Box::new(one.unpack(now))),
            liveness: state.liveness.map(|one| Box::new(one.unpack(now))),
            throttle: state.throttle.map(|one| Box::new(one.unpack(now))),
            warning: state.warning,
            tap: None,
            entropy,
        })
    }
}

impl RelayState {
    fn stage(&self, now: Tick) -> Stage {
        let begun = self.over_in.is_some() || self.ending.is_some() || self.lost.is_some();
        if !begun {
            return Stage::Open;
        }
        let left = self.over_in.unwrap_or(self.close);
        let limit = Limit::unpack(left, self.prolonged, now, self.close);
        Stage::Closing(Box::new(Closing {
            limit,
            ending: self.ending,
            lost: self.lost,
            unanswered: self.unanswered,
        }))
    }
}
