//! Decisions without input or output: bytes, time and randomness are arguments, answers are values.
//! The rooms do not know one another; only `routing` may name the others.

pub mod balance;
pub mod health;
pub mod http;
pub mod routing;
pub mod wire;
