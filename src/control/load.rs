//! Reads the configuration and all that it names: the file, the environment, secrets, certificates.
//! What it means is `config`'s; this is the one place that touches the world for it.

mod pem;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use serde::Serialize;

use crate::config::diagnostic::{Diagnostic, Severity, Source};
use crate::config::layers::Layers;
use crate::config::model::{self, Backend, Model, TextOr};
use crate::config::overlay::{Ground, Judge};
use crate::config::snapshot::{CertificateFiles, Snapshot};
use crate::config::span::KeyPath;
use crate::config::validate::{CertificateFault, Surroundings, validate};
use crate::io::tls::client::Roots;

/// The file that is read if nobody names one.
pub const DEFAULT_PATH: &str = "gateway.toml";

/// A configuration file and a secret have no reason to be larger.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What to load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// The file; relative paths inside it are relative to its directory.
    pub path: PathBuf,
    /// `--set` flags, as key path and value.
    pub sets: Vec<(String, String)>,
    /// The environment, as name and value.
    pub environment: Vec<(String, String)>,
}

impl LoadOptions {
    /// This file, under the environment of this process.
    pub fn from_process(path: impl Into<PathBuf>, sets: Vec<(String, String)>) -> Self {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        Self {
            path: path.into(),
            sets,
            environment: std::env::vars_os()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
        }
    }
}

/// A configuration that may take effect.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What to run on.
    pub snapshot: Snapshot,
    /// What is in force, defaults included, secrets masked: for `/v1/config`.
    pub masked: Arc<serde_json::Value>,
    /// The authenticators as they are written, for routes of documents to be checked against.
    pub authenticators: Arc<BTreeMap<String, model::Authenticator>>,
    /// Every file that was read; a change of one may change the configuration.
    pub files: Vec<PathBuf>,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// Why a configuration is refused: every fault of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Faults(Vec<Diagnostic>);

impl Faults {
    /// At least one, in the order of the file.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.0
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, one) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            one.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Loads the file and the layers above it.
///
/// # Errors
/// Every fault at once; then nothing of the configuration may take effect (I4).
pub fn load(options: &LoadOptions) -> Result<Loaded, Faults> {
    match read_limited(&options.path) {
        Ok(bytes) => load_bytes(options, &bytes),
        Err(error) => Err(Faults(vec![unreadable(&options.path, &error)])),
    }
}

/// Loads a text as if it stood in the file that `options` names; the file is not read.
///
/// # Errors
/// As [`load`].
pub fn load_text(options: &LoadOptions, text: &str) -> Result<Loaded, Faults> {
    load_bytes(options, text.as_bytes())
}

/// What documents of other sources are checked against, beside the file that was loaded. Returns
/// the roots that the check read, too.
pub fn on_ground<A>(
    options: &LoadOptions,
    loaded: &Loaded,
    check: impl FnOnce(&Ground<'_>) -> A,
) -> (A, Roots) {
    let world = World {
        environment: &options.environment,
        files: RefCell::default(),
        roots: RefCell::default(),
    };
    let judge = Judge::new(&loaded.snapshot);
    let checked = check(&Ground {
        authenticators: &loaded.authenticators,
        directory: options.path.parent().unwrap_or_else(|| Path::new("")),
        outside: &world,
        judge: &judge,
    });
    (checked, world.roots.into_inner())
}

fn load_bytes(options: &LoadOptions, bytes: &[u8]) -> Result<Loaded, Faults> {
    let text = String::from_utf8_lossy(bytes);
    let reading = Layers {
        path: &options.path,
        text: &text,
        environment: &options.environment,
        sets: &options.sets,
    }
    .read();
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to();
        let fault = reading.origin.at_bytes(
            at..at + '\u{fffd}'.len_utf8(),
            "this is not UTF-8".to_owned(),
        );
        return Err(Faults(vec![fault]));
    }
    let directory = options.path.parent().unwrap_or_else(|| Path::new(""));
    let world = World {
        environment: &options.environment,
        files: RefCell::new(vec![options.path.clone()]),
        roots: RefCell::default(),
    };
    let (snapshot, found) = validate(&reading.model, &reading.origin, directory, &world);
    let (mut faults, warnings): (Vec<_>, Vec<_>) = reading
        .found
        .into_iter()
        .chain(found)
        .partition(|one| one.severity == Severity::Error);
    match snapshot {
        Some(snapshot) if faults.is_empty() => Ok(Loaded {
            authenticators: Arc::new(reading.model.authenticators.clone()),
            masked: Arc::new(in_force(reading.model, &snapshot).masked_json()),
            snapshot,
            files: world.files.into_inner(),
            warnings,
        }),
        // Warnings beside faults are mostly their consequences.
        _ => {
            debug_assert!(!faults.is_empty(), "what is refused has a fault");
            faults.sort_by_key(Diagnostic::line_and_column);
            Err(Faults(faults))
        }
    }
}

/// The model with what only validation could fill in.
fn in_force(mut model: Model, snapshot: &Snapshot) -> Model {
    model.node.name = Some(snapshot.node.name.to_string());
    let upstreams = model.upstreams.values_mut();
    for backend in upstreams.flat_map(|upstream| &mut upstream.backends) {
        let mut table = match backend {
            TextOr::Table(table) => table.clone(),
            TextOr::Text(address) => Backend {
                address: Some(std::mem::take(address)),
                ..Backend::default()
            },
        };
        if table.id.is_none() {
            table.id.clone_from(&table.address);
        }
        *backend = TextOr::Table(table);
    }
    model
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let missing = error.kind() == io::ErrorKind::NotFound;
    Diagnostic {
        severity: Severity::Error,
        source: Source::File(path.to_owned()),
        place: None,
        key: KeyPath::default(),
        message: if missing {
            format!("there is no file {}", path.display())
        } else {
            format!("cannot read {}: {}", path.display(), reason(error))
        },
        help: missing.then(|| {
            "name the configuration with `--config PATH`, or try `sessile demo`, which needs none"
                .to_owned()
        }),
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = fs::File::open(path)?.take(FILE_BYTES_MAX + 1);
    if file.read_to_end(&mut bytes)? as u64 > FILE_BYTES_MAX {
        let message = format!("it has more than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// What the system says, without its error number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

/// The world as validation sees it.
struct World<'a> {
    environment: &'a [(String, String)],
    /// What was read, to be watched.
    files: RefCell<Vec<PathBuf>>,
    /// Certificates to trust that were read.
    roots: RefCell<Roots>,
}

impl World<'_> {
    fn read(&self, path: &Path) -> Result<Vec<u8>, String> {
        let mut files = self.files.borrow_mut();
        if !files.iter().any(|known| known == path) {
            files.push(path.to_owned());
        }
        read_limited(path).map_err(|error| reason(&error))
    }

    /// All certificates of a PEM file; at least one.
    fn certificates(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
        let shown = path.display();
        let bytes = self
            .read(path)
            .map_err(|why| format!("cannot read {shown}: {why}"))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        match chain {
            Ok(chain) if chain.is_empty() => Err(pem::other_form(path, &bytes)
                .unwrap_or_else(|| format!("{shown} holds no PEM certificate"))),
            Ok(chain) => Ok(chain),
            Err(_) => Err(format!("{shown} is not PEM")),
        }
    }

    /// The private key of a PEM file. The parsers' own errors are not shown: they might quote it.
    fn key(&self, path: &Path) -> Result<Arc<dyn SigningKey>, String> {
        let shown = path.display();
        let bytes = self
            .read(path)
            .map_err(|why| format!("cannot read {shown}: {why}"))?;
        let known = || pem::encrypted_key(path, &bytes).or_else(|| pem::other_form(path, &bytes));
        let key = PrivateKeyDer::from_pem_slice(&bytes)
            .map_err(|_| known().unwrap_or_else(|| format!("{shown} holds no PEM private key")))?;
        aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|_| format!("{shown} holds a key of no known kind"))
    }
}

fn no_x509(path: &Path) -> String {
    format!("{} holds no X.509 certificate", path.display())
}

impl Surroundings for World<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        let mut variables = self.environment.iter();
        variables
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    }

    fn text(&self, path: &Path) -> Result<String, String> {
        String::from_utf8(self.read(path)?).map_err(|_| "it is not UTF-8".to_owned())
    }

    fn certificate(&self, files: &CertificateFiles) -> Vec<CertificateFault> {
        let (chain, key) = match (self.certificates(&files.cert), self.key(&files.key)) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => {
                let chain = chain.err().map(CertificateFault::Chain);
                return chain
                    .into_iter()
                    .chain(key.err().map(CertificateFault::Key))
                    .collect();
            }
        };
        let validity = chain
            .first()
            .and_then(|leaf| pem::validity(&files.cert, leaf));
        let validity = validity.map(CertificateFault::Validity);
        match CertifiedKey::new(chain, key).keys_match() {
            // A key that does not tell its public half cannot be compared.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                validity.into_iter().collect()
            }
            Err(rustls::Error::InconsistentKeys(_)) => vec![CertificateFault::Mismatch],
            Err(_) => vec![CertificateFault::Chain(no_x509(&files.cert))],
        }
    }

    fn roots(&self, path: &Path) -> Result<(), String> {
        let mut store = rustls::RootCertStore::empty();
        for certificate in self.certificates(path)? {
            store.add(certificate).map_err(|_| no_x509(path))?;
        }
        self.roots.borrow_mut().insert(path, store);
        Ok(())
    }

    fn system_roots(&self) -> Result<(), String> {
        let read = self.roots.borrow_mut().of(None);
        read.map(drop).map_err(|error| error.to_string())
    }

    fn host_name(&self) -> String {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        match name.trim() {
            "" => "sessile".to_owned(),
            name => name.to_owned(),
        }
    }
}
