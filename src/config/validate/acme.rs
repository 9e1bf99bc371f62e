//! `tls.acme`.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::base::host;
use crate::config::model;
use crate::config::snapshot::{Acme, ListenerTls};
use crate::config::validate::certificates;
use crate::config::validate::scope::Scope;
use crate::config::validate::values::{secret, url};

/// Names of one certificate: what Let's Encrypt allows.
const NAMES_MAX: usize = 100;
const CONTACTS_MAX: usize = 10;
/// Bytes of a DNS name.
const NAME_BYTES_MAX: usize = 253;

pub(super) fn acme(at: &Scope<'_>, model: &model::Acme) -> Option<Acme> {
    if model.names.is_empty() {
        at.missing("names", "names = [\"chat.example.com\"]");
    }
    at.key("names").few(model.names.len(), NAMES_MAX)?;
    let names = at
        .key("names")
        .each(&model.names, |at, text| name(at, text));
    if !model.terms_accepted {
        at.fault_with(
            "the authority issues certificates only to those who accept its terms of service",
            "read them, and add `terms_accepted = true`",
        );
    }
    let directory = at.key("directory");
    let directory = match model.directory.starts_with("https://") {
        true => url(&directory, &model.directory, false),
        false => {
            let help = "write `https://acme-v02.api.letsencrypt.org/directory`";
            directory.fault_with("a directory is an `https://` URL", help);
            None
        }
    };
    let ca = match &model.ca {
        Some(file) => {
            let path = at.resolve(file);
            certificates::authorities(&at.key("ca"), &path).map(|_| Some(path))
        }
        None => Some(None),
    };
    at.key("contact").few(model.contact.len(), CONTACTS_MAX)?;
    let contact = at.key("contact").each(&model.contact, |at, text| {
        let good = text
            .strip_prefix("mailto:")
            .is_some_and(|mail| mail.contains('@'));
        if !good {
            at.fault_with(
                format!("`{text}` is not how an authority reaches anybody"),
                "write `mailto:ops@example.com`",
            );
        }
        good.then(|| Arc::from(text.as_str()))
    });
    let external_account = match &model.external_account {
        Some(model) => external(&at.key("external_account"), model).map(Some),
        None => Some(None),
    };
    let names = names.filter(|names| !names.is_empty())?;
    Some(Acme {
        names,
        directory: directory?.into(),
        ca: ca?,
        contact: contact?,
        challenge: model.challenge,
        external_account: external_account?,
    })
    .filter(|_| model.terms_accepted)
}

fn name(at: &Scope<'_>, text: &str) -> Option<Arc<str>> {
    if text.starts_with("*.") {
        at.fault_with(
            "a wildcard is verified by DNS alone, which the gateway does not do",
            "list the names, or name the files of such a certificate in `certificates`",
        );
        return None;
    }
    let canonical = host::canonical(text).filter(|name| {
        let labels = || name.split('.');
        let dns = |label: &str| {
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=63).contains(&label.len()) && label.bytes().all(letter)
        };
        name.len() <= NAME_BYTES_MAX
            && labels().all(dns)
            && labels()
                .next_back()
                .is_some_and(|last| last.contains(|c: char| !c.is_ascii_digit()))
    });
    if canonical.is_none() {
        at.fault_with(
            format!("`{text}` is not a DNS name"),
            "write `chat.example.com`",
        );
    }
    canonical.map(|name| Arc::from(name.as_str()))
}

fn external(
    at: &Scope<'_>,
    model: &model::ExternalAccount,
) -> Option<(Arc<str>, crate::base::secret::Secret)> {
    let id = at.required("id", &model.id, "id = \"…\"");
    let source = at.required("secret", &model.secret, "secret = { env = \"ACME_KEY\" }")?;
    let at = at.key("secret");
    let key = secret(&at, source)?;
    if BASE64_URL_SAFE_NO_PAD
        .decode(key.reveal().trim_end_matches('='))
        .is_err()
    {
        at.fault("this key is not base64url");
        return None;
    }
    Some((Arc::from(id?.as_str()), key))
}

/// Reports certificates that could not be kept: an order at each start would soon be refused.
pub(super) fn kept<'t>(
    root: &Scope<'_>,
    listeners: impl Iterator<Item = (usize, &'t ListenerTls)>,
) {
    for (index, tls) in listeners {
        if tls.acme.is_some() {
            let at = root.key("listeners").index(index).key("tls").key("acme");
            at.fault_with(
                "there is no place where the account and the certificate are kept",
                "set `state_dir` in [node], or follow an etcd with [sources.etcd]",
            );
        }
    }
}
