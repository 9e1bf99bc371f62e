//! TLS towards backends: the expected name, and the trusted roots.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use crate::base::addr::BackendAddr;
use crate::base::names::UpstreamName;
use crate::config::snapshot::{CertificateFiles, TlsRecords, UpstreamTls};
use crate::io::net::dial::DialTls;
use crate::io::tls::backend_tickets::BackendTickets;
use crate::io::tls::certs::{self, CertError};
use crate::io::tls::secrets::SecretSlot;
use crate::io::tls::{ALPN_HTTP_1, provider};

/// TLS to the backends of one upstream. Cheap to clone; clones share the tickets of backends.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    roots: Arc<RootCertStore>,
    tickets: Arc<BackendTickets>,
}

/// TLS to the backends of all upstreams that have it: the control plane reads the roots, the data
/// plane dials with them.
#[derive(Clone, Debug, Default)]
pub struct BackendTls(BTreeMap<UpstreamName, ClientTls>);

impl BackendTls {
    /// TLS to the backends of `upstream`, if they speak it.
    pub fn of(&self, upstream: &UpstreamName) -> Option<ClientTls> {
        self.0.get(upstream).cloned()
    }
}

impl FromIterator<(UpstreamName, ClientTls)> for BackendTls {
    fn from_iter<I: IntoIterator<Item = (UpstreamName, ClientTls)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl Extend<(UpstreamName, ClientTls)> for BackendTls {
    fn extend<I: IntoIterator<Item = (UpstreamName, ClientTls)>>(&mut self, more: I) {
        self.0.extend(more);
    }
}

/// Roots that were read, by file; under `None` the system's. A change of configuration reads each
/// of them once, and what validation accepted is what connections are verified with.
#[derive(Clone, Debug, Default)]
pub struct Roots(BTreeMap<Option<PathBuf>, Arc<RootCertStore>>);

impl Roots {
    /// Adds the roots of a file that the caller has read.
    pub fn insert(&mut self, ca: &Path, roots: RootCertStore) {
        self.0.insert(Some(ca.to_owned()), Arc::new(roots));
    }

    /// The roots of this file, or of the system.
    ///
    /// # Errors
    /// When there are none.
    pub fn of(&mut self, ca: Option<&Path>) -> Result<Arc<RootCertStore>, ClientTlsError> {
        let key = ca.map(Path::to_owned);
        if let Some(known) = self.0.get(&key) {
            return Ok(Arc::clone(known));
        }
        let read = Arc::new(roots(ca)?);
        self.0.insert(key, Arc::clone(&read));
        Ok(read)
    }
}

/// An upstream's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// The file of roots, or of a certificate to show, is wrong.
    #[error(transparent)]
    File(#[from] CertError),
    /// A certificate in the file of roots is wrong.
    #[error("a certificate in {} cannot be a root", .0.display())]
    Root(PathBuf, #[source] rustls::Error),
    /// The system has no roots.
    #[error(
        "this system has no root certificates: install them (`ca-certificates`) or set `tls.ca`"
    )]
    NoSystemRoots,
    /// Neither a DNS name nor an address.
    #[error("`{0}` is not a name that a certificate can be for")]
    Name(String),
    /// rustls does not take the configuration.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

impl ClientTls {
    /// Reads the roots; a caller that keeps the value saves reading them again.
    ///
    /// # Errors
    /// When there are no roots, or the name is none.
    pub fn new(tls: &UpstreamTls) -> Result<Self, ClientTlsError> {
        Self::showing(tls, None)
    }

    /// The same with roots of which some may have been read already.
    ///
    /// # Errors
    /// When there are no roots, or the name is none.
    pub fn with_roots(
        tls: &UpstreamTls,
        records: TlsRecords,
        known: &mut Roots,
    ) -> Result<Self, ClientTlsError> {
        Self::build(tls, records, known.of(tls.ca.as_deref())?, None)
    }

    /// The same, with this client certificate if the server requests one.
    ///
    /// # Errors
    /// When there are no roots, or the name or the certificate is invalid.
    pub fn showing(
        tls: &UpstreamTls,
        own: Option<&CertificateFiles>,
    ) -> Result<Self, ClientTlsError> {
        let roots = Arc::new(roots(tls.ca.as_deref())?);
        Self::build(tls, TlsRecords::Gateway, roots, own)
    }

    fn build(
        tls: &UpstreamTls,
        records: TlsRecords,
        roots: Arc<RootCertStore>,
        own: Option<&CertificateFiles>,
    ) -> Result<Self, ClientTlsError> {
        let own = own.map(certs::load).transpose()?;
        let own = own.map(|own| CertifiedKey::clone(&own.key));
        Self::assemble(roots, own, tls.server_name.as_deref(), records)
    }

    pub(super) fn assemble(
        roots: Arc<RootCertStore>,
        own: Option<CertifiedKey>,
        name: Option<&str>,
        records: TlsRecords,
    ) -> Result<Self, ClientTlsError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&roots));
        let mut config = match own {
            None => config.with_no_client_auth(),
            Some(own) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
        };
        config.alpn_protocols = vec![ALPN_HTTP_1.to_vec()];
        if records == TlsRecords::Gateway {
            config.enable_secret_extraction = true;
            config.key_log = Arc::new(SecretSlot);
        }
        Ok(Self {
            config: Arc::new(config),
            name: name.map(server_name).transpose()?,
            roots,
            tickets: Arc::default(),
        })
    }

    /// Whether both verify backends alike, so that the tickets of the one are good for the other.
    pub fn verifies_as(&self, other: &Self) -> bool {
        let same = || self.roots.roots == other.roots.roots;
        self.name == other.name && (Arc::ptr_eq(&self.roots, &other.roots) || same())
    }

    /// What a dial of one backend needs: the upstream's name, else the backend's own host.
    ///
    /// # Errors
    /// When the host is no name that a certificate could be for.
    pub fn to(&self, backend: &BackendAddr) -> Result<DialTls, ClientTlsError> {
        Ok(DialTls {
            config: self.tickets.config_for(backend, &self.config),
            name: match &self.name {
                Some(name) => name.clone(),
                None => server_name(&backend.host())?,
            },
        })
    }
}

fn server_name(text: &str) -> Result<ServerName<'static>, ClientTlsError> {
    ServerName::try_from(text.to_owned()).map_err(|_| ClientTlsError::Name(text.to_owned()))
}

/// The certificates of a file, as authorities.
///
/// # Errors
/// When there are none, or one of them cannot be one.
pub fn read_roots(path: &Path) -> Result<RootCertStore, ClientTlsError> {
    let mut store = RootCertStore::empty();
    for root in certs::read_chain(path)? {
        store
            .add(root)
            .map_err(|error| ClientTlsError::Root(path.to_owned(), error))?;
    }
    Ok(store)
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, ClientTlsError> {
    match ca {
        Some(path) => read_roots(path),
        None => system_roots(),
    }
}

/// The system's own.
pub(super) fn system_roots() -> Result<RootCertStore, ClientTlsError> {
    let mut store = RootCertStore::empty();
    // Systems ship odd certificates; those that parse are enough.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match store.is_empty() {
        true => Err(ClientTlsError::NoSystemRoots),
        false => Ok(store),
    }
}
