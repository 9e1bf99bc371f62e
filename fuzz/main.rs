//! libFuzzer around one of the targets, the one that `SESSILE_FUZZ` names. One program for all of
//! them, since linking costs more than anything else here.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "targets.rs"]
mod targets;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("SESSILE_FUZZ").unwrap_or_default();
        let known = targets::ALL.iter().find(|(known, _)| *known == name);
        known
            .unwrap_or_else(|| panic!("SESSILE_FUZZ={name:?} names no target"))
            .1
    });
    target(data);
});
