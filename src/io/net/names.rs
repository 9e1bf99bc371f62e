//! Names of backends, looked up. The system's resolver blocks, for many seconds if no server
//! answers. Each name therefore has one lookup at a time, shared by all waiters, on a few dedicated
//! threads. Recently failed names may take half of them, and names that never had an answer three
//! quarters: dead names, however many and new, delay no name that has an answer. While a name
//! cannot be looked up, its last known addresses are used.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use crate::base::clock;

/// An answer is used for so long without asking again, good or bad.
const FRESH: Duration = Duration::from_secs(1);
/// Minimum interval between lookups of a name that fails repeatedly.
const FAILED_LAST: Duration = Duration::from_secs(30);
/// An answer that is no older is used while a new one is looked up.
const IN_USE: Duration = Duration::from_secs(30);
/// How long last known addresses are used for a name that cannot be looked up.
const STANDS_IN: Duration = Duration::from_secs(60 * 60);
/// How long to wait for a new answer if there are last known addresses.
const PATIENCE: Duration = Duration::from_millis(500);
/// Lookups at once.
const THREADS_MAX: usize = 32;
/// Of those, lookups of names of each history and of all worse ones.
const LOOKUPS_MAX: [usize; 3] = [THREADS_MAX, THREADS_MAX * 3 / 4, THREADS_MAX / 2];
/// The resolver needs little; most of it is its packets.
const STACK_BYTES: usize = 512 * 1024;
/// Names that are remembered; unused ones are forgotten beyond that.
const NAMES_MAX: usize = 8 * 1024;

type Lookup = Box<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// All names that a process looks up.
pub struct Names {
    state: Mutex<State>,
    lookup: Lookup,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    names: HashMap<Arc<str>, Name>,
    /// By history.
    queues: [VecDeque<Waiting>; 3],
    threads: usize,
    /// Lookups that are going on, by history.
    going_on: [usize; 3],
}

/// The outcome of the last lookup of a name, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LookupHistory {
    /// Its last lookup had an answer.
    Proven,
    /// It was never looked up.
    New,
    /// Its last lookup failed.
    Failed,
}

impl LookupHistory {
    const ALL: [Self; 3] = [Self::Proven, Self::New, Self::Failed];
}

/// A name to look up. Dropping the sender wakes its waiters.
struct Waiting {
    name: Arc<str>,
    history: LookupHistory,
    done: watch::Sender<()>,
}

/// The resolver; tests replace it.
enum Asked {
    /// It is fresh.
    Answer(Result<Arc<[IpAddr]>, io::Error>),
    /// A lookup is in progress; whether last known addresses are used meanwhile.
    Running(watch::Receiver<()>, bool),
}

/// The state of a name.
#[derive(Default)]
struct Name {
    /// The last good answer, and when it came.
    good: Option<(Arc<[IpAddr]>, Instant)>,
    /// Why the last lookup failed, if it did.
    fault: Option<Fault>,
    /// When the last lookup ended.
    asked: Option<Instant>,
    /// Failed lookups in a row.
    failures: u32,
    /// Open while it is looked up; and since when that goes on.
    running: Option<(watch::Receiver<()>, Instant)>,
}

#[derive(Clone)]
struct Fault(io::ErrorKind, String);

impl Name {
    fn history(&self) -> LookupHistory {
        match (self.failures, &self.good) {
            (0, Some(_)) => LookupHistory::Proven,
            (0, None) => LookupHistory::New,
            _ => LookupHistory::Failed,
        }
    }

    /// The answer that holds without asking again.
    fn answer(&self, now: Instant) -> Option<Result<Arc<[IpAddr]>, io::Error>> {
        let since = now.saturating_duration_since(self.asked?);
        let doubled = FRESH.saturating_mul(1 << self.failures.saturating_sub(1).min(8));
        (since < doubled.min(FAILED_LAST)).then(|| self.last(now))
    }

    /// Since the last good answer.
    fn age(&self, now: Instant) -> Option<Duration> {
        let (_, at) = self.good.as_ref()?;
        Some(now.saturating_duration_since(*at))
    }

    /// The last answer, or an older one that is used meanwhile.
    fn last(&self, now: Instant) -> Result<Arc<[IpAddr]>, io::Error> {
        let good = self.good.as_ref();
        let good = good.filter(|(_, at)| {
            self.fault.is_none() || now.saturating_duration_since(*at) < STANDS_IN
        });
        match (good, &self.fault) {
            (Some((addresses, _)), _) => Ok(Arc::clone(addresses)),
            (None, Some(Fault(kind, text))) => Err(io::Error::new(*kind, text.clone())),
            (None, None) => Err(io::Error::other("the lookup was given up")),
        }
    }
}

static SYSTEM: LazyLock<Arc<Names>> = LazyLock::new(|| Names::with(Box::new(ask_system)));

/// By the system's resolver, for the whole process.
pub fn system() -> &'static Arc<Names> {
    &SYSTEM
}

fn ask_system(name: &str) -> io::Result<Vec<IpAddr>> {
    let found = (name, 0).to_socket_addrs()?;
    Ok(found.map(|address| address.ip()).collect())
}

impl Names {
    /// By another way to look names up, which may block.
    pub fn with(lookup: Lookup) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            lookup,
        })
    }

    /// The addresses of a name, in the resolver's order. The future may be dropped at any time; the
    /// lookup continues for the next caller.
    ///
    /// # Errors
    /// The resolver's, if there are no last known addresses.
    pub async fn resolve(self: &Arc<Self>, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let (mut running, known) = match self.ask(name) {
            Asked::Answer(answer) => return addressed(answer, port),
            Asked::Running(running, known) => (running, known),
        };
        // The sender sends nothing; it is dropped once there is an answer.
        let ended = running.changed();
        if known {
            let _ = timeout(PATIENCE, ended).await;
        } else {
            let _ = ended.await;
        }
        let state = self.state();
        let answer = match state.names.get(name) {
            Some(known) => known.last(clock::now()),
            None => Err(io::Error::other("the name was forgotten")),
        };
        drop(state);
        addressed(answer, port)
    }

    fn ask(self: &Arc<Self>, name: &str) -> Asked {
        let now = clock::now();
        let mut state = self.state();
        if state.names.len() >= NAMES_MAX && !state.names.contains_key(name) {
            state.forget_old(now);
        }
        let key: Arc<str> = match state.names.get_key_value(name) {
            Some((key, _)) => Arc::clone(key),
            None => name.into(),
        };
        let known = state.names.entry(Arc::clone(&key)).or_default();
        if let Some(answer) = known.answer(now) {
            return Asked::Answer(answer);
        }
        let last = known.last(now);
        let stands_in = last.is_ok();
        // A name in use is looked up in the background: no dial waits for it.
        let in_use = known.fault.is_none() && known.age(now).is_some_and(|age| age < IN_USE);
        if let Some((running, since)) = &known.running {
            // The first caller waited on behalf of all.
            let waited = now.saturating_duration_since(*since) >= PATIENCE;
            return match stands_in && (waited || in_use) {
                true => Asked::Answer(last),
                false => Asked::Running(running.clone(), stands_in),
            };
        }
        let (done, running) = watch::channel(());
        known.running = Some((running.clone(), now));
        let history = known.history();
        let waiting = Waiting {
            name: key,
            history,
            done,
        };
        state.queues[history as usize].push_back(waiting);
        let start = state.turn().is_some() && state.threads < THREADS_MAX;
        state.threads += usize::from(start);
        drop(state);
        if start {
            self.start();
        }
        match in_use {
            true => Asked::Answer(last),
            false => Asked::Running(running, stands_in),
        }
    }

    /// Starts a thread that was counted already.
    fn start(self: &Arc<Self>) {
        let names = Arc::clone(self);
        let thread = thread::Builder::new()
            .name("names".to_owned())
            .stack_size(STACK_BYTES);
        if let Err(error) = thread.spawn(move || names.work()) {
            let mut state = self.state();
            state.threads -= 1;
            if state.threads == 0 {
                let queues = std::mem::take(&mut state.queues);
                for one in queues.into_iter().flatten() {
                    let fault = io::Error::new(error.kind(), error.to_string());
                    state.answered(&one.name, Err(fault));
                    drop(one.done);
                }
            }
        }
    }

    /// Looks up what is waiting, until nothing is.
    fn work(&self) {
        let mut state = self.state();
        while let Some(next) = state.next() {
            drop(state);
            let answer = (self.lookup)(&next.name);
            state = self.state();
            state.going_on[next.history as usize] -= 1;
            state.answered(&next.name, answer);
            drop(next.done);
        }
        state.threads -= 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whose turn it is: names that had an answer come before all others.
    fn turn(&self) -> Option<LookupHistory> {
        LookupHistory::ALL.into_iter().find(|history| {
            let at = *history as usize;
            let going_on: usize = self.going_on[at..].iter().sum();
            !self.queues[at].is_empty() && going_on < LOOKUPS_MAX[at]
        })
    }

    fn next(&mut self) -> Option<Waiting> {
        let at = self.turn()? as usize;
        let next = self.queues[at].pop_front()?;
        self.going_on[at] += 1;
        Some(next)
    }

    fn answered(&mut self, name: &Arc<str>, answer: io::Result<Vec<IpAddr>>) {
        let now = clock::now();
        let known = self.names.entry(Arc::clone(name)).or_default();
        known.running = None;
        known.asked = Some(now);
        match answer {
            Ok(addresses) => {
                known.good = Some((addresses.into(), now));
                known.fault = None;
                known.failures = 0;
            }
            Err(error) => {
                known.fault = Some(Fault(error.kind(), error.to_string()));
                known.failures = known.failures.saturating_add(1);
            }
        }
    }

    /// Removes names that have not been used recently.
    fn forget_old(&mut self, now: Instant) {
        self.names.retain(|_, name| {
            let asked = name.asked.is_some_and(|asked| {
                now.saturating_duration_since(asked) < FAILED_LAST.saturating_mul(2)
            });
            asked || name.running.is_some()
        });
    }
}

fn addressed(answer: Result<Arc<[IpAddr]>, io::Error>, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = answer?;
    Ok(found.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
}

#[cfg(test)]
mod tests;
