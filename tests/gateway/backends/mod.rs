//! Backends: drain, rebalancing, ejection, slow start, orders.

pub mod drain;
mod ejection;
mod orders;
mod rebalance;
mod residents;
mod scale;
mod slow_start;
