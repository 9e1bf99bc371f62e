//! A worker: a thread, a runtime that never leaves it, and the sessions that live on it. It takes
//! connections, carries out commands, and keeps the coarse time.

use std::io;
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::base::clock;
use crate::core::session::record::Cause;
use crate::io::net::listener::Bound;
use crate::live::{CloseOrder, SessionQuery, WorkerCommand, WorkerHandle};
use crate::proxy::accept::{self, ARRIVALS_MAX, Arrival, Neighbour};
use crate::proxy::context::{Standing, TICK, Worker};

pub use crate::proxy::context::{ListenerContext, Shared};

/// After the grace time, for the last close frames to be answered.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
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
                Some(WorkerCommand::Shutdown { grace, answer }) => {
                    acceptors.abort_all();
                    let cut = shut_down(&worker, &mut commands, &mut arrivals, grace).await;
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
                answer,
            } => {
                let _ = answer.send(self.sessions.close(&query, &order, self.tick()));
            }
            WorkerCommand::Briefs { query, answer } => {
                let _ = answer.send(self.sessions.briefs(self, &query));
            }
            WorkerCommand::Leave {
                which,
                order,
                answer,
            } => {
                let _ = answer.send(self.sessions.leave(&which, &order, self.tick()));
            }
            WorkerCommand::Gather { answer } => {
                self.sessions.gather();
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

/// Takes nothing new, closes what there is evenly over `grace`, and answers how many sessions were
/// still there when the time was over.
async fn shut_down(
    worker: &Rc<Worker>,
    commands: &mut mpsc::Receiver<WorkerCommand>,
    arrivals: &mut mpsc::Receiver<Arrival>,
    grace: Duration,
) -> usize {
    worker.stand(Standing::Stopping);
    let began = Instant::now();
    let ids = worker.sessions.ids();
    let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    let mut due = ids
        .into_iter()
        .zip(0..)
        .map(|(id, place)| (id, began + grace * place / count.max(1)))
        .peekable();
    let order = CloseOrder {
        code: 1001,
        reason: "gateway is shutting down".into(),
        cause: Cause::Shutdown,
    };
    let mut over = began + grace + LAST_ANSWERS;
    let mut impatient = Vec::new();
    let mut ticker = interval(TICK / 10);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let next = due.peek().map_or(over, |(_, at)| *at);
        tokio::select! {
            () = sleep_until(next.min(over)) => {
                while let Some((id, _)) = due.next_if(|(_, at)| *at <= Instant::now()) {
                    let query = SessionQuery { id: Some(id), ..SessionQuery::default() };
                    worker.sessions.close(&query, &order, worker.tick());
                }
            }
            // Another worker may have placed it before it was told to stop.
            Some(arrival) = arrivals.recv() => accept::serve(worker, arrival),
            Some(command) = commands.recv() => match command {
                WorkerCommand::Shutdown { grace, answer } => {
                    over = over.min(Instant::now() + grace);
                    impatient.push(answer);
                }
                command => worker.carry_out(command),
            },
            _ = ticker.tick() => {
                worker.turn();
                // A session whose 101 left while the others were told goes with the last of them.
                if due.peek().is_none() {
                    worker.sessions.close(&SessionQuery::default(), &order, worker.tick());
                }
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
