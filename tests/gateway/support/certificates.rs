//! An authority and certificates of it, made anew for each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{
    ClientConfig, ConfigBuilder, KeyLog, RootCertStore, ServerConfig, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::secrets;

/// An authority whose files lie in a test's directory.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

/// Files of a certificate.
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Files {
    fn read(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_file_iter(&self.cert).expect("a file");
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
        (
            chain,
            PrivateKeyDer::from_pem_file(&self.key).expect("a key"),
        )
    }
}

impl Authority {
    /// A new one; its own certificate is `ca.pem` in the directory.
    pub fn new(directory: &Path) -> Self {
        let mut params = CertificateParams::default();
        // The name must differ from the leaf's, or clients take the leaf for self-signed.
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "Sessile test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        fs::write(directory.join("ca.pem"), issuer.pem()).expect("a file");
        Self {
            issuer,
            directory: directory.to_owned(),
        }
    }

    /// PEM of the authority's own certificate.
    pub fn path(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// Issues a certificate for these names into `FILE.crt` and `FILE.key`, over what is there.
    pub fn issue(&self, file: &str, names: &[&str]) -> Files {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).expect("names are valid");
        self.issue_as(file, params)
    }

    /// The same with everything that a certificate may say.
    pub fn issue_as(&self, file: &str, params: CertificateParams) -> Files {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let files = Files {
            cert: self.directory.join(format!("{file}.crt")),
            key: self.directory.join(format!("{file}.key")),
        };
        fs::write(&files.cert, certificate.pem()).expect("a file");
        let pem = key.serialize_pem();
        fs::write(&files.key, &pem).expect("a file");
        // Its lines of Base64, and the number that is the key (RFC 5915 inside RFC 5208).
        pem.lines()
            .filter(|line| !line.starts_with('-'))
            .for_each(secrets::register);
        secrets::register_bytes(&key.serialized_der()[36..68]);
        files
    }

    /// A client that trusts this authority alone.
    pub fn client(&self) -> Arc<ClientConfig> {
        self.client_of(rustls::DEFAULT_VERSIONS)
    }

    /// The same with these versions of TLS.
    pub fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        Arc::new(self.trusting(versions).with_no_client_auth())
    }

    /// A client that speaks this cipher suite alone.
    pub fn client_with(&self, suite: SupportedCipherSuite) -> Arc<ClientConfig> {
        Arc::new(self.speaking(suite))
    }

    /// The same; its traffic secrets are registered as secrets, and it gives away its keys.
    pub fn client_revealing(&self, suite: SupportedCipherSuite) -> Arc<ClientConfig> {
        let mut config = self.speaking(suite);
        config.enable_secret_extraction = true;
        config.key_log = self.key_log();
        Arc::new(config)
    }

    /// Registers the secrets of every handshake as such.
    pub fn key_log(&self) -> Arc<dyn KeyLog> {
        Arc::new(RegisterSecrets)
    }

    fn speaking(&self, suite: SupportedCipherSuite) -> ClientConfig {
        let provider = CryptoProvider {
            cipher_suites: vec![suite],
            ..aws_lc_rs::default_provider()
        };
        let versions = [suite.version()];
        let builder = self.trusting_with(provider, &versions);
        builder.with_no_client_auth()
    }

    /// A client that trusts this authority alone, and shows this certificate, of any issuer.
    pub fn client_showing(
        &self,
        shown: &Files,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let (chain, key) = shown.read();
        let config = self.trusting(versions).with_client_auth_cert(chain, key);
        Arc::new(config.expect("the key belongs to the certificate"))
    }

    fn trusting(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        self.trusting_with(aws_lc_rs::default_provider(), versions)
    }

    fn trusting_with(
        &self,
        provider: CryptoProvider,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.issuer.der().clone())
            .expect("the authority is a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(provider));
        let builder = builder
            .with_protocol_versions(versions)
            .expect("versions we have");
        builder.with_root_certificates(roots)
    }

    /// A server with this certificate, for backends that speak TLS.
    pub fn server(&self, files: &Files) -> Arc<ServerConfig> {
        let (chain, key) = files.read();
        let builder = ServerConfig::builder_with_provider(provider());
        let versions = builder
            .with_safe_default_protocol_versions()
            .expect("versions");
        let config = versions.with_no_client_auth().with_single_cert(chain, key);
        Arc::new(config.expect("the key belongs to the certificate"))
    }
}

/// Every secret of a handshake is one that must show nowhere (I11).
#[derive(Debug)]
struct RegisterSecrets;

impl KeyLog for RegisterSecrets {
    fn log(&self, _: &str, _: &[u8], secret: &[u8]) {
        secrets::register_bytes(secret);
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
