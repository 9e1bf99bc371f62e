//! The right of live sessions: renewed, or taken away.

use std::sync::Arc;
use std::time::SystemTime;

use crate::base::clock;
use crate::base::right::Right;
use crate::core::auth::Revocations;
use crate::core::session::record::Cause;
use crate::core::session::wheel::Tick;
use crate::live::{CloseOrder, Renewal, SessionQuery};
use crate::proxy::authenticate::may_go_on;
use crate::proxy::context::ticks;
use crate::proxy::sessions::{Session, Sessions};

/// How a session ends whose right was taken away.
pub(super) fn revoked() -> CloseOrder {
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
    pub(super) fn renew(&self, query: &SessionQuery, renewal: &Renewal, now: Tick) -> usize {
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
    pub(super) fn revoke(&self, revocations: &Revocations, now: Tick) -> usize {
        let (order, time) = (revoked(), clock::wall());
        self.taken(&SessionQuery::default())
            .iter()
            .filter(|session| session.is_revoked(revocations, time) && session.close(&order, now))
            .count()
    }
}

impl Session {
    /// Whether its right was taken away.
    pub(super) fn is_revoked(&self, revocations: &Revocations, now: SystemTime) -> bool {
        let facts = self.facts();
        revocations.refuse(Some(facts.id), facts.right.as_deref(), now)
    }

    /// Gives it another right, if it is one for it.
    pub(super) fn renew(&self, renewal: &Renewal, now: Tick) -> bool {
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
