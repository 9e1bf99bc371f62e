//! The end of a worker: nothing new is taken, sessions are closed by a plan, and what is left when
//! the time is over is cut.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::base::session_id::SessionId;
use crate::core::session::drain::{self, Candidate, Millis, Plan, Profile};
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::Cause;
use crate::live::{SessionBrief, WorkerCommand};
use crate::proxy::clock::TICK;
use crate::proxy::context::worker::WorkerPhase;
use crate::proxy::session::handover;
use crate::proxy::session::registry::Sessions;
use crate::proxy::worker::accept::{self, Arrival};
use crate::proxy::worker::commands::carry_out;
use crate::proxy::worker::turn::turn;

/// After the grace time, for the last close frames to be answered.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// Between two surveys of the sessions that are left.
const SURVEY_EVERY: Duration = Duration::from_secs(1);

/// Closes everything; returns how many sessions were left when the time was over.
pub(crate) async fn shut_down(
    sessions: &Rc<Sessions>,
    (commands, arrivals): (
        &mut mpsc::Receiver<WorkerCommand>,
        &mut mpsc::Receiver<Arrival>,
    ),
    (grace, profile): (Duration, Profile),
) -> usize {
    let worker = sessions.worker();
    worker.set_phase(WorkerPhase::Stopping);
    let began = Instant::now();
    let mut closing = Closing::new(profile);
    let mut over = began + grace + LAST_ANSWERS;
    let mut shortened = Vec::new();
    let mut ticker = interval(TICK / 10);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            // Another worker may have placed it before that worker stopped accepting.
            Some(arrival) = arrivals.recv() => accept::serve(sessions, arrival),
            Some(command) = commands.recv() => match command {
                WorkerCommand::Shutdown { grace, answer, .. } => {
                    over = over.min(Instant::now() + grace);
                    shortened.push(answer);
                }
                command => carry_out(sessions, command),
            },
            _ = ticker.tick() => {
                turn(sessions);
                closing.step(sessions, began.elapsed());
            }
        }
        if worker.load.connections.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        if Instant::now() >= over {
            handover::abandon(sessions);
            let cut = sessions.cut();
            // Each session's task has to run once more to leave its record.
            while sessions.len() > 0 {
                tokio::task::yield_now().await;
            }
            for answer in shortened {
                // The receiver may have given up waiting.
                let _ = answer.send(cut);
            }
            return cut;
        }
    }
}

/// The plan by which a worker's sessions are closed.
struct Closing {
    plan: Plan,
    order: CloseOrder,
    surveyed: Option<Duration>,
}

impl Closing {
    fn new(profile: Profile) -> Self {
        Self {
            plan: Plan::new(profile, 0, fastrand::u64(..)),
            order: CloseOrder {
                code: 1001,
                reason: "gateway is shutting down".into(),
                cause: Cause::Shutdown,
            },
            surveyed: None,
        }
    }

    fn step(&mut self, sessions: &Sessions, passed: Duration) {
        if self
            .surveyed
            .is_none_or(|last| passed - last >= SURVEY_EVERY)
        {
            self.surveyed = Some(passed);
            let briefs = sessions.briefs(&sessions.all());
            let mut candidates: Vec<_> = briefs.iter().map(candidate).collect();
            drain::idle_first(&mut candidates);
            self.plan.survey(&candidates);
        }
        let now = Millis::try_from(passed.as_millis()).unwrap_or(Millis::MAX);
        for one in self.plan.due(now) {
            self.close(sessions, Some(one.id));
        }
        // A session that began after the last survey is closed with the last of the others.
        if self.plan.progress().left == 0 {
            self.close(sessions, None);
        }
    }

    fn close(&self, sessions: &Sessions, id: Option<SessionId>) {
        let found = match id {
            Some(id) => sessions.find(id).into_iter().collect(),
            None => sessions.all(),
        };
        sessions.close(&found, &self.order, None);
    }
}

fn candidate(brief: &SessionBrief) -> Candidate {
    Candidate {
        id: brief.id,
        idle: brief.idle,
        // The whole gateway stops; there is nowhere to move to.
        movable: false,
        busy: brief.busy,
    }
}
