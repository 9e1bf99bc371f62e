//! TLS to the backends of a configuration that is about to be in force.

use std::path::Path;

use crate::base::names::UpstreamName;
use crate::config::diagnostic::{Diagnostic, Severity, Source};
use crate::config::snapshot::Snapshot;
use crate::config::span::KeyPath;
use crate::io::tls::client::{BackendTls, ClientTls, ClientTlsError, Roots};

/// TLS of the upstreams of a configuration cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("upstream `{0}`: {1}")]
pub struct UpstreamTlsError(UpstreamName, #[source] ClientTlsError);

impl UpstreamTlsError {
    pub(super) fn upstream(&self) -> &UpstreamName {
        &self.0
    }

    pub(super) fn diagnostic(&self, path: &Path) -> Diagnostic {
        let key = ["upstreams", &self.0, "tls"].map(str::to_owned);
        Diagnostic {
            severity: Severity::Error,
            source: Source::File(path.to_owned()),
            location: None,
            key: KeyPath(key.to_vec()),
            message: self.1.to_string(),
            help: None,
        }
    }
}

/// Reads the roots of all upstreams that have TLS.
///
/// # Errors
/// The first upstream whose roots or name are wrong.
pub(super) fn read_backend_tls(snapshot: &Snapshot) -> Result<BackendTls, UpstreamTlsError> {
    let records = snapshot.node.tls_records;
    let mut roots = Roots::default();
    let with_tls = snapshot.upstreams.values().filter_map(|upstream| {
        let tls = ClientTls::with_roots(upstream.tls.as_ref()?, records, &mut roots);
        let name = || upstream.name.clone();
        Some(
            tls.map(|tls| (name(), tls))
                .map_err(|error| UpstreamTlsError(name(), error)),
        )
    });
    with_tls.collect()
}

/// Which TLS that is in force with the same settings is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    /// All of it; no file is read for it.
    Unchanged,
    /// Only what cannot be set up anew: files of roots are read again.
    Failed,
}

/// TLS of the upstreams, and those of which it cannot be set up. An upstream with a fault keeps the
/// TLS that is in force where its settings are the same. Without any it takes no sessions: no
/// request goes to it in the clear. Other upstreams are not affected (I4).
pub(super) fn tls(
    snapshot: &Snapshot,
    (before, known): (&Snapshot, &BackendTls),
    roots: &mut Roots,
    reuse: Reuse,
) -> (BackendTls, Vec<UpstreamTlsError>) {
    let (mut all, mut faults) = (BackendTls::default(), Vec::new());
    for upstream in snapshot.upstreams.values() {
        let Some(settings) = &upstream.tls else {
            continue;
        };
        let name = &upstream.name;
        let same = before.upstreams.get(name);
        let same = same.is_some_and(|before| before.tls.as_ref() == Some(settings));
        let current = known.of(name).filter(|_| same);
        let tls = match current {
            Some(current) if reuse == Reuse::Unchanged => Some(current),
            current => match ClientTls::with_roots(settings, snapshot.node.tls_records, roots) {
                // With the same roots the tickets of backends stay good.
                Ok(tls) => Some(current.filter(|one| one.verifies_as(&tls)).unwrap_or(tls)),
                Err(error) => {
                    faults.push(UpstreamTlsError(name.clone(), error));
                    current
                }
            },
        };
        all.extend(tls.map(|tls| (name.clone(), tls)));
    }
    (all, faults)
}

/// Whether the TLS of an upstream is that of the file.
pub(super) fn is_of_file(file: &Snapshot, composed: &Snapshot, upstream: &UpstreamName) -> bool {
    let tls = |snapshot: &Snapshot| snapshot.upstreams.get(upstream)?.tls.clone();
    tls(file) == tls(composed)
}

pub(super) fn log_tls_faults(faults: &[UpstreamTlsError]) {
    for error in faults {
        tracing::error!(%error, "cannot set up TLS to an upstream; the rest of the configuration is in force");
    }
}
