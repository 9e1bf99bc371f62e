//! Which etcd the arguments mean, and how to get there.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::base::secret::Secret;
use crate::cli::args::register::EtcdArgs;
use crate::config::snapshot::{CertificateFiles, Etcd, ServiceTls};
use crate::control::etcd::connect::{Endpoints, connector};
use crate::control::etcd::leased_key::Connect;
use crate::control::load;

/// The default prefix of keys.
const PREFIX: &str = "/sessile";

/// An etcd that can be connected to.
#[derive(Clone)]
pub(in crate::cli) struct Access {
    pub(in crate::cli) endpoints: Vec<String>,
    /// Without a slash at the end.
    pub(in crate::cli) prefix: String,
    turns: Arc<Endpoints>,
}

impl Access {
    /// By the arguments, or else by the configuration file.
    pub(in crate::cli) fn new(args: &EtcdArgs) -> anyhow::Result<Self> {
        let settings = if args.endpoints.is_empty() {
            configured(args)?
        } else {
            given(args)?
        };
        let prefix = args.prefix.as_deref().unwrap_or(&settings.prefix);
        Ok(Self {
            endpoints: settings.endpoints.clone(),
            prefix: prefix.trim_end_matches('/').to_owned(),
            turns: Arc::new(Endpoints::new(settings, 0)),
        })
    }

    /// For repeated connections.
    pub(in crate::cli) fn connect(&self) -> Connect {
        connector(Arc::clone(&self.turns))
    }
}

fn configured(args: &EtcdArgs) -> anyhow::Result<Etcd> {
    let path = args.config.config.display();
    let help = "write --etcd http://127.0.0.1:2379";
    match load::load(&args.config.options()) {
        Ok(loaded) => match loaded.snapshot.sources.etcd {
            Some(etcd) => Ok(etcd),
            None => bail!("which etcd? {path} has no [sources.etcd]; {help}"),
        },
        Err(_) if !args.config.config.exists() => bail!("which etcd? There is no {path}; {help}"),
        Err(faults) => bail!("which etcd? {path} has faults; {help}\n\n{faults}"),
    }
}

fn given(args: &EtcdArgs) -> anyhow::Result<Etcd> {
    let user = match (&args.user, &args.password_file) {
        (Some(user), Some(path)) => {
            let password = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            Some((user.clone(), Secret::new(password.trim())))
        }
        _ => None,
    };
    let identity = args.cert.clone().zip(args.key.clone());
    let url = |text: &String| match text.contains("://") {
        true => text.trim_end_matches('/').to_owned(),
        false => format!("http://{text}"),
    };
    Ok(Etcd {
        endpoints: args.endpoints.iter().map(url).collect(),
        prefix: PREFIX.into(),
        user,
        tls: ServiceTls {
            ca: args.ca.clone(),
            identity: identity.map(|(cert, key)| CertificateFiles { cert, key }),
            server_name: None,
        },
        dial: Duration::from_secs(2),
        answer: Duration::from_secs(5),
        silence: Duration::from_secs(10),
        stale_grace: Duration::from_secs(600),
        document_files: Vec::new(),
        document_broker_names: Vec::new(),
    })
}
