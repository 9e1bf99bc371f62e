//! Words that every floor speaks: names, addresses, time, units, secrets. Nothing here knows what a
//! gateway is.

pub mod addr;
pub mod backoff;
pub mod blob;
pub mod clock;
pub mod header_list;
pub mod header_name;
pub mod host;
pub mod names;
pub mod path;
pub mod revocation;
pub mod right;
pub mod secret;
pub mod session_id;
pub mod text;
pub mod traffic;
