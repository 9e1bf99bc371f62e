//! The right of live sessions: renewed or revoked.

use std::rc::Rc;
use std::sync::Arc;

use crate::base::clock;
use crate::base::right::Right;
use crate::core::auth::Revocations;
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::{Cause, EndOrder};
use crate::core::session::wheel::Tick;
use crate::live::Renewal;
use crate::proxy::clock::ticks;
use crate::proxy::session::live_session::Session;
use crate::proxy::session::registry::Sessions;
use crate::proxy::verifiers::conditions::may_keep;

/// The order for a session whose right was revoked.
fn revoked() -> CloseOrder {
    CloseOrder {
        code: 3000,
        reason: "credential revoked".into(),
        cause: Cause::Revoked,
    }
}

/// Renews the right of these sessions; returns how many. Sessions that are ending are left out.
/// So are sessions that another process is about to take: their state is on its way already, and a
/// repeated request finds them in the other process.
pub(crate) fn renew_all(sessions: &Sessions, found: &[Rc<Session>], renewal: &Renewal) -> usize {
    let now = sessions.worker().tick();
    let mut renewed = 0;
    for session in found {
        if session.is_here() && renew(session, renewal, now) {
            sessions.arm(session);
            renewed += 1;
        }
    }
    renewed
}

/// Ends those of these sessions whose right was revoked; returns how many.
pub(crate) fn revoke_all(sessions: &Sessions, found: &[Rc<Session>]) -> usize {
    let worker = sessions.worker();
    let generation = worker.live().generation();
    let (revocations, now) = (&generation.revocations, worker.tick());
    found
        .iter()
        .filter(|session| end_if_revoked(session, revocations, now))
        .count()
}

/// Begins the end of a session whose right was revoked; returns whether this did.
pub(crate) fn end_if_revoked(session: &Session, revocations: &Revocations, now: Tick) -> bool {
    let facts = session.facts();
    let right = facts.right.as_deref();
    let Some(revocation) = revocations.refused_by(Some(facts.id), right, clock::wall()) else {
        return false;
    };
    let given = Arc::new(EndOrder {
        reason: Some(Arc::clone(&revocation.reason)).filter(|reason| !reason.is_empty()),
        revocation: Some(Arc::clone(&revocation.id)),
        operator: None,
    });
    session.close(&revoked(), Some(&given), now)
}

/// Renews the right of a session if the new one is for its principal.
pub(crate) fn renew(session: &Session, renewal: &Renewal, now: Tick) -> bool {
    let facts = session.facts();
    let Some(old) = facts.right.as_deref() else {
        return false;
    };
    let new = match renewal {
        Renewal::Credential {
            right: new,
            claims,
            route,
        } => {
            let same = new.subject == old.subject && new.authenticator == old.authenticator;
            let mut routes = route.iter();
            if !same || !routes.all(|route| may_keep(route, claims, facts.request.target())) {
                return false;
            }
            Right {
                leeway: old.leeway,
                ..new.clone()
            }
        }
        Renewal::Until(expires) => Right {
            expires: *expires,
            ..old.clone()
        },
    };
    let left = new.left(clock::wall());
    let at = left.map(|left| now.saturating_add(ticks(left)));
    session.set_right(Arc::new(new), at)
}

#[cfg(test)]
mod tests;
