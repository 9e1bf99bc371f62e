//! Which etcd the arguments mean, and how to get there.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};

use crate::cli::args::register::EtcdArgs;
use crate::control::etcd::hold::{Connect, said};

/// What keys begin with if nobody says otherwise.
const PREFIX: &str = "/sessile";
/// For one connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// An etcd that can be connected to.
#[derive(Clone)]
pub(in crate::cli) struct Access {
    pub(in crate::cli) endpoints: Vec<String>,
    /// Without a slash at the end.
    pub(in crate::cli) prefix: String,
    options: ConnectOptions,
}

impl Access {
    /// By the arguments, or else by the configuration file.
    pub(in crate::cli) fn new(args: &EtcdArgs) -> anyhow::Result<Self> {
        if args.endpoints.is_empty() {
            bail!("which etcd? Write --etcd http://127.0.0.1:2379");
        }
        let mut options = ConnectOptions::new().with_connect_timeout(CONNECT_MAX);
        if let (Some(user), Some(path)) = (&args.user, &args.password_file) {
            options = options.with_user(user, read(path)?.trim());
        }
        if args.endpoints.iter().any(|url| url.starts_with("https:")) {
            let mut tls = TlsOptions::new().with_enabled_roots();
            if let Some(path) = &args.ca {
                tls = tls.ca_certificate(Certificate::from_pem(read(path)?));
            }
            if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
                tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
            }
            options = options.with_tls(tls);
        }
        let prefix = args.prefix.as_deref().unwrap_or(PREFIX);
        Ok(Self {
            endpoints: args.endpoints.clone(),
            prefix: prefix.trim_end_matches('/').to_owned(),
            options,
        })
    }

    /// For whoever connects again and again.
    pub(in crate::cli) fn connect(&self) -> Connect {
        let access = self.clone();
        Arc::new(move || {
            let access = access.clone();
            Box::pin(async move {
                Client::connect(&access.endpoints, Some(access.options))
                    .await
                    .map_err(|error| said(&error))
            })
        })
    }
}

fn read(path: &std::path::Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
