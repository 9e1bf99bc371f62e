//! Passwords, whose hashes are slow on purpose: they are verified on threads of their own, few at a
//! time, and what was right is remembered for a little while. What is remembered is no password but
//! an HMAC under a key that this process drew.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::base::clock;
use crate::base::secret::Secret;
use crate::core::auth::password_matches;

/// Verified at once.
const AT_ONCE: usize = 2;
/// Verified, or waiting for it.
const WAITING_MAX: usize = 64;
/// How long a right password is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Right passwords remembered.
const REMEMBERED_MAX: usize = 10_000;
/// Compared with where there are no users at all: nobody knows its password.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuWpXCfVsR0VZ0hSYNfHRmGqcLKpWLzS2";

/// Verifies passwords.
pub(super) struct Passwords {
    turns: Semaphore,
    waiting: AtomicUsize,
    key: hmac::Key,
    right: Mutex<HashMap<Box<[u8]>, Instant>>,
}

impl Default for Passwords {
    fn default() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Self {
            turns: Semaphore::new(AT_ONCE),
            waiting: AtomicUsize::new(0),
            key: key.expect("the system has randomness"),
            right: Mutex::default(),
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Passwords {
    /// Whether this is the password of `user`. Of who is no user it is not, which takes as long to
    /// say as of the first of them: names cannot be told by the time. `None` when too many wait
    /// already.
    pub(super) async fn verify(
        &self,
        users: &BTreeMap<String, Secret>,
        user: &str,
        password: String,
    ) -> Option<bool> {
        let hash = users.get(user);
        let known = hash.map(|hash| self.remembered_as(hash, &password));
        if known.as_ref().is_some_and(|known| self.remembers(known)) {
            return Some(true);
        }
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        if before >= WAITING_MAX {
            return None;
        }
        let _turn = self.turns.acquire().await.ok()?;
        let compared = hash.or_else(|| users.values().next());
        let compared = compared.map_or(NOBODY, Secret::reveal).to_owned();
        let matches = spawn_blocking(move || password_matches(&compared, &password));
        let right = matches.await.unwrap_or(false) && hash.is_some();
        if let Some(known) = known.filter(|_| right) {
            self.remember(known);
        }
        Some(right)
    }

    /// A changed hash is another key.
    fn remembered_as(&self, hash: &Secret, password: &str) -> Box<[u8]> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(hash.reveal().as_bytes());
        context.update(&[0]);
        context.update(password.as_bytes());
        context.sign().as_ref().into()
    }

    fn remembers(&self, known: &[u8]) -> bool {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.get(known).is_some_and(|until| clock::now() < *until)
    }

    fn remember(&self, known: Box<[u8]>) {
        let now = clock::now();
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() >= REMEMBERED_MAX {
            right.retain(|_, until| now < *until);
        }
        if right.len() < REMEMBERED_MAX {
            right.insert(known, now + REMEMBERED);
        }
    }
}
