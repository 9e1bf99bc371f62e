//! The headers that a backend sees: the client's, without what a client must not send and without
//! what was for the gateway alone, and with what the gateway knows.

use http::header::HOST;
use http::{HeaderMap, HeaderValue};

use crate::base::host;
use crate::core::http::forwarded::{self, Forwarding};
use crate::core::http::{headers, loops};
use crate::proxy::pipeline::{Exchange, Plan};
use crate::proxy::stages::authenticate;

impl Exchange {
    /// Makes them from the client's; `session` where a session may come of the request.
    pub(crate) fn backend_headers(
        &self,
        plan: &Plan,
        client: HeaderMap,
        session: bool,
    ) -> HeaderMap {
        let mut fields = client;
        let instance = self.connection.worker.live().instance();
        let gateways = loops::gateways(&fields, instance);
        let names = self.generation.table.header_names();
        headers::strip_hop_by_hop_but(&mut fields, |name| names.contains(name));
        let untrusted = &self.connection.listener().config.untrusted_headers;
        headers::restrict_trailers(&mut fields, |name| {
            names.contains(name) || untrusted.contains(name)
        });
        // The gateway answers the expectation itself, when it wants the body.
        fields.remove("expect");
        let hop = Forwarding {
            peer: self.connection.client.map(|peer| peer.ip()),
            trusted: self.connection.peer_trusted(),
            scheme: self.client.scheme(),
            tls: self.connection.tls,
            untrusted,
            host: &self.host,
            request_id: &self.request_id,
            session: session.then_some(self.id),
            rfc7239: plan.upstream.config.forwarded_header,
        };
        forwarded::forward(&mut fields, &hop);
        fields.insert(&loops::SESSILE_GATEWAY, gateways);
        authenticate::tell_backend(names, plan, &mut fields);
        let host = plan
            .route
            .config
            .rewrite
            .host
            .as_deref()
            .unwrap_or(&self.host);
        if let Ok(host) = HeaderValue::from_str(host::or_default(host)) {
            fields.insert(HOST, host);
        }
        headers::apply_edits(&mut fields, &plan.route.config.request_headers);
        fields
    }
}
