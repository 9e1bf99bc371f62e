//! TLS whose certificates may be in files or written in another file, such as a kubeconfig.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::config::snapshot::{Pem, PemTls, TlsRecords};
use crate::io::file;
use crate::io::tls::certs::CertError;
use crate::io::tls::client::{ClientTls, ClientTlsError, system_roots};
use crate::io::tls::provider;

/// Where a text is that stands in no file of its own.
const WRITTEN: &str = "the kubeconfig";

impl ClientTls {
    /// TLS with these certificates; files are read now.
    ///
    /// # Errors
    /// When there are no roots, or the name or a certificate is invalid.
    pub fn of_pem(tls: &PemTls) -> Result<Self, ClientTlsError> {
        let roots = match &tls.ca {
            Some(pem) => roots(pem)?,
            None => system_roots()?,
        };
        let own = match &tls.identity {
            Some((cert, key)) => Some(pair(cert, key)?),
            None => None,
        };
        let name = tls.server_name.as_deref();
        Self::assemble(Arc::new(roots), own, name, TlsRecords::Gateway)
    }
}

/// Bytes, and how messages call the place.
fn bytes(pem: &Pem) -> Result<(Vec<u8>, String), CertError> {
    match pem {
        Pem::Text(text) => Ok((text.reveal().as_bytes().to_vec(), WRITTEN.to_owned())),
        Pem::File(path) => {
            let read = file::read(path, file::PEM_BYTES_MAX);
            let bytes = read.map_err(|error| CertError::Read(path.clone(), error))?;
            Ok((bytes, path.display().to_string()))
        }
    }
}

fn chain(pem: &Pem) -> Result<(Vec<CertificateDer<'static>>, String), CertError> {
    let (bytes, place) = bytes(pem)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let missing = || CertError::Form(format!("{place} holds no PEM certificate"));
    Ok((chain.ok_or_else(missing)?, place))
}

fn roots(pem: &Pem) -> Result<RootCertStore, CertError> {
    let (chain, place) = chain(pem)?;
    let mut store = RootCertStore::empty();
    for certificate in chain {
        let added = store.add(certificate);
        added.map_err(|_| CertError::Form(format!("a certificate in {place} cannot be a root")))?;
    }
    Ok(store)
}

fn pair(cert: &Pem, key: &Pem) -> Result<CertifiedKey, CertError> {
    let (chain, _) = chain(cert)?;
    let (bytes, place) = bytes(key)?;
    let no_key = || CertError::Form(format!("{place} holds no PEM private key"));
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| no_key())?;
    let unusable = || CertError::Form(format!("the key in {place} cannot be used"));
    let key = provider().key_provider.load_private_key(key);
    let pair = CertifiedKey::new(chain, key.map_err(|_| unusable())?);
    match pair.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(CertError::Form(format!(
                "the key in {place} does not belong to the client certificate"
            )))
        }
        _ => Ok(pair),
    }
}
