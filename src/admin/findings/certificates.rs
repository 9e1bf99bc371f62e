//! Certificates that have ended, or will.

use crate::admin::certificates::{CertificateView, Trouble};
use crate::admin::findings::finding::Finding;

pub(super) fn findings(certificates: &[CertificateView]) -> Vec<Finding> {
    certificates.iter().filter_map(finding).collect()
}

fn finding(certificate: &CertificateView) -> Option<Finding> {
    let (severity, trouble) = certificate.trouble()?;
    let names = certificate.names.join(", ");
    let subject = format!("certificate of {} for {names}", certificate.listener);
    let acme = certificate.acme.as_ref();
    let fault = acme.and_then(|acme| acme.fault.as_deref());
    let failed = fault.map(|fault| format!("; the last order failed: {fault}"));
    let failed = failed.unwrap_or_default();
    let left = left(certificate.days_left.unwrap_or_default());
    let detail = match trouble {
        Trouble::Missing => format!("there is none yet, a self-signed one is shown{failed}"),
        Trouble::Expired => format!("it has ended, and clients refuse it{failed}"),
        Trouble::Refused => {
            let why = certificate.refused.as_deref().unwrap_or_default();
            format!("what is in its files is refused: {why}; it ends in {left}{failed}")
        }
        Trouble::Expires | Trouble::NotRenewed => format!("it ends in {left}{failed}"),
    };
    let remedy = match acme {
        Some(_) => "the gateway orders it again by itself; the log says what is refused",
        None => "put a new certificate in its files; they are read again by themselves",
    };
    Some(Finding::new(severity, trouble.as_str(), subject, detail).remedy(remedy))
}

/// Days as people read them.
fn left(days: f64) -> String {
    match days {
        _ if days < 2.0 => format!("{:.0} hours", days * 24.0),
        _ => format!("{days:.0} days"),
    }
}
