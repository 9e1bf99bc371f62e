//! Behaviour of the gateway as its users see it: a folder per promise, each test with a gateway in
//! a process of its own. Tests named `i1_…` to `i11_…` hold the invariants of ARCHITECTURE.md.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests run in real time, tell what they measured, and fail by panic"
)]
#![allow(
    unreachable_pub,
    reason = "a binary of tests exports nothing; `pub` is what modules share"
)]

mod admin;
mod auth;
mod backends;
mod consul;
mod dns;
mod etcd;
mod functions;
mod kubernetes;
mod limits;
mod messages;
mod operations;
mod others;
mod questions;
mod requests;
mod scaling;
mod sessions;
mod state;
mod support;
mod telemetry;
mod tls;
mod ui;
mod wss;
mod zones;
