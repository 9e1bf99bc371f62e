//! `[discovery]`.

use std::sync::Arc;

use crate::config::model;
use crate::config::pattern::HostPattern;
use crate::config::public_url::PublicUrl;
use crate::config::snapshot::Discovery;
use crate::config::validate::scope::Scope;

/// Patterns of hosts.
const HOSTS_MAX: usize = 64;

pub(super) fn discovery(at: &Scope<'_>, model: &model::Discovery) -> Option<Discovery> {
    let url = match &model.url {
        None => Some(None),
        Some(text) => match text.parse::<PublicUrl>() {
            Ok(url) => Some(Some(Arc::new(url))),
            Err(fault) => {
                at.key("url")
                    .fault_with(format!("`{text}`: {fault}"), PublicUrl::HELP);
                None
            }
        },
    };
    let hosts = at.key("hosts");
    hosts.few(model.hosts.len(), HOSTS_MAX)?;
    let hosts = hosts.each(&model.hosts, |at, text: &String| {
        at.parse::<HostPattern>(text)
    });
    Some(Discovery {
        url: url?,
        hosts: hosts?,
    })
}
