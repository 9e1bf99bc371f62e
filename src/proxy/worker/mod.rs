//! A worker: a thread, a runtime that never leaves it, and the sessions that live on it. It takes
//! connections, carries out commands, and keeps the coarse time.

mod accept;

use std::io;
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::core::session::drain::{self, Candidate, Millis, Plan, Profile};
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::Cause;
use crate::io::net::listener::Bound;
use crate::live::{SessionBrief, SessionQuery, WorkerCommand, WorkerHandle};
use crate::proxy::context::worker::{Standing, TICK, Worker};
use crate::proxy::worker::accept::{ARRIVALS_MAX, Arrival, Neighbour};

pub use crate::proxy::context::worker::{ListenerContext, Shared};

/// After the grace time, for the last close frames to be answered.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// Between two looks at who is there while a worker ends.
const LOOK: Duration = Duration::from_secs(1);
/// Between looks at connections that nobody uses.
const TIDY_EVERY: u32 = 50;

/// What one worker needs to run.
struct Berth {
    index: usize,
    handle: WorkerHandle,
    commands: mpsc::Receiver<WorkerCommand>,
    arrivals: mpsc::Receiver<Arrival>,
    sockets: Vec<(usize, Bound)>,
}

/// Starts the workers. Sockets, each with its listener's place in `shared.listeners`, are spread
/// over them; the connections that they take are not bound to the worker that accepts.
///
/// # Errors
/// When the system gives no more threads.
pub fn start(
    shared: &Shared,
    workers: usize,
    sockets: Vec<(usize, Bound)>,
) -> io::Result<(Vec<WorkerHandle>, Vec<JoinHandle<()>>)> {
    let mut berths = Vec::new();
    let mut neighbours = Vec::new();
    for index in 0..workers {
        let (handle, commands) = WorkerHandle::new();
        let (sender, arrivals) = mpsc::channel(ARRIVALS_MAX);
        neighbours.push(Neighbour {
            load: handle.load.clone(),
            arrivals: sender,
        });
        berths.push(Berth {
            index,
            handle,
            commands,
            arrivals,
            sockets: Vec::new(),
        });
    }
    for (place, socket) in sockets.into_iter().enumerate() {
        berths[place % workers].sockets.push(socket);
    }
    let handles = berths.iter().map(|berth| berth.handle.clone()).collect();
    let threads = berths.into_iter().map(|berth| {
        let (shared, neighbours) = (shared.clone(), neighbours.clone());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new()
            .name(format!("worker-{}", berth.index))
            .spawn(move || {
                let local = LocalSet::new();
                local.block_on(&runtime, run(shared, berth, neighbours));
            })
    });
    let threads = threads.collect::<io::Result<_>>()?;
    Ok((handles, threads))
}

async fn run(shared: Shared, berth: Berth, neighbours: Vec<Neighbour>) {
    let worker = Worker::new(berth.index, shared, berth.handle.load.clone());
    let neighbours: Rc<[Neighbour]> = neighbours.into();
    let mut acceptors = JoinSet::new();
    for (listener, socket) in berth.sockets {
        match socket.start() {
            Ok(acceptor) => {
                let (worker, neighbours) = (Rc::clone(&worker), Rc::clone(&neighbours));
                acceptors.spawn_local(accept::accept(worker, neighbours, listener, acceptor));
            }
            Err(error) => tracing::error!(%error, "a listening socket cannot be watched"),
        }
    }
    let (mut commands, mut arrivals) = (berth.commands, berth.arrivals);
    let mut ticker = interval(TICK);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            Some(arrival) = arrivals.recv() => accept::serve(&worker, arrival),
            command = commands.recv() => match command {
                Some(WorkerCommand::Shutdown {
                    grace,
                    profile,
                    answer,
                }) => {
                    acceptors.abort_all();
                    let cut = shut_down(&worker, &mut commands, &mut arrivals, (grace, profile)).await;
                    // Whoever asked may have given up waiting.
                    let _ = answer.send(cut);
                    return;
                }
                Some(command) => worker.carry_out(command),
                None => return,
            },
            _ = ticker.tick() => worker.turn(),
        }
    }
}

impl Worker {
    /// One step of the coarse time.
    fn turn(&self) {
        let now = self.advance();
        self.sessions.expire(now);
        if now.is_multiple_of(TIDY_EVERY) {
            self.pool.tidy(clock::now());
        }
    }

    /// Whoever asked may have given up waiting; that is no fault here.
    fn carry_out(self: &Rc<Self>, command: WorkerCommand) {
        match command {
            WorkerCommand::Sessions {
                query,
                limit,
                answer,
            } => {
                let _ = answer.send(self.sessions.list(self, &query, limit));
            }
            WorkerCommand::Close {
                query,
                order,
                given,
                answer,
            } => {
                let now = self.tick();
                let closed = self.sessions.close(&query, &order, given.as_ref(), now);
                let _ = answer.send(closed);
            }
            WorkerCommand::Renew {
                query,
                renewal,
                answer,
            } => {
                let _ = answer.send(self.sessions.renew(&query, &renewal, self.tick()));
            }
            WorkerCommand::Revoke { answer } => {
                let generation = self.live().generation();
                let ended = self.sessions.revoke(&generation.revocations, self.tick());
                let _ = answer.send(ended);
            }
            WorkerCommand::Briefs { query, answer } => {
                let _ = answer.send(self.sessions.briefs(self, &query));
            }
            WorkerCommand::Leave {
                which,
                order,
                answer,
            } => {
                let _ = answer.send(self.sessions.leave(self, &which, &order));
            }
            WorkerCommand::Gather { answer } => {
                self.sessions.gather();
                self.forget_metrics();
                let _ = answer.send(());
            }
            WorkerCommand::Pack {
                after,
                limit,
                answer,
            } => {
                let _ = answer.send(self.pack(after, limit));
            }
            WorkerCommand::Release {
                taken,
                resume,
                answer,
            } => {
                let _ = answer.send(self.release(&taken, resume));
            }
            WorkerCommand::Adopt {
                parcels,
                go,
                answer,
            } => {
                let _ = answer.send(self.adopt(parcels, go));
            }
            WorkerCommand::Shutdown { answer, .. } => {
                let _ = answer.send(0);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.load
            .connections
            .load(std::sync::atomic::Ordering::Relaxed)
            == 0
    }
}

/// Takes nothing new, closes what there is by the plan, and answers how many sessions were still
/// there when the time was over.
async fn shut_down(
    worker: &Rc<Worker>,
    commands: &mut mpsc::Receiver<WorkerCommand>,
    arrivals: &mut mpsc::Receiver<Arrival>,
    (grace, profile): (Duration, Profile),
) -> usize {
    worker.stand(Standing::Stopping);
    let began = Instant::now();
    let mut farewell = Farewell::new(profile);
    let mut over = began + grace + LAST_ANSWERS;
    let mut impatient = Vec::new();
    let mut ticker = interval(TICK / 10);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            // Another worker may have placed it before it was told to stop.
            Some(arrival) = arrivals.recv() => accept::serve(worker, arrival),
            Some(command) = commands.recv() => match command {
                WorkerCommand::Shutdown { grace, answer, .. } => {
                    over = over.min(Instant::now() + grace);
                    impatient.push(answer);
                }
                command => worker.carry_out(command),
            },
            _ = ticker.tick() => {
                worker.turn();
                farewell.step(worker, began.elapsed());
            }
        }
        if worker.is_empty() {
            return 0;
        }
        if Instant::now() >= over {
            let cut = worker.sessions.cut(worker.tick());
            // Each session's task has to see it, and leave its record.
            while worker.sessions.len() > 0 {
                tokio::task::yield_now().await;
            }
            for answer in impatient {
                // Whoever asked may have given up waiting.
                let _ = answer.send(cut);
            }
            return cut;
        }
    }
}

/// The end of a worker's sessions.
struct Farewell {
    plan: Plan,
    order: CloseOrder,
    looked: Option<Duration>,
}

impl Farewell {
    fn new(profile: Profile) -> Self {
        Self {
            plan: Plan::new(profile, 0, fastrand::u64(..)),
            order: CloseOrder {
                code: 1001,
                reason: "gateway is shutting down".into(),
                cause: Cause::Shutdown,
            },
            looked: None,
        }
    }

    fn step(&mut self, worker: &Worker, passed: Duration) {
        let sessions = &worker.sessions;
        if self.looked.is_none_or(|looked| passed - looked >= LOOK) {
            self.looked = Some(passed);
            let briefs = sessions.briefs(worker, &SessionQuery::default());
            let mut candidates: Vec<_> = briefs.iter().map(candidate).collect();
            drain::idle_first(&mut candidates);
            self.plan.survey(&candidates);
        }
        let now = Millis::try_from(passed.as_millis()).unwrap_or(Millis::MAX);
        for one in self.plan.due(now) {
            self.close(worker, Some(one.id));
        }
        // A session whose 101 left while the others were told goes with the last of them.
        if self.plan.progress().left == 0 {
            self.close(worker, None);
        }
    }

    fn close(&self, worker: &Worker, id: Option<SessionId>) {
        let query = SessionQuery {
            id,
            ..SessionQuery::default()
        };
        let now = worker.tick();
        worker.sessions.close(&query, &self.order, None, now);
    }
}

fn candidate(brief: &SessionBrief) -> Candidate {
    Candidate {
        id: brief.id,
        idle: brief.idle,
        // The gateway goes; there is no moving about within it.
        movable: false,
        busy: brief.busy,
    }
}
