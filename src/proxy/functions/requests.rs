//! Events as requests: the connections of one worker, and the bound on events that are under way.

use std::sync::Arc;

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
use crate::io::client::{self, Client, ClientError, ClientsByName, ExchangeLimits};
use crate::io::ends::Caller;
use crate::live::Live;
use crate::proxy::functions::error::CallError;
use crate::proxy::functions::registry::{FunctionRegistry, Target};
use crate::proxy::functions::sign::sign;
use crate::telemetry::metrics::Metrics;

/// What one worker asks functions with.
pub(super) struct Requests {
    live: Arc<Live>,
    registry: Arc<FunctionRegistry>,
    metrics: Arc<Metrics>,
    clients: ClientsByName<FunctionName, Target>,
}

/// A session's call of its function, as that is configured now.
#[derive(Clone, Copy)]
pub(super) struct Call<'c> {
    pub(super) requests: &'c Requests,
    pub(super) config: &'c Arc<Function>,
    pub(super) caller: &'c Caller,
}

/// An event for a function.
pub(super) struct Event {
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
            clients: ClientsByName::default(),
        }
    }

    /// The function as it is configured now.
    pub(super) fn config(&self, name: &FunctionName) -> Result<Arc<Function>, CallError> {
        let table = self.live.table();
        let config = table.function(name).cloned();
        config.ok_or_else(|| CallError::NoFunction(name.clone()))
    }

    pub(super) fn live(&self) -> &Live {
        &self.live
    }

    /// Drops clients of functions that were replaced or removed, and their connections.
    pub(super) fn tidy(&self) {
        self.registry.tidy(&self.live.table());
        self.clients.tidy();
    }

    /// What all workers share of a function.
    async fn target(&self, config: &Arc<Function>) -> Result<Arc<Target>, CallError> {
        let target = self.registry.of(config, &self.metrics).await?;
        Ok(target)
    }

    async fn ask(
        &self,
        target: &Arc<Target>,
        url: &str,
        event: impl FnOnce() -> Event,
    ) -> Result<Response<Bytes>, CallError> {
        let config = &target.config;
        let permit = timeout(config.queue_timeout, target.permits.acquire()).await;
        let _permit = permit.ok().and_then(Result::ok).ok_or(CallError::Busy)?;
        let _in_flight = target.metrics.in_flight();
        if config.dialect == Dialect::Cloudevents {
            // Others may be asking, one after the other.
            let allowed = timeout(config.timeout, self.allowed(target, url)).await;
            allowed.map_err(|_| ClientError::TimedOut(config.timeout))??;
        }
        // Not before its turn: what waits has its message once.
        let event = event();
        let kind = HeaderValue::from_static(event.content_type);
        let mut fields = event.fields;
        fields.insert(CONTENT_TYPE, kind);
        let body = Bytes::from(event.body);
        self.exchange(target, (Method::POST, url), fields, body)
            .await
    }

    /// Asks once whether this gateway may send events ("abuse protection" of CloudEvents' web
    /// hooks, section 4). What is not allowed is asked again with the next event.
    async fn allowed(&self, target: &Arc<Target>, url: &str) -> Result<(), CallError> {
        let config = &target.config;
        let ask = async || {
            let asked = (Method::OPTIONS, url);
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
        let config = &target.config;
        self.clients.of(&config.name, target, || {
            let own = self.live.gateway_addresses().admin.clone();
            Client::new(target.tls.clone(), own, config.timeout)
        })
    }
}

impl Call<'_> {
    /// Makes an event when it is its turn, sends it, counts the outcome as one of `kind`, and
    /// returns what `judge` makes of the answer.
    ///
    /// # Errors
    /// When there is no URL or no answer, and those of `judge`.
    pub(super) async fn send<T>(
        self,
        (kind, url): (&'static str, Option<&str>),
        event: impl FnOnce() -> Event,
        judge: impl FnOnce(Response<Bytes>) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let target = self.requests.target(self.config).await?;
        let began = clock::now();
        let outcome = match url {
            Some(url) => self.requests.ask(&target, url, event).await.and_then(judge),
            None => Err(CallError::NoRoute),
        };
        let label = match &outcome {
            Ok(_) => "answered",
            Err(error) => error.outcome(),
        };
        let took = clock::now().duration_since(began);
        target.metrics.called(kind, label, took);
        outcome
    }
}
