//! Rights that were revoked before their time: of a subject, of one credential, of one session. A
//! set of them is part of a generation: it is read without a lock, and a change makes another set.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::base::revocation::{Revocation, RevocationOrigin, RevokedWhat};
use crate::base::right::Right;
use crate::base::session_id::SessionId;
use crate::base::shared_map::SharedMap;

/// Revocations in force at most.
const MOST: usize = 100_000;

/// There is no room for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {MOST} revocations already; take some back")]
pub struct TooManyRevocations;

/// A revocation's key: two sources may use one id.
type Name = (Arc<str>, RevocationOrigin);

/// All that are in force. Clones share their entries.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    by_name: SharedMap<Name, Arc<Revocation>>,
    /// The same by what a handshake brings.
    by_what: SharedMap<RevokedWhat, BTreeMap<Name, Arc<Revocation>>>,
}

fn name(revocation: &Revocation) -> Name {
    (Arc::clone(&revocation.id), revocation.origin)
}

impl Revocations {
    /// Adds one, in place of one of the same name and origin; an expired one is not stored.
    ///
    /// # Errors
    /// When there is no room for another.
    pub fn add(
        &mut self,
        revocation: Arc<Revocation>,
        now: SystemTime,
    ) -> Result<(), TooManyRevocations> {
        let name = name(&revocation);
        if self.by_name.len() >= MOST && self.by_name.get(&name).is_none() {
            self.forget_expired(now);
            if self.by_name.len() >= MOST {
                return Err(TooManyRevocations);
            }
        }
        self.remove_named(&name);
        if !revocation.is_over(now) {
            let list = |all: &mut BTreeMap<_, _>| {
                all.insert(name.clone(), Arc::clone(&revocation));
            };
            self.by_what.update(&revocation.what, list, |_| true);
            self.by_name.insert(name, revocation);
        }
        Ok(())
    }

    /// Removes one. It ends no further session; those that it ended stay ended.
    pub fn remove(&mut self, id: &str, origin: RevocationOrigin) -> Option<Arc<Revocation>> {
        self.remove_named(&(id.into(), origin))
    }

    fn remove_named(&mut self, name: &Name) -> Option<Arc<Revocation>> {
        let gone = self.by_name.remove(name)?;
        let unlist = |all: &mut BTreeMap<_, _>| {
            all.remove(name);
        };
        self.by_what
            .update(&gone.what, unlist, |all| !all.is_empty());
        Some(gone)
    }

    /// Whether this right is revoked. `session` is the session that has it; a handshake has none.
    pub fn refuse(
        &self,
        session: Option<SessionId>,
        right: Option<&Right>,
        now: SystemTime,
    ) -> bool {
        self.refused_by(session, right, now).is_some()
    }

    /// The revocation of this right.
    pub fn refused_by(
        &self,
        session: Option<SessionId>,
        right: Option<&Right>,
        now: SystemTime,
    ) -> Option<Arc<Revocation>> {
        if self.is_empty() {
            return None;
        }
        let token = right.and_then(|right| right.token_id.clone());
        let origin = right.and_then(|right| right.origin_id.clone());
        let whats = [
            right.map(|right| RevokedWhat::Subject(Arc::clone(&right.subject))),
            token.map(RevokedWhat::Token),
            origin.map(RevokedWhat::Token),
            session.map(RevokedWhat::Session),
        ];
        let known = whats.iter().flatten();
        let known = known.filter_map(|what| self.by_what.get(what));
        let mut known = known.flat_map(BTreeMap::values);
        known
            .find(|one| !one.is_over(now) && one.takes(session, right))
            .cloned()
    }

    /// All that have not expired, by name.
    pub fn list(&self, now: SystemTime) -> Vec<Arc<Revocation>> {
        let mut valid: Vec<_> = self.valid(now).cloned().collect();
        valid.sort_unstable_by(|one, other| (&one.id, one.origin).cmp(&(&other.id, other.origin)));
        valid
    }

    /// All that have not expired, in no order.
    pub fn valid(&self, now: SystemTime) -> impl Iterator<Item = &Arc<Revocation>> {
        self.by_name.values().filter(move |one| !one.is_over(now))
    }

    /// Whether some have expired, so that [`forget_expired`](Self::forget_expired) frees memory.
    pub fn any_expired(&self, now: SystemTime) -> bool {
        self.by_name.values().any(|one| one.is_over(now))
    }

    /// Removes all that have expired.
    pub fn forget_expired(&mut self, now: SystemTime) {
        let over = self.by_name.values().filter(|one| one.is_over(now));
        let over: Vec<_> = over.map(|one| name(one)).collect();
        for one in over {
            self.remove_named(&one);
        }
    }

    /// How many there are, expired ones among them.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::base::source_id::SourceId;

    fn time(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn right(subject: &str, token: Option<&str>, issued: Option<u64>) -> Right {
        Right {
            authenticator: "users".into(),
            subject: subject.into(),
            token_id: token.map(Into::into),
            origin_id: None,
            issued: issued.map(time),
            expires: None,
            leeway: Duration::ZERO,
        }
    }

    fn revocation(id: &str, what: RevokedWhat, issued_before: Option<u64>) -> Arc<Revocation> {
        Arc::new(Revocation {
            id: id.into(),
            origin: RevocationOrigin::Node,
            what,
            issued_before: issued_before.map(time),
            until: Some(time(100)),
            reason: "".into(),
        })
    }

    #[test]
    fn rights_are_taken_away_until_the_revocation_is_over_or_taken_back() {
        let mut all = Revocations::default();
        let refused = |all: &Revocations,
                       subject: &str,
                       token: Option<&str>,
                       issued: Option<u64>,
                       now: u64| {
            all.refuse(None, Some(&right(subject, token, issued)), time(now))
        };
        assert!(!refused(&all, "ann", None, None, 10));
        let subject = RevokedWhat::Subject("ann".into());
        all.add(revocation("a", subject.clone(), Some(50)), time(10))
            .expect("room");
        let token = RevokedWhat::Token("t1".into());
        all.add(revocation("b", token, None), time(10))
            .expect("room");
        assert!(refused(&all, "ann", None, None, 10));
        assert!(refused(&all, "ann", None, Some(49), 10));
        assert!(!refused(&all, "ann", None, Some(50), 10));
        assert!(!refused(&all, "bob", None, Some(1), 10));
        assert!(refused(&all, "bob", Some("t1"), None, 10));
        assert!(!refused(&all, "ann", None, None, 100));
        all.add(revocation("a", subject, None), time(10))
            .expect("room");
        assert_eq!(all.list(time(10)).len(), 2);
        assert!(refused(&all, "ann", None, Some(60), 10));
        let declared = Revocation {
            origin: RevocationOrigin::Source(SourceId::Etcd),
            until: None,
            ..Revocation::clone(&revocation("a", RevokedWhat::Subject("ann".into()), None))
        };
        all.add(Arc::new(declared), time(10)).expect("room");
        let mut remove = |origin| all.remove("a", origin).is_some();
        assert!(remove(RevocationOrigin::Node) && !remove(RevocationOrigin::Node));
        let before = all.clone();
        assert!(refused(&all, "ann", None, None, 1000), "etcd's has no end");
        assert!(
            all.remove("a", RevocationOrigin::Source(SourceId::Etcd))
                .is_some()
        );
        assert!(
            refused(&before, "ann", None, None, 1000),
            "a clone is a version"
        );
        assert!(!refused(&all, "ann", None, None, 10));
        let session = SessionId::new(7, 7);
        let of_session = revocation("s", RevokedWhat::Session(session), None);
        all.add(of_session, time(10)).expect("room");
        assert!(all.refuse(Some(session), None, time(10)));
        assert!(!all.refuse(None, None, time(10)) && !all.refuse(Some(session), None, time(100)));
        all.add(
            revocation("c", RevokedWhat::Subject("cid".into()), None),
            time(100),
        )
        .expect("room");
        assert!(all.list(time(100)).is_empty() && all.any_expired(time(100)));
        all.forget_expired(time(100));
        assert!(all.is_empty() && all.by_what.is_empty());
    }
}
