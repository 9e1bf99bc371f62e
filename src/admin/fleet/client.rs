//! Asks another gateway's admin API.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::header::{ACCEPT, AUTHORIZATION};
use axum::http::{HeaderName, HeaderValue, Request, Uri};
use bytes::Bytes;
use http_body_util::Full;

use crate::admin::fleet::merge::Given;
use crate::base::addr::OwnAddresses;
use crate::base::causes::chain;
use crate::config::snapshot::AdminFleet;
use crate::control::fleet::Other;
use crate::io::client::{Client, ExchangeLimits};
use crate::io::tls::client::{ClientTls, ClientTlsError};

/// The response header that names the gateway.
pub(in crate::admin) const NODE: HeaderName = HeaderName::from_static("sessile-node");
/// For one of them.
const LIMITS: ExchangeLimits = ExchangeLimits {
    time: Duration::from_secs(5),
    body: 32 << 20,
};
const CONNECT: Duration = Duration::from_secs(2);

/// Asks the other gateways.
#[derive(Debug)]
pub struct FleetClient {
    settings: AdminFleet,
    client: Client,
}

impl FleetClient {
    /// By `settings`; none of the gateway's `own` addresses is asked.
    ///
    /// # Errors
    /// When the authorities cannot be read.
    pub fn new(settings: &AdminFleet, own: OwnAddresses) -> Result<Self, ClientTlsError> {
        let tls = settings.tls.as_ref().map(ClientTls::new).transpose()?;
        Ok(Self {
            settings: settings.clone(),
            client: Client::new(tls, own, CONNECT),
        })
    }

    /// The URL of a resource of another gateway.
    ///
    /// # Errors
    /// Why it is not asked.
    fn url(&self, other: &Other, target: &str) -> Result<Uri, String> {
        if other.gone {
            return Err("its registration ended without a sign-off".to_owned());
        }
        let (scheme, address) = match other.admin.strip_prefix("https://") {
            Some(address) => ("https", address),
            None => ("http", other.admin.as_str()),
        };
        let address: SocketAddr = address.parse().map_err(|_| {
            "its registered address is not address and port: set `admin.fleet.advertise` there"
                .to_owned()
        })?;
        if address.ip().is_unspecified() {
            return Err(format!(
                "it is registered at {address}, which is nowhere: set `admin.fleet.advertise` there"
            ));
        }
        if !self.settings.networks.contains(address.ip()) {
            return Err(format!(
                "{address} is in none of this gateway's `admin.fleet.networks`"
            ));
        }
        if scheme == "https" && self.settings.tls.is_none() {
            return Err(
                "it speaks TLS, and this gateway has no `admin.fleet.ca` to verify it".to_owned(),
            );
        }
        let url = format!("{scheme}://{address}{target}");
        url.parse().map_err(|_| "no URL comes of it".to_owned())
    }

    /// What another gateway answers to this target.
    pub(in crate::admin) async fn ask(&self, other: &Other, target: &str) -> Result<Given, String> {
        let url = self.url(other, target)?;
        let mut request = Request::get(url).header(ACCEPT, "application/json");
        if let Some(token) = &self.settings.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        let request = request.body(Full::new(Bytes::new()));
        let request = request.map_err(|error| error.to_string())?;
        let answer = self.client.ask(request, LIMITS).await;
        let answer = answer.map_err(|error| chain(&error))?;
        let node = answer.headers().get(NODE).map(HeaderValue::as_bytes);
        match node {
            Some(node) if node == other.node.as_bytes() => {}
            None => return Err("what answers there is no gateway of this version".to_owned()),
            Some(_) => return Err("another gateway answers there".to_owned()),
        }
        Ok(Given {
            status: answer.status(),
            body: answer.into_body(),
        })
    }
}
