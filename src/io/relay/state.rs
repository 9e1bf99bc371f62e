//! A session's relay as plain data, to be put together again in another process over the same
//! streams. Times are differences: the clocks of two workers have nothing in common.

use serde::{Deserialize, Serialize};

use crate::core::session::record::Ending;
use crate::core::session::wheel::Tick;
use crate::io::relay::alive::Alive;
use crate::io::relay::ending::{Limit, Prolonged};
use crate::io::relay::flow::Flow;
use crate::io::relay::life::Warning;
use crate::io::relay::moving::Moving;
use crate::io::relay::throttle::Throttled;
use crate::io::relay::{Relay, Side, Stream, Times};

/// Everything that a relay knows but for its streams. A field that is added here makes another
/// version of the state, see `io::handover`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayState {
    up: Flow,
    down: Flow,
    /// Whether its backend's stream goes with it.
    backend: bool,
    /// Silence that ends it.
    idle: Option<Tick>,
    /// Until its lifetime is over.
    lifetime_in: Option<Tick>,
    /// Until its right to be here ends.
    expires_in: Option<Tick>,
    close: Tick,
    backend_lost_code: u16,
    /// Since the last byte.
    silent: Tick,
    /// Until its end, which has begun, is over at the latest.
    over_in: Option<Tick>,
    /// Where something moved since that began. Other sessions are written as before there was this
    /// field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prolonged: Option<Prolonged>,
    ending: Option<Ending>,
    /// The gateway answered a close frame in a peer's place. Other sessions are written as before
    /// there was this field.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unanswered: bool,
    lost: Option<Side>,
    moving: Option<Box<Moving>>,
    alive: Option<Box<Alive>>,
    throttle: Option<Box<Throttled>>,
    /// Sessions without one are written as before there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warning: Option<Box<Warning>>,
}

/// What another process wrote cannot be a relay's state.
#[derive(Debug, thiserror::Error)]
#[error("the state contradicts itself")]
pub struct Unsound;

impl<C: Stream> Relay<C> {
    /// What it knows at `now`, between two polls; `None` once it has been cut.
    pub fn state(&self, now: Tick) -> Option<RelayState> {
        // No `..`: whoever adds a field decides here how it gets across.
        let Self {
            client: _,
            backend,
            up,
            down,
            times:
                Times {
                    idle,
                    lifetime_at,
                    expires_at,
                    close,
                },
            backend_lost_code,
            active,
            over,
            ending,
            unanswered,
            lost,
            cut,
            waker: _,
            moving,
            alive,
            throttle,
            warning,
        } = self;
        let left = |at: &Tick| at.saturating_sub(now);
        let limit = over.as_ref().map(|limit| limit.pack(now, *close));
        (!cut).then(|| RelayState {
            up: up.clone(),
            down: down.clone(),
            backend: backend.is_some(),
            idle: *idle,
            lifetime_in: lifetime_at.as_ref().map(left),
            expires_in: expires_at.as_ref().map(left),
            close: *close,
            backend_lost_code: *backend_lost_code,
            silent: now.saturating_sub(*active),
            over_in: limit.map(|(left, _)| left),
            prolonged: limit.and_then(|(_, prolonged)| prolonged),
            ending: *ending,
            unanswered: *unanswered,
            lost: *lost,
            moving: moving.as_ref().map(|moving| Box::new(moving.pack(now))),
            alive: alive.as_ref().map(|alive| Box::new(alive.pack(now))),
            throttle: throttle
                .as_ref()
                .map(|throttle| Box::new(throttle.pack(now))),
            warning: warning.clone(),
        })
    }

    /// Goes on with these streams where another left off.
    ///
    /// # Errors
    /// When no relay can be in this state.
    pub fn from_state(
        client: C,
        backend: Option<C>,
        state: RelayState,
        now: Tick,
    ) -> Result<Self, Unsound> {
        let sound = state.up.is_sound() && state.down.is_sound();
        if !sound || state.backend != backend.is_some() {
            return Err(Unsound);
        }
        Ok(Self {
            client,
            backend,
            up: state.up,
            down: state.down,
            times: Times {
                idle: state.idle,
                lifetime_at: state.lifetime_in.map(|left| now.saturating_add(left)),
                expires_at: state.expires_in.map(|left| now.saturating_add(left)),
                close: state.close,
            },
            backend_lost_code: state.backend_lost_code,
            active: now.saturating_sub(state.silent),
            over: state
                .over_in
                .map(|left| Limit::unpack(left, state.prolonged, now, state.close)),
            ending: state.ending,
            unanswered: state.unanswered,
            lost: state.lost,
            cut: false,
            waker: None,
            moving: state.moving.map(|moving| Box::new(moving.unpack(now))),
            alive: state.alive.map(|alive| Box::new(alive.unpack(now))),
            throttle: state
                .throttle
                .map(|throttle| Box::new(throttle.unpack(now))),
            warning: state.warning,
        })
    }

    /// Its streams, the client's first; between two backends there is only that.
    pub fn streams(&self) -> (&C, Option<&C>) {
        (&self.client, self.backend.as_ref())
    }
}
