//! Certificates that have ended, or will.

use crate::admin::certificates::CertificateView;
use crate::admin::findings::finding::{Finding, Severity};

/// Days before the end from which on it is a warning, and from which on it is critical. ACME renews
/// a certificate of 90 days when 30 are left.
const WARNING_DAYS: f64 = 14.0;
const CRITICAL_DAYS: f64 = 3.0;
/// Days before the end from which on it is mentioned.
const NOTICE_DAYS: f64 = 30.0;

pub(super) fn findings(certificates: &[CertificateView]) -> Vec<Finding> {
    certificates.iter().filter_map(finding).collect()
}

fn finding(certificate: &CertificateView) -> Option<Finding> {
    let names = certificate.names.join(", ");
    let subject = format!("certificate of {} for {names}", certificate.listener);
    let acme = certificate.acme.as_ref();
    let fault = acme.and_then(|acme| acme.fault.as_deref());
    let failed = fault.map(|fault| format!("; the last order failed: {fault}"));
    let failed = failed.unwrap_or_default();
    let remedy = match acme {
        Some(_) => "the gateway orders it again by itself; the log says what is refused",
        None => "put a new certificate in its files; they are read again by themselves",
    };
    let found = |severity, kind, detail: String| {
        Some(Finding::new(severity, kind, subject.clone(), detail).remedy(remedy))
    };
    let Some(days) = certificate.days_left else {
        let detail = format!("there is none yet, a self-signed one is shown{failed}");
        return found(Severity::Critical, "certificate_missing", detail);
    };
    if certificate.expired {
        let detail = format!("it has ended, and clients refuse it{failed}");
        return found(Severity::Critical, "certificate_expired", detail);
    }
    let detail = format!("it ends in {}{failed}", left(days));
    if let Some(refused) = &certificate.refused {
        let severity = match days {
            _ if days <= CRITICAL_DAYS => Severity::Critical,
            _ => Severity::Warning,
        };
        let detail = format!("what is in its files is refused: {refused}; {detail}");
        return found(severity, "certificate_refused", detail);
    }
    match days {
        _ if days <= CRITICAL_DAYS => found(Severity::Critical, "certificate_expires", detail),
        _ if days <= WARNING_DAYS => found(Severity::Warning, "certificate_expires", detail),
        _ if fault.is_some() => found(Severity::Warning, "certificate_not_renewed", detail),
        // One that the gateway renews needs no look before that is late.
        _ if days <= NOTICE_DAYS && acme.is_none() => {
            found(Severity::Notice, "certificate_expires", detail)
        }
        _ => None,
    }
}

/// Days as people read them.
fn left(days: f64) -> String {
    match days {
        _ if days < 2.0 => format!("{:.0} hours", days * 24.0),
        _ => format!("{days:.0} days"),
    }
}
