//! What Consul is asked for, and as which URL.

use form_urlencoded::Serializer;

use crate::config::consul_service::ConsulService;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Query {
    /// The instances of a service.
    Service(ConsulService),
    /// The keys below the prefix.
    Keys(Box<str>),
}

/// How it is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    /// The index after which something has to change.
    pub(super) index: Option<u64>,
    /// How long the query may wait for that, in milliseconds.
    pub(super) wait: u128,
    /// Whether a server without a leader may answer.
    pub(super) stale: bool,
}

impl Query {
    /// Path and query of the URL.
    pub(super) fn target(&self, manner: Manner) -> String {
        let mut asked = Serializer::new(String::new());
        let path = match self {
            Self::Service(service) => {
                asked.append_pair("passing", "1");
                if let Some(datacenter) = &service.datacenter {
                    asked.append_pair("dc", datacenter);
                }
                format!("health/service/{}", service.name)
            }
            Self::Keys(prefix) => {
                asked.append_pair("recurse", "1");
                format!("kv/{prefix}/")
            }
        };
        if let Some(index) = manner.index {
            asked.append_pair("index", &index.to_string());
            asked.append_pair("wait", &format!("{}ms", manner.wait));
        }
        if manner.stale {
            asked.append_pair("stale", "1");
        }
        format!("/v1/{path}?{}", asked.finish())
    }
}

impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service(service) => write!(f, "{service}"),
            Self::Keys(prefix) => write!(f, "keys below {prefix}/"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_asked_as_documented() {
        let service = |text: &str| Query::Service(text.parse().expect("a service"));
        let check = |query: Query, manner, expected: &str| {
            assert_eq!(query.target(manner), expected);
        };
        let first = Manner::default();
        check(service("chat"), first, "/v1/health/service/chat?passing=1");
        let waiting = Manner {
            index: Some(7),
            wait: 30_000,
            stale: true,
        };
        check(
            service("chat?dc=east&tag=v2"),
            waiting,
            "/v1/health/service/chat?passing=1&dc=east&index=7&wait=30000ms&stale=1",
        );
        check(
            Query::Keys("team/sessile".into()),
            first,
            "/v1/kv/team/sessile/?recurse=1",
        );
    }
}
