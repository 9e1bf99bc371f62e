//! Files with certificates and keys, wherever a setting names one: they can be used, and they will
//! be valid tomorrow.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::base::clock;
use crate::config::pem::{Validity, Wanted};
use crate::config::snapshot::CertificateFiles;
use crate::config::validate::environment::CertificateFault;
use crate::config::validate::scope::Scope;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A certificate expires soon when it has less than this left, or less than a third of its life if
/// that is shorter: those that live for days are renewed in their last days.
const SOON: Duration = DAY.saturating_mul(14);

/// A fingerprint of the authorities to trust that the file of the key here holds; what is wrong
/// with it is reported.
pub(super) fn authorities(at: &Scope<'_>, path: &Path) -> Option<u128> {
    match at.outside().roots(path) {
        Ok(contents) => {
            warn_of_dates(at, path);
            Some(contents)
        }
        Err(why) => {
            fault(at, path, Wanted::Certificates, why);
            None
        }
    }
}

/// Whether the files of the keys `cert` and `key` here are a pair; what is wrong is reported.
pub(super) fn pair(at: &Scope<'_>, files: &CertificateFiles) -> bool {
    let faults = at.outside().certificate(files);
    for one in &faults {
        match one {
            CertificateFault::Chain(why) => {
                fault(
                    &at.key("cert"),
                    &files.cert,
                    Wanted::Certificates,
                    why.clone(),
                );
            }
            CertificateFault::Key(why) => {
                fault(&at.key("key"), &files.key, Wanted::PrivateKey, why.clone());
            }
            CertificateFault::Mismatch => at.key("key").fault(one.to_string()),
        }
    }
    if faults.is_empty() {
        warn_of_dates(&at.key("cert"), &files.cert);
    }
    faults.is_empty()
}

/// Reports `why` a file cannot be used, or its actual format, if known.
fn fault(at: &Scope<'_>, path: &Path, wanted: Wanted, why: String) {
    match at.outside().mistake(path, wanted) {
        Some(mistake) => at.fault_maybe(mistake.message, mistake.help),
        None => at.fault(why),
    }
}

fn warn_of_dates(at: &Scope<'_>, path: &Path) {
    let now = at.outside().now();
    let shown = path.display().to_string();
    for warning in warnings(&shown, &at.outside().validities(path), now) {
        at.warn_with(
            warning,
            "put a new one in its place; where the gateway shows it to clients, no restart is needed",
        );
    }
}

/// Reasons why peers reject the certificates of a file, now or soon: one line for each kind, for
/// any number of certificates.
fn warnings(path: &str, found: &[Validity], now: SystemTime) -> Vec<String> {
    let expired = |one: &Validity| one.not_after < now;
    let early = |one: &Validity| now < one.not_before;
    let soon = |one: &Validity| {
        let life = one.not_after.duration_since(one.not_before);
        let left = one.not_after.duration_since(now).unwrap_or_default();
        !expired(one) && !early(one) && left < SOON.min(life.unwrap_or_default() / 3)
    };
    let mut warnings = Vec::new();
    if let Some(some) = Group::of(path, found, expired) {
        let date = some.first(|one| one.not_after);
        warnings.push(some.say("expired on", "expired, the first on", &date));
    }
    if let Some(some) = Group::of(path, found, early) {
        let date = some.first(|one| one.not_before);
        warnings.push(some.say(
            "is not valid before",
            "are not valid yet, none before",
            &date,
        ));
    }
    if let Some(some) = Group::of(path, found, soon) {
        let first = some.found.iter().map(|(_, one)| one.not_after).min();
        let left = first.and_then(|first| first.duration_since(now).ok());
        let days = left.unwrap_or_default().as_secs() / DAY.as_secs();
        let date = some.first(|one| one.not_after);
        let plural = if days == 1 { "" } else { "s" };
        let date = format!("{date}, {days} day{plural} from now");
        warnings.push(some.say("expires on", "expire soon, the first on", &date));
    }
    warnings
}

/// Certificates of a file that have something in common.
struct Group<'f> {
    path: &'f str,
    total: usize,
    /// With their places; not empty.
    found: Vec<(usize, &'f Validity)>,
}

impl<'f> Group<'f> {
    fn of(path: &'f str, all: &'f [Validity], which: impl Fn(&Validity) -> bool) -> Option<Self> {
        let found: Vec<_> = all
            .iter()
            .enumerate()
            .filter(|(_, one)| which(one))
            .collect();
        let total = all.len();
        (!found.is_empty()).then_some(Self { path, total, found })
    }

    fn first(&self, date: impl Fn(&Validity) -> SystemTime) -> String {
        let first = self.found.iter().map(|(_, one)| date(one)).min();
        // Certificates count in seconds.
        let shown = first.map(clock::rfc3339).unwrap_or_default();
        shown.replace(".000Z", "Z")
    }

    fn say(&self, one: &str, several: &str, date: &str) -> String {
        let Self { path, total, found } = self;
        match found[..] {
            [_] if *total == 1 => format!("the certificate in {path} {one} {date}"),
            [(place, _)] => {
                let place = place + 1;
                format!("certificate {place} of {total} in {path} {one} {date}")
            }
            _ => format!(
                "{} of {total} certificates in {path} {several} {date}",
                found.len()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    /// Valid from so many days before now to so many days after it.
    fn valid(before: i64, after: i64) -> Validity {
        let at = |days: i64| {
            let seconds = i64::try_from(NOW.as_secs()).unwrap() + days * 86_400;
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap())
        };
        Validity {
            not_before: at(-before),
            not_after: at(after),
        }
    }

    #[test]
    fn certificates_that_are_not_valid_or_not_for_long_are_named_with_the_date() {
        let check = |found: &[Validity], expected: &[&str]| {
            let now = SystemTime::UNIX_EPOCH + NOW;
            assert_eq!(warnings("a.crt", found, now), expected, "{found:?}");
        };
        let good = valid(10, 80);
        check(&[], &[]);
        check(&[good, good], &[]);
        check(&[valid(60, 14)], &[]);
        check(
            &[valid(60, 13)],
            &["the certificate in a.crt expires on 2027-01-28T08:00:00Z, 13 days from now"],
        );
        // For certificates with a lifetime of six days, two days are a third.
        check(&[valid(3, 3)], &[]);
        check(
            &[good, valid(5, 1)],
            &["certificate 2 of 2 in a.crt expires on 2027-01-16T08:00:00Z, 1 day from now"],
        );
        check(
            &[valid(60, -1), good, valid(60, -2)],
            &["2 of 3 certificates in a.crt expired, the first on 2027-01-13T08:00:00Z"],
        );
        check(
            &[valid(-2, 80)],
            &["the certificate in a.crt is not valid before 2027-01-17T08:00:00Z"],
        );
        check(
            &[valid(60, -1), valid(-2, 3)],
            &[
                "certificate 1 of 2 in a.crt expired on 2027-01-14T08:00:00Z",
                "certificate 2 of 2 in a.crt is not valid before 2027-01-17T08:00:00Z",
            ],
        );
    }
}
