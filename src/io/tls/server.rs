//! TLS towards clients: the configuration of a listener, and the choice of a certificate for each
//! handshake from a set that can be replaced while handshakes go on.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use crate::config::snapshot::TlsVersion;
use crate::io::tls::certs::Certificate;
use crate::io::tls::{ALPN_HTTP_1, provider};

/// The certificates of a listener, by name.
#[derive(Debug)]
pub struct SniMap {
    certificates: Vec<Certificate>,
    /// A name to the indexes of those that are for it, in the order of the configuration. The keys
    /// of wildcards keep their `*`.
    names: HashMap<String, Vec<usize>>,
    /// All certificates, for clients without a matching name.
    all: Vec<usize>,
}

impl SniMap {
    /// `certificates` in the order of the configuration: the first is the default.
    pub fn new(certificates: Vec<Certificate>) -> Self {
        let mut names: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, certificate) in certificates.iter().enumerate() {
            for name in &certificate.names {
                names.entry(name.clone()).or_default().push(index);
            }
        }
        Self {
            all: (0..certificates.len()).collect(),
            certificates,
            names,
        }
    }

    /// The certificates, in the order of the configuration.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The certificate for a client that requested `name`: one with exactly this name, else one
    /// with a wildcard for it, else the first of all. Among several for one name (RSA and ECDSA,
    /// say) the first that `fits`; if none does, the first, so that the client gets the TLS alert
    /// with the reason.
    pub fn find(
        &self,
        name: Option<&str>,
        fits: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<&Certificate> {
        let candidates = name.and_then(|name| self.named(name)).unwrap_or(&self.all);
        let chosen = candidates
            .iter()
            .find(|&&index| fits(&self.certificates[index].key))
            .or_else(|| candidates.first())?;
        self.certificates.get(*chosen)
    }

    fn named(&self, name: &str) -> Option<&Vec<usize>> {
        let name = if name.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        self.names.get(&*name).or_else(|| {
            // A wildcard matches exactly one label, the first (RFC 9525, section 6.3).
            let (_, parent) = name.split_once('.')?;
            self.names.get(&format!("*.{parent}"))
        })
    }
}

/// Chooses a listener's certificate in each handshake.
#[derive(Debug)]
pub struct Resolver(ArcSwap<SniMap>);

impl Resolver {
    /// Begins with these, of which the first is the default.
    pub fn new(certificates: Vec<Certificate>) -> Self {
        Self(ArcSwap::from_pointee(SniMap::new(certificates)))
    }

    /// Every handshake from now on sees these.
    pub fn replace(&self, certificates: Vec<Certificate>) {
        self.0.store(Arc::new(SniMap::new(certificates)));
    }

    /// What handshakes see now.
    pub fn current(&self) -> Arc<SniMap> {
        self.0.load_full()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let fits = |key: &CertifiedKey| key.key.choose_scheme(schemes).is_some();
        let map = self.0.load();
        map.find(hello.server_name(), fits)
            .map(|certificate| Arc::clone(&certificate.key))
    }
}

/// Whose certificates clients may show, and whether they must.
#[derive(Debug)]
pub struct ClientAuthorities {
    /// The roots.
    pub roots: RootCertStore,
    /// Whether clients without a certificate are refused.
    pub required: bool,
}

/// A listener's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// rustls does not take the configuration.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
    /// The authorities of clients are none.
    #[error("clients' certificates cannot be verified")]
    Clients(#[from] VerifierBuilderError),
}

fn verifier(
    clients: Option<ClientAuthorities>,
) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
    let Some(clients) = clients else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let roots = Arc::new(clients.roots);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    if clients.required {
        builder.build()
    } else {
        builder.allow_unauthenticated().build()
    }
}

/// The configuration of a listener's handshakes: HTTP/1.1 only, sessions resumed by tickets so that
/// the server remembers none.
///
/// # Errors
/// When the system has no randomness for the tickets' keys.
pub fn server_config(
    resolver: Arc<Resolver>,
    minimum: TlsVersion,
    clients: Option<ClientAuthorities>,
) -> Result<Arc<ServerConfig>, ServerTlsError> {
    let versions: &[&SupportedProtocolVersion] = match minimum {
        TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
        TlsVersion::V1_3 => &[&version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier(clients)?)
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![ALPN_HTTP_1.to_vec()];
    config.ticketer = Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}
