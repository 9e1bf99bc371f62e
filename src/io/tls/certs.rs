//! A certificate chain with its key, read from PEM and checked: it parses, and the key belongs to
//! the certificate. Collects its names. Clients decide whether they trust it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use crate::config::pem::{Mistake, Validity, Wanted, mistaken};
use crate::config::snapshot::CertificateFiles;
use crate::io::file;
use crate::io::tls::provider;

/// A certificate that can be shown to clients.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Chain and key for rustls.
    pub key: Arc<CertifiedKey>,
    /// DNS names that it is for, lower case; some begin with `*.`.
    pub names: Vec<String>,
    /// Not valid earlier.
    pub not_before: SystemTime,
    /// Not valid later.
    pub not_after: SystemTime,
    /// Whether it is self-signed, in the place of one that is not there yet.
    pub placeholder: bool,
}

/// A pair of files is not a certificate with its key.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// A file cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A file is not PEM.
    #[error("{} is damaged: {fault}", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A file holds something else, or the same in another form.
    #[error("{0}")]
    Form(String),
    /// No certificate inside.
    #[error("{} holds no certificate (no `BEGIN CERTIFICATE` section)", .0.display())]
    NoCertificate(PathBuf),
    /// No key inside.
    #[error("{} holds no private key (no `BEGIN PRIVATE KEY` section)", .0.display())]
    NoKey(PathBuf),
    /// The first certificate does not parse.
    #[error("the first certificate in {} does not parse", .0.display())]
    Certificate(PathBuf, #[source] Malformed),
    /// The key is of a kind that TLS cannot use, or damaged.
    #[error("the key in {} cannot be used: {fault}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// rustls' reason.
        fault: String,
    },
    /// The two files are not a pair.
    #[error(
        "the key in {} does not belong to the first certificate in {}",
        .key.display(), .cert.display()
    )]
    Mismatch {
        /// The chain's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// Not an X.509 certificate.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl Certificate {
    /// Whether it is in force at `now`.
    pub fn valid_at(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whether this is the same chain with the same key as `other`.
    pub fn same_as(&self, other: &Self) -> bool {
        // The key is the certificate's, so comparing the chain compares the key.
        self.key.cert == other.key.cert
    }

    /// Whether this name, without a wildcard, is among its own.
    pub fn is_for(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }
}

/// Reads and checks a pair of files. An expired certificate is read like any other: see
/// [`Certificate::valid_at`].
///
/// # Errors
/// Which file is wrong, and what is wrong with it.
pub fn load(files: &CertificateFiles) -> Result<Certificate, CertError> {
    let chain = read_chain(&files.cert)?;
    let leaf = chain
        .first()
        .ok_or_else(|| CertError::NoCertificate(files.cert.clone()))?;
    let facts = Facts::of(leaf).map_err(|e| CertError::Certificate(files.cert.clone(), e))?;
    let key = read_key(&files.key)?;
    let signing = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| CertError::Key {
            path: files.key.clone(),
            fault: error.to_string(),
        })?;
    let key = CertifiedKey::new(chain, signing);
    key.keys_match().map_err(|_| CertError::Mismatch {
        cert: files.cert.clone(),
        key: files.key.clone(),
    })?;
    Ok(Certificate {
        key: Arc::new(key),
        names: facts.names,
        not_before: facts.not_before,
        not_after: facts.not_after,
        placeholder: false,
    })
}

/// A certificate in PEM that no file of the operator holds is unusable.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnusableCertificate(String);

/// A certificate from the PEM of its chain and of its key.
///
/// # Errors
/// What is wrong; nothing of the key is quoted.
pub fn from_pem(chain: &str, key: &str) -> Result<Certificate, UnusableCertificate> {
    let unusable = |why: &str| UnusableCertificate(why.to_owned());
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| unusable("the chain is not PEM"))?;
    let leaf = chain
        .first()
        .ok_or_else(|| unusable("the chain is empty"))?;
    let facts = Facts::of(leaf).map_err(|error| UnusableCertificate(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
    let key = key.map_err(|_| unusable("the key is not PEM"))?;
    let signing = provider().key_provider.load_private_key(key);
    let signing = signing.map_err(|_| unusable("the key cannot be used"))?;
    let key = CertifiedKey::new(chain, signing);
    let pair = key.keys_match();
    pair.map_err(|_| unusable("the key does not belong to the certificate"))?;
    Ok(Certificate {
        key: Arc::new(key),
        names: facts.names,
        not_before: facts.not_before,
        not_after: facts.not_after,
        placeholder: false,
    })
}

/// A certificate that no client trusts, for a listener that has no other yet.
///
/// # Errors
/// When the names are none.
pub fn placeholder(names: &[Arc<str>]) -> Result<Certificate, UnusableCertificate> {
    let unusable = |error: rcgen::Error| UnusableCertificate(error.to_string());
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let signed = rcgen::generate_simple_self_signed(names).map_err(unusable)?;
    let key = Zeroizing::new(signed.signing_key.serialize_pem());
    let made = from_pem(&signed.cert.pem(), &key)?;
    Ok(Certificate {
        placeholder: true,
        ..made
    })
}

/// All certificates of a PEM file, in order; not empty.
///
/// # Errors
/// When the file cannot be read, is not PEM, or has none.
pub fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let text = read(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| damaged(path, &error))?;
    if chain.is_empty() {
        let form = other_form(path, &text, Wanted::Certificates);
        return Err(form.unwrap_or_else(|| CertError::NoCertificate(path.to_owned())));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let form = other_form(path, &text, Wanted::PrivateKey);
        form.unwrap_or_else(|| match error {
            pem::Error::NoItemsFound => CertError::NoKey(path.to_owned()),
            other => damaged(path, &other),
        })
    })
}

/// What the file holds instead, with the command that converts it.
fn other_form(path: &Path, bytes: &[u8], wanted: Wanted) -> Option<CertError> {
    let Mistake { message, help } = mistaken(bytes, wanted, path)?;
    Some(CertError::Form(match help {
        Some(help) => format!("{message}; {help}"),
        None => message,
    }))
}

fn read(path: &Path) -> Result<Vec<u8>, CertError> {
    file::read(path, file::PEM_BYTES_MAX).map_err(|error| CertError::Read(path.to_owned(), error))
}

/// Does not quote the file, which may be a key (I11).
fn damaged(path: &Path, error: &pem::Error) -> CertError {
    let fault = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no `END` line",
        pem::Error::IllegalSectionStart { .. } => "a `BEGIN` line is broken",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "it is not PEM",
    };
    CertError::Pem {
        path: path.to_owned(),
        fault,
    }
}

/// Properties of a certificate.
struct Facts {
    names: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Facts {
    fn of(leaf: &CertificateDer<'_>) -> Result<Self, Malformed> {
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|error| Malformed(error.to_string()))?;
        let alternatives = parsed
            .subject_alternative_name()
            .map_err(|error| Malformed(error.to_string()))?;
        let names = alternatives
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                // SNI carries no addresses; clients that use one get the default certificate.
                _ => None,
            })
            .collect();
        let validity = Validity::from(parsed.validity());
        Ok(Self {
            names,
            not_before: validity.not_before,
            not_after: validity.not_after,
        })
    }
}
