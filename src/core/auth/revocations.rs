//! Rights that were taken away before their time: of a subject, of one credential, of one session.
//! They are few, and looked at by each handshake; without any that is one atomic read.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use crate::base::right::Right;
use crate::base::session_id::SessionId;

/// Revocations in force at most.
const MOST: usize = 100_000;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its name.
    pub id: Arc<str>,
    /// Whose right.
    pub what: RevokedWhat,
    /// Of a subject: only credentials made before this. One that does not say when it was made
    /// counts as made before.
    pub issued_before: Option<SystemTime>,
    /// When it is forgotten.
    pub until: SystemTime,
    /// For people.
    pub reason: Arc<str>,
}

/// Whose right was taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokedWhat {
    /// Everything of this subject.
    Subject(Arc<str>),
    /// The credential of this id (`jti`).
    Token(Arc<str>),
    /// This session; it ends no handshake.
    Session(SessionId),
}

/// There is no room for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {MOST} revocations already; take some back")]
pub struct TooManyRevocations;

impl Revocation {
    /// Whether it takes this right away, which this session has.
    pub fn takes(&self, session: Option<SessionId>, right: Option<&Right>) -> bool {
        match &self.what {
            RevokedWhat::Session(id) => session == Some(*id),
            RevokedWhat::Token(id) => {
                right.is_some_and(|right| right.token_id.as_deref() == Some(id))
            }
            RevokedWhat::Subject(subject) => right.is_some_and(|right| {
                let old = |before| right.issued.is_none_or(|issued| issued < before);
                right.subject == *subject && self.issued_before.is_none_or(old)
            }),
        }
    }
}

/// All that are in force.
#[derive(Debug, Default)]
pub struct Revocations {
    count: AtomicUsize,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_id: BTreeMap<Arc<str>, Arc<Revocation>>,
    /// Ids of revocations by what a handshake brings.
    by_subject: HashMap<Arc<str>, Vec<Arc<str>>>,
    by_token: HashMap<Arc<str>, Vec<Arc<str>>>,
}

impl Known {
    fn remove(&mut self, id: &str) -> Option<Arc<Revocation>> {
        let gone = self.by_id.remove(id)?;
        let (index, key) = match &gone.what {
            RevokedWhat::Subject(subject) => (&mut self.by_subject, subject),
            RevokedWhat::Token(token) => (&mut self.by_token, token),
            RevokedWhat::Session(_) => return Some(gone),
        };
        if let Some(ids) = index.get_mut(key) {
            ids.retain(|known| **known != *id);
            if ids.is_empty() {
                index.remove(key);
            }
        }
        Some(gone)
    }

    fn insert(&mut self, revocation: Arc<Revocation>) {
        let id = Arc::clone(&revocation.id);
        match &revocation.what {
            RevokedWhat::Subject(subject) => {
                self.by_subject
                    .entry(Arc::clone(subject))
                    .or_default()
                    .push(Arc::clone(&id));
            }
            RevokedWhat::Token(token) => {
                self.by_token
                    .entry(Arc::clone(token))
                    .or_default()
                    .push(Arc::clone(&id));
            }
            RevokedWhat::Session(_) => {}
        }
        self.by_id.insert(id, revocation);
    }
}

impl Revocations {
    /// Puts one into force, in place of one of the same id.
    ///
    /// # Errors
    /// When there is no room for another.
    pub fn add(&self, revocation: Revocation, now: SystemTime) -> Result<(), TooManyRevocations> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.by_id.len() >= MOST && !known.by_id.contains_key(&revocation.id) {
            forget(&mut known, now);
            if known.by_id.len() >= MOST {
                return Err(TooManyRevocations);
            }
        }
        known.remove(&revocation.id);
        known.insert(Arc::new(revocation));
        self.count.store(known.by_id.len(), Ordering::Release);
        Ok(())
    }

    /// Takes one back; it ends no session any more, and those that it ended stay ended.
    pub fn remove(&self, id: &str) -> Option<Arc<Revocation>> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let gone = known.remove(id);
        self.count.store(known.by_id.len(), Ordering::Release);
        gone
    }

    /// Whether this right was taken away.
    pub fn refuse(&self, right: &Right, now: SystemTime) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let of_subject = known.by_subject.get(&right.subject);
        let of_token = right
            .token_id
            .as_ref()
            .and_then(|id| known.by_token.get(id));
        let ids = of_subject.into_iter().chain(of_token).flatten();
        ids.filter_map(|id| known.by_id.get(id))
            .any(|one| one.until > now && one.takes(None, Some(right)))
    }

    /// All in force, by id; what is over is forgotten.
    pub fn list(&self, now: SystemTime) -> Vec<Arc<Revocation>> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        forget(&mut known, now);
        self.count.store(known.by_id.len(), Ordering::Release);
        known.by_id.values().cloned().collect()
    }

    /// How many there are, some of them maybe over.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn forget(known: &mut Known, now: SystemTime) {
    let over: Vec<_> = known
        .by_id
        .values()
        .filter(|one| one.until <= now)
        .cloned()
        .collect();
    for one in over {
        known.remove(&one.id);
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
            issued: issued.map(time),
            expires: None,
            leeway: Duration::ZERO,
        }
    }

    fn revocation(id: &str, what: RevokedWhat, issued_before: Option<u64>) -> Revocation {
        Revocation {
            id: id.into(),
            what,
            issued_before: issued_before.map(time),
            until: time(100),
            reason: "".into(),
        }
    }

    #[test]
    fn rights_are_taken_away_until_the_revocation_is_over_or_taken_back() {
        let all = Revocations::default();
        let refused = |subject: &str, token: Option<&str>, issued: Option<u64>, now: u64| {
            all.refuse(&right(subject, token, issued), time(now))
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
        assert!(all.remove("a").is_some() && all.remove("a").is_none());
        assert!(!refused("ann", None, None, 10));
        assert!(all.list(time(100)).is_empty() && all.is_empty());
    }
}
