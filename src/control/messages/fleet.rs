//! The other gateways at the broker: who lives, what is asked of them, and what they answer.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::base::clock;
use crate::core::messages::asked::{Asked, Replies};
use crate::core::messages::dedup::{DedupResult, DedupWindow};
use crate::core::messages::envelope::{Content, Envelope};
use crate::core::messages::nodes::{HEARTBEAT, Nodes};
use crate::core::messages::signal::{Answer, Question, Signal};
use crate::core::messages::topic::Topic;
use crate::io::broker::{Broker, BrokerStatus, NotCarried};
use crate::telemetry::metrics::MessageMetrics;

/// How often nodes are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Answers that are made at the same time; a question beyond that is not answered (I8).
const ANSWERING_MAX: usize = 256;
/// Signals that wait for the broker at the same time; those beyond that are lost (I8).
const SENDING_MAX: usize = 4096;

/// The fleet, as one of its nodes sees it.
#[derive(Debug)]
pub(super) struct Fleet {
    broker: Broker,
    process: Arc<str>,
    name: Arc<str>,
    nodes: Mutex<Nodes>,
    asked: Mutex<Asked<Answer, oneshot::Sender<()>>>,
    /// The messages whose publisher has or gets the counts of this node.
    counted: Mutex<DedupWindow>,
    answering: Arc<Semaphore>,
    sending: Arc<Semaphore>,
    /// Messages of the broker were dropped, so heartbeats may have been among them.
    missed: AtomicBool,
    /// Since when a message of the broker is being taken; what is behind it waits.
    taking: Mutex<Option<Instant>>,
    /// This node has ended.
    ended: AtomicBool,
}

/// Another live node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// `node.name` there.
    pub name: Arc<str>,
    /// The id of its process.
    pub process: Arc<str>,
    /// Since its last heartbeat.
    pub silent: Duration,
}

impl Fleet {
    pub(super) fn new(broker: Broker, process: Arc<str>, name: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            broker,
            process,
            name,
            nodes: Mutex::default(),
            asked: Mutex::default(),
            counted: Mutex::default(),
            answering: Arc::new(Semaphore::new(ANSWERING_MAX)),
            sending: Arc::new(Semaphore::new(SENDING_MAX)),
            missed: AtomicBool::new(false),
            taking: Mutex::default(),
            ended: AtomicBool::new(false),
        })
    }

    pub(super) fn broker(&self) -> &Broker {
        &self.broker
    }

    pub(super) fn process(&self) -> &Arc<str> {
        &self.process
    }

    /// How many other nodes live.
    pub(super) fn others(&self) -> usize {
        lock(&self.nodes).processes().len()
    }

    /// The processes of the other live nodes.
    pub(super) fn processes(&self) -> Vec<Arc<str>> {
        lock(&self.nodes).processes().map(Arc::clone).collect()
    }

    /// Whether every live node is known: else another one may have a session that none has.
    pub(super) fn is_settled(&self) -> bool {
        lock(&self.nodes).is_settled(clock::now())
    }

    /// The other live nodes.
    pub(super) fn statuses(&self) -> Vec<NodeStatus> {
        let (nodes, now) = (lock(&self.nodes), clock::now());
        let all = nodes.all().map(|(process, node)| NodeStatus {
            name: Arc::clone(&node.name),
            process: Arc::clone(process),
            silent: now.saturating_duration_since(node.heard),
        });
        all.collect()
    }

    /// Has the broker carry something that is no message.
    ///
    /// # Errors
    /// When it may not have it.
    pub(super) async fn signal(&self, topic: Topic, signal: Signal) -> Result<(), NotCarried> {
        let envelope = Envelope {
            from: Arc::clone(&self.process),
            content: Content::Signal(signal),
        };
        let payload = Bytes::from(envelope.encode());
        self.broker.publish(topic, payload, Vec::new()).await
    }

    /// Has the broker carry something, after all that was given to it before. Does not wait until
    /// it has: what it does not take is lost.
    pub(super) async fn signal_soon(self: &Arc<Self>, topic: Topic, signal: Signal) {
        let Ok(permit) = Arc::clone(&self.sending).try_acquire_owned() else {
            tracing::debug!(%topic, "too many signals wait for the broker; this one is lost");
            return;
        };
        let fleet = Arc::clone(self);
        let mut sending = Box::pin(async move {
            if let Err(error) = fleet.signal(topic, signal).await {
                tracing::debug!(%error, "a signal was not carried");
            }
            drop(permit);
        });
        // It is queued when it is first polled, so that signals stay in order.
        let first = poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await;
        if first.is_pending() {
            tokio::spawn(sending);
        }
    }

    /// Sends heartbeats, and notices nodes that send none.
    pub(super) async fn beat(self: Arc<Self>, metrics: Arc<MessageMetrics>) {
        let mut status = self.broker.watch_status();
        let (mut connects, mut ticks) = (0, 0_u64);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let every = HEARTBEAT.as_secs() / TICK.as_secs();
        loop {
            tokio::select! {
                _ = tick.tick() => ticks += 1,
                changed = status.changed() => if changed.is_err() {
                    return;
                },
            }
            let BrokerStatus {
                connected,
                connects: now_connects,
                ..
            } = *status.borrow_and_update();
            let again = now_connects != connects;
            connects = now_connects;
            if self.ended.load(Ordering::Acquire) {
                return;
            }
            self.look(connected, again);
            metrics.nodes(self.others() + 1);
            let name = Arc::clone(&self.name);
            let signal = match (connected, again, ticks % every == 0) {
                (true, true, _) => Signal::Hello { name },
                (true, false, true) => Signal::Alive { name },
                _ => continue,
            };
            // A broker that is slow must not delay the look at nodes. The next heartbeat comes.
            let _ = timeout(TICK, self.signal(Topic::Fleet, signal)).await;
        }
    }

    /// A message of the broker is being taken, or was.
    pub(super) fn set_taking(&self, taking: bool) {
        *lock(&self.taking) = taking.then(clock::now);
    }

    /// Messages of the broker were dropped.
    pub(super) fn set_missed(&self) {
        self.missed.store(true, Ordering::Release);
    }

    /// Whether heartbeats that came may not have been taken since the last call.
    fn is_deaf(&self, now: Instant) -> bool {
        let taking = *lock(&self.taking);
        let slow = taking.is_some_and(|since| now.saturating_duration_since(since) >= TICK);
        self.missed.swap(false, Ordering::AcqRel) || slow
    }

    /// Notices nodes that are gone.
    fn look(&self, connected: bool, again: bool) {
        let now = clock::now();
        let deaf = self.is_deaf(now);
        let gone = {
            let mut nodes = lock(&self.nodes);
            if again {
                nodes.set_connected(false, now);
            }
            nodes.set_connected(connected, now);
            nodes.expire(now, deaf)
        };
        for process in gone {
            tracing::info!(%process, "a gateway is gone: no heartbeat of it at the broker");
            self.is_gone(&process);
        }
    }

    fn is_gone(&self, process: &str) {
        let woken = lock(&self.asked).gone(process);
        for wake in woken {
            let _ = wake.send(());
        }
    }

    /// Something of another node came: it lives.
    pub(super) fn heard(&self, process: &str) {
        lock(&self.nodes).heard(process, clock::now());
    }

    /// Another node lives.
    pub(super) fn hear(&self, process: &Arc<str>, name: &Arc<str>) {
        if lock(&self.nodes).hear(process, name, clock::now()) {
            tracing::info!(%process, %name, "a gateway is at the broker");
        }
    }

    /// Answers the hello of another node, so that it need not wait for the next heartbeat.
    pub(super) fn greet(self: &Arc<Self>, process: Arc<str>) {
        let (fleet, name) = (Arc::clone(self), Arc::clone(&self.name));
        let alive = Signal::Alive { name };
        self.background(async move { fleet.signal(Topic::Node(process), alive).await });
    }

    /// Another node has ended.
    pub(super) fn leave(&self, process: &str) {
        if lock(&self.nodes).leave(process, clock::now()) {
            tracing::info!(%process, "a gateway has left the broker");
            self.is_gone(process);
        }
    }

    /// This node ends.
    pub(super) async fn goodbye(&self) {
        // A heartbeat behind it would make the others believe that it lives.
        self.ended.store(true, Ordering::Release);
        let goodbye = self.signal(Topic::Fleet, Signal::Goodbye);
        // Without it the others notice some seconds later.
        let _ = timeout(TICK, goodbye).await;
    }

    /// An answer came.
    pub(super) fn answered(&self, ask: u64, process: &Arc<str>, answer: Answer) {
        if let Some(wake) = lock(&self.asked).answer(ask, process, answer) {
            let _ = wake.send(());
        }
    }

    /// Whether this is the first time that another node asks for the counts of this message: it may
    /// come by several topics.
    pub(super) fn counts_first(&self, process: &str, ask: u64) -> bool {
        let id = format!("{process}#{ask}").into();
        lock(&self.counted).insert(&id, true, clock::now()) == DedupResult::New
    }

    /// Sends an answer that is being made.
    pub(super) fn answer(
        self: &Arc<Self>,
        process: Arc<str>,
        ask: u64,
        answer: impl Future<Output = Answer> + Send + 'static,
    ) {
        let fleet = Arc::clone(self);
        self.background(async move {
            let answer = answer.await;
            let answer = Signal::Answer { ask, answer };
            fleet.signal(Topic::Node(process), answer).await
        });
    }

    /// Does some work for another node, unless there is too much of it already.
    fn background(&self, work: impl Future<Output = Result<(), NotCarried>> + Send + 'static) {
        let Ok(permit) = Arc::clone(&self.answering).try_acquire_owned() else {
            tracing::debug!("too many questions of other gateways at once");
            return;
        };
        tokio::spawn(async move {
            if let Err(error) = work.await {
                tracing::debug!(%error, "another gateway gets no answer");
            }
            drop(permit);
        });
    }

    /// Begins to wait for an answer of every other node, until one is `enough`. `None` if too many
    /// questions are asked already.
    pub(super) fn begin(
        self: &Arc<Self>,
        wait: Duration,
        enough: fn(&Answer) -> bool,
    ) -> Option<Waiting> {
        let others = self.processes();
        let count = others.len();
        let (wake, woken) = oneshot::channel();
        let ask = lock(&self.asked).begin(others.into_iter(), enough, wake)?;
        Some(Waiting {
            fleet: Arc::clone(self),
            ask,
            woken,
            until: clock::now() + wait,
            alone: count == 0,
        })
    }

    /// Asks every other node.
    pub(super) async fn ask(
        self: &Arc<Self>,
        question: Question,
        wait: Duration,
        enough: fn(&Answer) -> bool,
    ) -> Replies<Answer> {
        let none = Replies::none(self.others().max(1));
        let Some(waiting) = self.begin(wait, enough) else {
            return none;
        };
        let ask = waiting.number();
        let signal = Signal::Question { ask, question };
        match self.signal(Topic::Fleet, signal).await {
            Ok(()) => waiting.replies().await,
            Err(_) => none,
        }
    }
}

/// A question whose answers are to come. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    fleet: Arc<Fleet>,
    ask: u64,
    woken: oneshot::Receiver<()>,
    until: Instant,
    /// No other node is known.
    alone: bool,
}

impl Waiting {
    /// The number of the question.
    pub(super) fn number(&self) -> u64 {
        self.ask
    }

    /// The answers, when there are enough or the time is over.
    pub(super) async fn replies(mut self) -> Replies<Answer> {
        if !self.alone {
            let left = self.until.saturating_duration_since(clock::now());
            let _ = timeout(left, &mut self.woken).await;
        }
        lock(&self.fleet.asked).end(self.ask)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        lock(&self.fleet.asked).end(self.ask);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows how the broker is, and reports when it is lost and when it is back.
pub(super) async fn report(
    mut status: watch::Receiver<BrokerStatus>,
    metrics: Arc<MessageMetrics>,
) {
    let mut was = None;
    loop {
        let BrokerStatus {
            connected, error, ..
        } = status.borrow_and_update().clone();
        metrics.connected(connected);
        match (was.replace(connected), connected) {
            (Some(true), true) | (Some(false), false) => {}
            (_, true) => tracing::info!("the broker carries messages"),
            (_, false) => {
                let error = error.unwrap_or_default();
                tracing::warn!(
                    error,
                    "the broker carries no messages; this node still delivers"
                );
            }
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}
