//! The control plane's handle of the workers: a bounded queue to each, and one way to send commands
//! to all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::base::session_id::SessionId;
use crate::live::commands::WorkerCommand;
use crate::live::slice::{Slice, Sliced};

/// Commands that may wait for a worker; more wait at their senders, within the same time limit.
const COMMANDS_MAX: usize = 64;
/// For one answer. A worker answers between two turns of its sessions, so one that needs longer is
/// stuck, and the answers of the others are worth more than waiting for it.
pub const ANSWER_MAX: Duration = Duration::from_secs(2);

/// How much a worker has; written by it, read when a new connection is placed.
#[derive(Debug, Default)]
pub struct WorkerLoad {
    /// Client connections, sessions among them.
    pub connections: AtomicUsize,
    /// Live sessions.
    pub sessions: AtomicUsize,
}

/// One worker.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    commands: mpsc::Sender<WorkerCommand>,
    /// How much it has.
    pub load: Arc<WorkerLoad>,
}

impl WorkerHandle {
    /// A handle and the other end of its queue.
    pub fn new() -> (Self, mpsc::Receiver<WorkerCommand>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let load = Arc::default();
        (Self { commands, load }, receiver)
    }

    /// Queues a command and waits for its answer.
    async fn deliver<A>(
        &self,
        command: WorkerCommand,
        answer: oneshot::Receiver<A>,
        limit: Duration,
    ) -> Option<A> {
        let answered = async {
            self.commands.send(command).await.ok()?;
            answer.await.ok()
        };
        timeout(limit, answered).await.ok().flatten()
    }
}

/// All workers of a gateway.
#[derive(Debug, Default)]
pub struct Workers(Vec<WorkerHandle>);

/// The answers of the workers, in order; `None` for one that got no command, is gone, or did not
/// answer in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers<A>(pub Vec<Option<A>>);

impl<A> IntoIterator for Answers<A> {
    type Item = A;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Option<A>>>;

    /// The answers that came.
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

impl<A> Answers<A> {
    /// How many workers gave no answer.
    pub fn missing(&self) -> usize {
        self.silent().count()
    }

    /// The places of the workers that gave no answer.
    pub fn silent(&self) -> impl Iterator<Item = usize> {
        let answers = self.0.iter().enumerate();
        answers
            .filter(|(_, answer)| answer.is_none())
            .map(|(place, _)| place)
    }
}

impl From<Vec<WorkerHandle>> for Workers {
    fn from(workers: Vec<WorkerHandle>) -> Self {
        Self(workers)
    }
}

impl Workers {
    /// None, before they run.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Queues a command on one worker. Returns whether there was room.
    pub fn try_queue(&self, place: usize, command: WorkerCommand) -> bool {
        let worker = self.0.get(place);
        worker.is_some_and(|worker| worker.commands.try_send(command).is_ok())
    }

    /// Each of them.
    pub fn handles(&self) -> &[WorkerHandle] {
        &self.0
    }

    /// How much each has.
    pub fn loads(&self) -> impl ExactSizeIterator<Item = &WorkerLoad> {
        self.0.iter().map(|worker| &*worker.load)
    }

    /// Live sessions of all.
    pub fn sessions(&self) -> usize {
        let each = self.loads();
        each.map(|load| load.sessions.load(Ordering::Relaxed)).sum()
    }

    /// Client connections of all, sessions among them.
    pub fn connections(&self) -> usize {
        let each = self.loads();
        each.map(|load| load.connections.load(Ordering::Relaxed))
            .sum()
    }

    /// Asks all workers the same thing, at the same time.
    pub async fn ask<A>(
        &self,
        command: impl Fn(oneshot::Sender<A>) -> WorkerCommand,
    ) -> Answers<A> {
        let command = &command;
        self.ask_each(ANSWER_MAX, |_, answer| Some(command(answer)))
            .await
    }

    /// Sends each worker its own command concurrently; those for which `command` is `None` get
    /// none. Each has `limit` to take the command and to answer.
    pub async fn ask_each<A>(
        &self,
        limit: Duration,
        mut command: impl FnMut(usize, oneshot::Sender<A>) -> Option<WorkerCommand>,
    ) -> Answers<A> {
        let asked = self.0.iter().enumerate().map(|(place, worker)| {
            let (sender, answer) = oneshot::channel();
            let command = command(place, sender);
            async move { worker.deliver(command?, answer, limit).await }
        });
        Answers(join_all(asked).await)
    }
}

/// Commands that are queued on all workers, and their answers to come.
#[derive(Debug)]
pub struct QueuedCommands<A> {
    /// `None` for a worker that did not take its command in time.
    answers: Vec<Option<oneshot::Receiver<A>>>,
}

impl<A> QueuedCommands<A> {
    /// The answers; `None` where there is none within `limit`.
    pub async fn answers(self, limit: Duration) -> Answers<A> {
        let each = self.answers.into_iter().map(|answer| async move {
            let answer = timeout(limit, answer?).await.ok();
            answer.and_then(Result::ok)
        });
        Answers(join_all(each).await)
    }
}

impl Workers {
    /// Queues a command on each worker, and returns when all have it, in order with those that were
    /// queued before.
    pub async fn queue<A>(
        &self,
        command: impl Fn(oneshot::Sender<A>) -> WorkerCommand,
    ) -> QueuedCommands<A> {
        let command = &command;
        let each = self.0.iter().map(|worker| async move {
            let (sender, answer) = oneshot::channel();
            let queued = timeout(ANSWER_MAX, worker.commands.send(command(sender))).await;
            queued.ok().and_then(Result::ok).map(|()| answer)
        });
        QueuedCommands {
            answers: join_all(each).await,
        }
    }
}

/// The answers of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked<A> {
    /// One for each slice, worker by worker.
    pub answers: Vec<A>,
    /// The workers that did not answer for all of their sessions.
    pub silent: Vec<usize>,
}

impl Workers {
    /// Commands all workers to walk over all of their sessions, each slice by slice: a worker
    /// serves its clients between two slices, however many sessions it has.
    pub async fn walk<A>(
        &self,
        command: impl Fn(Slice, oneshot::Sender<Sliced<A>>) -> WorkerCommand,
    ) -> Walked<A> {
        self.walk_until(ANSWER_MAX, None, command, |_| false).await
    }

    /// The same from a session on, until a worker's answers are `enough`. Each slice has `limit`.
    pub async fn walk_until<A>(
        &self,
        limit: Duration,
        after: Option<SessionId>,
        command: impl Fn(Slice, oneshot::Sender<Sliced<A>>) -> WorkerCommand,
        enough: impl Fn(&[A]) -> bool,
    ) -> Walked<A> {
        let mut answers: Vec<_> = self.0.iter().map(|_| Vec::new()).collect();
        let each = |place: usize, answer| {
            answers[place].push(answer);
            !enough(&answers[place])
        };
        let silent = self.walk_each(limit, after, command, each).await;
        Walked {
            answers: answers.into_iter().flatten().collect(),
            silent,
        }
    }

    /// The same, with the answers one by one as they come, each with the place of its worker, until
    /// `each` needs no more of that worker. Returns the workers that did not answer for all of
    /// their sessions.
    pub async fn walk_each<A>(
        &self,
        limit: Duration,
        after: Option<SessionId>,
        command: impl Fn(Slice, oneshot::Sender<Sliced<A>>) -> WorkerCommand,
        each: impl FnMut(usize, A) -> bool,
    ) -> Vec<usize> {
        let command = &command;
        // The walks take turns in this task, so that the lock is always free.
        let each = &Mutex::new(each);
        let take = |place, answer| {
            let mut each = each.lock().unwrap_or_else(PoisonError::into_inner);
            each(place, answer)
        };
        let take = &take;
        let walks = self.0.iter().enumerate().map(|(place, worker)| async move {
            let mut slice = Slice::first(after);
            loop {
                let (sender, answer) = oneshot::channel();
                let command = command(slice, sender);
                let Some(sliced) = worker.deliver(command, answer, limit).await else {
                    return Some(place);
                };
                slice.after = sliced.next;
                if !take(place, sliced.answer) || slice.after.is_none() {
                    return None;
                }
            }
        });
        join_all(walks).await.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests;
