//! The names at the broker that a session of a route is subscribed to. Clients choose most values
//! in them, so each name is checked when it is filled (I12).

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::addr::unmapped;
use crate::config::broker_name::FillFault;
use crate::config::snapshot::{AffinitySource, NameOfSession, Subscribe};
use crate::core::auth::Claims;
use crate::core::messages::index::Subscription;
use crate::core::routing::affinity;
use crate::core::routing::request::{Parameters, Request};

/// What fills the placeholders of names.
#[derive(Clone, Copy)]
pub struct NameValues<'r, 'p, 'a> {
    /// What the client asked.
    pub request: &'r Request<'a>,
    /// Parameters of the path.
    pub parameters: &'r Parameters<'p, 'a>,
    /// The client's address.
    pub client: IpAddr,
    /// Of its credential.
    pub claims: Option<&'a Claims>,
    /// What the gateways' own names begin with.
    pub prefix: &'r str,
}

impl<'a> NameValues<'_, '_, 'a> {
    /// The subscriptions of a session, and why others are none. Two that have one name are one, of
    /// the first message type.
    pub fn subscriptions(&self, all: &'a [Subscribe]) -> (Vec<Subscription>, Vec<FillFault>) {
        let (mut subscriptions, mut faults) = (Vec::<Subscription>::new(), Vec::new());
        for one in all {
            match self.name(&one.from) {
                Ok(name) if subscriptions.iter().any(|known| known.name == name) => {}
                Ok(name) => subscriptions.push(Subscription {
                    name,
                    message_type: one.message_type,
                }),
                Err(fault) => faults.push(fault),
            }
        }
        (subscriptions, faults)
    }

    /// A name for the session.
    ///
    /// # Errors
    /// When the session has no value for it, or one that would change its meaning.
    pub fn name(&self, name: &'a NameOfSession) -> Result<Arc<str>, FillFault> {
        let values = name.values.iter().map(|source| self.value(source));
        let values: Vec<_> = name.pattern.placeholders().zip(values).collect();
        name.pattern.fill(self.prefix, |placeholder| {
            let mut values = values.iter();
            let (_, value) = values.find(|(name, _)| *name == placeholder)?;
            value.as_deref()
        })
    }

    fn value(&self, source: &'a AffinitySource) -> Option<Cow<'a, str>> {
        if *source == AffinitySource::ClientAddress {
            return Some(Cow::Owned(unmapped(self.client).to_string()));
        }
        let value = affinity::value(
            source,
            self.request,
            self.parameters,
            self.client,
            self.claims,
        );
        match value? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method, Uri};
    use serde_json::json;

    use super::*;
    use crate::config::expression::ClaimPath;
    use crate::config::snapshot::MessageType;

    fn subscribe(pattern: &str, values: Vec<AffinitySource>) -> Subscribe {
        Subscribe {
            from: NameOfSession {
                pattern: pattern.parse().expect("a pattern"),
                values,
            },
            message_type: MessageType::Auto,
        }
    }

    #[test]
    fn names_are_filled_from_the_request_or_refused() {
        let uri: Uri = "/ws?room=a%2eb&ok=red%20one&k=7&raw=%ff"
            .parse()
            .expect("a URI");
        let headers = HeaderMap::new();
        let request = Request {
            method: &Method::GET,
            host: "",
            path: "/ws",
            query: uri.query(),
            headers: &headers,
            websocket: true,
            tls: false,
        };
        let claims = json!({ "team": 7, "rooms": ["a"] });
        let claims = Claims(claims.as_object().cloned().expect("an object"));
        let claim = |name: &str| AffinitySource::Claim(ClaimPath(name.to_owned()));
        let query = |name: &str| AffinitySource::Query(name.to_owned());
        let all = [
            subscribe("nats:chat.{query:k}", vec![query("k")]),
            subscribe(
                "nats:{claim:team}.{query:k}",
                vec![claim("team"), query("k")],
            ),
            subscribe("nats:chat.7", Vec::new()),
            subscribe(
                "nats:a.{client_address}",
                vec![AffinitySource::ClientAddress],
            ),
            // A separator that is encoded, white space, no UTF-8, a list, nothing, the gateways'.
            subscribe("nats:chat.{query:room}", vec![query("room")]),
            subscribe("nats:chat.{query:ok}", vec![query("ok")]),
            subscribe("nats:chat.{query:raw}", vec![query("raw")]),
            subscribe("nats:chat.{claim:rooms}", vec![claim("rooms")]),
            subscribe("nats:chat.{query:none}", vec![query("none")]),
            subscribe("nats:sessile.{query:k}", vec![query("k")]),
        ];
        let parameters = Parameters::default();
        let values = NameValues {
            request: &request,
            parameters: &parameters,
            client: "::1".parse().expect("an address"),
            claims: Some(&claims),
            prefix: "sessile",
        };
        let (subscriptions, faults) = values.subscriptions(&all);
        let names = subscriptions.iter().map(|one| &*one.name);
        assert_eq!(names.collect::<Vec<_>>(), ["chat.7", "7.7", "a.::1"]);
        let reasons = faults.iter().map(FillFault::reason);
        assert_eq!(
            reasons.collect::<Vec<_>>(),
            ["value", "value", "value", "missing", "missing", "own"]
        );
    }
}
