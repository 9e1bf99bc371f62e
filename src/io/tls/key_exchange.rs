//! Key exchange with clients that have a post-quantum group. rustls takes the first group of the
//! client's list that the server has; a provider without the classical groups of TLS 1.3 makes that
//! the post-quantum one, whatever its place in the list.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::server::ClientHello;
use rustls::{Error, NamedGroup, ProtocolVersion};

use crate::io::tls::provider;

/// Whether the client has the post-quantum group.
pub(super) fn is_offered(hello: &ClientHello<'_>) -> bool {
    let groups = hello.named_groups().unwrap_or_default();
    groups.contains(&NamedGroup::X25519MLKEM768)
}

/// The provider for such clients: over TLS 1.3 the post-quantum group alone, over TLS 1.2, which
/// has none, the classical groups.
pub(super) fn post_quantum() -> Arc<CryptoProvider> {
    let classical = CLASSICAL.iter();
    let classical = classical.map(|group| group as &'static dyn SupportedKxGroup);
    Arc::new(CryptoProvider {
        kx_groups: std::iter::once(X25519MLKEM768).chain(classical).collect(),
        ..(*provider()).clone()
    })
}

static CLASSICAL: [OnlyTls12; 3] = [
    OnlyTls12(X25519),
    OnlyTls12(SECP256R1),
    OnlyTls12(SECP384R1),
];

/// A group that is not used for TLS 1.3.
#[derive(Debug)]
struct OnlyTls12(&'static dyn SupportedKxGroup);

impl SupportedKxGroup for OnlyTls12 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        self.0.start()
    }

    fn start_and_complete(&self, peer_pub_key: &[u8]) -> Result<CompletedKeyExchange, Error> {
        self.0.start_and_complete(peer_pub_key)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        self.0.ffdhe_group()
    }

    fn name(&self) -> NamedGroup {
        self.0.name()
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_2 && self.0.usable_for_version(version)
    }
}
