//! A session's task: it polls the relay, looks for another backend when the session lost its own,
//! and leaves the record when it is dropped, whatever happened.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use crate::core::messages::index::Memberships;
use crate::core::session::record::{Cause, EndedBy, Ending};
use crate::core::session::resume::ResumeReason;
use crate::io::relay::Turn;
use crate::proxy::session::live_session::{Ownership, Session};
use crate::proxy::session::reconnect::{NotResumed, Reached, Resume};
use crate::proxy::session::registry::Sessions;
use crate::proxy::session::{ended, renewal, rights};

/// Adds a session to its worker and spawns its task.
pub(crate) fn spawn(sessions: &Rc<Sessions>, session: Rc<Session>, memberships: Memberships) {
    let worker = sessions.worker();
    worker.load.sessions.fetch_add(1, Ordering::Relaxed);
    sessions.insert(Rc::clone(&session));
    sessions.index.add(&session, memberships);
    // Not of the request's generation: its right may have been revoked during the handshake.
    let newest = worker.live().generation();
    rights::end_if_revoked(&session, &newest.revocations, worker.tick());
    drop(newest);
    tokio::task::spawn_local(Task {
        sessions: Rc::clone(sessions),
        session: Some(session),
        attempt: None,
    });
}

/// The future of a live session. It is written by hand, because an `async` block holds what it
/// moves in twice.
struct Task {
    sessions: Rc<Sessions>,
    /// `None` once it is over.
    session: Option<Rc<Session>>,
    /// The search for another backend. Few sessions have one.
    attempt: Option<Box<Attempt>>,
}

const _: () = assert!(
    size_of::<Task>() <= 24,
    "every live session has one; tokio's task then fits in 128 bytes, the next size is 256"
);

type Attempt = Pin<Box<dyn Future<Output = Result<Reached, NotResumed>>>>;

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(session) = self.session.clone() else {
            return Poll::Ready(());
        };
        let ending = ready!(self.advance(&session, cx));
        self.session = None;
        // Without an ending another process has the session, and writes the record.
        if let Some(ending) = ending {
            ended::record(&self.sessions, &session, ending);
        }
        Poll::Ready(())
    }
}

impl Task {
    /// Ready without an ending when another process has the session.
    fn advance(&mut self, session: &Rc<Session>, cx: &mut Context<'_>) -> Poll<Option<Ending>> {
        loop {
            let turn = {
                let mut relay = session.relay.borrow_mut();
                match session.ownership.get() {
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
                Poll::Ready(Turn::BackendNeeded(reason)) => self.look_for_backend(session, reason),
                Poll::Ready(Turn::Renewal) => {
                    renewal::begin(&self.sessions, session);
                    continue;
                }
                Poll::Pending => {}
            }
            if self.attempt.is_none() || !self.poll_attempt(session, cx) {
                self.sessions.arm(session);
                return Poll::Pending;
            }
        }
    }

    fn look_for_backend(&mut self, session: &Session, reason: ResumeReason) {
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
        let attempt: Attempt = Box::pin(resume.run(worker));
        self.attempt = Some(Box::new(attempt));
    }

    /// Polls the search; returns whether it changed the session.
    fn poll_attempt(&mut self, session: &Session, cx: &mut Context<'_>) -> bool {
        let attempt = self.attempt.as_mut().expect("a search goes on");
        if !session.relay.borrow().needs_backend() {
            self.attempt = None;
            return false;
        }
        let Poll::Ready(result) = attempt.as_mut().as_mut().poll(cx) else {
            return false;
        };
        self.attempt = None;
        let now = self.sessions.worker().tick();
        match result {
            Ok(reached) => session.go_on(reached, self.sessions.worker()),
            Err(why) => {
                session.metrics.not_resumed();
                tracing::debug!(id = %session.id, %why, "session not resumed");
                let unfit = matches!(why, NotResumed::Unfit(_)).then(|| why.to_string());
                let mut relay = session.relay.borrow_mut();
                relay.give_up(unfit.as_deref(), now);
            }
        }
        true
    }
}

impl Drop for Task {
    /// The record of a session whose task was dropped before its end, or has panicked.
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        if session.ownership.get() == Ownership::Gone {
            return;
        }
        let aborted = Ending {
            by: EndedBy::Gateway,
            cause: Cause::Aborted,
            close_code: None,
            clean: false,
        };
        ended::record(&self.sessions, &session, aborted);
    }
}
