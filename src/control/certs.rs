//! Keeps a listener's certificates as fresh as their files. A pair that is damaged, is no pair, or
//! has expired never replaces one that is in force (I4).

use std::sync::Arc;
use std::time::SystemTime;

use tracing::{info, warn};

use crate::base::names::ListenerName;
use crate::base::{causes, clock};
use crate::config::snapshot::{CertificateFiles, ListenerTls};
use crate::control::watch::Watch;
use crate::io::tls::certs::{self, CertError, Certificate};
use crate::io::tls::server::Resolver;

/// Reads the certificates that a listener starts with. An expired one is taken, with a warning,
/// since its clients are worse off without any.
///
/// # Errors
/// The first file that is wrong.
pub fn open(listener: &ListenerName, tls: &ListenerTls) -> Result<Arc<Resolver>, CertError> {
    let now = clock::wall();
    let mut certificates = Vec::new();
    for files in &tls.certificates {
        let certificate = certs::load(files)?;
        if !certificate.valid_at(now) {
            warn!(
                %listener, cert = %files.cert.display(),
                not_before = clock::rfc3339(certificate.not_before),
                not_after = clock::rfc3339(certificate.not_after),
                "a certificate is not valid now; clients will refuse it"
            );
        }
        certificates.push(certificate);
    }
    let resolver = Resolver::new(certificates);
    if let Some(acme) = &tls.acme {
        // Until the first one is there; what was kept takes its place at once.
        match certs::placeholder(&acme.names) {
            Ok(placeholder) => resolver.set_managed(placeholder),
            Err(error) => warn!(%listener, %error, "a listener begins without a certificate"),
        }
    }
    Ok(Arc::new(resolver))
}

/// Replaces certificates in `resolver`, which [`open`] made from the same `tls`, whenever their
/// files change. Never returns.
pub async fn follow(listener: ListenerName, tls: ListenerTls, resolver: Arc<Resolver>) {
    let files = tls.certificates.iter();
    let mut watch = Watch::new(files.flat_map(|pair| [pair.cert.clone(), pair.key.clone()]));
    loop {
        // At once too, for what changed between `open` and the watch.
        refresh(&listener, &tls, &resolver).await;
        watch.changed().await;
    }
}

async fn refresh(listener: &ListenerName, tls: &ListenerTls, resolver: &Resolver) {
    let pairs = tls.certificates.clone();
    let read = move || pairs.iter().map(certs::load).collect::<Vec<_>>();
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.expect("reading certificates does not panic");

    let mut certificates = resolver.files();
    let (mut replaced, mut refused) = (false, Vec::new());
    for ((files, held), new) in tls.certificates.iter().zip(&mut certificates).zip(read) {
        let successor = successor(held, new, clock::wall());
        refused.push(
            successor
                .as_ref()
                .err()
                .map(|refusal| format!("{}: {}", files.cert.display(), causes::chain(refusal))),
        );
        match successor {
            Ok(None) => {}
            Ok(Some(certificate)) => {
                info!(
                    %listener, cert = %files.cert.display(), names = certificate.names.join(", "),
                    not_after = clock::rfc3339(certificate.not_after),
                    "a certificate was replaced"
                );
                *held = certificate;
                replaced = true;
            }
            Err(refusal) => warn_refused(listener, files, held, &refusal),
        }
    }
    resolver.set_refused(refused);
    if replaced {
        resolver.replace(certificates);
    }
}

/// Why the files' contents do not replace the certificate in force.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Broken(#[from] CertError),
    #[error("the new certificate is not valid now")]
    NotValid,
}

/// What takes the place of `held`, if anything does.
fn successor(
    held: &Certificate,
    new: Result<Certificate, CertError>,
    now: SystemTime,
) -> Result<Option<Certificate>, Refusal> {
    let new = new?;
    if new.same_as(held) {
        return Ok(None);
    }
    if held.valid_at(now) && !new.valid_at(now) {
        return Err(Refusal::NotValid);
    }
    Ok(Some(new))
}

fn warn_refused(
    listener: &ListenerName,
    files: &CertificateFiles,
    held: &Certificate,
    refusal: &Refusal,
) {
    warn!(
        %listener, cert = %files.cert.display(), key = %files.key.display(),
        error = refusal as &(dyn std::error::Error + 'static),
        kept_until = clock::rfc3339(held.not_after),
        "a changed certificate was refused; the one before it stays"
    );
}

#[cfg(test)]
mod tests;
