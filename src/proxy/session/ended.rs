//! The end of a session: its one record (I6), and its outcome for passive health.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::clock;
use crate::core::health::{Outcome, Witness};
use crate::core::session::record::{Cause, EndedBy, Ending, Facts, Record};
use crate::io::carrier::Carrier;
use crate::io::ends::SessionEnd;
use crate::proxy::backend::lease::BackendLease;
use crate::proxy::session::live_session::Session;
use crate::proxy::session::registry::Sessions;

/// Removes a session that has ended and leaves its record.
pub(crate) fn record(sessions: &Rc<Sessions>, session: &Session, ending: Ending) {
    let worker = sessions.worker();
    sessions.remove(session.id);
    worker.load.sessions.fetch_sub(1, Ordering::Relaxed);
    session.gather();
    if let Ok(mut relay) = session.relay.try_borrow_mut()
        && let (_, Some(Carrier::Local(end))) = relay.streams_mut()
    {
        end.set_end(end_of(ending));
    }
    let duration = clock::now().duration_since(session.began);
    let (to_backend, to_client) = session.gathered.get();
    let record = Record {
        facts: Arc::clone(&session.facts.borrow()),
        duration,
        to_backend,
        to_client,
        published: session.published(),
        moves: session.moves(),
        ending,
    };
    session.metrics.ended(&record);
    worker.session_ended(&record);
    session.metrics.lost(record.moves.messages_lost);
    if let Some(backend) = &*session.backend.borrow() {
        let held = backend.held(session.began);
        report(&backend.lease, ending, held, &record.facts);
    }
}

/// The end of a session as a function gets it.
fn end_of(ending: Ending) -> SessionEnd {
    let by_frame = ending.cause == Cause::CloseFrame;
    let by_client = ending.by == EndedBy::Client;
    match (ending.close_code, ending.cause) {
        // RFC 6455, section 7.1.5; the words are those of AWS.
        (None, Cause::CloseFrame) => SessionEnd {
            code: 1005,
            by_frame,
            by_client,
            reason: "Client-side close frame status not set",
        },
        (code, cause) => SessionEnd {
            code: code.unwrap_or(1006),
            by_frame,
            by_client,
            reason: cause.as_str(),
        },
    }
}

/// Reports to passive health how a session's time with a backend ended.
pub(crate) fn report(lease: &BackendLease, ending: Ending, held: Duration, facts: &Facts) {
    if let Some(outcome) = outcome(ending, held, lease.early_close()) {
        lease.report(outcome, witness(facts));
    }
}

/// The outcome of a session for its backend. A backend that loses a session right after its 101 is
/// not well, whatever its probe reports. A late loss is no evidence about the next session, and
/// must not outweigh failed dials.
fn outcome(ending: Ending, held: Duration, early_close: Duration) -> Option<Outcome> {
    let lost = match (ending.by, ending.cause) {
        (EndedBy::Backend, Cause::CloseFrame) => matches!(ending.close_code, Some(1006 | 1011)),
        (EndedBy::Backend, _) | (_, Cause::BackendProtocolError) => true,
        _ => false,
    };
    match lost {
        true if held <= early_close => Some(Outcome::EarlyClose),
        true => None,
        false => Some(Outcome::Ok),
    }
}

/// The session's client for passive health, which counts failures by client.
pub(crate) fn witness(facts: &Facts) -> Witness {
    Witness::of_record(facts.request.client(), facts.principal.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(by: EndedBy, cause: Cause, close_code: Option<u16>) -> Ending {
        Ending {
            by,
            cause,
            close_code,
            clean: false,
        }
    }

    #[track_caller]
    fn check(ending: Ending, early: Option<Outcome>, late: Option<Outcome>) {
        let bound = Duration::from_secs(1);
        assert_eq!(outcome(ending, bound, bound), early);
        assert_eq!(outcome(ending, bound * 2, bound), late);
    }

    #[test]
    fn only_an_early_loss_counts_against_a_backend() {
        let lost = ended(EndedBy::Backend, Cause::Disconnected, None);
        check(lost, Some(Outcome::EarlyClose), None);
        let broken = ended(EndedBy::Gateway, Cause::BackendProtocolError, Some(1002));
        check(broken, Some(Outcome::EarlyClose), None);
    }

    #[test]
    fn a_backend_that_closes_properly_is_well_and_one_that_fails_is_not() {
        let normal = ended(EndedBy::Backend, Cause::CloseFrame, Some(1000));
        check(normal, Some(Outcome::Ok), Some(Outcome::Ok));
        let failed = ended(EndedBy::Backend, Cause::CloseFrame, Some(1011));
        check(failed, Some(Outcome::EarlyClose), None);
    }

    #[test]
    fn an_end_by_client_or_gateway_speaks_for_the_backend() {
        for by in [EndedBy::Client, EndedBy::Gateway] {
            let ending = ended(by, Cause::Disconnected, None);
            check(ending, Some(Outcome::Ok), Some(Outcome::Ok));
        }
    }
}
