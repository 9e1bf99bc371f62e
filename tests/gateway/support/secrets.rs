//! Secrets of a whole run (I11). Whatever a test uses as one is registered; every gateway that ends
//! has everything that it ever wrote searched for all of them.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::tokens;

static USED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Shorter ones could stand anywhere by chance.
const LENGTH_MIN: usize = 12;

/// Remembers a secret.
pub fn register(secret: &str) {
    if secret.len() >= LENGTH_MIN {
        let mut used = USED.lock().expect("no test panicked here");
        used.insert(secret.to_owned());
    }
}

/// Remembers what a configuration holds as secrets: literals of `secret`, `token`, `read_token`.
pub fn register_in(config: &str) {
    for line in config.lines() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        if ["secret", "token", "read_token"].contains(&key.trim()) {
            register(value.trim().trim_matches('"'));
        }
    }
}

/// Fails if a text shows one of them, without showing it again.
///
/// # Panics
/// When it does.
pub fn assert_none_in(what: &str, text: &str) {
    register(tokens::SECRET);
    let used = USED.lock().expect("no test panicked here").clone();
    for secret in used {
        let Some(at) = text.find(&secret) else {
            continue;
        };
        let before: String = text[..at].chars().rev().take(80).collect();
        let before: String = before.chars().rev().collect();
        panic!(
            "{what} shows a secret of {} bytes behind {before:?}",
            secret.len()
        );
    }
}
