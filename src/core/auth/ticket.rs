//! Tickets: a signed line in a URL that is good once, for a short time. It is the payload and its
//! HMAC-SHA256, both in base64url with a dot between. The payload is JSON: `sub`, `exp` and `jti`
//! must be there; `path` binds it to one path, `until` ends the session, `claims` say more.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::base::names::AuthenticatorName;
use crate::config::snapshot::SignedUrl;
use crate::core::auth::{Claims, CredentialFault, Principal, SUBJECT_MAX, json as strict};

/// Used tickets, until they expire.
#[derive(Debug, Default)]
pub(super) struct Used(Mutex<HashMap<Box<str>, u64>>);

impl Used {
    /// Takes a ticket, once.
    ///
    /// # Errors
    /// When it was taken before, or there is no room to remember it.
    fn take(&self, id: &str, expires: u64, now: u64, most: usize) -> Result<(), CredentialFault> {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= most {
            used.retain(|_, expires| *expires > now);
        }
        if used.contains_key(id) {
            return Err(CredentialFault::Used);
        }
        if used.len() >= most {
            return Err(CredentialFault::TooMany);
        }
        used.insert(id.into(), expires);
        Ok(())
    }
}

fn key(signed: &SignedUrl) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, signed.secret.reveal().as_bytes())
}

/// Judges a ticket for this path, and uses it up.
///
/// # Errors
/// Why it is not good.
pub(super) fn judge(
    name: &AuthenticatorName,
    signed: &SignedUrl,
    used: &Used,
    text: &str,
    path: &str,
    now: SystemTime,
) -> Result<Principal, CredentialFault> {
    if text.len() > signed.bytes_max {
        return Err(CredentialFault::TooLarge);
    }
    let (payload, tag) = text.split_once('.').ok_or(CredentialFault::Malformed)?;
    let decode = |part: &str| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(part);
        bytes.map_err(|_| CredentialFault::Malformed)
    };
    hmac::verify(&key(signed), payload.as_bytes(), &decode(tag)?)
        .map_err(|_| CredentialFault::Signature)?;
    let fields = strict::object(&decode(payload)?).ok_or(CredentialFault::Malformed)?;
    let text_of = |name: &str| fields.get(name).and_then(Value::as_str);
    let seconds = |name: &str| fields.get(name).and_then(Value::as_u64);
    let subject = text_of("sub").filter(|text| !text.is_empty() && text.len() <= SUBJECT_MAX);
    let subject = subject.ok_or(CredentialFault::NoSubject)?;
    let id = text_of("jti").filter(|id| (1..=128).contains(&id.len()));
    let id = id.ok_or(CredentialFault::Malformed)?;
    let expires = seconds("exp").ok_or(CredentialFault::NoExpiry)?;
    let expires_at = time(expires) + signed.leeway;
    if now >= expires_at {
        return Err(CredentialFault::Expired);
    }
    if fields.contains_key("path") && text_of("path") != Some(path) {
        return Err(CredentialFault::Audience);
    }
    let forgets = expires_at
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
        + 1;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    used.take(id, forgets, now, signed.used_max)?;
    let mut claims = match fields.get("claims") {
        Some(Value::Object(claims)) => claims.clone(),
        _ => Map::new(),
    };
    claims.insert("sub".to_owned(), Value::from(subject));
    Ok(Principal {
        authenticator: name.clone(),
        subject: subject.into(),
        claims: Claims(claims),
        expires: seconds("until").map(time),
        issued: seconds("iat").map(time),
        token_id: Some(id.into()),
        headers: Vec::new(),
    })
}

fn time(seconds: u64) -> SystemTime {
    // The end of the year 9999; what expires later never does.
    UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799))
}

/// Writes a ticket for `principal`, good until `expires`. What it lets in lasts as long as the
/// principal's own right.
pub(super) fn mint(
    signed: &SignedUrl,
    principal: &Principal,
    expires: SystemTime,
    now: SystemTime,
    random: u128,
) -> String {
    let seconds = |time: SystemTime| {
        time.duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs()
    };
    let mut payload = json!({
        "sub": &*principal.subject, "exp": seconds(expires), "iat": seconds(now),
        "jti": format!("{random:032x}"), "claims": principal.claims.0,
    });
    if let Some(until) = principal.expires {
        payload["until"] = json!(seconds(until));
    }
    let payload = BASE64_URL_SAFE_NO_PAD.encode(payload.to_string());
    let tag = hmac::sign(&key(signed), payload.as_bytes());
    format!("{payload}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::core::auth::methods;

    fn signed(used_max: usize) -> SignedUrl {
        SignedUrl {
            secret: Secret::new("a secret of thirty-two bytes or more"),
            parameter: "ticket".to_owned(),
            leeway: Duration::ZERO,
            bytes_max: 8192,
            used_max,
            mint: None,
        }
    }

    #[test]
    fn a_ticket_is_good_once_until_it_expires() {
        let (signed, used, now) = (signed(2), Used::default(), time(1_000));
        let ann = methods::plain(&"users".into(), "ann");
        let ticket = |random| mint(&signed, &ann, time(1_030), now, random);
        let judged = |ticket: &str, at| {
            let judged = judge(&"t".into(), &signed, &used, ticket, "/ws", time(at));
            judged.map(|principal| principal.subject.to_string())
        };
        assert_eq!(judged(&ticket(1), 1_029), Ok("ann".to_owned()));
        assert_eq!(judged(&ticket(1), 1_029), Err(CredentialFault::Used));
        assert_eq!(judged(&ticket(2), 1_030), Err(CredentialFault::Expired));
        assert_eq!(judged(&ticket(3), 1_000), Ok("ann".to_owned()));
        assert_eq!(judged(&ticket(4), 1_000), Err(CredentialFault::TooMany));
        let later = mint(&signed, &ann, time(2_000), time(1_500), 5);
        assert_eq!(judged(&later, 1_500), Ok("ann".to_owned()));
        let mut forged = ticket(6);
        forged.insert(3, 'A');
        assert_eq!(judged(&forged, 1_000), Err(CredentialFault::Signature));
        assert_eq!(judged("x", 1_000), Err(CredentialFault::Malformed));
    }

    #[test]
    fn a_ticket_may_be_for_one_path_and_end_the_session() {
        let (signed, used) = (signed(10), Used::default());
        let judged = |payload: Value, path| {
            let payload = BASE64_URL_SAFE_NO_PAD.encode(payload.to_string());
            let tag = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key(&signed), payload.as_bytes()));
            judge(
                &"t".into(),
                &signed,
                &used,
                &format!("{payload}.{tag}"),
                path,
                time(1_000),
            )
        };
        let good = json!({ "sub": "ann", "exp": 1_010, "jti": "1", "path": "/a", "until": 5_000 });
        let principal = judged(good, "/a").expect("good");
        assert_eq!(principal.expires, Some(time(5_000)));
        let other = json!({ "sub": "ann", "exp": 1_010, "jti": "2", "path": "/a" });
        assert_eq!(
            judged(other, "/b").map(|_| ()),
            Err(CredentialFault::Audience)
        );
        for wrong in [
            json!({ "exp": 1_010, "jti": "3" }),
            json!({ "sub": "ann", "jti": "3" }),
            json!({ "sub": "ann", "exp": 1_010 }),
        ] {
            assert!(judged(wrong, "/a").is_err());
        }
    }
}
