//! TLS for clients and backends: handshakes by rustls, the records after them by `core::tls`.
//! `control::certs` watches the certificate files and reloads them.

mod backend_tickets;
pub mod certs;
pub mod challenges;
pub mod client;
pub(super) mod handshake;
mod key_exchange;
mod pem;
mod secrets;
pub mod server;
pub mod stream;
pub mod tickets;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The only protocol spoken over TLS, as ALPN names it.
const ALPN_HTTP_1: &[u8] = b"http/1.1";

/// The cryptography provider, set explicitly in every configuration: rustls' process-wide default
/// depends on other users of rustls in the process.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;
