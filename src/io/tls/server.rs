//! TLS towards clients: the configuration of a listener, and the choice of a certificate for each
//! handshake from a set that can be replaced while handshakes go on.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, VerifierBuilderError,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use crate::config::snapshot::{TlsRecords, TlsVersion};
use crate::io::tls::certs::Certificate;
use crate::io::tls::challenges::Challenges;
use crate::io::tls::secrets::SecretSlot;
use crate::io::tls::tickets::{TicketKeys, Ticketer};
use crate::io::tls::{ALPN_HTTP_1, key_exchange, provider};

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

/// Chooses a listener's certificate in each handshake: one of files, else the one that the gateway
/// orders itself.
#[derive(Debug)]
pub struct Resolver {
    map: ArcSwap<SniMap>,
    parts: Mutex<Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    files: Vec<Certificate>,
    /// Why what is in the files now is not used, by their place.
    refused: Vec<Option<String>>,
    managed: Option<Certificate>,
}

impl Resolver {
    /// Begins with these, of which the first is the default.
    pub fn new(certificates: Vec<Certificate>) -> Self {
        let resolver = Self {
            map: ArcSwap::from_pointee(SniMap::new(Vec::new())),
            parts: Mutex::default(),
        };
        resolver.replace(certificates);
        resolver
    }

    /// Every handshake from now on sees these in the place of those of files.
    pub fn replace(&self, certificates: Vec<Certificate>) {
        self.change(|parts| parts.files = certificates);
    }

    /// Every handshake from now on sees this one behind those of files.
    pub fn set_managed(&self, certificate: Certificate) {
        self.change(|parts| parts.managed = Some(certificate));
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut parts);
        let all = parts.files.iter().chain(&parts.managed).cloned().collect();
        self.map.store(Arc::new(SniMap::new(all)));
    }

    /// Those of files, in the order of the configuration.
    pub fn files(&self) -> Vec<Certificate> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.files.clone()
    }

    /// Why what is in the files now does not replace the certificates, in the same order; `None`
    /// where it is in force.
    pub fn refused(&self) -> Vec<Option<String>> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut refused = parts.refused.clone();
        refused.resize(parts.files.len(), None);
        refused
    }

    /// Makes known why files are refused.
    pub fn set_refused(&self, refused: Vec<Option<String>>) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.refused = refused;
    }

    /// The one that the gateway orders itself.
    pub fn managed(&self) -> Option<Certificate> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.managed.clone()
    }

    /// What handshakes see now.
    pub fn current(&self) -> Arc<SniMap> {
        self.map.load_full()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let fits = |key: &CertifiedKey| key.key.choose_scheme(schemes).is_some();
        let map = self.map.load();
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

/// What a listener asks of its clients' handshakes, beside the certificates that it shows.
#[derive(Debug)]
pub struct ServerTlsSettings<'s> {
    /// Which listener it is: its tickets open at no other one.
    pub listener: &'s str,
    /// Oldest version accepted.
    pub minimum: TlsVersion,
    /// Whose certificates clients may show.
    pub clients: Option<ClientAuthorities>,
    /// Identifies the authorities of clients: tickets do not outlive a change of them.
    pub authorities: u128,
    /// What its tickets are sealed with.
    pub ticket_keys: Arc<TicketKeys>,
    /// What opens and seals records after a handshake.
    pub records: TlsRecords,
    /// The answers to authorities that verify names; `None` where no certificate is ordered.
    pub challenges: Option<Arc<Challenges>>,
}

/// TLS of a listener: HTTP/1.1 only, no 0-RTT, sessions resumed by tickets so that the server
/// stores none. Of the suites that both sides have, the client's first is taken, as in Mozilla's
/// "intermediate": all of them are strong, and the client is the one that may lack AES in hardware.
#[derive(Debug)]
pub struct ServerTls {
    classical: Arc<ServerConfig>,
    post_quantum: Arc<ServerConfig>,
    records: TlsRecords,
    challenges: Option<Arc<Challenges>>,
}

impl ServerTls {
    /// TLS with the certificates of this resolver.
    ///
    /// # Errors
    /// When rustls refuses the settings, or the authorities of clients are none.
    pub fn new(
        resolver: &Arc<Resolver>,
        settings: ServerTlsSettings<'_>,
    ) -> Result<Self, ServerTlsError> {
        let required = settings.clients.as_ref().map(|clients| clients.required);
        let context = ticket_context(settings.listener, settings.authorities, required);
        let ticketer = Arc::new(Ticketer {
            keys: settings.ticket_keys,
            context,
        });
        let verifier = verifier(settings.clients)?;
        let config = |provider| {
            let (resolver, verifier) = (Arc::clone(resolver), Arc::clone(&verifier));
            let chosen = (settings.minimum, settings.records);
            server_config(provider, chosen, resolver, verifier, &ticketer)
        };
        Ok(Self {
            classical: config(provider())?,
            post_quantum: config(key_exchange::post_quantum())?,
            records: settings.records,
            challenges: settings.challenges,
        })
    }

    /// The configuration for a client whose hello cannot be read.
    pub(super) fn any(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.classical)
    }

    /// What opens and seals records after a handshake.
    pub const fn records(&self) -> TlsRecords {
        self.records
    }

    /// The configuration for the client that sent this hello: the post-quantum key exchange is
    /// used wherever the client has it.
    pub fn choose(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let challenges = self.challenges.as_ref();
        if let Some(config) = challenges.and_then(|one| one.config_for(hello)) {
            return config;
        }
        Arc::clone(match key_exchange::is_offered(hello) {
            true => &self.post_quantum,
            false => &self.classical,
        })
    }
}

/// What tickets are bound to: the listener, and what it asks of clients' certificates. A ticket
/// keeps the certificates that were verified, so it must not open where others are asked for.
fn ticket_context(listener: &str, authorities: u128, required: Option<bool>) -> Vec<u8> {
    let mut context = listener.as_bytes().to_vec();
    // No name holds this byte.
    context.push(0);
    context.extend(authorities.to_be_bytes());
    context.push(match required {
        None => 0,
        Some(false) => 1,
        Some(true) => 2,
    });
    context
}

fn server_config(
    provider: Arc<CryptoProvider>,
    (minimum, records): (TlsVersion, TlsRecords),
    resolver: Arc<Resolver>,
    verifier: Arc<dyn ClientCertVerifier>,
    ticketer: &Arc<Ticketer>,
) -> Result<Arc<ServerConfig>, ServerTlsError> {
    let versions: &[&SupportedProtocolVersion] = match minimum {
        TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
        TlsVersion::V1_3 => &[&version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![ALPN_HTTP_1.to_vec()];
    config.ticketer = Arc::clone(ticketer) as Arc<dyn ProducesTickets>;
    if records == TlsRecords::Gateway {
        config.enable_secret_extraction = true;
        config.key_log = Arc::new(SecretSlot);
    }
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // One for each connection, for the connection that follows it.
    config.send_tls13_tickets = 1;
    // A request in the first flight could be replayed.
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}
