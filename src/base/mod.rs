//! Basic types for all floors: names, addresses, time, units, secrets. None of them is specific to
//! a gateway.

pub mod addr;
pub mod backoff;
pub mod blob;
pub mod causes;
pub mod clock;
pub mod event_id;
pub mod group;
pub mod header_list;
pub mod header_name;
pub mod host;
pub mod message;
pub mod names;
pub mod path;
pub mod revocation;
pub mod right;
pub mod secret;
pub mod session_id;
pub mod shared_map;
pub mod source_id;
pub mod target;
pub mod target_scope;
pub mod text;
pub mod ticket_secret;
pub mod traffic;
pub mod work;
