//! The functions in use, as all workers share them: how many events each has, and its metrics.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OnceCell, Semaphore};

use crate::base::names::FunctionName;
use crate::config::snapshot::{Function, UpstreamTls};
use crate::io::client::{ClientError, ConnectError};
use crate::io::tls::client::ClientTls;
use crate::live::Live;
use crate::telemetry::metrics::{FunctionMetrics, Metrics};

/// The functions of a gateway.
#[derive(Default)]
pub struct FunctionRegistry(Mutex<HashMap<FunctionName, Arc<Target>>>);

/// One function.
#[derive(Debug)]
pub(crate) struct Target {
    /// What it was made for.
    pub(super) config: Arc<Function>,
    pub(super) tls: Option<ClientTls>,
    /// A permit for each event that it may have at once.
    pub(super) permits: Semaphore,
    pub(super) metrics: FunctionMetrics,
    /// Set once the function has allowed events of this gateway, where the dialect asks for that.
    pub(super) allowed: OnceCell<()>,
}

impl FunctionRegistry {
    /// The function of this configuration. It is made at first use, off the worker's thread, since
    /// it may read the system's root certificates.
    ///
    /// # Errors
    /// When its roots cannot be read.
    pub(super) async fn of(
        &self,
        config: &Arc<Function>,
        live: &Live,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<Target>, ClientError> {
        if let Some(known) = self.known(config) {
            return Ok(known);
        }
        let needs_tls = {
            let own = config
                .routes
                .values()
                .filter_map(|route| route.url.as_ref());
            own.chain(&config.url).any(|url| url.starts_with("https:"))
        };
        let tls = match needs_tls {
            true => Some(tls(Arc::clone(config)).await?),
            false => None,
        };
        // Another event may have made it meanwhile, and has permits of it.
        if let Some(known) = self.known(config) {
            return Ok(known);
        }
        let made = Arc::new(Target {
            tls,
            permits: Semaphore::new(config.in_flight_max),
            allowed: OnceCell::new(),
            metrics: FunctionMetrics::new(metrics, &config.name),
            config: Arc::clone(config),
        });
        let table = live.table();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|name, _| table.function(name).is_some());
        known.insert(config.name.clone(), Arc::clone(&made));
        Ok(made)
    }

    fn known(&self, config: &Arc<Function>) -> Option<Arc<Target>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let target = known.get(&config.name)?;
        let same = Arc::ptr_eq(&target.config, config) || target.config == *config;
        same.then(|| Arc::clone(target))
    }
}

async fn tls(config: Arc<Function>) -> Result<ClientTls, ClientError> {
    let make = move || {
        let ca = config.ca.as_ref().map(|(path, _)| path.clone());
        ClientTls::new(&UpstreamTls {
            ca,
            server_name: None,
        })
    };
    let made = tokio::task::spawn_blocking(make).await;
    let made = made.expect("reading roots does not panic");
    Ok(made.map_err(ConnectError::from)?)
}
