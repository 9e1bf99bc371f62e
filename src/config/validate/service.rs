//! TLS to services that the gateway itself uses.

use crate::config::model;
use crate::config::snapshot::{CertificateFiles, ServiceTls};
use crate::config::validate::certificates;
use crate::config::validate::scope::Scope;

pub(super) fn tls(at: &Scope<'_>, model: &model::ServiceTls) -> Option<ServiceTls> {
    let mut fits = true;
    let ca = model.ca.as_ref().map(|path| at.resolve(path));
    if let Some(path) = &ca {
        fits &= certificates::authorities(&at.key("ca"), path).is_some();
    }
    let identity = match (&model.cert, &model.key) {
        (Some(cert), Some(key)) => {
            let files = CertificateFiles {
                cert: at.resolve(cert),
                key: at.resolve(key),
            };
            fits &= certificates::pair(at, &files);
            Some(files)
        }
        (None, None) => None,
        (Some(_), None) => {
            at.missing("key", "key = \"tls/client.key\"");
            return None;
        }
        (None, Some(_)) => {
            at.missing("cert", "cert = \"tls/client.crt\"");
            return None;
        }
    };
    let known = |name: &String| rustls_pki_types::ServerName::try_from(name.as_str()).is_ok();
    if let Some(name) = model.server_name.as_ref().filter(|name| !known(name)) {
        at.key("server_name")
            .fault(format!("`{name}` is not a server's name"));
        fits = false;
    }
    fits.then(|| ServiceTls {
        ca,
        identity,
        server_name: model.server_name.clone(),
    })
}
