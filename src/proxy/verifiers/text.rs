//! Credentials that are verified by their text alone: tokens, API keys, signed URLs. A token that
//! names an unknown key waits until the issuer's keys have been read again.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::base::clock;
use crate::core::auth::{
    Authenticator, CredentialFault, Denial, IssuerKeys, KeyRefresh, Principal,
};
use crate::live::Live;
use crate::proxy::verifiers::NotVerified;

/// How long a request waits for an issuer's keys. It is more than the control plane pauses between
/// two readings.
const KEYS_WAIT: Duration = Duration::from_secs(7);
/// Requests of one worker that wait for keys at a time.
const WAITING_MAX: usize = 64;

/// Counts the requests of a worker that wait for an issuer's keys.
#[derive(Debug, Default)]
pub(crate) struct KeyWaiters(Rc<Cell<usize>>);

/// One of them, for as long as it waits.
#[derive(Debug)]
struct KeyWaiter(Rc<Cell<usize>>);

impl KeyWaiters {
    /// `None` if too many wait already.
    fn enter(&self) -> Option<KeyWaiter> {
        if self.0.get() >= WAITING_MAX {
            return None;
        }
        self.0.set(self.0.get() + 1);
        Some(KeyWaiter(Rc::clone(&self.0)))
    }
}

impl Drop for KeyWaiter {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Verifies a credential that was presented at `path`.
///
/// # Errors
/// When the issuer's keys have never been read.
pub(crate) async fn verify(
    (live, waiters): (&Live, &KeyWaiters),
    authenticator: &Authenticator,
    keys: &IssuerKeys,
    (text, path): (&str, &str),
) -> Result<Result<Principal, Denial>, NotVerified> {
    let verified = authenticator.verify(text, path, keys, clock::wall());
    let Some(refresh) = authenticator
        .refresh()
        .filter(|_| is_unknown_key(&verified))
    else {
        return Ok(verified);
    };
    match after_next_reading(live, waiters, authenticator, refresh, text).await {
        None if authenticator.keys(&live.generation().keys).is_none() => {
            Err(NotVerified::NoKeys(authenticator.config.name.to_string()))
        }
        None => Ok(verified),
        Some(again) => Ok(again),
    }
}

/// Verifies again once the keys have been read: an issuer that has rotated its keys signs with new
/// ones at once. Strangers can name any key, so few requests may wait, and none longer than until a
/// reading that began after it came has ended.
async fn after_next_reading(
    live: &Live,
    waiters: &KeyWaiters,
    authenticator: &Authenticator,
    refresh: &KeyRefresh,
    text: &str,
) -> Option<Result<Principal, Denial>> {
    let mut read = live.keys_read();
    let number = refresh.want();
    live.want_keys();
    let _waiter = waiters.enter()?;
    let waited = tokio::time::timeout(KEYS_WAIT, async {
        loop {
            // Asked before verifying: the reading may end in between.
            let last = refresh.has_ended(number);
            let keys = live.generation().keys.clone();
            let verified = authenticator.verify(text, "", &keys, clock::wall());
            if !is_unknown_key(&verified) {
                return Some(verified);
            }
            if last {
                return None;
            }
            read.changed().await.ok()?;
        }
    });
    waited.await.ok().flatten()
}

fn is_unknown_key(verified: &Result<Principal, Denial>) -> bool {
    let unknown = Denial::Credential(CredentialFault::UnknownKey);
    verified.as_ref().err() == Some(&unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i8_few_requests_wait_for_keys() {
        let waiters = KeyWaiters::default();
        let held: Vec<_> = (0..WAITING_MAX)
            .map(|_| waiters.enter().expect("there is room"))
            .collect();
        assert!(waiters.enter().is_none());
        drop(held);
        assert!(waiters.enter().is_some());
        assert_eq!(waiters.0.get(), 0);
    }
}
