//! Decisions, without sockets, files, clocks or metrics: bytes, time and randomness are arguments,
//! answers are values. The rooms do not know each other; only `routing` may name the others.

pub mod http;
pub mod wire;
