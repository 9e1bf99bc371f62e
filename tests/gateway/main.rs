//! Behaviour of the gateway as its users see it: a module per promise, each test with a gateway in
//! a process of its own. Tests named `i1_…` to `i11_…` hold the invariants of ARCHITECTURE.md.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests run in real time, tell what they measured, and fail by panic"
)]
#![allow(dead_code, reason = "removed once every promise has its tests")]

mod support;
