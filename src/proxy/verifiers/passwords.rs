//! Password verification. Password hashing is slow by design, so it runs on separate threads with
//! limited concurrency. A correct password is cached for a short time, as an HMAC under a
//! per-process key. Each client network has a limited number of permits. A wrong password holds its
//! permit for a while, so that guessing does not block other clients.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use ipnet::IpNet;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::base::clock;
use crate::base::secret::Secret;
use crate::core::auth::password_matches;
use crate::proxy::verifiers::cache::ExpiringCache;

/// Maximum number of concurrent verifications.
const AT_ONCE: usize = 2;
/// Maximum number of verifications that run or wait.
const WAITING_MAX: usize = 64;
/// Maximum number of permits for one client network, including permits held after a wrong password.
const SHARE: usize = 8;
/// The limit that replaces [`SHARE`] while half of [`WAITING_MAX`] is in use.
const SHARE_BUSY: usize = 2;
/// How long a wrong password keeps its permit.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a right password is cached.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Right passwords in the cache.
const REMEMBERED_MAX: usize = 10_000;
/// The hash to compare with if no users are configured. Its password is not known.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuWpXCfVsR0VZ0hSYNfHRmGqcLKpWLzS2";

/// Verifies passwords.
pub(crate) struct Passwords {
    turns: Semaphore,
    waiting: AtomicUsize,
    key: hmac::Key,
    right: ExpiringCache<Box<[u8]>, ()>,
    /// Permits taken, by network.
    shares: Mutex<HashMap<IpNet, usize>>,
}

/// Why a password was not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Too many wait already.
    All,
    /// All permits of this client network are taken.
    Network,
}

impl Default for Passwords {
    fn default() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Self {
            turns: Semaphore::new(AT_ONCE),
            waiting: AtomicUsize::new(0),
            key: key.expect("the system has randomness"),
            right: ExpiringCache::new(REMEMBERED, REMEMBERED_MAX),
            shares: Mutex::default(),
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One permit of a network, for as long as it is held.
struct NetworkPermit<'a> {
    shares: &'a Mutex<HashMap<IpNet, usize>>,
    network: IpNet,
}

impl Drop for NetworkPermit<'_> {
    fn drop(&mut self) {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = shares.get_mut(&self.network) {
            *taken -= 1;
            if *taken == 0 {
                shares.remove(&self.network);
            }
        }
    }
}

impl Passwords {
    /// Whether this is the password of `user`, for a client of this network. Unknown users fail in
    /// the same time as known ones.
    ///
    /// # Errors
    /// When too many wait already.
    pub(crate) async fn verify(
        &self,
        users: &BTreeMap<String, Secret>,
        user: &str,
        password: String,
        network: IpNet,
    ) -> Result<bool, Busy> {
        let hash = users.get(user);
        let known = hash.map(|hash| self.remembered_as(hash, &password));
        let remembered = known
            .as_ref()
            .and_then(|known| self.right.get(known, clock::now()));
        if remembered.is_some() {
            return Ok(true);
        }
        let _permit = self.permit(network)?;
        let right = {
            let before = self.waiting.fetch_add(1, Ordering::AcqRel);
            let _waiting = Waiting(&self.waiting);
            if before >= WAITING_MAX {
                return Err(Busy::All);
            }
            let _turn = self.turns.acquire().await.map_err(|_| Busy::All)?;
            let compared = hash.or_else(|| users.values().next());
            let compared = compared.map_or(NOBODY, Secret::reveal).to_owned();
            let matches = spawn_blocking(move || password_matches(&compared, &password));
            matches.await.unwrap_or(false) && hash.is_some()
        };
        match known.filter(|_| right) {
            Some(known) => self.right.put(known, (), clock::now()),
            None => sleep(PAUSE).await,
        }
        Ok(right)
    }

    fn permit(&self, network: IpNet) -> Result<NetworkPermit<'_>, Busy> {
        let busy = self.waiting.load(Ordering::Acquire) >= WAITING_MAX / 2;
        let most = if busy { SHARE_BUSY } else { SHARE };
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = shares.entry(network).or_default();
        if *taken >= most {
            return Err(Busy::Network);
        }
        *taken += 1;
        let shares = &self.shares;
        Ok(NetworkPermit { shares, network })
    }

    /// The cache key. A changed hash makes another key.
    fn remembered_as(&self, hash: &Secret, password: &str) -> Box<[u8]> {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(hash.reveal().as_bytes());
        context.update(&[0]);
        context.update(password.as_bytes());
        context.sign().as_ref().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::addr::network;

    #[test]
    fn one_network_gets_a_share_and_leaves_room() {
        let passwords = Passwords::default();
        let (one, other) = (network("192.0.2.1").unwrap(), network("192.0.2.2").unwrap());
        let held: Vec<_> = (0..SHARE).map(|_| passwords.permit(one).unwrap()).collect();
        assert_eq!(passwords.permit(one).err(), Some(Busy::Network));
        drop(passwords.permit(other).unwrap());
        drop(held);
        assert!(passwords.shares.lock().unwrap().is_empty());
        passwords.waiting.store(WAITING_MAX / 2, Ordering::Release);
        let held: Vec<_> = (0..SHARE_BUSY)
            .map(|_| passwords.permit(one).unwrap())
            .collect();
        assert_eq!(passwords.permit(one).err(), Some(Busy::Network));
        drop(held);
        assert!(passwords.permit(other).is_ok());
    }
}
