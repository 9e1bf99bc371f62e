//! Secrets of a whole run (I11). Whatever a test uses as one is registered; every gateway that ends
//! has everything that it ever wrote searched for all of them.

use std::collections::BTreeSet;
use std::sync::Mutex;

use base64::Engine as _;
use base64::prelude::{
    BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD,
};

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

/// Remembers a key, in every form that a text could show it in.
pub fn register_bytes(key: &[u8]) {
    forms(key).iter().for_each(|form| register(form));
}

/// Hexadecimal, lists of numbers, and Base64, whatever stands before and behind the key.
fn forms(key: &[u8]) -> Vec<String> {
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![hex.to_uppercase(), hex];
    for separator in [", ", ","] {
        let numbers: Vec<String> = key.iter().map(u8::to_string).collect();
        forms.push(numbers.join(separator));
    }
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        for before in 0..3 {
            let text = engine.encode([&[0; 2][..before], key].concat());
            // The characters that depend on this key alone.
            forms.push(text[(before * 4).div_ceil(3)..text.len() - 1].to_owned());
        }
    }
    forms
}

/// Remembers what a configuration holds as secrets: literals of `secret`, `token`, `read_token`.
pub fn register_in(config: &str) {
    for line in config.lines() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let value = value.trim();
        // A table names where the secret is.
        let literal = !value.starts_with('{');
        if literal && ["secret", "token", "read_token"].contains(&key.trim()) {
            register(value.trim_matches('"'));
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

#[test]
fn a_key_is_found_in_every_form() {
    let key: [u8; 16] = std::array::from_fn(|at| (at * 37 + 91) as u8);
    let forms = forms(&key);
    let is_found = |text: &str| forms.iter().any(|form| text.contains(form));
    for before in 0..7 {
        let around = [&[0xff; 7][..before], &key, b"behind it"].concat();
        assert!(is_found(&format!("{around:?}")));
        assert!(is_found(&format!("{around:02x?}").replace(", ", "")));
        assert!(is_found(&serde_json::to_string(&around).expect("JSON")));
        assert!(is_found(&STANDARD_NO_PAD.encode(&around)));
        assert!(is_found(&URL_SAFE_NO_PAD.encode(&around)));
    }
    assert!(!is_found(&format!("{:?}", [0; 64])));
}
