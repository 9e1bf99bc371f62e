//! The certificates that listeners show, from files and from ACME.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::findings::severity::Severity;
use crate::admin::{Gateway, Page};
use crate::base::clock;
use crate::control::acme::ManagedStatus;
use crate::io::tls::certs::Certificate;
use crate::telemetry::metrics::{Reading, table};

/// A certificate that a listener shows.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CertificateView {
    /// The listener; `admin` for the admin API.
    pub listener: String,
    /// The names that it is for.
    pub names: Vec<String>,
    /// Its end, RFC 3339; null for a self-signed one in the place of one that is not there yet.
    pub not_after: Option<String>,
    /// Whether it has ended.
    pub expired: bool,
    /// Days until its end, with fractions; null as `not_after` is.
    #[serde(default)]
    pub days_left: Option<f64>,
    /// Client connections that its listener has now; null for the admin API.
    #[serde(default)]
    pub connections: Option<usize>,
    /// Why what is in its files now does not replace it; null if it is in force.
    #[serde(default)]
    pub refused: Option<String>,
    /// Set if the gateway orders it itself.
    pub acme: Option<AcmeView>,
    /// How bad it is, as `/v1/findings` has it; null if nothing is wrong with it.
    #[serde(default)]
    pub severity: Option<Severity>,
}

/// A certificate that the gateway orders.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AcmeView {
    /// When the next order is due; RFC 3339.
    pub renews: String,
    /// Orders that failed since the last success.
    pub failures: u32,
    /// Why the last one failed.
    pub fault: Option<String>,
}

/// Days before the end from which on it is a warning, and from which on it is critical. ACME renews
/// a certificate of 90 days when 30 are left.
const WARNING_DAYS: f64 = 14.0;
const CRITICAL_DAYS: f64 = 3.0;
/// Days before the end from which on it is mentioned.
const NOTICE_DAYS: f64 = 30.0;

/// What may be wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It was never ordered with success.
    Missing,
    /// It has ended.
    Expired,
    /// What is in its files now does not replace it.
    Refused,
    /// It ends soon.
    Expires,
    /// Its last order failed.
    NotRenewed,
}

impl Trouble {
    /// The kind of its finding.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "certificate_missing",
            Self::Expired => "certificate_expired",
            Self::Refused => "certificate_refused",
            Self::Expires => "certificate_expires",
            Self::NotRenewed => "certificate_not_renewed",
        }
    }
}

impl CertificateView {
    /// What is wrong with it, and how bad that is: the one scale of findings, lists and pages.
    pub(super) fn trouble(&self) -> Option<(Severity, Trouble)> {
        let Some(days) = self.days_left else {
            return Some((Severity::Critical, Trouble::Missing));
        };
        if self.expired {
            return Some((Severity::Critical, Trouble::Expired));
        }
        let near = days <= CRITICAL_DAYS;
        if self.refused.is_some() {
            let severity = if near {
                Severity::Critical
            } else {
                Severity::Warning
            };
            return Some((severity, Trouble::Refused));
        }
        let fails = self.acme.as_ref().is_some_and(|acme| acme.fault.is_some());
        match days {
            _ if near => Some((Severity::Critical, Trouble::Expires)),
            _ if days <= WARNING_DAYS => Some((Severity::Warning, Trouble::Expires)),
            _ if fails => Some((Severity::Warning, Trouble::NotRenewed)),
            // One that the gateway renews needs no look before that is late.
            _ if days <= NOTICE_DAYS && self.acme.is_none() => {
                Some((Severity::Notice, Trouble::Expires))
            }
            _ => None,
        }
    }
}

/// All of them.
pub(super) fn views(gateway: &Gateway) -> Vec<CertificateView> {
    let (now, managed) = (clock::wall(), gateway.acme.status());
    let listeners = gateway.certificates.iter();
    let views = listeners.flat_map(|(listener, resolver)| {
        let files = resolver.files().into_iter().zip(resolver.refused());
        let files = files.map(|(one, refused)| (one, refused, None));
        let mut own = managed.iter();
        let own = own.find(|one| {
            one.resolvers
                .iter()
                .any(|other| Arc::ptr_eq(other, resolver))
        });
        let ordered = resolver.managed().map(|one| (one, None, own));
        let all: Vec<(Certificate, Option<String>, Option<&ManagedStatus>)> =
            files.chain(ordered).collect();
        all.into_iter()
            .map(move |(certificate, refused, own)| CertificateView {
                listener: listener.clone(),
                names: certificate.names.clone(),
                not_after: (!certificate.placeholder)
                    .then(|| clock::rfc3339(certificate.not_after)),
                expired: certificate.not_after < now,
                days_left: (!certificate.placeholder).then(|| days(now, certificate.not_after)),
                connections: (gateway.connections)(listener),
                refused,
                acme: own.map(|own| AcmeView {
                    renews: clock::rfc3339(own.renews),
                    failures: own.failures,
                    fault: own.fault.clone(),
                }),
                severity: None,
            })
    });
    let rated = views.map(|view| CertificateView {
        severity: view.trouble().map(|(severity, _)| severity),
        ..view
    });
    rated.collect()
}

/// All of them, by resource.
pub(super) async fn list(State(gateway): State<Arc<Gateway>>) -> Json<Page<CertificateView>> {
    let mut items = views(&gateway);
    let key = |one: &CertificateView| one.days_left.unwrap_or_default();
    items.sort_by(|one, other| key(one).total_cmp(&key(other)));
    Json(Page { items, next: None })
}

/// Days from `now` to `end`, negative if it is over.
fn days(now: SystemTime, end: SystemTime) -> f64 {
    const DAY: f64 = 86_400.0;
    let days = match end.duration_since(now) {
        Ok(left) => left.as_secs_f64() / DAY,
        Err(over) => -over.duration().as_secs_f64() / DAY,
    };
    (days * 100.0).round() / 100.0
}

/// The ends of all certificates.
pub(super) fn read(gateway: &Gateway, reading: &mut Reading) {
    let listeners = gateway.certificates.iter();
    let ends: Vec<_> = listeners
        .flat_map(|(listener, resolver)| {
            let map = resolver.current();
            let real = map.certificates().iter().filter(|one| !one.placeholder);
            let ends = real.map(|one| {
                let name = one.names.first().cloned().unwrap_or_default();
                (
                    listener.as_str(),
                    name,
                    clock::unix_millis(one.not_after) as f64 / 1000.0,
                )
            });
            ends.collect::<Vec<_>>()
        })
        .collect();
    // Several for one name, such as RSA and ECDSA: the first to end.
    let mut first: Vec<&(&str, String, f64)> = Vec::new();
    for one in &ends {
        match first
            .iter_mut()
            .find(|known| (known.0, &known.1) == (one.0, &one.1))
        {
            Some(known) if one.2 < known.2 => *known = one,
            Some(_) => {}
            None => first.push(one),
        }
    }
    let samples = first
        .into_iter()
        .map(|(listener, name, end)| ([*listener, name.as_str()], *end));
    reading.family(&table::CERTIFICATE_EXPIRY, samples);
    let managed = gateway.acme.status();
    let failures = managed.iter().filter_map(|one| {
        let name: &str = one.names.first()?;
        Some(([name], f64::from(one.failures)))
    });
    reading.family(&table::CERTIFICATE_ORDER_FAILURES, failures);
}
