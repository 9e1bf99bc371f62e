//! Header fields by which proxies, content networks and identity gateways report a client's
//! identity, address, scheme and original request to backends. Applications trust them, so they are
//! removed from requests of untrusted peers. `X-Forwarded-*`, `Forwarded`, `X-Real-IP` and
//! `X-Request-Id` are among them. `Sessile-*` is not: no peer may send that.

use http::HeaderName;

use crate::base::header_name::{alike, begins_alike};

/// What a listener changes about the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UntrustedHeaders {
    /// Further names.
    pub remove: Vec<HeaderName>,
    /// Names of the list that every client may send.
    pub keep: Vec<HeaderName>,
}

impl UntrustedHeaders {
    /// Whether a field of this name is removed from what strangers send.
    pub fn contains(&self, name: &str) -> bool {
        let among = |names: &[HeaderName]| names.iter().any(|known| alike(known.as_str(), name));
        among(&self.remove) || (is_listed(name) && !among(&self.keep))
    }
}

/// Whether only trusted proxies may send this by default.
pub fn is_listed(name: &str) -> bool {
    NAMES.iter().any(|known| alike(known, name))
        || PREFIXES.iter().any(|prefix| begins_alike(name, prefix))
}

/// What the gateway itself reads of trusted proxies, and writes. No listener can let strangers send
/// these.
pub fn is_own(name: &str) -> bool {
    OWN.iter().any(|known| alike(known, name)) || begins_alike(name, "x-forwarded-")
}

const OWN: [&str; 3] = ["forwarded", "x-real-ip", "x-request-id"];

/// Whole names.
pub const NAMES: [&str; 69] = [
    // The client's address.
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "client-ip",
    "do-connecting-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded",
    "forwarded-for",
    "forwarded-for-ip",
    "remote-addr",
    "true-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-forwarded",
    "x-nf-client-connection-ip",
    "x-original-forwarded-for",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-vercel-forwarded-for",
    // How it came.
    "cf-visitor",
    "front-end-https",
    "x-arr-ssl",
    "x-forwarded-proto",
    "x-https",
    "x-scheme",
    "x-ssl",
    "x-url-scheme",
    // The original request.
    "proxy",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-request-id",
    "x-rewrite-url",
    // The identity of the client.
    "cf-access-authenticated-user-email",
    "client-cert",
    "client-cert-chain",
    "remote-email",
    "remote-groups",
    "remote-name",
    "remote-user",
    "x-amzn-oidc-identity",
    "x-apigateway-api-userinfo",
    "x-arr-clientcert",
    "x-authenticated-scope",
    "x-authenticated-user",
    "x-authenticated-userid",
    "x-client-cert",
    "x-client-certificate",
    "x-client-dn",
    "x-client-verify",
    "x-credential-identifier",
    "x-endpoint-api-userinfo",
    "x-remote-user",
    "x-ssl-cert",
    "x-vouch-user",
    "x-webauth-user",
];

/// Beginnings of names.
pub const PREFIXES: [&str; 15] = [
    "oidc-claim-",
    "remote-user-",
    "ssl-client-",
    "tailscale-user-",
    "x-amzn-mtls-",
    "x-auth-request-",
    "x-authentik-",
    "x-client-cert-",
    "x-consumer-",
    "x-envoy-original-",
    "x-forwarded-",
    "x-goog-authenticated-user-",
    "x-ms-client-principal",
    "x-pomerium-claim-",
    "x-ssl-client-",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_backends_trust_are_listed() {
        let listed = UntrustedHeaders::default();
        for name in [
            "X-Forwarded",
            "Forwarded-For",
            "X-Client-IP",
            "X_Client_IP",
            "True-Client-IP",
            "CF-Connecting-IP",
            "X-Cluster-Client-IP",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-SSL-Client-Verify",
            "X_SSL_Client_S_DN",
            "X-HTTP-Method-Override",
            "X-Forwarded-Anything",
        ] {
            assert!(listed.contains(name), "{name}");
        }
        for name in ["authorization", "x-user", "cookie", "origin", "x-api-key"] {
            assert!(!listed.contains(name), "{name}");
        }
        let changed = UntrustedHeaders {
            remove: vec![HeaderName::from_static("x-tenant")],
            keep: vec![HeaderName::from_static("x-http-method-override")],
        };
        assert!(changed.contains("X_Tenant") && changed.contains("x-real-ip"));
        assert!(!changed.contains("x-http-method-override"));
    }

    #[test]
    fn the_page_on_security_has_the_whole_list() {
        let page = include_str!("../../docs/security.md");
        let prefixes = PREFIXES.iter().map(|prefix| format!("`{prefix}*`"));
        for name in NAMES.iter().map(|name| format!("`{name}`")).chain(prefixes) {
            assert!(page.contains(&name), "docs/security.md lacks {name}");
        }
    }
}
