//! One certificate that the gateway orders: what is shown, and when the next order is due.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;

use crate::base::clock;
use crate::config::snapshot::Acme;
use crate::control::acme::error::OrderError;
use crate::control::acme::store::Kept;
use crate::core::renewal::renew_at;
use crate::io::tls::certs::{self, Certificate};
use crate::io::tls::server::Resolver;

/// Shortest wait between two looks.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// A certificate, and the listeners that show it.
#[derive(Debug)]
pub(super) struct Managed {
    pub(super) settings: Acme,
    /// The same at each gateway with the same settings.
    pub(super) id: String,
    pub(super) resolvers: Vec<Arc<Resolver>>,
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) held: Option<Certificate>,
    pub(super) window: Option<(SystemTime, SystemTime)>,
    pub(super) window_asked: Option<SystemTime>,
    next_try: Option<SystemTime>,
    failures: u32,
    fault: Option<String>,
    /// Hash of what was looked at last.
    seen: u64,
}

/// A certificate that the gateway orders, as it stands.
#[derive(Clone, Debug)]
pub struct ManagedStatus {
    /// The listeners that show it.
    pub resolvers: Vec<Arc<Resolver>>,
    /// Its names.
    pub names: Vec<Arc<str>>,
    /// The end of the one that is shown; `None` before the first.
    pub not_after: Option<SystemTime>,
    /// When the next order is due.
    pub renews: SystemTime,
    /// Orders that failed since the last success.
    pub failures: u32,
    /// Why the last one failed.
    pub fault: Option<String>,
}

impl Managed {
    pub(super) fn status(&self) -> ManagedStatus {
        let renews = self.due();
        let state = self.state();
        ManagedStatus {
            resolvers: self.resolvers.clone(),
            names: self.settings.names.clone(),
            not_after: state.held.as_ref().map(|held| held.not_after),
            renews,
            failures: state.failures,
            fault: state.fault.clone(),
        }
    }

    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows this certificate if it is for the names and was issued after the one that is shown. It
    /// may end earlier: authorities shorten the life of certificates.
    pub(super) fn adopt(&self, kept: &Kept) {
        let seen = xxhash_rust::xxh3::xxh3_64(kept.chain.as_bytes());
        if std::mem::replace(&mut self.state().seen, seen) == seen {
            return;
        }
        let certificate = match certs::from_pem(&kept.chain, &kept.key) {
            Ok(certificate) => certificate,
            Err(error) => {
                tracing::error!(id = self.id, %error, "a certificate that was kept is unusable");
                return;
            }
        };
        let named = self
            .settings
            .names
            .iter()
            .all(|name| certificate.is_for(name));
        let mut state = self.state();
        let held = state.held.as_ref();
        let life = |one: &Certificate| (one.not_before, one.not_after);
        let newer = held.is_none_or(|held| life(held) < life(&certificate));
        if !named || !newer {
            return;
        }
        for resolver in &self.resolvers {
            resolver.set_managed(certificate.clone());
        }
        tracing::info!(
            names = self.settings.names.join(", "),
            not_after = clock::rfc3339(certificate.not_after),
            "a certificate is in force"
        );
        *state = State {
            held: Some(certificate),
            seen,
            ..State::default()
        };
    }

    /// When the next order is due.
    fn due(&self) -> SystemTime {
        let state = self.state();
        let renewal = state.held.as_ref().map(|held| {
            let validity = (held.not_before, held.not_after);
            renew_at(validity, state.window, fraction(&leaf(held)))
        });
        let renewal = renewal.unwrap_or(SystemTime::UNIX_EPOCH);
        state.next_try.map_or(renewal, |next| next.max(renewal))
    }

    pub(super) fn is_due(&self, now: SystemTime) -> bool {
        self.due() <= now
    }

    pub(super) fn wait(&self) -> Duration {
        let wait = self.due().duration_since(clock::wall()).unwrap_or_default();
        wait.max(WAIT_MIN)
    }

    pub(super) fn failed(&self, error: &OrderError, wait: Duration) {
        let now = clock::wall();
        let mut state = self.state();
        state.failures += 1;
        state.next_try = Some(now + wait);
        let fault: String = error.to_string().chars().take(300).collect();
        state.fault = Some(fault);
        let expires = state.held.as_ref().map(|held| held.not_after);
        drop(state);
        let names = self.settings.names.join(", ");
        let wait = clock::readable(wait);
        match expires {
            Some(end) if end > now => tracing::warn!(
                names, %error, %wait, not_after = clock::rfc3339(end),
                "a certificate was not renewed; the one before it is shown on"
            ),
            Some(end) => tracing::error!(
                names, %error, %wait, expired = clock::rfc3339(end),
                "a certificate HAS EXPIRED and was not renewed; it is shown on, and clients refuse it"
            ),
            None => tracing::error!(
                names, %error, %wait,
                "no certificate was issued; a self-signed one is shown, and clients refuse it"
            ),
        }
    }
}

pub(super) fn leaf(certificate: &Certificate) -> CertificateDer<'static> {
    certificate.key.cert[0].clone()
}

/// A fixed point in the window: the same on every gateway, different for each certificate.
fn fraction(leaf: &CertificateDer<'_>) -> f64 {
    let hash = xxhash_rust::xxh3::xxh3_64(leaf);
    f64::from(u32::try_from(hash >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

/// Names the certificate in stores.
pub(super) fn id(settings: &Acme) -> String {
    let mut names: Vec<_> = settings.names.iter().map(|name| &**name).collect();
    names.sort_unstable();
    let text = format!("{}\n{}", settings.directory, names.join("\n"));
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use zeroize::Zeroizing;

    use super::*;
    use crate::config::snapshot::AcmeChallenge;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn managed() -> Managed {
        let settings = Acme {
            names: vec!["chat.example.com".into()],
            directory: "https://acme.example.com/dir".into(),
            ca: None,
            contact: Vec::new(),
            challenge: AcmeChallenge::Http01,
            external_account: None,
        };
        Managed {
            id: id(&settings),
            settings,
            resolvers: Vec::new(),
            state: Mutex::default(),
        }
    }

    /// A certificate from one day to another, which are counted from an arbitrary day.
    fn kept(name: &str, from: u32, to: u32) -> Kept {
        let day = |number| SystemTime::UNIX_EPOCH + DAY * (20_000 + number);
        let params = CertificateParams::new([name.to_owned()]);
        let mut params = params.expect("a name");
        params.not_before = day(from).into();
        params.not_after = day(to).into();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Kept {
            chain: certificate.pem(),
            key: Zeroizing::new(key.serialize_pem()),
        }
    }

    /// Whether the second one takes the place of the first.
    fn replaces(first: &Kept, second: &Kept) -> bool {
        let managed = managed();
        managed.adopt(first);
        let shown = || managed.status().not_after.expect("one is shown");
        let before = shown();
        managed.adopt(second);
        shown() != before
    }

    #[test]
    fn a_certificate_that_was_issued_later_takes_the_place_of_the_one_before() {
        let name = "chat.example.com";
        let first = kept(name, 0, 90);
        assert!(replaces(&first, &kept(name, 60, 150)));
        assert!(replaces(&first, &kept(name, 60, 66)), "of a shorter life");
        assert!(replaces(&first, &kept(name, 0, 91)));
        assert!(!replaces(&kept(name, 60, 66), &first), "an older one");
        assert!(!replaces(&first, &kept("other.example.com", 60, 150)));
    }
}
