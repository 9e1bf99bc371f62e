//! A session's task: it polls the relay, looks for another backend when the session lost its own,
//! and leaves the record when it is dropped, whatever happened.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use crate::core::session::record::{Cause, EndedBy, Ending};
use crate::core::session::resume::ResumeReason;
use crate::io::relay::Turn;
use crate::proxy::session::live_session::{Ownership, Session};
use crate::proxy::session::reconnect::{NotResumed, Reached, Resume};
use crate::proxy::session::registry::Sessions;
use crate::proxy::session::{ended, renewal, rights};

/// Bytes of a session's future.
const SESSION_FUTURE_MAX: usize = 96;

/// Adds a session to its worker and spawns its task.
pub(crate) fn spawn(sessions: &Rc<Sessions>, session: Rc<Session>) {
    let worker = sessions.worker();
    worker.load.sessions.fetch_add(1, Ordering::Relaxed);
    sessions.insert(Rc::clone(&session));
    // Not of the request's generation: its right may have been revoked during the handshake.
    let newest = worker.live().generation();
    rights::end_if_revoked(&session, &newest.revocations, worker.tick());
    drop(newest);
    let run = Run {
        sessions: Rc::clone(sessions),
        session,
        ending: None,
        attempt: None,
    };
    let task = run.finish();
    // Every live session holds one; the behaviour tests run with this check on.
    debug_assert!(size_of_val(&task) <= SESSION_FUTURE_MAX);
    tokio::task::spawn_local(task);
}

struct Run {
    sessions: Rc<Sessions>,
    session: Rc<Session>,
    ending: Option<Ending>,
    /// The search for another backend.
    attempt: Option<Attempt>,
}

type Attempt = Pin<Box<dyn Future<Output = Result<Reached, NotResumed>>>>;

impl Run {
    async fn finish(mut self) {
        self.ending = poll_fn(|cx| self.poll(cx)).await;
    }

    /// Ready without an ending when another process has the session.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ending>> {
        loop {
            let turn = {
                let mut relay = self.session.relay.borrow_mut();
                match self.session.ownership.get() {
                    Ownership::Here | Ownership::Stays => {}
                    Ownership::Held => {
                        relay.rest(cx);
                        return Poll::Pending;
                    }
                    Ownership::Gone => return Poll::Ready(None),
                }
                let worker = self.sessions.worker();
                relay.poll(cx, &mut worker.read_buffer(), worker.tick())
            };
            match turn {
                Poll::Ready(Turn::Ended(ending)) => return Poll::Ready(Some(ending)),
                Poll::Ready(Turn::BackendNeeded(reason)) => self.look_for_backend(reason),
                Poll::Ready(Turn::Renewal) => {
                    renewal::begin(&self.sessions, &self.session);
                    continue;
                }
                Poll::Pending => {}
            }
            if self.attempt.is_none() || !self.poll_attempt(cx) {
                self.sessions.arm(&self.session);
                return Poll::Pending;
            }
        }
    }

    fn look_for_backend(&mut self, reason: ResumeReason) {
        let session = &self.session;
        if let Some((lease, held, ending)) = session.leave_backend(reason) {
            ended::report(&lease, ending, held, &session.facts.borrow());
        }
        let Some(resumption) = &session.resumption else {
            return;
        };
        let resume = Resume {
            facts: Arc::clone(&session.facts.borrow()),
            key: session.key.clone(),
            resumption: Rc::clone(resumption),
            number: session.relay.borrow().moves().resumes + 1,
            reason,
            quick: session.quick.get().into(),
        };
        let worker = Rc::clone(self.sessions.worker());
        self.attempt = Some(Box::pin(resume.run(worker)));
    }

    /// Polls the search; returns whether it changed the session.
    fn poll_attempt(&mut self, cx: &mut Context<'_>) -> bool {
        let attempt = self.attempt.as_mut().expect("a search goes on");
        if !self.session.relay.borrow().needs_backend() {
            self.attempt = None;
            return false;
        }
        let Poll::Ready(result) = attempt.as_mut().poll(cx) else {
            return false;
        };
        self.attempt = None;
        let now = self.sessions.worker().tick();
        match result {
            Ok(reached) => self.session.go_on(reached, self.sessions.worker()),
            Err(why) => {
                self.session.metrics.not_resumed();
                tracing::debug!(id = %self.session.id, %why, "session not resumed");
                let unfit = matches!(why, NotResumed::Unfit(_)).then(|| why.to_string());
                let mut relay = self.session.relay.borrow_mut();
                relay.give_up(unfit.as_deref(), now);
            }
        }
        true
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.session.ownership.get() == Ownership::Gone {
            return;
        }
        let aborted = Ending {
            by: EndedBy::Gateway,
            cause: Cause::Aborted,
            close_code: None,
            clean: false,
        };
        let ending = self.ending.unwrap_or(aborted);
        ended::record(&self.sessions, &self.session, ending);
    }
}
