//! The forward-auth services in use: the answers of each, which all workers share, and each
//! worker's connections to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::Uri;

use crate::base::names::AuthenticatorName;
use crate::config::snapshot::Forward;
use crate::core::auth::Principal;
use crate::io::client::{self, Client, ClientError, ClientsByName, server_tls};
use crate::io::tls::client::ClientTls;
use crate::live::Live;
use crate::proxy::verifiers::cache::ExpiringCache;

/// The services of all authenticators.
#[derive(Default)]
pub(crate) struct Services(Mutex<HashMap<AuthenticatorName, Arc<Service>>>);

/// One service, and the principals of its recent answers, by request.
pub(crate) struct Service {
    /// What it was made for.
    config: Forward,
    pub(super) url: Uri,
    tls: Option<ClientTls>,
    pub(super) cached: ExpiringCache<Box<[u8]>, Principal>,
}

/// The clients of one worker.
#[derive(Default)]
pub(crate) struct ServiceClients(ClientsByName<AuthenticatorName, Service>);

impl Services {
    /// The service of an authenticator. It is made at first use, off the worker's thread, since it
    /// may read the system's root certificates.
    ///
    /// # Errors
    /// When its URL cannot be asked, or its roots cannot be read.
    pub(super) async fn of(
        &self,
        name: &AuthenticatorName,
        forward: &Forward,
        live: &Live,
    ) -> Result<Arc<Service>, ClientError> {
        let known = || {
            let services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let service = services.get(name)?;
            (service.config == *forward).then(|| Arc::clone(service))
        };
        if let Some(known) = known() {
            return Ok(known);
        }
        let made = Arc::new(Service::new(forward.clone()).await?);
        // Another request may have made it meanwhile, and cached answers.
        if let Some(known) = known() {
            return Ok(known);
        }
        let table = live.table();
        let mut services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        services.retain(|name, _| table.authenticator(name.as_str()).is_some());
        services.insert(name.clone(), Arc::clone(&made));
        Ok(made)
    }
}

impl Service {
    async fn new(config: Forward) -> Result<Self, ClientError> {
        let url = client::url(&config.url)?;
        let ca = config.ca.as_ref().map(|(path, _)| path.clone());
        let tls = server_tls(url.scheme_str() == Some("https"), ca).await?;
        Ok(Self {
            url,
            tls,
            cached: ExpiringCache::new(config.cache, config.cache_max),
            config,
        })
    }
}

impl ServiceClients {
    /// This worker's client of a service.
    pub(super) fn of(
        &self,
        name: &AuthenticatorName,
        service: &Arc<Service>,
        live: &Live,
    ) -> Client {
        self.0.of(name, service, || {
            let own = live.gateway_addresses().admin.clone();
            Client::new(service.tls.clone(), own, service.config.timeout)
        })
    }

    /// Drops clients of services that were replaced or removed, and their connections.
    pub(crate) fn tidy(&self) {
        self.0.tidy();
    }
}
