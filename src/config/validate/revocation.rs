//! `[revocations.NAME]`, and revocations by the admin API.

use std::time::SystemTime;

use crate::base::revocation::{Revocation, RevocationOrigin, RevokedWhat};
use crate::base::session_id::SessionId;
use crate::config::layers::Part;
use crate::config::model;
use crate::config::validate::scope::{Scope, is_name};

/// Bytes of a subject, of a credential's id and of a reason.
const TEXT_MAX: usize = 512;

/// Something about a revocation is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationFault {
    /// Under which key; nothing if it is the whole.
    pub key: Option<&'static str>,
    /// What.
    pub message: String,
}

pub(super) fn revocation(
    at: &Scope<'_>,
    name: &str,
    origin: RevocationOrigin,
    model: &model::Revocation,
) -> Option<Revocation> {
    let name = at.name(name, Part::Key)?;
    match read(name, origin, model) {
        Ok(revocation) => Some(revocation),
        Err(faults) => {
            for RevocationFault { key, message } in faults {
                match key {
                    Some(key) => at.key(key).fault(message),
                    None => at.fault(message),
                }
            }
            None
        }
    }
}

/// What is written, checked.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(
    name: &str,
    origin: RevocationOrigin,
    model: &model::Revocation,
) -> Result<Revocation, Vec<RevocationFault>> {
    let mut faults = Vec::new();
    let mut fault = |key, message| faults.push(RevocationFault { key, message });
    if !is_name(name) {
        let message = format!("`{name}` is not a name; use letters, digits, `-`, `_` and `.`");
        fault(None, message);
    }
    let texts = [
        ("subject", &model.subject),
        ("token_id", &model.token_id),
        ("reason", &model.reason),
    ];
    for (key, text) in texts {
        let length = text.as_ref().map_or(1, String::len);
        if length == 0 && key != "reason" {
            fault(Some(key), "this is empty".to_owned());
        } else if length > TEXT_MAX {
            fault(Some(key), format!("use at most {TEXT_MAX} bytes"));
        }
    }
    let what = match (&model.subject, &model.token_id, &model.session) {
        (Some(subject), None, None) => Some(RevokedWhat::Subject(subject.as_str().into())),
        (None, Some(id), None) => Some(RevokedWhat::Token(id.as_str().into())),
        (None, None, Some(id)) => match id.parse::<SessionId>() {
            Ok(id) => Some(RevokedWhat::Session(id)),
            Err(error) => {
                fault(Some("session"), error.to_string());
                None
            }
        },
        _ => {
            let message = "give one of `subject`, `token_id` and `session`";
            fault(None, message.to_owned());
            None
        }
    };
    if model.issued_before.is_some() && model.subject.is_none() {
        let message = "only a revocation of a `subject` can have this key";
        fault(Some("issued_before"), message.to_owned());
    }
    let mut time = |key, text: &Option<String>| {
        let read = text.as_deref().map(time);
        read.and_then(|read| read.map_err(|message| fault(Some(key), message)).ok())
    };
    let issued_before = time("issued_before", &model.issued_before);
    let until = time("until", &model.until);
    match what.filter(|_| faults.is_empty()) {
        Some(what) => Ok(Revocation {
            id: name.into(),
            origin,
            what,
            issued_before,
            until,
            reason: model.reason.as_deref().unwrap_or_default().into(),
        }),
        None => Err(faults),
    }
}

fn time(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339_weak(text)
        .map_err(|_| format!("`{text}` is no time; write it like `2026-01-31T12:00:00Z`"))
}
