//! Tickets: a signed, short-lived, single-use value in a URL. It is the payload and its
//! HMAC-SHA256, both in base64url with a dot between. The payload is JSON: `sub`, `exp` and `jti`
//! are required; `path` binds it to one path, `until` ends the session, `claims` adds claims, and
//! `origin` names the credential that it was minted for.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::base::names::AuthenticatorName;
use crate::config::snapshot::SignedUrl;
use crate::core::auth::{Claims, CredentialFault, Principal, SUBJECT_MAX, json as strict};

/// Part of the places that tickets of one subject may take, and how many it may take at least.
const SHARE: usize = 64;
const SHARE_MIN: usize = 16;

/// Used tickets, until they expire.
#[derive(Debug, Default)]
pub(super) struct Used(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By id: when it may be forgotten (seconds since 1970), and its subject.
    tickets: HashMap<Arc<str>, (u64, Arc<str>)>,
    /// Those to be forgotten first in front.
    by_time: BTreeSet<(u64, Arc<str>)>,
    /// How many each subject has.
    by_subject: HashMap<Arc<str>, usize>,
    /// How many were ever remembered.
    added: u64,
}

impl Known {
    fn forget(&mut self, now: u64) {
        while let Some((until, _)) = self.by_time.first()
            && *until <= now
        {
            let (_, id) = self.by_time.pop_first().expect("it was looked at");
            let Some((_, subject)) = self.tickets.remove(&id) else {
                continue;
            };
            if let Some(count) = self.by_subject.get_mut(&subject) {
                *count -= 1;
                if *count == 0 {
                    self.by_subject.remove(&subject);
                }
            }
        }
    }

    fn insert(&mut self, ticket: &UsedTicket) {
        let (id, until) = (Arc::clone(&ticket.id), ticket.until);
        let subject = Arc::clone(&ticket.subject);
        self.by_time.insert((until, Arc::clone(&id)));
        self.tickets.insert(id, (until, Arc::clone(&subject)));
        *self.by_subject.entry(subject).or_default() += 1;
        self.added += 1;
    }
}

impl Used {
    /// Takes a ticket, once.
    ///
    /// # Errors
    /// When it was taken before, or there is no room to remember it. A subject has a share of the
    /// room, so that it cannot keep others out.
    fn take(&self, ticket: &UsedTicket, now: u64, most: usize) -> Result<(), CredentialFault> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.forget(now);
        if known.tickets.contains_key(&ticket.id) {
            return Err(CredentialFault::Used);
        }
        let own = known.by_subject.get(&ticket.subject).copied();
        let share = (most / SHARE).max(SHARE_MIN);
        if known.tickets.len() >= most || own.unwrap_or(0) >= share {
            return Err(CredentialFault::TooMany);
        }
        known.insert(ticket);
        Ok(())
    }

    /// How many were ever remembered: it changes when the list has to be written again.
    pub(super) fn added(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).added
    }

    /// All that are remembered.
    pub(super) fn list(&self, now: u64) -> Vec<UsedTicket> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.forget(now);
        let tickets = known.tickets.iter();
        let tickets = tickets.map(|(id, (until, subject))| UsedTicket {
            id: Arc::clone(id),
            subject: Arc::clone(subject),
            until: *until,
        });
        tickets.collect()
    }

    /// Adds tickets that another process has seen used, regardless of the bounds.
    pub(super) fn adopt(&self, tickets: &[UsedTicket]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for ticket in tickets {
            if !known.tickets.contains_key(&ticket.id) {
                known.insert(ticket);
            }
        }
    }
}

/// A ticket that opens nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsedTicket {
    /// Its `jti`.
    pub id: Arc<str>,
    /// Whose it was.
    pub subject: Arc<str>,
    /// When it has expired and need not be remembered, in seconds since 1970.
    pub until: u64,
}

fn key(signed: &SignedUrl) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, signed.secret.reveal().as_bytes())
}

/// Verifies a ticket for this path, and uses it up.
///
/// # Errors
/// Why it is not good.
pub(super) fn verify(
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
        return Err(CredentialFault::expired(time(expires), now));
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
    let origin = origin(&fields)?;
    let ticket = UsedTicket {
        id: id.into(),
        subject: subject.into(),
        until: forgets,
    };
    used.take(&ticket, now, signed.used_max)?;
    let mut claims = match fields.get("claims") {
        Some(Value::Object(claims)) => claims.clone(),
        _ => Map::new(),
    };
    claims.insert("sub".to_owned(), Value::from(subject));
    let mut principal = Principal {
        authenticator: name.clone(),
        subject: subject.into(),
        claims: Claims(claims),
        expires: seconds("until").map(time),
        issued: seconds("iat").map(time),
        token_id: Some(id.into()),
        origin_id: None,
        headers: Vec::new(),
    };
    if let Some(origin) = origin {
        principal.authenticator = origin.authenticator;
        principal.issued = origin.issued;
        principal.origin_id = origin.id;
    }
    Ok(principal)
}

/// The credential that a ticket was made from. What takes that away takes the ticket away, and what
/// is counted for its bearer is counted together.
struct Origin {
    authenticator: AuthenticatorName,
    id: Option<Arc<str>>,
    issued: Option<SystemTime>,
}

fn origin(fields: &Map<String, Value>) -> Result<Option<Origin>, CredentialFault> {
    let fields = match fields.get("origin") {
        None => return Ok(None),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(CredentialFault::Malformed),
    };
    let text = |name: &str| match fields.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if (1..=SUBJECT_MAX).contains(&text.len()) => Ok(Some(&**text)),
        Some(_) => Err(CredentialFault::Malformed),
    };
    let issued = match fields.get("iat") {
        None => None,
        Some(seconds) => Some(seconds.as_u64().ok_or(CredentialFault::Malformed)?),
    };
    Ok(Some(Origin {
        authenticator: text("by")?.ok_or(CredentialFault::Malformed)?.into(),
        id: text("jti")?.map(Into::into),
        issued: issued.map(time),
    }))
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
    let mut origin = json!({ "by": &*principal.authenticator });
    // For a ticket that was minted for another credential, that one.
    let id = principal.origin_id.as_ref().or(principal.token_id.as_ref());
    if let Some(id) = id.filter(|id| !id.is_empty()) {
        origin["jti"] = json!(&**id);
    }
    if let Some(issued) = principal.issued {
        origin["iat"] = json!(seconds(issued));
    }
    payload["origin"] = origin;
    let payload = BASE64_URL_SAFE_NO_PAD.encode(payload.to_string());
    let tag = hmac::sign(&key(signed), payload.as_bytes());
    format!("{payload}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
}

#[cfg(test)]
mod tests;
