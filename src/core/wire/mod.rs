//! Bytes to values and back: frames, handshakes, PROXY headers. Nothing here reads from anywhere.

pub mod extension;
pub mod frame;
pub mod frame_reader;
pub mod handshake;
pub mod in_band;
pub mod position;
pub mod proxy_protocol;
pub mod request_guard;
pub mod rules;
pub mod tracker;
pub mod violation;
