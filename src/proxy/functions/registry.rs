//! The functions in use, as all workers share them: how many events each has, and its metrics.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OnceCell, Semaphore};

use crate::base::names::FunctionName;
use crate::config::snapshot::Function;
use crate::core::routing::RoutingTable;
use crate::io::client::{ClientError, server_tls};
use crate::io::tls::client::ClientTls;
use crate::telemetry::metrics::{FunctionMetrics, Metrics};

/// The functions of a gateway.
#[derive(Default)]
pub struct FunctionRegistry(Mutex<Entries>);

/// By name, each with the newest of the equal configurations that it is for.
type Entries = HashMap<FunctionName, (Arc<Function>, Arc<Target>)>;

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
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<Target>, ClientError> {
        let found = known(&mut self.lock(), config);
        if let Some(known) = found {
            return Ok(known);
        }
        let needs_tls = {
            let own = config
                .routes
                .values()
                .filter_map(|route| route.url.as_ref());
            own.chain(&config.url).any(|url| url.starts_with("https:"))
        };
        let ca = config.ca.as_ref().map(|(path, _)| path.clone());
        let tls = server_tls(needs_tls, ca).await?;
        let mut all = self.lock();
        // Another event may have made it meanwhile, and has permits of it.
        if let Some(known) = known(&mut all, config) {
            return Ok(known);
        }
        let made = Arc::new(Target {
            tls,
            permits: Semaphore::new(config.in_flight_max),
            allowed: OnceCell::new(),
            metrics: FunctionMetrics::new(metrics, &config.name),
            config: Arc::clone(config),
        });
        let entry = (Arc::clone(config), Arc::clone(&made));
        all.insert(config.name.clone(), entry);
        Ok(made)
    }

    /// Drops functions that are not in the table any more.
    pub(super) fn tidy(&self, table: &RoutingTable) {
        self.lock().retain(|name, _| table.function(name).is_some());
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The function that was made for an equal configuration. The newest is kept, so that it is
/// compared once.
fn known(all: &mut Entries, config: &Arc<Function>) -> Option<Arc<Target>> {
    let (newest, target) = all.get_mut(&config.name)?;
    if !Arc::ptr_eq(newest, config) {
        if newest != config {
            return None;
        }
        *newest = Arc::clone(config);
    }
    Some(Arc::clone(target))
}
