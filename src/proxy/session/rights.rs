//! The right of live sessions: renewed, or taken away.

use std::rc::Rc;
use std::sync::Arc;

use crate::base::clock;
use crate::base::right::Right;
use crate::core::auth::Revocations;
use crate::core::session::orders::CloseOrder;
use crate::core::session::record::{Cause, EndOrder};
use crate::core::session::wheel::Tick;
use crate::live::{Renewal, SessionQuery};
use crate::proxy::context::worker::ticks;
use crate::proxy::session::{Session, Sessions};
use crate::proxy::stages::authenticate::may_go_on;

/// How a session ends whose right was taken away.
fn revoked() -> CloseOrder {
    CloseOrder {
        code: 3000,
        reason: "credential revoked".into(),
        cause: Cause::Revoked,
    }
}

impl Sessions {
    /// Renews the right of those that `query` takes; answers of how many. Sessions that are ending
    /// stay so. Those that another process is about to take are not renewed: the answer would be
    /// about a state that has gone already. Whoever asks again finds them in the other process.
    pub(crate) fn renew(&self, query: &SessionQuery, renewal: &Renewal, now: Tick) -> usize {
        let mut renewed = 0;
        for session in self.taken(query) {
            if session.is_here() && session.renew(renewal, now) {
                self.arm(&session);
                renewed += 1;
            }
        }
        renewed
    }

    /// Ends those whose right was taken away; answers how many.
    pub(crate) fn revoke(&self, revocations: &Revocations, now: Tick) -> usize {
        let sessions = self.taken(&SessionQuery::default());
        let revoked = |session: &&Rc<Session>| session.end_if_revoked(revocations, now);
        sessions.iter().filter(revoked).count()
    }
}

impl Session {
    /// Begins its end if its right was taken away; answers whether this did.
    pub(crate) fn end_if_revoked(&self, revocations: &Revocations, now: Tick) -> bool {
        let facts = self.facts();
        let right = facts.right.as_deref();
        let Some(revocation) = revocations.refused_by(Some(facts.id), right, clock::wall()) else {
            return false;
        };
        let given = Arc::new(EndOrder {
            reason: Some(Arc::clone(&revocation.reason)).filter(|reason| !reason.is_empty()),
            revocation: Some(Arc::clone(&revocation.id)),
            operator: None,
        });
        self.close(&revoked(), Some(&given), now)
    }

    /// Gives it another right, if it is one for it.
    pub(crate) fn renew(&self, renewal: &Renewal, now: Tick) -> bool {
        let facts = self.facts();
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
                if !same || !routes.all(|route| may_go_on(route, claims, &facts.target)) {
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
        self.set_right(Arc::new(new), at)
    }
}
