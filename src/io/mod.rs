//! Bytes in and out.

pub mod relay;
