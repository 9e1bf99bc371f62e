//! Certificates that the gateway orders and renews by itself (ACME, RFC 8555). Equal settings of
//! several listeners share one certificate; gateways that follow one etcd share it, too, and order
//! it once. A certificate that cannot be renewed is shown on; before the first one a self-signed
//! one is.

mod client;
mod error;
mod managed;
mod order;
mod store;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;

use crate::base::addr::OwnAddresses;
use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::config::snapshot::Acme;
use crate::control::acme::client::Directory;
use crate::control::acme::error::OrderError;
use crate::control::acme::managed::{Managed, id, leaf};
use crate::control::acme::store::Lock;
use crate::core::renewal::{RETRY_FIRST, RETRY_LAST, retry_after};
use crate::io::tls::certs;
use crate::io::tls::challenges::Challenges;
use crate::io::tls::server::Resolver;
use crate::telemetry::metrics::NodeMetrics;

pub use managed::ManagedStatus;
pub use store::Store;

/// The owner of the answers that all gateways have given.
const FLEET: &str = "fleet";
/// Between two looks at what other gateways have written.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at the clock where there are no other gateways.
const EVERY: Duration = Duration::from_secs(30);
/// How long the others have to read the answers to challenges, before the authority asks for them.
const SPREAD: Duration = Duration::from_secs(3);
/// Interval between requests for the renewal window.
const WINDOW_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// All certificates that this gateway orders.
#[derive(Debug)]
pub struct AcmeCertificates {
    challenges: Arc<Challenges>,
    store: Store,
    managed: Vec<Managed>,
}

impl AcmeCertificates {
    /// Shows what the process before this one has left, else self-signed certificates. Blocks.
    pub fn open(
        listeners: Vec<(Acme, Arc<Resolver>)>,
        challenges: Arc<Challenges>,
        store: Store,
    ) -> Self {
        let mut managed: Vec<Managed> = Vec::new();
        for (settings, resolver) in listeners {
            match managed.iter_mut().find(|one| one.settings == settings) {
                Some(one) => one.resolvers.push(resolver),
                None => managed.push(Managed {
                    id: id(&settings),
                    settings,
                    resolvers: vec![resolver],
                    state: Mutex::default(),
                }),
            }
        }
        for one in &managed {
            if let Some(kept) = store.local(&one.id) {
                one.adopt(&kept);
            }
        }
        Self {
            challenges,
            store,
            managed,
        }
    }

    /// What became of each.
    pub fn status(&self) -> Vec<ManagedStatus> {
        self.managed.iter().map(Managed::status).collect()
    }

    /// Orders and renews. Never returns.
    pub async fn keep(self: Arc<Self>, own: OwnAddresses, metrics: Arc<NodeMetrics>) {
        let each = self
            .managed
            .iter()
            .map(|one| self.keep_one(one, &own, &metrics));
        tokio::join!(
            futures_util::future::join_all(each),
            self.follow_challenges()
        );
    }

    /// Answers for the orders of other gateways, too.
    async fn follow_challenges(&self) {
        loop {
            match self.store.challenges().await {
                Ok(Some(answers)) => self.challenges.replace(FLEET, answers),
                Ok(None) => return,
                Err(error) => tracing::debug!(%error, "challenges of the fleet are not read"),
            }
            sleep(LOOK).await;
        }
    }

    async fn keep_one(&self, one: &Managed, own: &OwnAddresses, metrics: &NodeMetrics) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
        loop {
            match self.store.load(&one.id).await {
                Ok(Some(kept)) => one.adopt(&kept),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "certificates of the fleet are not read"),
            }
            if one.is_due(clock::wall()) {
                match Box::pin(self.renew(one, own)).await {
                    Ok(Renewed::Yes) => {
                        backoff.reset();
                        metrics.certificate_ordered("ok");
                    }
                    Ok(Renewed::Elsewhere) => {}
                    Err(error) => {
                        metrics.certificate_ordered("failed");
                        let wait = backoff.next(fastrand::f64());
                        one.failed(&error, retry_after(wait, error.asked_wait()));
                    }
                }
            }
            // At once for a new certificate: an authority may suggest any time.
            if !one.is_due(clock::wall()) {
                self.ask_for_window(one, own).await;
            }
            sleep(if self.store.is_shared() {
                LOOK
            } else {
                EVERY.min(one.wait())
            })
            .await;
        }
    }

    /// Orders a certificate, unless another gateway does, or has just done so.
    async fn renew(&self, one: &Managed, own: &OwnAddresses) -> Result<Renewed, OrderError> {
        let Some(lock) = self.store.lock(&one.id).await? else {
            return Ok(Renewed::Elsewhere);
        };
        let renewed = self.renew_locked(one, own, &lock).await;
        Box::pin(lock.release()).await;
        renewed
    }

    async fn renew_locked(
        &self,
        one: &Managed,
        own: &OwnAddresses,
        lock: &Lock,
    ) -> Result<Renewed, OrderError> {
        if let Some(kept) = self.store.load(&one.id).await? {
            one.adopt(&kept);
            if !one.is_due(clock::wall()) {
                return Ok(Renewed::Elsewhere);
            }
        }
        let names = one.settings.names.join(", ");
        tracing::info!(names, directory = %one.settings.directory, "a certificate is being ordered");
        let directory = Directory::open(&one.settings, own, &self.store).await?;
        let replaced = one.state().held.as_ref().map(leaf);
        let (ordered, answers) = order::begin(&directory, &one.settings, replaced.as_ref()).await?;
        self.store.publish(lock, &answers).await?;
        self.challenges.replace(&one.id, answers);
        if self.store.is_shared() {
            sleep(SPREAD).await;
        }
        let ordered = order::finish(ordered, &directory, &one.settings).await;
        self.challenges.replace(&one.id, Vec::new());
        let kept = ordered?;
        let certificate = certs::from_pem(&kept.chain, &kept.key);
        let certificate =
            certificate.map_err(|error| OrderError::Certificate(error.to_string()))?;
        if !one
            .settings
            .names
            .iter()
            .all(|name| certificate.is_for(name))
        {
            let why = "it is not for the names that were ordered".to_owned();
            return Err(OrderError::Certificate(why));
        }
        self.store.save(&one.id, &kept, lock).await?;
        one.adopt(&kept);
        Ok(Renewed::Yes)
    }

    /// Asks the authority from time to time when this certificate should be renewed.
    async fn ask_for_window(&self, one: &Managed, own: &OwnAddresses) {
        let now = clock::wall();
        let certificate = {
            let mut state = one.state();
            let asked = state.window_asked.replace(now);
            let lately = asked.is_some_and(|asked| now < asked + WINDOW_EVERY);
            if lately {
                state.window_asked = asked;
                return;
            }
            state.held.as_ref().map(leaf)
        };
        let Some(certificate) = certificate else {
            return;
        };
        match Directory::window(&one.settings, own, &self.store, &certificate).await {
            Ok(window) => one.state().window = window,
            Err(error) => tracing::debug!(%error, "no window of renewal"),
        }
    }
}

/// What came of a renewal.
enum Renewed {
    Yes,
    Elsewhere,
}
