//! Reads the configuration and all that it names: the file, the environment, secrets, certificates.
//! What it means is `config`'s; this is the one place that touches the world for it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::InconsistentKeys;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use crate::base::clock;
use crate::base::source_id::SourceId;
use crate::config::diagnostic::{Diagnostic, Severity, Source};
use crate::config::layers::Layers;
use crate::config::model::{self, Backend, Model, TextOr};
use crate::config::overlay::{CheckContext, FileProtection};
use crate::config::pem::{self, Mistake, Validity, Wanted};
use crate::config::snapshot::{CertificateFiles, DocumentRights, Snapshot};
use crate::config::span::KeyPath;
use crate::config::validate::{CertificateFault, Environment, FileContent, validate};
use crate::control::load::within::holder;
use crate::control::{exposed, served};
use crate::io::file;
use crate::io::tls::client::Roots;

mod within;

/// The default configuration file.
pub const DEFAULT_PATH: &str = "gateway.toml";

const OUT_OF_REACH: &str = "documents may name files only below the directories of \
                            `document_files` of their source";

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
    match file::read(&options.path, file::CONFIG_BYTES_MAX) {
        Ok(bytes) => load_bytes(options, &bytes, &World::new(options)),
        Err(error) => Err(Faults(vec![unreadable(&options.path, &error)])),
    }
}

/// Loads a text as if it stood in the file that `options` names; the file is not read.
///
/// # Errors
/// As [`load`].
pub fn load_text(options: &LoadOptions, text: &str) -> Result<Loaded, Faults> {
    load_bytes(options, text.as_bytes(), &World::new(options))
}

/// Which files and variables of the environment a text may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All: an operator wrote it.
    Everything,
    /// None: its author may only read.
    Nothing,
}

/// Why a text on trial is not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrialFault {
    /// It names a file or a variable that is out of reach, which was not looked at.
    NamesOutside,
    /// It would be refused.
    Faults(Faults),
}

/// Loads a text as [`load_text`] does, for someone other than the author of the configuration file.
///
/// # Errors
/// When it names something inaccessible, or would be refused.
pub fn load_trial(options: &LoadOptions, text: &str, reach: Reach) -> Result<Loaded, TrialFault> {
    let world = World {
        directories: match reach {
            Reach::Everything => None,
            Reach::Nothing => Some(&[]),
        },
        ..World::new(options)
    };
    let loaded = load_bytes(options, text.as_bytes(), &world);
    if world.refused.get() {
        return Err(TrialFault::NamesOutside);
    }
    loaded.map_err(TrialFault::Faults)
}

/// The context for checks of documents, besides the loaded file. Documents may name files below the
/// directories that `rights` lists for their source, and no variables: their authors are not the
/// operators of the gateway. Also returns the roots that the check read.
pub fn with_check_context<A>(
    options: &LoadOptions,
    loaded: &Loaded,
    rights: &BTreeMap<SourceId, DocumentRights<'_>>,
    check: impl FnOnce(&CheckContext<'_>) -> A,
) -> (A, Roots) {
    let roots: Rc<RefCell<Roots>> = Rc::default();
    let worlds = SourceId::ALL.map(|source| {
        let rights = rights.get(&source).copied().unwrap_or_default();
        World {
            directories: Some(rights.files),
            sockets: Some(rights.files),
            broker_names: Some(rights.broker_names),
            roots: Rc::clone(&roots),
            ..World::new(options)
        }
    });
    let outside = |source: SourceId| -> &dyn Environment { &worlds[source.precedence()] };
    let protection = FileProtection::new(&loaded.snapshot);
    let checked = check(&CheckContext {
        own: loaded.snapshot.own_addresses(),
        authenticators: &loaded.authenticators,
        directory: options.path.parent().unwrap_or_else(|| Path::new("")),
        broker: loaded.snapshot.broker.as_ref(),
        functions: &loaded.snapshot.functions,
        outside: &outside,
        protection: &protection,
    });
    (checked, roots.take())
}

fn load_bytes(options: &LoadOptions, bytes: &[u8], world: &World<'_>) -> Result<Loaded, Faults> {
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
    world.files.borrow_mut().push(options.path.clone());
    let (snapshot, found) = validate(&reading.model, &reading.origin, directory, world);
    let (mut faults, mut warnings): (Vec<_>, Vec<_>) = reading
        .found
        .into_iter()
        .chain(found)
        .partition(|one| one.severity == Severity::Error);
    match snapshot {
        Some(snapshot) if faults.is_empty() => {
            let files = world.files.take();
            // What a stranger's text names is not even looked at.
            if world.directories.is_none() {
                warnings.extend(exposed::warnings(&reading.origin, &snapshot, &files));
                warnings.extend(served::warnings(&reading.origin, &snapshot, &files));
            }
            Ok(Loaded {
                authenticators: Arc::new(reading.model.authenticators.clone()),
                masked: Arc::new(in_force(reading.model, &snapshot).masked_json()),
                snapshot,
                files,
                warnings,
            })
        }
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
        location: None,
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

/// The system's message, without its error number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

/// The world as validation sees it.
struct World<'a> {
    /// The configuration file.
    path: &'a Path,
    environment: &'a [(String, String)],
    /// Files may be named below these; `None`: any file and any variable.
    directories: Option<&'a [PathBuf]>,
    /// Backends may be at unix sockets below these; `None`: at any.
    sockets: Option<&'a [PathBuf]>,
    /// Names at the broker that may be used, `*` at the end for all that begin so; `None`: any.
    broker_names: Option<&'a [String]>,
    /// Whether something was named that is out of reach.
    refused: Cell<bool>,
    /// What was read, to be watched.
    files: RefCell<Vec<PathBuf>>,
    /// Certificates to trust that were read.
    roots: Rc<RefCell<Roots>>,
}

impl<'a> World<'a> {
    fn new(options: &'a LoadOptions) -> Self {
        Self {
            path: &options.path,
            environment: &options.environment,
            directories: None,
            sockets: None,
            broker_names: None,
            refused: Cell::new(false),
            files: RefCell::default(),
            roots: Rc::default(),
        }
    }

    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
        let path = self.within_reach(path)?;
        let mut files = self.files.borrow_mut();
        if !files.contains(&path) {
            files.push(path.clone());
        }
        file::read(&path, bytes_max).map_err(|error| reason(&error))
    }

    /// The file to open for `path`.
    fn within_reach(&self, path: &Path) -> Result<PathBuf, String> {
        let Some(directories) = self.directories else {
            return Ok(path.to_owned());
        };
        // What lies outside is not looked at, so that its existence does not show.
        let Some(directory) = holder(directories, path) else {
            self.refused.set(true);
            return Err(OUT_OF_REACH.to_owned());
        };
        // A link may lead out of the directory.
        let real = |path: &Path| fs::canonicalize(path).map_err(|error| reason(&error));
        let (directory, path) = (real(directory)?, real(path)?);
        match path.starts_with(directory) {
            true => Ok(path),
            false => Err(OUT_OF_REACH.to_owned()),
        }
    }

    /// All certificates of a PEM file; at least one.
    fn certificates(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
        let shown = path.display();
        let bytes = self
            .read(path, file::PEM_BYTES_MAX)
            .map_err(|why| format!("cannot read {shown}: {why}"))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        match chain {
            Ok(chain) if chain.is_empty() => Err(format!("{shown} holds no PEM certificate")),
            Ok(chain) => Ok(chain),
            Err(_) => Err(format!("{shown} is not PEM")),
        }
    }

    /// The private key of a PEM file. The parsers' own errors are not shown: they might quote it.
    fn key(&self, path: &Path) -> Result<Arc<dyn SigningKey>, String> {
        let shown = path.display();
        let bytes = self
            .read(path, file::PEM_BYTES_MAX)
            .map_err(|why| format!("cannot read {shown}: {why}"))?;
        let key = PrivateKeyDer::from_pem_slice(&bytes)
            .map_err(|_| format!("{shown} holds no PEM private key"))?;
        aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|_| format!("{shown} holds a key of no known kind"))
    }
}

fn no_x509(path: &Path) -> String {
    format!("{} holds no X.509 certificate", path.display())
}

impl Environment for World<'_> {
    fn variable(&self, name: &str) -> Result<String, String> {
        if self.directories.is_some() {
            self.refused.set(true);
            return Err("a document may not name variables of the environment".to_owned());
        }
        let mut variables = self.environment.iter();
        variables
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
            .ok_or_else(|| format!("the environment has no variable `{name}`"))
    }

    fn text(&self, path: &Path, holds: FileContent) -> Result<String, String> {
        let bytes_max = match holds {
            FileContent::Secret => file::SECRET_BYTES_MAX,
            FileContent::List => file::LIST_BYTES_MAX,
        };
        String::from_utf8(self.read(path, bytes_max)?).map_err(|_| "it is not UTF-8".to_owned())
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
        match CertifiedKey::new(chain, key).keys_match() {
            // A key without a readable public half cannot be compared.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Vec::new(),
            Err(rustls::Error::InconsistentKeys(_)) => vec![CertificateFault::Mismatch],
            Err(_) => vec![CertificateFault::Chain(no_x509(&files.cert))],
        }
    }

    fn directory(&self, path: &Path) -> Result<(), String> {
        self.refused
            .set(self.refused.get() || self.directories.is_some());
        served::directory(path, self.path, self.directories.is_none())
    }

    fn socket(&self, path: &Path) -> Result<(), String> {
        let allowed = self
            .sockets
            .is_none_or(|known| holder(known, path).is_some());
        allowed.then_some(()).ok_or_else(|| OUT_OF_REACH.to_owned())
    }

    fn broker_name(&self, written: &str) -> Result<(), String> {
        let may = |entry: &String| match entry.strip_suffix('*') {
            Some(start) => written.starts_with(start),
            None => written == entry,
        };
        let allowed = self.broker_names.is_none_or(|all| all.iter().any(may));
        allowed
            .then_some(())
            .ok_or_else(|| format!("a document may not use `{written}` at the broker"))
    }

    fn roots(&self, path: &Path) -> Result<u128, String> {
        let mut store = rustls::RootCertStore::empty();
        let mut hasher = Xxh3::new();
        for certificate in self.certificates(path)? {
            hasher.update(&certificate);
            store.add(certificate).map_err(|_| no_x509(path))?;
        }
        self.roots.borrow_mut().insert(path, store);
        Ok(hasher.digest128())
    }

    fn system_roots(&self) -> Result<(), String> {
        let read = self.roots.borrow_mut().of(None);
        read.map(drop).map_err(|error| error.to_string())
    }

    fn validities(&self, path: &Path) -> Vec<Validity> {
        let certificates = self.certificates(path).unwrap_or_default();
        certificates
            .iter()
            .filter_map(|der| Validity::of(der))
            .collect()
    }

    fn mistake(&self, path: &Path, wanted: Wanted) -> Option<Mistake> {
        pem::mistaken(&self.read(path, file::PEM_BYTES_MAX).ok()?, wanted, path)
    }

    fn now(&self) -> SystemTime {
        clock::wall()
    }

    fn host_name(&self) -> String {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        match name.trim() {
            "" => "sessile".to_owned(),
            name => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
