//! The certificates that listeners show, from files and from ACME.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
            })
    });
    views.collect()
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
