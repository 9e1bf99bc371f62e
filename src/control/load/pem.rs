//! What else a file of a certificate or a key may hold than what is wanted of it, and what to do
//! about it; and for how long a certificate is valid.

use std::path::Path;
use std::time::{Duration, SystemTime};

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::base::clock;

/// How long before its end a certificate is warned of.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Bytes of a DER header: a tag, and up to five of a length.
const DER_HEADER_MAX: usize = 6;

/// Why this is no PEM, and how to make it one; nothing for what is not known.
pub(super) fn other_form(path: &Path, bytes: &[u8]) -> Option<String> {
    let shown = path.display();
    if bytes.first() != Some(&0x30) {
        return None;
    }
    // RFC 7292, section 4: a PFX begins with its version, 3. Certificates and keys do not.
    let head = &bytes[..bytes.len().min(DER_HEADER_MAX + 2)];
    let is_pkcs12 = head.windows(3).any(|window| window == [2, 1, 3]);
    Some(if is_pkcs12 {
        format!(
            "{shown} is PKCS#12, not PEM; take it apart: `openssl pkcs12 -in {shown} -nokeys -out edge.crt` and \
             `openssl pkcs12 -in {shown} -nocerts -nodes -out edge.key`"
        )
    } else {
        format!(
            "{shown} is DER, not PEM; convert a certificate with `openssl x509 -inform DER -in {shown} -out edge.crt`, \
             a key with `openssl pkey -inform DER -in {shown} -out edge.key`"
        )
    })
}

/// What to do about a key that only a passphrase opens.
pub(super) fn encrypted_key(path: &Path, bytes: &[u8]) -> Option<String> {
    let has = |text: &str| {
        let mut windows = bytes.windows(text.len());
        windows.any(|window| window == text.as_bytes())
    };
    let encrypted = has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED");
    let shown = path.display();
    encrypted.then(|| {
        format!(
            "the key in {shown} is encrypted, and nobody could type its passphrase; decrypt it: \
             `openssl pkey -in {shown} -out edge.key`"
        )
    })
}

/// What is wrong with the time for which a certificate is valid.
pub(super) fn validity(path: &Path, der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    let at = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    };
    let (begins, ends) = (
        at(validity.not_before.timestamp())?,
        at(validity.not_after.timestamp())?,
    );
    let now = clock::wall();
    let shown = path.display();
    if now < begins {
        let begins = clock::rfc3339(begins);
        return Some(format!(
            "the certificate in {shown} is not valid before {begins}"
        ));
    }
    let ends_text = clock::rfc3339(ends);
    match ends.duration_since(now) {
        Err(_) => Some(format!(
            "the certificate in {shown} expired at {ends_text}; clients refuse it"
        )),
        Ok(left) if left < EXPIRES_SOON => Some(format!(
            "the certificate in {shown} expires at {ends_text}, in {} days",
            left.as_secs() / (24 * 60 * 60)
        )),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    const FILE: &str = "edge.pem";

    #[test]
    fn certificates_that_are_not_valid_or_not_for_long_are_told() {
        let check = |from: (i32, u8, u8), to: SystemTime, said: Option<&str>| {
            let mut params = CertificateParams::new(vec!["edge.test".to_owned()]).unwrap();
            params.not_before = date_time_ymd(from.0, from.1, from.2);
            params.not_after = to.into();
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let found = validity(Path::new(FILE), certificate.der());
            match said {
                Some(said) => {
                    let found = found.unwrap_or_default();
                    assert!(found.contains(said) && found.contains(FILE), "{found}");
                }
                None => assert_eq!(found, None),
            }
        };
        let day = Duration::from_secs(24 * 60 * 60);
        let now = clock::wall();
        check((2020, 1, 1), now + 15 * day, None);
        check((2020, 1, 1), now + 13 * day + day / 2, Some("in 13 days"));
        check((2020, 1, 1), now - day, Some("expired at"));
        check(
            (2999, 1, 1),
            now + 400_000 * day,
            Some("is not valid before 2999-01-01"),
        );
    }

    #[test]
    fn files_of_other_forms_are_told_with_the_way_out() {
        let path = Path::new(FILE);
        let pfx = [0x30, 0x82, 0x0a, 0x10, 2, 1, 3, 0x30];
        let told = other_form(path, &pfx).unwrap();
        assert!(
            told.contains("PKCS#12") && told.contains("openssl pkcs12 -in edge.pem"),
            "{told}"
        );
        let certificate = [0x30, 0x82, 0x03, 0x10, 0x30, 0x82, 0x02, 0x10];
        let told = other_form(path, &certificate).unwrap();
        assert!(
            told.contains("is DER") && told.contains("openssl x509"),
            "{told}"
        );
        assert_eq!(other_form(path, b"-----BEGIN"), None);
        assert_eq!(other_form(path, b""), None);
        for text in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
        ] {
            let told = encrypted_key(path, text.as_bytes()).unwrap();
            assert!(told.contains("openssl pkey -in edge.pem"), "{told}");
        }
        assert_eq!(encrypted_key(path, b"-----BEGIN PRIVATE KEY-----"), None);
    }
}
