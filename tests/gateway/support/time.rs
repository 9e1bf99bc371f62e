//! Time in tests. A test awaits a condition or an event; it does not guess how long something
//! takes. Only the functions of this file sleep, and the name of each is the reason
//! (`tests/tidy/sleeps.rs`).

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that should happen at once; long, because machines are shared.
pub const DEADLINE: Duration = Duration::from_secs(15);
/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A number that does not change for so long stands still, and a send that makes no progress for so
/// long is held up.
const STILL: Duration = Duration::from_millis(500);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within [`DEADLINE`], with `what` it was.
pub async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    let holds = holds_within(DEADLINE, condition).await;
    assert!(holds, "not within {DEADLINE:?}: {what}");
}

/// Waits until `condition` holds, or until `limit` is over. Returns whether it holds.
pub async fn holds_within(limit: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition().await {
        if start.elapsed() > limit {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    true
}

/// As [`holds_within`], where nothing can be awaited (a destructor); blocks the thread.
pub fn holds_within_blocking(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > limit {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
    true
}

/// The value of a future that must not take longer than [`DEADLINE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Waits until a number does not change for a while, and returns it.
pub async fn stands_still(what: &str, number: impl Fn() -> u64) -> u64 {
    let mut seen = (number(), Instant::now());
    eventually(what, async || {
        let now = number();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        seen.1.elapsed() > STILL
    })
    .await;
    seen.0
}

/// Whether a send makes no progress, because its peer or the gateway does not read.
pub async fn is_held_up<T>(send: impl Future<Output = T>) -> bool {
    tokio::time::timeout(STILL, send).await.is_err()
}

/// The deliberate pace of a load, or of a slow peer. Nothing is awaited with it: the test holds
/// whether it takes longer or not.
pub async fn pace(step: Duration) {
    tokio::time::sleep(step).await;
}

/// As [`pace`], on a thread of its own.
pub fn pace_blocking(step: Duration) {
    thread::sleep(step);
}

/// Lets a time limit run out in real time: one of the gateway, of another process (a lease, a
/// token) or one within which nothing may happen. It has no event of its own. Each call states in a
/// comment which limit it is; a slow machine makes the wait longer and never wrong.
pub async fn run_out(limit: Duration) {
    tokio::time::sleep(limit).await;
}
