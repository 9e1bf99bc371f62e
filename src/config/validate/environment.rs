//! What validation reads outside the model: files, certificates, the environment, the clock.

use std::path::Path;
use std::time::SystemTime;

use crate::config::pem::{Mistake, Validity, Wanted};
use crate::config::snapshot::CertificateFiles;

/// What validation needs from outside; `control::load` provides it.
pub trait Environment {
    /// The value of an environment variable.
    ///
    /// # Errors
    /// Why it cannot be used; never its value.
    fn variable(&self, name: &str) -> Result<String, String>;

    /// The text of a file.
    ///
    /// # Errors
    /// Why it cannot be read; never anything of what it holds.
    fn text(&self, path: &Path, holds: FileContent) -> Result<String, String>;

    /// Why a chain and a key cannot be read or do not belong together; nothing if they do.
    fn certificate(&self, files: &CertificateFiles) -> Vec<CertificateFault>;

    /// Whether the files of this directory may be served. By default none may: only the author of
    /// the configuration file decides what of the file system is public.
    ///
    /// # Errors
    /// Why not.
    fn directory(&self, _path: &Path) -> Result<(), String> {
        Err("only the configuration file may name a directory to serve".to_owned())
    }

    /// Whether a backend may be at this unix socket.
    ///
    /// # Errors
    /// Why not.
    fn socket(&self, path: &Path) -> Result<(), String>;

    /// Whether a route may use this name at the broker, as it is written.
    ///
    /// # Errors
    /// Why not.
    fn broker_name(&self, written: &str) -> Result<(), String>;

    /// Whether a file holds PEM certificates to trust; a fingerprint of them.
    ///
    /// # Errors
    /// What is wrong with it.
    fn roots(&self, path: &Path) -> Result<u128, String>;

    /// When the certificates of a PEM file are valid; none if it cannot be read.
    fn validities(&self, path: &Path) -> Vec<Validity>;

    /// The actual format of a file, if known.
    fn mistake(&self, path: &Path, wanted: Wanted) -> Option<Mistake>;

    /// The time of the wall clock.
    fn now(&self) -> SystemTime;

    /// Whether the system has certificates to trust.
    ///
    /// # Errors
    /// What to do about it.
    fn system_roots(&self) -> Result<(), String>;

    /// Name of this host.
    fn host_name(&self) -> String;
}

/// What a file should hold, which decides how large it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileContent {
    /// One secret.
    Secret,
    /// A list: networks, users, API keys, keys of an issuer.
    List,
}

/// What is wrong with a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// With the chain's file.
    #[error("{0}")]
    Chain(String),
    /// With the key's file.
    #[error("{0}")]
    Key(String),
    /// They are two different pairs.
    #[error("the key does not belong to the certificate")]
    Mismatch,
}
