//! Events as requests: the connections of one worker, and the bound on events that are under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use tokio::time::timeout;

use crate::base::clock;
use crate::base::names::FunctionName;
use crate::config::snapshot::Function;
use crate::core::http::loops;
use crate::io::client::{self, Client, ClientError, ExchangeLimits};
use crate::live::Live;
use crate::proxy::functions::error::CallError;
use crate::proxy::functions::registry::{FunctionRegistry, Target};
use crate::proxy::functions::sign::sign;
use crate::telemetry::metrics::Metrics;

type Clients = HashMap<FunctionName, (Weak<Target>, Client)>;

/// What one worker asks functions with.
pub(super) struct Requests {
    live: Arc<Live>,
    registry: Arc<FunctionRegistry>,
    metrics: Arc<Metrics>,
    /// A connection never changes threads, and is never used for another configuration of the
    /// function, which may have other roots.
    clients: Mutex<Clients>,
}

/// An event for a function.
pub(super) struct Event<'e> {
    /// What metrics call it.
    pub(super) kind: &'static str,
    pub(super) url: &'e str,
    pub(super) fields: HeaderMap,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

impl Requests {
    pub(super) fn new(
        live: Arc<Live>,
        registry: Arc<FunctionRegistry>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            live,
            registry,
            metrics,
            clients: Mutex::default(),
        }
    }

    /// The function as it is configured now.
    pub(super) fn config(&self, name: &FunctionName) -> Result<Arc<Function>, CallError> {
        let table = self.live.table();
        let config = table.function(name).cloned();
        config.ok_or_else(|| CallError::NoFunction(name.clone()))
    }

    /// Drops clients of functions that were replaced or removed, and their connections.
    pub(super) fn tidy(&self) {
        let mut clients = self.clients();
        clients.retain(|_, (made_for, _)| made_for.strong_count() > 0);
    }

    /// Sends an event when it is its turn, counts the outcome, and returns what `judge` makes of
    /// the answer.
    ///
    /// # Errors
    /// When there is no answer, and those of `judge`.
    pub(super) async fn send<T>(
        &self,
        config: &Arc<Function>,
        event: Event<'_>,
        judge: impl FnOnce(Response<Bytes>) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let target = self.target(config).await?;
        let (kind, began) = (event.kind, clock::now());
        let outcome = self.ask(&target, event).await.and_then(judge);
        let label = match &outcome {
            Ok(_) => "answered",
            Err(error) => error.outcome(),
        };
        let took = clock::now().duration_since(began);
        target.metrics.called(kind, label, took);
        outcome
    }

    /// What all workers share of a function.
    pub(super) async fn target(&self, config: &Arc<Function>) -> Result<Arc<Target>, CallError> {
        let target = self.registry.of(config, &self.live, &self.metrics).await?;
        Ok(target)
    }

    async fn ask(
        &self,
        target: &Arc<Target>,
        event: Event<'_>,
    ) -> Result<Response<Bytes>, CallError> {
        let config = &target.config;
        let permit = timeout(config.queue_timeout, target.permits.acquire()).await;
        let _permit = permit.ok().and_then(Result::ok).ok_or(CallError::Busy)?;
        let _in_flight = target.metrics.in_flight();
        let kind = HeaderValue::from_static(event.content_type);
        let mut fields = event.fields;
        fields.insert(CONTENT_TYPE, kind);
        let body = Bytes::from(event.body);
        self.exchange(target, (Method::POST, event.url), fields, body)
            .await
    }

    /// One request, which nothing bounds but the function's limits.
    pub(super) async fn exchange(
        &self,
        target: &Arc<Target>,
        (method, url): (Method, &str),
        fields: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, CallError> {
        let config = &target.config;
        let request = Request::builder().method(method).uri(client::url(url)?);
        let request = request.body(Full::new(body.clone()));
        let mut request = request.map_err(ClientError::from)?;
        *request.headers_mut() = fields;
        // The function may be behind this very gateway.
        loops::mark(
            request.headers_mut(),
            &HeaderMap::new(),
            self.live.instance(),
        );
        if let Some(key) = &config.sign {
            sign(&mut request, &body, key, clock::wall());
        }
        let limits = ExchangeLimits {
            time: config.timeout,
            body: config.response_bytes,
        };
        Ok(self.client(target).ask(request, limits).await?)
    }

    /// This worker's client of a function.
    fn client(&self, target: &Arc<Target>) -> Client {
        let name = &target.config.name;
        let mut clients = self.clients();
        if let Some((made_for, client)) = clients.get(name)
            && Weak::as_ptr(made_for) == Arc::as_ptr(target)
        {
            return client.clone();
        }
        let own = self.live.gateway_addresses().admin.clone();
        let client = Client::new(target.tls.clone(), own, target.config.timeout);
        clients.insert(name.clone(), (Arc::downgrade(target), client.clone()));
        client
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
