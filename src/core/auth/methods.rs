//! Keys, passwords and certificates, and the principal that each identifies.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use argon2::{Argon2, PasswordVerifier};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::base::names::AuthenticatorName;
use crate::config::snapshot::{ApiKeys, CertificateName};
use crate::core::auth::{Claims, CredentialFault, Principal, SUBJECT_MAX};

/// Longest key and password.
const BYTES_MAX: usize = 4096;

/// Who this is, by its name alone.
pub(super) fn plain(name: &AuthenticatorName, subject: &str) -> Principal {
    Principal {
        authenticator: name.clone(),
        subject: subject.into(),
        claims: Claims::of_subject(subject),
        expires: None,
        issued: None,
        token_id: None,
        origin_id: None,
        headers: Vec::new(),
    }
}

/// The owner of this key. The lookup is by hash: its duration reveals something about hashes only,
/// from which no key can be derived.
///
/// # Errors
/// When no owner has it.
pub(super) fn api_key(
    name: &AuthenticatorName,
    keys: &ApiKeys,
    key: &str,
) -> Result<Principal, CredentialFault> {
    if key.len() > BYTES_MAX {
        return Err(CredentialFault::TooLarge);
    }
    let hash = digest::digest(&digest::SHA256, key.as_bytes());
    let hash = <[u8; 32]>::try_from(hash.as_ref()).map_err(|_| CredentialFault::Malformed)?;
    let holder = keys.0.get(&hash).ok_or(CredentialFault::Unknown)?;
    let mut principal = plain(name, &holder.subject);
    for (claim, value) in &holder.claims {
        principal
            .claims
            .0
            .entry(claim.clone())
            .or_insert_with(|| Value::from(value.as_str()));
    }
    Ok(principal)
}

/// Name and password of `Authorization: Basic` (RFC 7617).
///
/// # Errors
/// When the text is no such thing.
pub fn user_and_password(text: &str) -> Result<(String, String), CredentialFault> {
    if text.len() > BYTES_MAX {
        return Err(CredentialFault::TooLarge);
    }
    let bytes = BASE64_STANDARD.decode(text).ok();
    let pair = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = pair.ok_or(CredentialFault::Malformed)?;
    let (user, password) = pair.split_once(':').ok_or(CredentialFault::Malformed)?;
    if user.is_empty() || user.len() > SUBJECT_MAX {
        return Err(CredentialFault::Malformed);
    }
    Ok((user.to_owned(), password.to_owned()))
}

/// Whether the password is what the hash was made of. It takes long, which is its purpose.
pub fn password_matches(hash: &str, password: &str) -> bool {
    if hash.starts_with("$argon2") {
        return Argon2::default()
            .verify_password(password.as_bytes(), hash)
            .is_ok();
    }
    // Beyond 72 bytes bcrypt looks at nothing: two passwords would be one.
    password.len() <= 72 && bcrypt::verify(password, hash).unwrap_or(false)
}

/// Whose certificate this is, which the TLS handshake has verified.
///
/// # Errors
/// When it has no such name.
pub(super) fn certificate(
    name: &AuthenticatorName,
    wanted: Option<CertificateName>,
    der: &[u8],
) -> Result<Principal, CredentialFault> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|_| CredentialFault::Malformed)?;
    let cn = certificate.subject().iter_common_name().next();
    let cn = cn.and_then(|name| name.as_str().ok());
    let (mut dns, mut email, mut uri) = (Vec::new(), Vec::new(), Vec::new());
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    for one in alternatives
        .iter()
        .flat_map(|names| &names.value.general_names)
    {
        match one {
            GeneralName::DNSName(name) => dns.push(*name),
            GeneralName::RFC822Name(name) => email.push(*name),
            GeneralName::URI(name) => uri.push(*name),
            _ => {}
        }
    }
    let subject = match wanted {
        Some(CertificateName::Cn) => cn,
        Some(CertificateName::Dns) => dns.first().copied(),
        Some(CertificateName::Email) => email.first().copied(),
        Some(CertificateName::Uri) => uri.first().copied(),
        None => uri
            .first()
            .or_else(|| email.first())
            .or_else(|| dns.first())
            .copied()
            .or(cn),
    };
    let subject = subject.filter(|subject| !subject.is_empty() && subject.len() <= SUBJECT_MAX);
    let subject = subject.ok_or(CredentialFault::NoSubject)?;
    let mut principal = plain(name, subject);
    let claims = &mut principal.claims.0;
    claims.insert("cn".to_owned(), cn.map_or(Value::Null, Value::from));
    claims.insert("dns".to_owned(), Value::from(dns.clone()));
    claims.insert("email".to_owned(), Value::from(email.clone()));
    claims.insert("uri".to_owned(), Value::from(uri.clone()));
    let validity = certificate.validity();
    let time = |seconds: i64| {
        let seconds = u64::try_from(seconds).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    };
    principal.expires = time(validity.not_after.timestamp());
    principal.issued = time(validity.not_before.timestamp());
    principal.token_id = Some(Arc::from(certificate.raw_serial_as_string()));
    Ok(principal)
}

/// The principal of a certificate, and its expiry: its first URI, mail address or DNS name, else
/// its common name. `None` if it has no such name. The TLS handshake has verified it.
pub fn certificate_holder(der: &[u8]) -> Option<(Arc<str>, Option<SystemTime>)> {
    let anybody = AuthenticatorName::from("admin");
    let principal = certificate(&anybody, None, der).ok()?;
    Some((principal.subject, principal.expires))
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_read() {
        let read = |text: &str| user_and_password(&BASE64_STANDARD.encode(text));
        let pair = |user: &str, password: &str| Ok((user.to_owned(), password.to_owned()));
        assert_eq!(read("ann:s:e"), pair("ann", "s:e"));
        assert_eq!(read("ann:"), pair("ann", ""));
        assert_eq!(read("ann"), Err(CredentialFault::Malformed));
        assert_eq!(read(":x"), Err(CredentialFault::Malformed));
        assert_eq!(user_and_password("?"), Err(CredentialFault::Malformed));
        let long = "a".repeat(BYTES_MAX + 1);
        assert_eq!(user_and_password(&long), Err(CredentialFault::TooLarge));
    }

    #[test]
    fn passwords_are_compared_with_what_other_tools_made() {
        // `htpasswd -nbB` of Apache and Python's `argon2-cffi`, both of "correct horse".
        let bcrypt = "$2y$06$vNTddA/pq.NIk2lPr.S7/uEtb2UhE8rVuSksbDNBaMzilQnORhJ9u";
        let argon2 = "$argon2id$v=19$m=1024,t=2,p=2$WL+1s6rcvCYVQGOIEeKStw\
                      $CKfSpm46Tv0IMO+cR3haxyvlLzeS+6E8GvQtBD/OETc";
        for hash in [bcrypt, argon2] {
            assert!(password_matches(hash, "correct horse"), "{hash}");
            assert!(!password_matches(hash, "correct hors"), "{hash}");
        }
        assert!(!password_matches("$2y$04$short", "correct horse"));
        assert!(!password_matches("$argon2id$nonsense", "correct horse"));
        let long = "x".repeat(73);
        assert!(!password_matches(bcrypt, &long));
    }
}
