//! Keeps the connection to the store, and sends over it what the ledger has to send. Requests do
//! not wait for the answers of those before.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, WriteHalf, split};
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout};

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::config::snapshot::StateKind;
use crate::core::state::{Request, StateKey, Swap, Verdict};
use crate::io::service::fault::Fault;
use crate::io::service::wire::{Stream, Wire};
use crate::io::state::link::{Answered, Asked, Protocol};
use crate::io::state::{FleetState, Reply, Share, StateStatus, Waiter};

const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Requests under way.
const UNDER_WAY_MAX: usize = 256;
/// Free room for each read.
const READ_BYTES: usize = 64 * 1024;
/// How often the connection is looked after. A store that was late is asked for a sign of life as
/// often.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between two checks of which gateways are alive.
const LOOK_TICKS: u32 = 10;
/// A store that is silent for so long, with requests under way, counts as gone.
const SILENT_MAX: Duration = Duration::from_secs(4);
/// Keys that are looked after at once.
const KEYS_AT_ONCE: usize = 64;
/// Other processes that are asked for at once.
const PROCESSES_AT_ONCE: usize = 256;

/// Keeps the store connected until the gateway leaves it.
pub async fn drive(state: Arc<FleetState>) {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        let began = clock::now();
        let ended = attempt(&state).await;
        if state.leaves.load(Ordering::Acquire) {
            state.set_answers(false);
            state.left.notify_one();
            return;
        }
        state.set_gone(&ended.err().unwrap_or(Fault::Closed));
        // A server that signs in and cuts at once is waited for like one that is gone.
        if began.elapsed() > BACKOFF.1 {
            backoff.reset();
        }
        let pause = sleep(backoff.next(fastrand::f64()));
        tokio::pin!(pause);
        // Keys go on to come and go.
        loop {
            tokio::select! {
                () = &mut pause => break,
                () = sleep(TICK) => { state.ledger().look_after(KEYS_AT_ONCE, clock::now()); }
            }
        }
    }
}

/// Connects, and serves until the connection ends, or the gateway has left.
async fn attempt(state: &Arc<FleetState>) -> Result<(), Fault> {
    let within = state.settings.connect_timeout;
    let connected = timeout(within, connect(state)).await;
    let (wire, protocol) = connected.unwrap_or(Err(Fault::Late(within)))?;
    state.set_connected(protocol.merges());
    let mut link = Connection {
        state: Arc::clone(state),
        protocol,
        out: BytesMut::new(),
        under_way: VecDeque::new(),
        renewing: usize::MAX,
        leased: false,
        leaves: false,
        left: false,
        waiters: VecDeque::new(),
    };
    let ended = link.serve(wire).await;
    link.lost();
    ended
}

async fn connect(state: &FleetState) -> Result<(Wire, Box<dyn Protocol>), Fault> {
    let settings = &state.settings;
    match settings.kind {
        #[cfg(feature = "redis")]
        StateKind::Redis => {
            let process = format!("{:016x}", state.process);
            let (wire, redis) = super::redis::connect(settings, &process).await?;
            Ok((wire, Box::new(redis)))
        }
        #[cfg(feature = "memcached")]
        StateKind::Memcached => {
            let (wire, memcached) = super::memcached::connect(settings).await?;
            Ok((wire, Box::new(memcached)))
        }
        #[cfg(not(all(feature = "redis", feature = "memcached")))]
        _ => Err(Fault::Unfit("this build has no driver for it")),
    }
}

/// A connection that is signed in.
struct Connection {
    state: Arc<FleetState>,
    protocol: Box<dyn Protocol>,
    out: BytesMut,
    /// What waits for an answer, with the processes that were asked for.
    under_way: VecDeque<(Asked, Instant, Vec<u64>)>,
    /// The waiters of the counts under way.
    waiters: VecDeque<Waiter>,
    /// Keys that the store may have lost, and that were not looked after yet, at most.
    renewing: usize,
    /// The lease was taken on this connection.
    leased: bool,
    /// The lease is given up, and nothing else is sent.
    leaves: bool,
    /// The store has taken that.
    left: bool,
}

impl Connection {
    async fn serve(&mut self, wire: Wire) -> Result<(), Fault> {
        let (mut reader, mut writer) = split(wire.stream);
        let mut input = wire.input;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut ticks, mut unflushed) = (0_u32, false);
        let state = Arc::clone(&self.state);
        self.lease();
        self.read(&mut input)?;
        while !self.left {
            self.fill();
            let rested = self.state.ledger().rests_until();
            let rests = !self.leaves && rested.is_some();
            let rested = rested.unwrap_or_else(clock::now).into();
            input.reserve(READ_BYTES);
            let flushes = self.out.is_empty();
            tokio::select! {
                read = reader.read_buf(&mut input) => {
                    if read? == 0 {
                        return Err(Fault::Closed);
                    }
                    self.read(&mut input)?;
                }
                sent = send(&mut writer, &mut self.out), if unflushed || !flushes => {
                    sent?;
                    unflushed = !flushes;
                }
                () = state.wake.notified() => {}
                () = sleep_until(rested), if rests => {}
                () = state.leaving.notified() => self.leave(),
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.look_after(ticks)?;
                }
            }
        }
        Ok(())
    }

    /// Sends what there is to send, as far as there is room.
    fn fill(&mut self) {
        if self.leaves {
            return;
        }
        let now = clock::now();
        loop {
            while self.under_way.len() < UNDER_WAY_MAX {
                let Some(request) = self.state.ledger().next(now) else {
                    break;
                };
                self.request(request, now);
            }
            // What the store may have lost goes after what clients wait for.
            if self.renewing == 0 || self.under_way.len() >= UNDER_WAY_MAX / 2 {
                return;
            }
            let keys = self.state.ledger().look_after(KEYS_AT_ONCE, now);
            self.renewing = self.renewing.min(keys).saturating_sub(KEYS_AT_ONCE);
        }
    }

    fn request(&mut self, request: Request<Waiter>, now: Instant) {
        let prefix = &self.state.settings.prefix;
        let asked = match request {
            Request::Swap(swap) => {
                let name = swap.key.name(prefix);
                self.protocol.swap(&name, &swap, &mut self.out);
                Asked::Swap(swap)
            }
            Request::Merge(merge) => {
                let name = merge.key.name(prefix);
                self.protocol.merge(&name, &merge, &mut self.out);
                Asked::Merge(merge.key)
            }
            Request::Count(rate, waiter) => {
                let name = rate.key.name(prefix);
                self.protocol.count(&name, rate.period, &mut self.out);
                self.waiters.push_back(waiter);
                Asked::Count(rate.period)
            }
        };
        self.under_way.push_back((asked, now, Vec::new()));
    }

    /// What is done from time to time.
    fn look_after(&mut self, ticks: u32) -> Result<(), Fault> {
        let now = clock::now();
        let first = self.under_way.front();
        if first.is_some_and(|(_, sent, _)| now.saturating_duration_since(*sent) > SILENT_MAX) {
            return Err(Fault::Silent);
        }
        if self.leaves {
            return Ok(());
        }
        self.state.ledger().look_after(KEYS_AT_ONCE, now);
        let third = (self.state.settings.lease.as_millis() / 3 / TICK.as_millis()) as u32;
        if ticks.is_multiple_of(third.max(1)) {
            self.lease();
        }
        if ticks.is_multiple_of(LOOK_TICKS) {
            self.ask_for_others();
        }
        let idle = self.under_way.is_empty();
        if idle && (!self.state.answers() || ticks.is_multiple_of(LOOK_TICKS)) {
            self.protocol.ping(&mut self.out);
            self.under_way.push_back((Asked::Ping, now, Vec::new()));
        }
        Ok(())
    }

    fn lease(&mut self) {
        let state = &self.state;
        let name = lease_name(&state.settings.prefix, state.process);
        let lease = state.settings.lease;
        self.protocol.lease(&name, lease, &mut self.out);
        self.under_way
            .push_back((Asked::Lease, clock::now(), Vec::new()));
    }

    /// Gives the lease up, so that the shares of this process stop to count.
    fn leave(&mut self) {
        let state = &self.state;
        let name = lease_name(&state.settings.prefix, state.process);
        self.protocol.leave(&name, &mut self.out);
        self.under_way
            .push_back((Asked::Leave, clock::now(), Vec::new()));
        self.leaves = true;
    }

    fn ask_for_others(&mut self) {
        let others = self.state.ledger().processes();
        for some in others.chunks(PROCESSES_AT_ONCE) {
            let prefix = &self.state.settings.prefix;
            let names: Vec<_> = some.iter().map(|one| lease_name(prefix, *one)).collect();
            self.protocol.processes(&names, &mut self.out);
            let asked = Asked::Processes(some.len());
            self.under_way
                .push_back((asked, clock::now(), some.to_vec()));
        }
    }

    /// Reads all answers that are whole.
    fn read(&mut self, input: &mut BytesMut) -> Result<(), Fault> {
        while let Some((asked, sent, others)) = self.under_way.front() {
            let Some((answered, end)) = self.protocol.read(asked, input)? else {
                return Ok(());
            };
            let (sent, others, asked) = (*sent, others.clone(), asked.clone());
            self.under_way.pop_front();
            input.advance(end);
            let now = clock::now();
            self.state.round_trip(now.saturating_duration_since(sent));
            self.answered(&asked, answered, &others, now);
        }
        match input.is_empty() {
            true => Ok(()),
            false => Err(Fault::Protocol("its protocol")),
        }
    }

    fn answered(&mut self, asked: &Asked, answered: Answered, others: &[u64], now: Instant) {
        match (asked, answered) {
            (Asked::Swap(Swap { key, .. }) | Asked::Merge(key), Answered::Swap(answer)) => {
                let verdicts = {
                    let mut ledger = self.state.ledger();
                    let verdicts = ledger.answered(*key, answer, now);
                    // Keys of clients that were refused go as fast as they come.
                    ledger.look_after(2, now);
                    verdicts
                };
                for (waiter, verdict) in verdicts {
                    self.reply(waiter, *key, verdict);
                }
            }
            (Asked::Swap(Swap { key, .. }) | Asked::Merge(key), Answered::Unusable(error)) => {
                tracing::debug!(error, "a value of the store is not to be used");
                // A dropped sender ends the wait.
                drop(self.state.ledger().refused(*key, now));
            }
            (Asked::Count(_), Answered::Unusable(error)) => {
                tracing::debug!(error, "a count of the store is not to be used");
                self.state.ledger().counted();
                drop(self.waiters.pop_front());
            }
            (Asked::Leave, Answered::Left) => self.left = true,
            (Asked::Count(_), Answered::Count(count, left)) => {
                self.state.ledger().counted();
                if let Some(waiter) = self.waiters.pop_front() {
                    let verdict = Verdict::Counted(count, left);
                    let _ = waiter.send(Reply {
                        verdict,
                        share: None,
                    });
                }
            }
            (Asked::Lease, Answered::Lease(was_there)) => {
                // The first one of a connection finds out nothing: its keys are written anyway.
                if !was_there && std::mem::replace(&mut self.leased, true) {
                    tracing::warn!("the store has forgotten this gateway, which writes all again");
                    self.state.ledger().forgotten();
                    self.renewing = usize::MAX;
                }
                self.leased = true;
            }
            (Asked::Processes(_), Answered::Processes(alive)) => {
                let mut ledger = self.state.ledger();
                for (process, alive) in others.iter().zip(alive) {
                    ledger.set_alive(*process, alive);
                }
            }
            _ => {}
        }
    }

    /// Passes a verdict on. If its waiter is gone, the drop of the share gives it back.
    fn reply(&self, waiter: Waiter, key: StateKey, verdict: Verdict) {
        let granted = verdict == Verdict::Granted;
        let share = granted.then(|| Share {
            state: Arc::clone(&self.state),
            key,
        });
        let _ = waiter.send(Reply { verdict, share });
    }

    /// Ends all waits: each decision is made without the store.
    fn lost(&mut self) {
        let under_way = self.under_way.drain(..);
        let keys: Vec<_> = under_way
            .filter_map(|(asked, ..)| match asked {
                Asked::Swap(swap) => Some(swap.key),
                Asked::Merge(key) => Some(key),
                _ => None,
            })
            .collect();
        // A dropped sender ends the wait.
        drop(self.state.ledger().lost(&keys));
        self.waiters.clear();
    }
}

impl FleetState {
    fn set_connected(&self, merges: bool) {
        self.ledger().connected(merges);
        self.set_answers(true);
        let server = &self.settings.address;
        tracing::info!(%server, "the store of the fleet's state is connected");
        self.status.send_modify(|status| {
            *status = StateStatus {
                connected: true,
                since: clock::wall(),
                error: None,
                connects: status.connects + 1,
            };
        });
    }

    /// A fault that lasts is logged once.
    fn set_gone(&self, fault: &Fault) {
        self.set_answers(false);
        let (error, server) = (fault.text(), &self.settings.address);
        self.status.send_modify(|status| {
            if status.connected || status.error.as_ref() != Some(&error) {
                tracing::warn!(%server, error, "the store of the fleet's state is not available; limits count this node only");
            }
            if status.connected {
                status.since = clock::wall();
            }
            status.connected = false;
            status.error = Some(error);
        });
    }

    /// An answer came after so long.
    fn round_trip(&self, length: Duration) {
        self.metrics.round_trip(length);
        if length <= self.settings.decision_timeout {
            *self.in_time() = Some(clock::now());
            if !self.answers() {
                self.set_answers(true);
            }
        }
    }
}

/// Where a process shows that it lives.
fn lease_name(prefix: &str, process: u64) -> String {
    format!("{prefix}:process:{process:016x}")
}

/// Writes some bytes; once there are none, flushes, since TLS keeps a part of what was written.
/// It may be cancelled and called again.
async fn send(writer: &mut WriteHalf<Box<dyn Stream>>, out: &mut BytesMut) -> io::Result<()> {
    if out.is_empty() {
        return writer.flush().await;
    }
    match writer.write_buf(out).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(()),
    }
}
