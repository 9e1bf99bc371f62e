//! Rights that were taken away before their time: of a subject, of one credential, of one session.
//! They are few, and looked at by each handshake; without any that is one atomic read.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use crate::base::revocation::{Revocation, RevocationOrigin, RevokedWhat};
use crate::base::right::Right;
use crate::base::session_id::SessionId;

/// Revocations in force at most.
const MOST: usize = 100_000;

/// There is no room for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {MOST} revocations already; take some back")]
pub struct TooManyRevocations;

/// All that are in force.
#[derive(Debug, Default)]
pub struct Revocations {
    count: AtomicUsize,
    known: RwLock<Known>,
}

/// What a revocation is found by.
type Name = (Arc<str>, RevocationOrigin);

fn name(revocation: &Revocation) -> Name {
    (Arc::clone(&revocation.id), revocation.origin)
}

#[derive(Debug, Default)]
struct Known {
    by_name: BTreeMap<Name, Arc<Revocation>>,
    /// Names of revocations by what a handshake brings.
    by_subject: HashMap<Arc<str>, Vec<Name>>,
    by_token: HashMap<Arc<str>, Vec<Name>>,
    by_session: HashMap<SessionId, Vec<Name>>,
}

impl Known {
    fn remove(&mut self, name: &Name) -> Option<Arc<Revocation>> {
        let gone = self.by_name.remove(name)?;
        let (index, key) = match &gone.what {
            RevokedWhat::Subject(subject) => (&mut self.by_subject, subject),
            RevokedWhat::Token(token) => (&mut self.by_token, token),
            RevokedWhat::Session(id) => {
                unlist(&mut self.by_session, id, name);
                return Some(gone);
            }
        };
        unlist(index, key, name);
        Some(gone)
    }

    fn insert(&mut self, revocation: Arc<Revocation>) {
        let name = name(&revocation);
        match &revocation.what {
            RevokedWhat::Subject(subject) => {
                list(&mut self.by_subject, Arc::clone(subject), name.clone());
            }
            RevokedWhat::Token(token) => {
                list(&mut self.by_token, Arc::clone(token), name.clone());
            }
            RevokedWhat::Session(id) => list(&mut self.by_session, *id, name.clone()),
        }
        self.by_name.insert(name, revocation);
    }
}

fn list<K: Eq + Hash>(index: &mut HashMap<K, Vec<Name>>, key: K, name: Name) {
    index.entry(key).or_default().push(name);
}

fn unlist<K: Eq + Hash>(index: &mut HashMap<K, Vec<Name>>, key: &K, name: &Name) {
    if let Some(names) = index.get_mut(key) {
        names.retain(|known| known != name);
        if names.is_empty() {
            index.remove(key);
        }
    }
}

impl Revocations {
    /// Puts one into force, in place of one of the same name and origin; one that is over is as
    /// good as none.
    ///
    /// # Errors
    /// When there is no room for another.
    pub fn add(
        &self,
        revocation: Arc<Revocation>,
        now: SystemTime,
    ) -> Result<(), TooManyRevocations> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let name = name(&revocation);
        if known.by_name.len() >= MOST && !known.by_name.contains_key(&name) {
            forget(&mut known, now);
            if known.by_name.len() >= MOST {
                return Err(TooManyRevocations);
            }
        }
        known.remove(&name);
        if !revocation.is_over(now) {
            known.insert(revocation);
        }
        self.count.store(known.by_name.len(), Ordering::Release);
        Ok(())
    }

    /// Takes one back; it ends no session any more, and those that it ended stay ended.
    pub fn remove(&self, id: &str, origin: RevocationOrigin) -> Option<Arc<Revocation>> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let gone = known.remove(&(id.into(), origin));
        self.count.store(known.by_name.len(), Ordering::Release);
        gone
    }

    /// Whether this right was taken away, which this session has; a handshake is none yet.
    pub fn refuse(
        &self,
        session: Option<SessionId>,
        right: Option<&Right>,
        now: SystemTime,
    ) -> bool {
        self.refused_by(session, right, now).is_some()
    }

    /// The revocation that took this right away.
    pub fn refused_by(
        &self,
        session: Option<SessionId>,
        right: Option<&Right>,
        now: SystemTime,
    ) -> Option<Arc<Revocation>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let token = right.and_then(|right| right.token_id.as_ref());
        let origin = right.and_then(|right| right.origin_id.as_ref());
        let of_subject = right.and_then(|right| known.by_subject.get(&right.subject));
        let of_token = token.and_then(|id| known.by_token.get(id));
        let of_session = session.and_then(|id| known.by_session.get(&id));
        let of_origin = origin.and_then(|id| known.by_token.get(id));
        let found = [of_subject, of_token, of_origin, of_session];
        let names = found.into_iter().flatten().flatten();
        names
            .filter_map(|name| known.by_name.get(name))
            .find(|one| !one.is_over(now) && one.takes(session, right))
            .cloned()
    }

    /// All in force, by name; what is over is forgotten.
    pub fn list(&self, now: SystemTime) -> Vec<Arc<Revocation>> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        forget(&mut known, now);
        self.count.store(known.by_name.len(), Ordering::Release);
        known.by_name.values().cloned().collect()
    }

    /// How many there are, some of them maybe over.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn forget(known: &mut Known, now: SystemTime) {
    let over: Vec<_> = known
        .by_name
        .values()
        .filter(|one| one.is_over(now))
        .map(|one| name(one))
        .collect();
    for one in over {
        known.remove(&one);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

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
        let all = Revocations::default();
        let refused = |subject: &str, token: Option<&str>, issued: Option<u64>, now: u64| {
            all.refuse(None, Some(&right(subject, token, issued)), time(now))
        };
        assert!(!refused("ann", None, None, 10));
        let subject = RevokedWhat::Subject("ann".into());
        all.add(revocation("a", subject.clone(), Some(50)), time(10))
            .expect("room");
        let token = RevokedWhat::Token("t1".into());
        all.add(revocation("b", token, None), time(10))
            .expect("room");
        assert!(refused("ann", None, None, 10));
        assert!(refused("ann", None, Some(49), 10));
        assert!(!refused("ann", None, Some(50), 10));
        assert!(!refused("bob", None, Some(1), 10));
        assert!(refused("bob", Some("t1"), None, 10));
        assert!(!refused("ann", None, None, 100));
        all.add(revocation("a", subject, None), time(10))
            .expect("room");
        assert_eq!(all.list(time(10)).len(), 2);
        assert!(refused("ann", None, Some(60), 10));
        let declared = Revocation {
            origin: RevocationOrigin::Etcd,
            until: None,
            ..Revocation::clone(&revocation("a", RevokedWhat::Subject("ann".into()), None))
        };
        all.add(Arc::new(declared), time(10)).expect("room");
        let remove = |origin| all.remove("a", origin).is_some();
        assert!(remove(RevocationOrigin::Node) && !remove(RevocationOrigin::Node));
        assert!(refused("ann", None, None, 1000), "etcd's goes on for ever");
        assert!(remove(RevocationOrigin::Etcd));
        assert!(!refused("ann", None, None, 10));
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
        assert!(all.list(time(100)).is_empty() && all.is_empty());
    }
}
