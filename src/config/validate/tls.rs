//! TLS: what a listener shows and asks of its clients, and authorities that are trusted.

use std::time::Duration;

use http::HeaderValue;

use crate::config::model::{self, TextOr};
use crate::config::snapshot::{
    Admin, CertificateFiles, Listener, ListenerTls, TicketKeySource, TlsVersion,
};
use crate::config::ticket_keys;
use crate::config::validate::acme;
use crate::config::validate::certificates;
use crate::config::validate::scope::Scope;
use crate::config::validate::values::file_text;

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const HSTS_MAX: Duration = YEAR.saturating_mul(10);

pub(super) fn listener_tls(at: &Scope<'_>, model: &model::ListenerTls) -> Option<ListenerTls> {
    let minimum = match model.minimum.as_str() {
        "1.2" => Some(TlsVersion::V1_2),
        "1.3" => Some(TlsVersion::V1_3),
        other => {
            let message = format!("`{other}` is not a TLS version that can be asked for");
            at.key("minimum")
                .fault_with(message, "use \"1.2\" or \"1.3\"");
            None
        }
    };
    let ticket_keys = ticket_keys(&at.key("ticket_keys"), &model.ticket_keys);
    let hsts = match &model.hsts {
        Some(model) => hsts(&at.key("hsts"), model).map(Some),
        None => Some(None),
    };
    let acme = match &model.acme {
        Some(model) => acme::acme(&at.key("acme"), model).map(Some),
        None => Some(None),
    };
    if model.certificates.is_empty() && model.acme.is_none() {
        let example = "certificates = [{ cert = \"edge.crt\", key = \"edge.key\" }]";
        at.missing("certificates", example);
        return None;
    }
    let shown = at
        .key("certificates")
        .each(&model.certificates, certificate);
    let (clients, client_authorities) = match &model.client_ca {
        None => (None, 0),
        Some(file) => {
            let path = at.resolve(file);
            let authorities = certificates::authorities(&at.key("client_ca"), &path);
            let required = model.client_certificates == model::ClientCertificates::Required;
            (Some((path, required)), authorities?)
        }
    };
    Some(ListenerTls {
        certificates: shown?,
        acme: acme?,
        clients,
        client_authorities,
        minimum: minimum?,
        ticket_keys: ticket_keys?,
        hsts: hsts?,
    })
}

/// The value of the field. Lists of browsers take a host only with all names below it, for a year.
fn hsts(at: &Scope<'_>, model: &model::Hsts) -> Option<HeaderValue> {
    let max_age = at.key("max_age").time_or_zero(model.max_age, HSTS_MAX)?;
    if model.preload && !(model.include_subdomains && max_age >= YEAR) {
        at.key("preload").fault_with(
            "lists of browsers take no host without the names below it, nor for less than a year",
            "set `include_subdomains = true` and `max_age = \"365d\"`, or leave out `preload`",
        );
        return None;
    }
    let mut text = format!("max-age={}", max_age.as_secs());
    for (wanted, word) in [
        (model.include_subdomains, "; includeSubDomains"),
        (model.preload, "; preload"),
    ] {
        text.push_str(if wanted { word } else { "" });
    }
    HeaderValue::from_str(&text).ok()
}

fn ticket_keys(at: &Scope<'_>, model: &TextOr<model::TicketKeysFile>) -> Option<TicketKeySource> {
    let table = match model {
        TextOr::Text(word) if word == "random" => return Some(TicketKeySource::Random),
        TextOr::Text(word) if word == "etcd" => return Some(TicketKeySource::Etcd),
        TextOr::Text(word) => {
            let help = "use \"random\", \"etcd\" or `{ file = \"tickets.keys\" }`";
            at.fault_with(format!("`{word}` is not a source of ticket keys"), help);
            return None;
        }
        TextOr::Table(table) => table,
    };
    let file = at.required("file", &table.file, "file = \"tickets.keys\"")?;
    let at = at.key("file");
    let text = file_text(&at, file)?;
    match ticket_keys::read(&text) {
        Ok(_) => Some(TicketKeySource::File(at.resolve(file))),
        Err(fault) => {
            at.fault(format!("{file}: {fault}"));
            None
        }
    }
}

/// Reports ticket keys in etcd where no etcd is followed.
pub(super) fn shared_ticket_keys(root: &Scope<'_>, listeners: &[Listener], admin: &Admin) {
    let shared = |tls: &Option<ListenerTls>| {
        let source = tls.as_ref().map(|tls| &tls.ticket_keys);
        source == Some(&TicketKeySource::Etcd)
    };
    let listeners = listeners.iter().enumerate();
    let listeners = listeners.filter(|(_, one)| shared(&one.tls));
    let listeners = listeners.map(|(index, _)| root.key("listeners").index(index));
    let admin = shared(&admin.tls).then(|| root.key("admin"));
    for at in listeners.chain(admin) {
        at.key("tls").key("ticket_keys").fault_with(
            "there is no etcd to share keys through",
            "add [sources.etcd], or use `{ file = \"tickets.keys\" }`",
        );
    }
}

fn certificate(at: &Scope<'_>, model: &model::Certificate) -> Option<CertificateFiles> {
    let cert = at.required("cert", &model.cert, "cert = \"edge.crt\"");
    let key = at.required("key", &model.key, "key = \"edge.key\"");
    let files = CertificateFiles {
        cert: at.resolve(cert?),
        key: at.resolve(key?),
    };
    certificates::pair(at, &files).then_some(files)
}

/// The file of roots, with a fingerprint of what is in it.
pub(super) fn ca(
    at: &Scope<'_>,
    file: Option<&String>,
) -> Option<Option<(std::path::PathBuf, u128)>> {
    let Some(file) = file else {
        return Some(None);
    };
    let path = at.resolve(file);
    certificates::authorities(&at.key("ca"), &path).map(|contents| Some((path, contents)))
}
