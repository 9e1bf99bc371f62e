//! The targets of `fuzz/` over their seeds and past crashes, on the compiler that builds everything
//! else. What a fuzzer once found stays found.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests say which input they were at, and fail by panic"
)]

use std::fs;
use std::path::Path;

#[allow(unreachable_pub, reason = "the fuzzer's program takes it in too")]
#[path = "../fuzz/targets.rs"]
mod targets;

#[test]
fn every_seed_and_every_past_crash_passes_its_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, target) in targets::ALL {
        let seeds = fs::read_dir(root.join(name)).unwrap_or_else(|_| panic!("{name}: no seeds"));
        let mut count = 0;
        for seed in seeds {
            let path = seed.unwrap().path();
            let data = fs::read(&path).unwrap();
            eprintln!("{}", path.display());
            target(&data);
            // Cut short and with something behind: what a mutation would do first.
            for cut in 0..data.len().min(64) {
                target(&data[..cut]);
            }
            target(&[&data[..], &data[..]].concat());
            count += 1;
        }
        assert!(count >= 3, "{name} has {count} seeds");
    }
}
