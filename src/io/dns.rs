//! Questions to DNS servers: addresses and services of a name, with their times to live.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures_util::stream::{StreamExt as _, iter};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::timeout;

use crate::config::dns_name::DnsName;
use crate::config::snapshot::Dns;
use crate::core::discovery::{Answer, MEMBERS_MAX, Records};
use crate::io::dns::records::{Family, addresses, all, service};

mod records;

/// Targets of a service that are looked up at the same time.
const TARGETS_AT_ONCE: usize = 16;
/// Questions about one target, and about a name: each is answered or given up within the configured
/// time.
const ATTEMPTS: usize = 1;

/// Asks DNS servers.
pub struct Resolver {
    inner: TokioResolver,
    /// For one question.
    patience: Duration,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// Asks these servers; those of `/etc/resolv.conf` if none are configured.
    ///
    /// # Errors
    /// When that file cannot be read.
    pub fn new(settings: &Dns) -> Result<Self, String> {
        let (config, mut options) = match settings.servers.is_empty() {
            true => read_system_conf().map_err(|error| format!("/etc/resolv.conf: {error}"))?,
            false => (servers(settings), ResolverOpts::default()),
        };
        options.timeout = settings.timeout;
        options.attempts = ATTEMPTS;
        // What is asked when is decided elsewhere.
        options.cache_size = 0;
        let provider = TokioRuntimeProvider::default();
        let builder = TokioResolver::builder_with_config(config, provider);
        let inner = builder.with_options(options).build();
        Ok(Self {
            inner: inner.map_err(|error| error.to_string())?,
            patience: settings.timeout,
        })
    }

    /// Looks a name up.
    ///
    /// # Errors
    /// Why there is no answer, or none with a record.
    pub async fn look_up(&self, name: &DnsName) -> Result<Answer, String> {
        match name {
            DnsName::Host { name, .. } => self.host(name).await,
            DnsName::Service { name } => self.service(name).await,
        }
    }

    async fn host(&self, name: &str) -> Result<Answer, String> {
        let v4 = self.family(name, RecordType::A);
        let v6 = self.family(name, RecordType::AAAA);
        match tokio::join!(v4, v6) {
            (Err(fault), Err(_)) => Err(fault),
            (v4, v6) => addresses(name, v4, v6),
        }
    }

    async fn family(&self, name: &str, kind: RecordType) -> Family {
        let records = self.ask(name, kind).await?;
        let ttl = records.iter().map(|record| record.ttl).min();
        let ips = records.iter().filter_map(|record| match &record.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        });
        Ok((ips.take(MEMBERS_MAX).collect(), ttl))
    }

    async fn service(&self, name: &str) -> Result<Answer, String> {
        let records = self.ask(name, RecordType::SRV).await?;
        let mut services: Vec<_> = records.iter().filter_map(service).collect();
        services.sort_unstable();
        services.truncate(MEMBERS_MAX);
        if services.is_empty() {
            return Err(format!("`{name}` has no services"));
        }
        let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
        let targets: BTreeSet<_> = services.iter().map(|one| one.target.clone()).collect();
        let found = iter(targets).map(|target| async move {
            // Names of targets are whole, and the search list does not apply to them.
            let found = self.host(&format!("{target}.")).await;
            (target, found)
        });
        let found: BTreeMap<_, _> = found.buffer_unordered(TARGETS_AT_ONCE).collect().await;
        let mut ttl = Duration::from_secs(ttl.into());
        for service in &mut services {
            if let Some(Ok(answer)) = found.get(&service.target) {
                ttl = ttl.min(answer.ttl);
                service.addresses = all(&answer.records);
            }
        }
        let known = services.iter().any(|one| !one.addresses.is_empty());
        if !known {
            let why = found.into_values().find_map(Result::err);
            return Err(format!(
                "no target of `{name}` has an address: {}",
                why.unwrap_or_default()
            ));
        }
        let records = Records::Services(services);
        Ok(Answer { records, ttl })
    }

    /// The records of a name; none if it has none of this kind.
    async fn ask(&self, name: &str, kind: RecordType) -> Result<Vec<Record>, String> {
        let asked = timeout(self.patience, self.inner.lookup(name, kind)).await;
        match asked {
            Ok(Ok(lookup)) => Ok(lookup.answers().to_vec()),
            Ok(Err(error)) if error.is_no_records_found() && !error.is_nx_domain() => {
                Ok(Vec::new())
            }
            Ok(Err(error)) => Err(fault(&error)),
            Err(_) => Err(format!("no DNS server answered within {:?}", self.patience)),
        }
    }
}

fn fault(error: &NetError) -> String {
    match error.is_nx_domain() {
        true => "NXDOMAIN: there is no such name".to_owned(),
        false => error.to_string(),
    }
}

fn servers(settings: &Dns) -> ResolverConfig {
    let servers = settings.servers.iter().map(|address| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        let connections = connections.map(|mut connection| {
            connection.port = address.port();
            connection
        });
        // Another server may have the name.
        NameServerConfig::new(address.ip(), true, connections.into())
    });
    ResolverConfig::from_parts(None, Vec::new(), servers.collect())
}
