//! Pings of the gateway's own, for sides that have been silent. Whatever a side says shows that it
//! lives; the pong to the gateway's ping is taken out of the stream, all others pass. Nobody is
//! asked twice at once, and no timer is held: the worker's wheel brings a session up when a side
//! could be due.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::core::session::record::{Cause, EndedBy};
use crate::core::session::wheel::Tick;
use crate::core::wire::tracker::PING_BYTES;
use crate::io::relay::{Relay, Side};
use crate::live::CloseOrder;

/// Whom the gateway pings, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keepalive {
    /// Silence of a side until it is asked.
    pub interval: Tick,
    /// Silence after that until it counts as lost.
    pub timeout: Tick,
    /// Clients are asked.
    pub to_client: bool,
    /// Backends are asked.
    pub to_backend: bool,
}

/// Of a session whose sides are asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Alive {
    rules: Keepalive,
    client: Pulse,
    backend: Pulse,
}

/// What is known of one side.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pulse {
    /// When it said something last.
    heard: Tick,
    /// Since when its answer is waited for: since the ping left, or the side last took anything on
    /// the way to it.
    asked: Option<Tick>,
}

impl Alive {
    pub(super) fn new(rules: Keepalive, now: Tick) -> Self {
        let pulse = Pulse {
            heard: now,
            asked: None,
        };
        Self {
            rules,
            client: pulse,
            backend: pulse,
        }
    }

    /// For another process: how long ago, instead of when.
    pub(super) fn pack(&self, now: Tick) -> Self {
        self.shifted(|at| now.saturating_sub(at))
    }

    /// What another process packed.
    pub(super) fn unpack(&self, now: Tick) -> Self {
        self.shifted(|ago| now.saturating_sub(ago))
    }

    fn shifted(&self, shift: impl Fn(Tick) -> Tick) -> Self {
        let pulse = |Pulse { heard, asked }: Pulse| Pulse {
            heard: shift(heard),
            asked: asked.map(&shift),
        };
        Self {
            rules: self.rules,
            client: pulse(self.client),
            backend: pulse(self.backend),
        }
    }

    fn pulse(&mut self, side: Side) -> &mut Pulse {
        match side {
            Side::Client => &mut self.client,
            Side::Backend => &mut self.backend,
        }
    }

    /// When a side is to be looked at.
    fn due(&self, side: Side) -> Option<Tick> {
        let (pulse, asked) = match side {
            Side::Client => (self.client, self.rules.to_client),
            Side::Backend => (self.backend, self.rules.to_backend),
        };
        let next = pulse.asked.map_or_else(
            || pulse.heard.saturating_add(self.rules.interval),
            |asked| asked.saturating_add(self.rules.timeout),
        );
        asked.then_some(next)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Relay<C> {
    /// Takes note of who was heard, and of progress towards a side that is being asked.
    pub(super) fn note_life(&mut self, up_moved: bool, down_moved: bool, now: Tick) {
        let Some(alive) = &mut self.alive else { return };
        let heard = [
            (Side::Client, self.up.take_heard()),
            (Side::Backend, self.down.take_heard()),
        ];
        for (side, heard) in heard {
            if heard {
                *alive.pulse(side) = Pulse {
                    heard: now,
                    asked: None,
                };
            }
        }
        let on_its_way = [
            (Side::Client, down_moved && !self.down.all_sent()),
            (Side::Backend, up_moved && !self.up.all_sent()),
        ];
        for (side, on_its_way) in on_its_way {
            let pulse = alive.pulse(side);
            if on_its_way && pulse.asked.is_some() {
                pulse.asked = Some(now);
            }
        }
    }

    /// A backend is there anew.
    pub(super) fn note_backend(&mut self, now: Tick) {
        if let Some(alive) = &mut self.alive {
            alive.backend = Pulse {
                heard: now,
                asked: None,
            };
        }
    }

    /// When a side is to be asked, or to be given up.
    pub(super) fn pulse_at(&self) -> Option<Tick> {
        let alive = self.alive.as_ref()?;
        let backend = alive.due(Side::Backend).filter(|_| !self.moves_now());
        alive.due(Side::Client).into_iter().chain(backend).min()
    }

    /// Asks the sides that are due, and gives up those that have not answered.
    pub(super) fn feel_pulses(&mut self, now: Tick) {
        for side in [Side::Client, Side::Backend] {
            let Some(alive) = &mut self.alive else { return };
            let settled = side == Side::Client || self.backend.is_some();
            if !settled || alive.due(side).is_none_or(|due| now < due) {
                continue;
            }
            if alive.pulse(side).asked.is_some() {
                self.silent(side, now);
                return;
            }
            if side == Side::Backend && self.moves_now() {
                continue;
            }
            self.ask(side, now);
        }
    }

    fn ask(&mut self, side: Side, now: Tick) {
        let (from, to) = match side {
            Side::Client => (&mut self.up, &mut self.down),
            Side::Backend => (&mut self.down, &mut self.up),
        };
        let payload = from.tracker.watched().unwrap_or_else(|| {
            let mut payload = [0; PING_BYTES];
            aws_lc_rs::rand::fill(&mut payload).expect("the system has randomness");
            from.tracker.watch(payload);
            payload
        });
        let asked = to.ping(payload);
        if let Some(alive) = &mut self.alive {
            // Whoever cannot be asked just now is looked at again later.
            *alive.pulse(side) = Pulse {
                heard: now,
                asked: asked.then_some(now),
            };
        }
        self.wake();
    }

    fn silent(&mut self, side: Side, now: Tick) {
        match side {
            Side::Client => {
                let order = CloseOrder {
                    code: 3008,
                    reason: "no answer to a ping".into(),
                    cause: Cause::KeepaliveTimeout,
                };
                self.close(&order, now);
            }
            Side::Backend => {
                if !self.outlive_source(Cause::KeepaliveTimeout) {
                    self.stop_moving();
                    self.down.end_source();
                    self.backend_lost(EndedBy::Backend, Cause::KeepaliveTimeout, now);
                    self.backend = None;
                }
                self.wake();
            }
        }
    }
}
