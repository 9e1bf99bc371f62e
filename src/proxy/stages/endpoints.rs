//! What the gateway itself answers to clients: a ticket for a page that is logged in, a longer life
//! for a session.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use serde_json::json;

use crate::base::clock;
use crate::base::session_id::SessionId;
use crate::core::auth::{Authenticator, CredentialFault};
use crate::core::http::query;
use crate::core::routing::{Endpoint, Route};
use crate::live::{Renewal, SessionQuery, WorkerCommand};
use crate::proxy::pipeline::{Exchange, Reply};
use crate::proxy::refusal::Refusal;
use crate::proxy::stages::authenticate::unauthenticated;
use crate::proxy::streams::body::Outgoing;

impl Exchange {
    /// Answers at a path of the gateway's own.
    ///
    /// # Errors
    /// What keeps the request out.
    pub(crate) async fn at_endpoint(
        &self,
        endpoint: Endpoint,
        head: &Parts,
    ) -> Result<Reply, Refusal> {
        if head.method != Method::POST {
            return Err(Refusal::NotPost);
        }
        match endpoint {
            Endpoint::Mint(tickets, asked) => self.mint(&tickets, &asked, head).await,
            Endpoint::Renew(route) => self.renew(&route, head).await,
        }
    }

    async fn mint(
        &self,
        tickets: &Authenticator,
        asked: &[Arc<Authenticator>],
        head: &Parts,
    ) -> Result<Reply, Refusal> {
        let identity = self.identify(asked, head, false).await?;
        let principal = identity
            .principal
            .unwrap_or_else(|| tickets.named("anonymous"));
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Refusal::NoRoute)?;
        let random = u128::from_be_bytes(random);
        let minted = tickets.mint(&principal, clock::wall(), random);
        let minted = minted.ok_or(Refusal::NoRoute)?;
        Ok(self.say(
            None,
            &json!({
                "ticket": minted.ticket, "parameter": minted.parameter,
                "expires": clock::rfc3339(minted.expires),
            }),
        ))
    }

    async fn renew(&self, route: &Arc<Route>, head: &Parts) -> Result<Reply, Refusal> {
        let identity = self.identify(&route.authenticators, head, false).await?;
        let Some(principal) = identity.principal else {
            let missing = CredentialFault::Missing;
            return Err(unauthenticated(&route.authenticators, None, missing));
        };
        let raw = head.uri.query().unwrap_or_default();
        let named = query::query_values(raw, "session").next();
        let session = match named.map(|text| text.parse::<SessionId>()) {
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => return Err(Refusal::NoSession),
            None => None,
        };
        let query = SessionQuery {
            id: session,
            route: Some(route.name().to_string()),
            principal: Some(principal.subject.to_string()),
            ..SessionQuery::default()
        };
        let right = principal.right(route.config.auth.expiry_leeway);
        let renewal = Renewal::Credential {
            right: right.clone(),
            claims: Arc::new(principal.claims),
            route: Some(Arc::clone(route)),
        };
        let workers = self.connection.worker.live().workers();
        let renewed = workers.ask(|answer| WorkerCommand::Renew {
            query: query.clone(),
            renewal: renewal.clone(),
            answer,
        });
        let renewed: usize = renewed.await.into_iter().sum();
        if renewed == 0 {
            return Err(Refusal::NoSession);
        }
        let expires = right.expires.map(clock::rfc3339);
        Ok(self.say(
            Some(route),
            &json!({ "renewed": renewed, "expires": expires }),
        ))
    }

    fn say(&self, route: Option<&Arc<Route>>, body: &serde_json::Value) -> Reply {
        let mut report = self.report(route.map(|route| route.name().clone()), None, None);
        report.status = 200;
        drop(report);
        let mut response = Response::new(Outgoing::own(body.to_string()));
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // It is for this page alone, and good once.
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
