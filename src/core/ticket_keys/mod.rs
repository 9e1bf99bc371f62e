//! Keys of the tickets with which clients resume TLS sessions: which key seals at a time and which
//! ones open ([`KeySet`]), and sealing and opening themselves ([`Keyring`]). Where the keys come
//! from is decided elsewhere.

mod key_set;
mod keyring;

pub use key_set::{KeySet, KeySetFault, OPENS_AFTER, SEALS_FOR, TicketKey};
pub use keyring::{Keyring, NONCE_BYTES, TICKET_BYTES_MAX};
