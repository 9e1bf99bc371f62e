//! `[authenticators.NAME]` of every type but `jwt`.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderName;

use crate::base::secret::Secret;
use crate::config::diagnostic::suggestion;
use crate::config::key_set::SECRET_BYTES_MIN;
use crate::config::model::{self, AuthenticatorType, Size, Time};
use crate::config::origin::OriginRule;
use crate::config::snapshot::{
    ApiKeys, Basic, CertificateName, Forward, KeyHolder, Mint, SignedUrl,
};
use crate::config::validate::edits;
use crate::config::validate::guard;
use crate::config::validate::scope::{Scope, all};
use crate::config::validate::tls::ca;
use crate::config::validate::values::{chain, file_text, own_path, secret_text, url};

const SUBJECT_MAX: usize = 512;
const TTL_MAX: Duration = Duration::from_secs(60 * 60);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
const CACHE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const REMEMBERED_MAX: usize = 10_000_000;

pub(super) fn api_keys(at: &Scope<'_>, model: &model::Authenticator) -> Option<ApiKeys> {
    if model.keys.is_none() && model.keys_file.is_none() && !at.key("keys").is_explained() {
        at.missing("keys", "keys = [{ subject = \"bot\", sha256 = \"…\" }]");
        return None;
    }
    let listed = at
        .key("keys")
        .each(model.keys.as_deref().unwrap_or(&[]), api_key);
    let from_file = match &model.keys_file {
        Some(file) => keys_file(&at.key("keys_file"), file),
        None => Some(Vec::new()),
    };
    let mut keys = BTreeMap::new();
    for (digest, holder) in listed?.into_iter().chain(from_file?) {
        // The subjects are not shown: they may come from a file.
        if keys.insert(digest, holder).is_some() {
            at.fault("two subjects have the same key");
            return None;
        }
    }
    Some(ApiKeys(keys))
}

fn api_key(at: &Scope<'_>, model: &model::ApiKey) -> Option<([u8; 32], KeyHolder)> {
    let subject = at.required("subject", &model.subject, "subject = \"bot\"");
    let digest = at.required("sha256", &model.sha256, "sha256 = \"…\"");
    let subject = subject.and_then(|text| subject_text(&at.key("subject"), text));
    let digest = digest.and_then(|text| {
        let read = sha256(text);
        if read.is_none() {
            at.key("sha256").fault_with(
                "this is not a SHA-256 in hexadecimal",
                "write what `printf %s \"$KEY\" | sha256sum` says",
            );
        }
        read
    });
    let claims = model.claims.clone();
    Some((
        digest?,
        KeyHolder {
            subject: subject?,
            claims,
        },
    ))
}

fn subject_text(at: &Scope<'_>, text: &str) -> Option<String> {
    if text.is_empty() || text.len() > SUBJECT_MAX {
        at.fault(format!("a subject has 1 to {SUBJECT_MAX} bytes"));
        return None;
    }
    Some(text.to_owned())
}

fn sha256(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut digest = [0; 32];
    for (place, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(digest)
}

/// Lines with content, and their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().map(str::trim).zip(1..);
    lines
        .filter(|(line, _)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, number)| (number, line))
}

fn keys_file(at: &Scope<'_>, file: &str) -> Option<Vec<([u8; 32], KeyHolder)>> {
    let text = file_text(at, file)?;
    let read = lines(&text).map(|(number, line)| {
        let parts = line.split_once(char::is_whitespace);
        let found = parts.and_then(|(digest, subject)| {
            let subject = subject.trim();
            let fits = !subject.is_empty() && subject.len() <= SUBJECT_MAX;
            Some((sha256(digest)?, subject)).filter(|_| fits)
        });
        let Some((digest, subject)) = found else {
            at.fault(format!("{file}:{number} is not `SHA256 SUBJECT`"));
            return None;
        };
        let holder = KeyHolder {
            subject: subject.to_owned(),
            claims: BTreeMap::new(),
        };
        Some((digest, holder))
    });
    all(read.collect())
}

pub(super) fn basic(at: &Scope<'_>, model: &model::Authenticator) -> Option<Basic> {
    let file = at.required("htpasswd", &model.htpasswd, "htpasswd = \"users\"")?;
    let place = at.key("htpasswd");
    let text = file_text(&place, file)?;
    let mut users = BTreeMap::new();
    let mut fits = Some(());
    for (number, line) in lines(&text) {
        // What follows the name is never shown: it is a hash, or a password by mistake.
        match line.split_once(':') {
            Some((name, hash)) if !name.is_empty() && is_password_hash(hash) => {
                users.insert(name.to_owned(), Secret::new(hash));
            }
            _ => {
                place.fault_with(
                    format!("{file}:{number} is not `NAME:HASH` with bcrypt or argon2"),
                    "make it with `htpasswd -B`",
                );
                fits = None;
            }
        }
    }
    let realm = model.realm.clone().unwrap_or_else(|| "sessile".to_owned());
    if !realm
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ')
        || realm.contains(['"', '\\'])
    {
        at.key("realm").fault("use visible ASCII without quotes");
        fits = None;
    }
    fits.map(|()| Basic { users, realm })
}

fn is_password_hash(hash: &str) -> bool {
    [
        "$2a$",
        "$2b$",
        "$2x$",
        "$2y$",
        "$argon2i$",
        "$argon2d$",
        "$argon2id$",
    ]
    .iter()
    .any(|kind| hash.starts_with(kind))
}

pub(super) fn mtls(
    at: &Scope<'_>,
    model: &model::Authenticator,
) -> Option<Option<CertificateName>> {
    const NAMES: [&str; 4] = ["cn", "dns", "email", "uri"];
    Some(Some(match model.subject.as_deref() {
        None => return Some(None),
        Some("cn") => CertificateName::Cn,
        Some("dns") => CertificateName::Dns,
        Some("email") => CertificateName::Email,
        Some("uri") => CertificateName::Uri,
        Some(other) => {
            let message = format!("a certificate has no name `{other}`");
            at.key("subject")
                .fault_maybe(message, suggestion(other, NAMES));
            return None;
        }
    }))
}

pub(super) fn signed_url(
    at: &Scope<'_>,
    model: &model::Authenticator,
    known: &BTreeMap<String, model::Authenticator>,
) -> Option<SignedUrl> {
    let secret = at
        .required(
            "secret",
            &model.secret,
            "secret = { file = \"ticket.key\" }",
        )
        .and_then(|source| secret_text(&at.key("secret"), source));
    if secret
        .as_ref()
        .is_some_and(|secret| secret.reveal().len() < SECRET_BYTES_MIN)
    {
        at.key("secret")
            .warn("this secret is short enough to be guessed: use 32 bytes or more");
    }
    let parameter = model
        .parameter
        .clone()
        .unwrap_or_else(|| "ticket".to_owned());
    if parameter.is_empty() {
        at.key("parameter").fault("a parameter has a name");
        return None;
    }
    let leeway = model.leeway.unwrap_or(Time::seconds(0));
    let leeway = at.key("leeway").time_or_zero(leeway, TTL_MAX);
    let bytes_max = model.bytes_max.unwrap_or(Size(8 << 10));
    let bytes_max = at
        .key("bytes_max")
        .within(bytes_max, Size(64)..=Size(64 << 10));
    let used_max = at
        .key("used_max")
        .within(model.used_max.unwrap_or(100_000), 1..=REMEMBERED_MAX);
    let mint = match &model.mint {
        Some(path) => mint(at, path, model, known).map(Some),
        None if model.mint_origins.is_some() => {
            let place = at.key("mint_origins");
            place.fault_with(
                "without `mint` it allows nothing",
                "add `mint = \"/ticket\"`",
            );
            None
        }
        None => Some(None),
    };
    Some(SignedUrl {
        secret: secret?,
        parameter,
        leeway: leeway?,
        bytes_max: bytes_max?.0.try_into().ok()?,
        used_max: used_max?,
        mint: mint?,
    })
}

fn mint(
    at: &Scope<'_>,
    path: &str,
    model: &model::Authenticator,
    known: &BTreeMap<String, model::Authenticator>,
) -> Option<Mint> {
    let path = own_path(&at.key("mint"), Some(path));
    let names = at.required("mint_for", &model.mint_for, "mint_for = [\"users\"]");
    let authenticate = names.and_then(|names| chain(at, "mint_for", names, known));
    if authenticate.as_ref().is_some_and(Vec::is_empty) {
        at.key("mint_for").fault("no client could get a ticket");
        return None;
    }
    let tickets = |name: &String| {
        let one = known.get(name);
        one.is_some_and(|one| one.kind == Some(AuthenticatorType::SignedUrl))
    };
    if model.mint_for.iter().flatten().any(tickets) {
        at.key("mint_for").fault_with(
            "tickets are minted for credentials, not for other tickets",
            "name authenticators of another type",
        );
        return None;
    }
    let origins = model.mint_origins.as_deref().unwrap_or_default();
    let asked = model.mint_for.as_deref().unwrap_or_default();
    let allowed = guard::allowed(&at.key("mint_origins"), origins, asked, known);
    let ttl = at
        .key("ttl")
        .time(model.ttl.unwrap_or(Time::seconds(30)), TTL_MAX);
    Some(Mint {
        path: path??,
        authenticate: authenticate?,
        origins: OriginRule {
            allowed: allowed?,
            required: false,
        },
        ttl: ttl?,
    })
}

pub(super) fn forward(at: &Scope<'_>, model: &model::Authenticator) -> Option<Forward> {
    let text = at.required("url", &model.url, "url = \"http://127.0.0.1:9000/auth\"");
    let plain = model.plain_http.unwrap_or(false);
    let url = text.and_then(|text| url(&at.key("url"), text, plain));
    let ca = ca(at, model.ca.as_ref());
    let timeout = at
        .key("timeout")
        .time(model.timeout.unwrap_or(Time::seconds(2)), TIMEOUT_MAX);
    let default = ["authorization", "cookie"].map(str::to_owned);
    let asked = model.request_headers.as_deref().unwrap_or(&default);
    let request_headers = headers(&at.key("request_headers"), asked);
    let fields = model.response_headers.as_deref().unwrap_or(&[]);
    let response_headers = at
        .key("response_headers")
        .each(fields, |at, name| edits::free_header(at, name));
    let subject = model.subject_header.as_deref().unwrap_or("x-auth-subject");
    let subject_header = edits::header_name(&at.key("subject_header"), subject);
    let cache = at
        .key("cache")
        .time_or_zero(model.cache.unwrap_or(Time::seconds(0)), CACHE_MAX);
    let cache_max = at
        .key("cache_max")
        .within(model.cache_max.unwrap_or(10_000), 1..=REMEMBERED_MAX);
    Some(Forward {
        url: url?.into(),
        ca: ca?,
        timeout: timeout?,
        request_headers: request_headers?,
        response_headers: response_headers?,
        subject_header: subject_header?,
        cache: cache?,
        cache_max: cache_max?,
    })
}

fn headers(at: &Scope<'_>, names: &[String]) -> Option<Vec<HeaderName>> {
    at.each(names, |at, name| edits::header_name(at, name))
}
