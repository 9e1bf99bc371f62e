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
use crate::config::snapshot::{Dialect, Function};
use crate::core::functions::cloudevents;
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
        self.registry.tidy(&self.live.table());
        let mut clients = self.clients();
        clients.retain(|_, (made_for, _)| made_for.strong_count() > 0);
    }

    /// Makes an event when it is its turn, sends it, counts the outcome as one of `kind`, and
    /// returns what `judge` makes of the answer.
    ///
    /// # Errors
    /// When there is no answer, and those of `judge`.
    pub(super) async fn send<'e, T>(
        &self,
        config: &Arc<Function>,
        kind: &'static str,
        event: impl FnOnce() -> Event<'e>,
        judge: impl FnOnce(Response<Bytes>) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let target = self.target(config).await?;
        let began = clock::now();
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
    async fn target(&self, config: &Arc<Function>) -> Result<Arc<Target>, CallError> {
        let target = self.registry.of(config, &self.metrics).await?;
        Ok(target)
    }

    async fn ask<'e>(
        &self,
        target: &Arc<Target>,
        event: impl FnOnce() -> Event<'e>,
    ) -> Result<Response<Bytes>, CallError> {
        let config = &target.config;
        let permit = timeout(config.queue_timeout, target.permits.acquire()).await;
        let _permit = permit.ok().and_then(Result::ok).ok_or(CallError::Busy)?;
        let _in_flight = target.metrics.in_flight();
        if config.dialect == Dialect::Cloudevents {
            // Others may be asking, one after the other.
            let allowed = timeout(config.timeout, self.allowed(target)).await;
            allowed.map_err(|_| ClientError::TimedOut(config.timeout))??;
        }
        // Not before its turn: what waits has its message once.
        let event = event();
        let kind = HeaderValue::from_static(event.content_type);
        let mut fields = event.fields;
        fields.insert(CONTENT_TYPE, kind);
        let body = Bytes::from(event.body);
        self.exchange(target, (Method::POST, event.url), fields, body)
            .await
    }

    /// Asks once whether this gateway may send events ("abuse protection" of CloudEvents' web
    /// hooks, section 4). What is not allowed is asked again with the next event.
    async fn allowed(&self, target: &Arc<Target>) -> Result<(), CallError> {
        let config = &target.config;
        let url = config.url.as_ref().ok_or(CallError::NoRoute)?;
        let ask = async || {
            let asked = (Method::OPTIONS, &**url);
            let fields = cloudevents::preflight(&config.origin);
            let answer = self.exchange(target, asked, fields, Bytes::new()).await?;
            match cloudevents::is_allowed(answer.headers(), &config.origin) {
                true => Ok(()),
                false => Err(CallError::NotAllowed(config.origin.to_string())),
            }
        };
        target.allowed.get_or_try_init(ask).await?;
        Ok(())
    }

    /// One request, which nothing bounds but the function's limits.
    async fn exchange(
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
