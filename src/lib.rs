//! Sessile, a WebSocket-aware edge gateway. The modules stand in the order of their floors: each
//! imports only from its own floor and those above it in this list; `tests/tidy.rs` holds that.
//!
//! `proxy::pipeline` shows the stages of a request, `control::supervisor` those of a change;
//! ARCHITECTURE.md draws both.

pub mod base;

pub mod config;

pub mod core;

pub mod telemetry;

pub mod io;

pub mod live;

pub mod proxy;

pub mod control;

pub mod admin;

pub mod publish;

pub mod app;

pub mod cli;
