//! Leads by a Lease, as long as the API takes its renewals.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::time::sleep;

use crate::base::causes;
use crate::base::clock;
use crate::config::snapshot::GatewayApi;
use crate::control::kubernetes::access::{Access, AskError};
use crate::core::kubernetes::AnswerFault;
use crate::core::kubernetes::gateway::{Election, LeaseChange};

/// Between two looks at the Lease.
const EVERY: Duration = Duration::from_secs(2);

/// Attempts to release it.
const ATTEMPTS: usize = 3;
const JSON: &str = "application/json";

/// Whether this gateway is the leader.
pub(super) struct Leadership(Mutex<Election>);

impl Leadership {
    /// Of a gateway of this name. Each process is another candidate.
    pub(super) fn new(node: &str) -> Self {
        let identity = format!("{node}_{:016x}", fastrand::u64(..));
        Self(Mutex::new(Election::new(identity)))
    }

    pub(super) fn leads(&self) -> bool {
        self.election().leads(clock::now())
    }

    /// Stands no more, and gives the Lease back, so that another gateway leads at once.
    pub(super) async fn leave(&self, access: &Access, settings: &GatewayApi) {
        let led = self.leads();
        self.election().leave();
        if !led {
            return;
        }
        // A renewal may be on its way.
        for _ in 0..ATTEMPTS {
            match self.release(access, settings).await {
                Ok(()) => return,
                Err(error) if error.is_conflict() => {}
                Err(error) => {
                    let error = causes::chain(&error);
                    tracing::warn!(error, "the Lease of the leader is not released");
                    return;
                }
            }
        }
    }

    async fn release(&self, access: &Access, settings: &GatewayApi) -> Result<(), AskError> {
        let (_, one) = urls(settings);
        let lease = access.get(&one).await?;
        let lease = serde_json::from_slice(&lease).map_err(AnswerFault::from)?;
        let released = self.election().release(&lease);
        if let Some(released) = released {
            access.write(Method::PUT, &one, JSON, &released).await?;
        }
        Ok(())
    }

    fn election(&self) -> MutexGuard<'_, Election> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands for election for ever.
pub(super) async fn lead(leadership: Arc<Leadership>, access: Arc<Access>, settings: GatewayApi) {
    let mut led = false;
    let mut failing = false;
    loop {
        let outcome = round(&leadership, &access, &settings).await;
        let leads = leadership.leads();
        if leads != led {
            led = leads;
            tracing::info!(leads, "the leader that writes statuses to Kubernetes");
        }
        if let Err(error) = &outcome
            && !failing
        {
            let error = causes::chain(error);
            tracing::warn!(error, "the Lease of the leader cannot be used");
        }
        failing = outcome.is_err();
        sleep(EVERY).await;
    }
}

async fn round(
    leadership: &Leadership,
    access: &Access,
    settings: &GatewayApi,
) -> Result<(), AskError> {
    let (namespace, name) = (&*settings.lease.0, &*settings.lease.1);
    let (leases, one) = urls(settings);
    let lease = match access.get(&one).await {
        Ok(body) => Some(serde_json::from_slice::<Value>(&body).map_err(AnswerFault::from)?),
        Err(error) if error.is_missing() => None,
        Err(error) => return Err(error),
    };
    let asked = clock::now();
    // MicroTime has six digits.
    let time = clock::rfc3339(clock::wall()).replace('Z', "000Z");
    let change = leadership
        .election()
        .decide((namespace, name), lease.as_ref(), (asked, &time));
    let written = match &change {
        None => return Ok(()),
        Some(LeaseChange::Create(lease)) => access.write(Method::POST, &leases, JSON, lease).await,
        Some(LeaseChange::Replace(lease)) => access.write(Method::PUT, &one, JSON, lease).await,
    };
    match written {
        Ok(_) => {
            leadership.election().taken(asked);
            Ok(())
        }
        Err(error) if error.is_conflict() => {
            leadership.election().refused();
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Of the Leases of the namespace, and of the one.
fn urls(settings: &GatewayApi) -> (String, String) {
    let (namespace, name) = &settings.lease;
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let one = format!("{leases}/{name}");
    (leases, one)
}
