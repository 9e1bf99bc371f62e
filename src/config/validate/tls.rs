//! TLS: what a listener shows and asks of its clients, and authorities that are trusted.

use crate::config::model;
use crate::config::snapshot::{CertificateFiles, ListenerTls, TlsVersion};
use crate::config::validate::certificates;
use crate::config::validate::scope::Scope;

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
    if model.certificates.is_empty() {
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
        clients,
        client_authorities,
        minimum: minimum?,
    })
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
    model: &model::Authenticator,
) -> Option<Option<(std::path::PathBuf, u128)>> {
    let Some(file) = &model.ca else {
        return Some(None);
    };
    let path = at.resolve(file);
    certificates::authorities(&at.key("ca"), &path).map(|contents| Some((path, contents)))
}
