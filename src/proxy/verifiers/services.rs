//! The forward-auth services in use: the answers of each, which all workers share, and each
//! worker's connections to it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::Uri;

use crate::base::names::AuthenticatorName;
use crate::config::snapshot::{Forward, UpstreamTls};
use crate::core::auth::Principal;
use crate::io::client::{self, Client, ClientError, ConnectError};
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

/// The clients of one worker. A connection to a service never changes threads, and is never used
/// for another configuration of the service, which may have other roots.
#[derive(Default)]
pub(crate) struct ServiceClients(RefCell<HashMap<AuthenticatorName, (Weak<Service>, Client)>>);

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
        let config = forward.clone();
        let made = tokio::task::spawn_blocking(|| Service::new(config)).await;
        let made = Arc::new(made.expect("reading roots does not panic")?);
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
    fn new(config: Forward) -> Result<Self, ClientError> {
        let url = client::url(&config.url)?;
        let tls = (url.scheme_str() == Some("https")).then(|| {
            let ca = config.ca.as_ref().map(|(path, _)| path.clone());
            let server_name = None;
            ClientTls::new(&UpstreamTls { ca, server_name })
        });
        let tls = tls.transpose().map_err(ConnectError::from)?;
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
        let mut clients = self.0.borrow_mut();
        if let Some((made_for, client)) = clients.get(name)
            && Weak::as_ptr(made_for) == Arc::as_ptr(service)
        {
            return client.clone();
        }
        let own = live.gateway_addresses().admin.clone();
        let client = Client::new(service.tls.clone(), own, service.config.timeout);
        clients.insert(name.clone(), (Arc::downgrade(service), client.clone()));
        client
    }

    /// Drops clients of services that were replaced or removed, and their connections.
    pub(crate) fn tidy(&self) {
        let mut clients = self.0.borrow_mut();
        clients.retain(|_, (made_for, _)| made_for.strong_count() > 0);
    }
}
