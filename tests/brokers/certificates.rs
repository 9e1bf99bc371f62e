//! An authority of the test's own, and a certificate of it for the server.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// PEM files.
pub struct Files {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Makes them in this directory, for `127.0.0.1`.
pub fn make(directory: &Path) -> Files {
    let files = Files {
        ca: directory.join("ca.pem"),
        cert: directory.join("server.crt"),
        key: directory.join("server.key"),
    };
    let mut params = CertificateParams::default();
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "Sessile test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    for (path, pem) in [
        (&files.ca, authority.pem()),
        (&files.cert, certificate.pem()),
        (&files.key, key.serialize_pem()),
    ] {
        fs::write(path, pem).unwrap();
    }
    files
}
