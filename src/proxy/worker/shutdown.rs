//! The end of a worker: nothing new is taken, sessions are closed by a plan, and what is left when
//! the time is over is cut.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::core::session::drain::{self, Candidate, Millis, Plan, Profile};
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::Cause;
use crate::live::{SLICE_MAX, SessionBrief, SessionQuery, Slice, WorkerCommand};
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
    let mut more_due = false;
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
                more_due = turn(sessions);
                closing.step(sessions, began.elapsed());
            }
            // Sessions are served between two slices.
            () = yield_now(), if more_due => more_due = sessions.expire(worker.tick()),
            () = yield_now(), if closing.has_slice() => closing.slice(sessions),
            Some(plan) = closing.planned(), if closing.is_planning() => closing.set_plan(plan),
        }
        if worker.load.connections.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        if Instant::now() >= over {
            let cut = cut_all(sessions).await;
            for answer in shortened {
                // The receiver may have given up waiting.
                let _ = answer.send(cut);
            }
            return cut;
        }
    }
}

/// Ends what is left; returns how many sessions that were.
async fn cut_all(sessions: &Rc<Sessions>) -> usize {
    handover::abandon(sessions);
    let (mut cut, mut slice) = (0, Slice::first(None));
    loop {
        let sliced = sessions.cut(slice);
        cut += sliced.answer;
        slice.after = sliced.next;
        if slice.after.is_none() {
            break;
        }
        yield_now().await;
    }
    // Each session's task has to run once more to leave its record.
    while sessions.len() > 0 {
        yield_now().await;
    }
    cut
}

/// The plan by which a worker's sessions are closed. What grows with them is done slice by slice,
/// or on another thread.
pub(super) struct Closing {
    /// `None` while another thread surveys the sessions for it.
    plan: Option<Plan>,
    survey: Option<JoinHandle<Plan>>,
    order: CloseOrder,
    surveyed: Option<Duration>,
    walk: Option<Walk>,
    /// More sessions are due than one slice closes.
    more_due: bool,
    /// Since the start of the shutdown.
    passed: Duration,
    /// Sessions that had been added when all were closed last.
    closed_of: Option<u64>,
}

/// A walk over all sessions that is under way.
enum Walk {
    /// Gathers candidates for the plan.
    Survey(Slice, Vec<Candidate>),
    /// Closes all: those that began after the last survey too.
    Close(Slice),
}

impl Closing {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            plan: Some(Plan::new(profile, 0, fastrand::u64(..))),
            survey: None,
            order: CloseOrder {
                code: 1001,
                reason: "gateway is shutting down".into(),
                cause: Cause::Shutdown,
            },
            surveyed: None,
            walk: None,
            more_due: false,
            passed: Duration::ZERO,
            closed_of: None,
        }
    }

    /// A step of the clock.
    pub(super) fn step(&mut self, sessions: &Sessions, passed: Duration) {
        self.passed = passed;
        let due = |last| passed.saturating_sub(last) >= SURVEY_EVERY;
        if self.walk.is_none() && self.plan.is_some() && self.surveyed.is_none_or(due) {
            self.surveyed = Some(passed);
            self.walk = Some(Walk::Survey(Slice::first(None), Vec::new()));
        }
        self.close_due(sessions);
        // A session that began after the last survey is closed with the last of the others.
        let left = self.plan.as_ref().map(|plan| plan.progress().left);
        let added = Some(sessions.added());
        if self.walk.is_none() && left == Some(0) && self.closed_of != added {
            self.closed_of = added;
            self.walk = Some(Walk::Close(Slice::first(None)));
        }
    }

    /// Whether there is something to do that goes slice by slice.
    pub(super) fn has_slice(&self) -> bool {
        self.walk.is_some() || self.more_due
    }

    /// Does the next slice of it.
    pub(super) fn slice(&mut self, sessions: &Sessions) {
        if self.more_due {
            self.close_due(sessions);
        }
        match self.walk.take() {
            None => {}
            Some(Walk::Close(slice)) => {
                let found = sessions.slice(&SessionQuery::default(), slice);
                sessions.close(&found.answer, &self.order, None);
                self.walk = found.next.map(|next| Walk::Close(Slice::first(Some(next))));
            }
            Some(Walk::Survey(slice, mut candidates)) => {
                let found = sessions.slice(&SessionQuery::default(), slice);
                let briefs = sessions.briefs(&found.answer);
                candidates.extend(briefs.iter().map(candidate));
                match (found.next, self.plan.take()) {
                    (None, Some(mut plan)) => {
                        // Sorting all of them would hold the worker.
                        self.survey = Some(spawn_blocking(move || {
                            drain::idle_first(&mut candidates);
                            plan.survey(&candidates);
                            plan
                        }));
                    }
                    (next, plan) => {
                        let slice = next.map(|next| Slice::first(Some(next)));
                        self.walk = slice.map(|slice| Walk::Survey(slice, candidates));
                        self.plan = plan;
                    }
                }
            }
        }
    }

    /// Whether another thread surveys the sessions.
    fn is_planning(&self) -> bool {
        self.survey.is_some()
    }

    /// The plan, once another thread has surveyed the sessions for it; `None` if none does.
    pub(super) async fn planned(&mut self) -> Option<Plan> {
        let plan = self.survey.as_mut()?.await;
        self.survey = None;
        Some(plan.expect("a survey does not panic"))
    }

    /// Goes on by this plan.
    pub(super) fn set_plan(&mut self, plan: Plan) {
        self.plan = Some(plan);
    }

    /// Closes what is due, a slice at most.
    fn close_due(&mut self, sessions: &Sessions) {
        let Some(plan) = &mut self.plan else { return };
        let now = Millis::try_from(self.passed.as_millis()).unwrap_or(Millis::MAX);
        let due = plan.due_at_most(now, SLICE_MAX);
        self.more_due = due.len() == SLICE_MAX;
        let due: Vec<_> = due.iter().filter_map(|one| sessions.find(one.id)).collect();
        sessions.close(&due, &self.order, None);
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
