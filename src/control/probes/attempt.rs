//! One probe of one backend, start to end within its time.

use std::time::Duration;

use tokio::time::timeout;

use crate::base::addr::{BackendAddr, OwnAddresses};
use crate::base::clock;
use crate::config::snapshot::{Probe, ProbeKind, ProxyVersion};
use crate::control::probes::fault::{Doing, ProbeFault};
use crate::control::probes::{http, websocket};
use crate::io::carrier::Carrier;
use crate::io::net::dial::{DialOptions, dial};
use crate::io::net::socket::Tuning;
use crate::io::tls::client::ClientTls;

/// Whom to probe, and over what.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where the backend is.
    pub backend: BackendAddr,
    /// The upstream's TLS.
    pub tls: Option<ClientTls>,
    /// The upstream's PROXY header.
    pub proxy_protocol: Option<ProxyVersion>,
}

impl Target {
    /// The value of a `Host` header that was not configured.
    fn authority(&self) -> String {
        match &self.backend {
            BackendAddr::Unix(_) => self.backend.host(),
            address => address.to_string(),
        }
    }
}

/// Tries once; the answer is the time that it took, from the lookup to the last byte that counts.
/// No address of the gateway's `own` is dialled.
///
/// # Errors
/// What was expected, and what came instead.
pub async fn probe(
    probe: &Probe,
    target: &Target,
    own: &OwnAddresses,
) -> Result<Duration, ProbeFault> {
    let start = clock::now();
    let tls = match &target.tls {
        Some(tls) => Some(tls.to(&target.backend)?),
        None => None,
    };
    let options = DialOptions {
        timeout: probe.timeout,
        tuning: Tuning::Whole(None),
        proxy_header: proxy_header(target.proxy_protocol),
        tls: tls.as_ref(),
        own,
    };
    let carrier = dial(&target.backend, options).await?;

    let mut doing = Doing::Asking;
    let left = probe.timeout.saturating_sub(start.elapsed());
    let passed = timeout(left, converse(probe, target, carrier, &mut doing)).await;
    let passed = passed.map_err(|_| ProbeFault::TimedOut {
        after: probe.timeout,
        doing,
    })??;
    let took = start.elapsed();
    if let Some(socket) = passed {
        websocket::close(socket).await;
    }
    Ok(took)
}

/// Answers a session that is still to be closed, if there is one.
async fn converse(
    probe: &Probe,
    target: &Target,
    carrier: Carrier,
    doing: &mut Doing,
) -> Result<Option<websocket::Socket>, ProbeFault> {
    let host = |host: &Option<String>| host.clone().unwrap_or_else(|| target.authority());
    match &probe.kind {
        // The connection was all that was asked for.
        ProbeKind::Tcp => Ok(None),
        ProbeKind::Http {
            path,
            host: name,
            status,
            body,
        } => {
            let request = http::get(path, &host(name)).body(http::no_body())?;
            let passed = http::run(carrier, request, status, body.as_deref(), doing).await;
            passed.map(|()| None)
        }
        ProbeKind::WebSocket {
            path,
            host: name,
            subprotocol,
            send,
            expect,
        } => {
            let session = websocket::Script {
                subprotocol: subprotocol.as_deref(),
                send: send.as_deref(),
                expect: expect.as_deref(),
            };
            let request = http::get(path, &host(name));
            let passed = websocket::run(carrier, request, session, doing).await;
            passed.map(Some)
        }
    }
}

/// The header of a connection that the gateway makes for itself: it speaks for no client.
fn proxy_header(version: Option<ProxyVersion>) -> &'static [u8] {
    match version {
        None => b"",
        Some(ProxyVersion::V1) => b"PROXY UNKNOWN\r\n",
        // The signature, then version 2 with the command LOCAL, no addresses, length 0.
        Some(ProxyVersion::V2) => b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
    }
}
