//! Which sessions a request is about, and in which order they are listed.

use std::time::Duration;

use ipnet::IpNet;

use crate::admin::problem::Problem;
use crate::base::addr::{sixteen_bytes, unmapped};
use crate::base::session_id::SessionId;
use crate::core::session::best::Direction;
use crate::live::{KeyFilter, MoreFilters, SessionQuery, SortKey};

/// Defines the query of a resource that is about some sessions: the filters, and its own
/// parameters. serde cannot both flatten a struct and refuse unknown names, and a misspelt filter
/// must be refused.
macro_rules! selection {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub(in crate::admin) struct $name {
            /// Only of this route.
            pub(super) route: Option<String>,
            /// Only of this upstream.
            pub(super) upstream: Option<String>,
            /// Only on the backend with this id.
            pub(super) backend: Option<String>,
            /// Only of this principal.
            pub(super) principal: Option<String>,
            /// Only of this client: an address, or a network such as `192.0.2.0/24`.
            pub(super) client: Option<String>,
            /// Only of this listener.
            pub(super) listener: Option<String>,
            /// Only for this requested host.
            pub(super) host: Option<String>,
            /// Only with this subprotocol.
            pub(super) subprotocol: Option<String>,
            /// Only of principals that this authenticator identified.
            pub(super) authenticator: Option<String>,
            /// Only of the request with this id.
            pub(super) request_id: Option<String>,
            /// Only with this affinity key, as the list shows it.
            pub(super) key: Option<String>,
            /// Only those that are at least this old, such as `10m`.
            pub(super) min_age: Option<String>,
            /// Only those that have been silent in both directions for at least this long.
            pub(super) min_idle: Option<String>,
            /// Only those with at least this many messages, both ways.
            pub(super) min_messages: Option<u64>,
            /// Only those with at least this many bytes, both ways.
            pub(super) min_bytes: Option<u64>,
            /// `true`: only those that lost messages: the client's with a backend, or published
            /// ones.
            pub(super) lost: Option<bool>,
            $($(#[$field_doc])* pub(super) $field: $kind,)*
        }

        impl $name {
            /// The sessions that it is about.
            pub(super) fn selection(
                &mut self,
            ) -> Result<$crate::live::SessionQuery, $crate::admin::problem::Problem> {
                let more = $crate::admin::sessions::filter::Texts {
                    client: self.client.take(),
                    key: self.key.take(),
                    min_age: self.min_age.take(),
                    min_idle: self.min_idle.take(),
                };
                let more = more.read($crate::live::MoreFilters {
                    listener: self.listener.take(),
                    host: self.host.take(),
                    subprotocol: self.subprotocol.take(),
                    authenticator: self.authenticator.take(),
                    request_id: self.request_id.take(),
                    messages_min: self.min_messages,
                    bytes_min: self.min_bytes,
                    lost: self.lost == Some(true),
                    ..Default::default()
                })?;
                Ok($crate::live::SessionQuery {
                    id: None,
                    after: None,
                    route: self.route.take(),
                    upstream: self.upstream.take(),
                    backend: self.backend.take(),
                    principal: self.principal.take(),
                    more: (more != Default::default()).then(|| Box::new(more)),
                })
            }
        }
    };
}

pub(super) use selection;

selection!(
    /// Filters and order of the list.
    Filter {
        /// Sessions at most; 1 to 1000, 100 if not given.
        limit: Option<usize>,
        /// `next` of the page before; not together with `sort`.
        #[schemars(with = "Option<String>")]
        cursor: Option<SessionId>,
        /// `age`, `idle`, `idle_client`, `idle_backend`, `bytes`, `messages`, `message_rate`,
        /// `byte_rate`, `round_trip`, `in_flight`, `expires` or `moves`; with `-` in front the
        /// greatest first. Sessions that have no such number come last.
        sort: Option<String>,
        /// Measures the rates over this time: 100 ms to 10 s.
        interval: Option<String>,
    }
);

/// The selection of an order to many sessions, which must name some filter or say `all`.
pub(super) fn named(query: SessionQuery, all: Option<bool>) -> Result<SessionQuery, Problem> {
    match query.is_everything() && all != Some(true) {
        true => Err(Problem::bad_request(
            "give a filter, or `all=true` for every session",
        )),
        false => Ok(query),
    }
}

/// The filters that have to be read.
pub(super) struct Texts {
    pub(super) client: Option<String>,
    pub(super) key: Option<String>,
    pub(super) min_age: Option<String>,
    pub(super) min_idle: Option<String>,
}

impl Texts {
    pub(super) fn read(self, others: MoreFilters) -> Result<MoreFilters, Problem> {
        let time = |name, text: Option<String>| text.map(|text| duration(name, &text)).transpose();
        Ok(MoreFilters {
            client: self.client.as_deref().map(network).transpose()?,
            key: self.key.as_deref().map(key),
            age_min: time("min_age", self.min_age)?,
            idle_min: time("min_idle", self.min_idle)?,
            ..others
        })
    }
}

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Number {
    /// A number that each session has.
    Own(SortKey),
    /// Messages in the interval.
    MessageRate,
    /// Bytes in the interval.
    ByteRate,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) struct Order {
    pub(in crate::admin) by: Number,
    pub(in crate::admin) direction: Direction,
}

impl Order {
    pub(in crate::admin) fn read(text: &str) -> Result<Self, Problem> {
        let (direction, name) = match text.strip_prefix('-') {
            Some(name) => (Direction::Descending, name),
            None => (Direction::Ascending, text),
        };
        let by = match name {
            "age" => Number::Own(SortKey::Age),
            "idle" => Number::Own(SortKey::Idle),
            "idle_client" => Number::Own(SortKey::IdleClient),
            "idle_backend" => Number::Own(SortKey::IdleBackend),
            "bytes" => Number::Own(SortKey::Bytes),
            "messages" => Number::Own(SortKey::Messages),
            "message_rate" => Number::MessageRate,
            "byte_rate" => Number::ByteRate,
            "round_trip" => Number::Own(SortKey::RoundTrip),
            "in_flight" => Number::Own(SortKey::InFlight),
            "expires" => Number::Own(SortKey::Expires),
            "moves" => Number::Own(SortKey::Moves),
            _ => {
                let detail = "sort: give age, idle, idle_client, idle_backend, bytes, messages, \
                              message_rate, byte_rate, round_trip, in_flight, expires or moves, \
                              with `-` in front for the greatest first";
                return Err(Problem::bad_request(detail));
            }
        };
        Ok(Self { by, direction })
    }
}

/// The shortest and the longest time over which rates are measured.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The time over which rates are measured.
pub(in crate::admin) fn interval(text: &str) -> Result<Duration, Problem> {
    let (least, most) = INTERVAL;
    let interval = duration("interval", text)?;
    if !(least..=most).contains(&interval) {
        return Err(Problem::bad_request("interval: give 100ms to 10s"));
    }
    Ok(interval)
}

fn duration(name: &str, text: &str) -> Result<Duration, Problem> {
    let problem = |_| Problem::bad_request(format!("{name}: `{text}` is no time such as `10m`"));
    humantime::parse_duration(text).map_err(problem)
}

fn network(text: &str) -> Result<IpNet, Problem> {
    let address = || text.parse().map(|address| IpNet::from(unmapped(address)));
    let network = text.parse::<IpNet>().or_else(|_| address());
    let detail = || format!("client: `{text}` is no address and no network");
    network.map_err(|_| Problem::bad_request(detail()))
}

/// Everything that the list may show as this text.
fn key(text: &str) -> KeyFilter {
    let mut any = vec![text.as_bytes().to_vec()];
    any.extend(text.strip_prefix("0x").and_then(bytes));
    any.extend(
        text.parse()
            .ok()
            .map(|address| sixteen_bytes(address).to_vec()),
    );
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 8);
    let fingerprint = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    KeyFilter { any, fingerprint }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(digits, 16).ok()
    };
    pairs.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_number_and_a_direction() {
        let order = |text| {
            Order::read(text)
                .ok()
                .map(|order| (order.by, order.direction))
        };
        let own = |key, direction| Some((Number::Own(key), direction));
        assert_eq!(order("age"), own(SortKey::Age, Direction::Ascending));
        assert_eq!(order("-bytes"), own(SortKey::Bytes, Direction::Descending));
        let rate = Some((Number::ByteRate, Direction::Descending));
        assert_eq!(order("-byte_rate"), rate);
        for wrong in ["", "-", "--age", "Age", "route"] {
            assert_eq!(order(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_key_is_read_in_each_form_that_the_list_shows() {
        assert_eq!(key("ann").any, [b"ann".to_vec()]);
        assert_eq!(key("0xff00").any[1], [0xff, 0]);
        assert_eq!(key("0xff0").any.len(), 1, "half a byte");
        assert_eq!(key("0xé").any.len(), 1);
        assert_eq!(key("#0000002a").fingerprint, Some(42));
        assert_eq!(key("#2a").fingerprint, None);
        assert_eq!(key("192.0.2.7").any[1].len(), 16);
    }

    #[test]
    fn times_and_networks_are_checked() {
        assert!(interval("99ms").is_err() && interval("11s").is_err());
        assert_eq!(interval("1s").ok(), Some(Duration::from_secs(1)));
        assert!(interval("soon").is_err());
        let read = |text| network(text).ok().map(|network| network.to_string());
        assert_eq!(read("192.0.2.7").as_deref(), Some("192.0.2.7/32"));
        assert_eq!(read("::ffff:192.0.2.7").as_deref(), Some("192.0.2.7/32"));
        assert_eq!(read("2001:db8::/32").as_deref(), Some("2001:db8::/32"));
        assert_eq!(read("somewhere"), None);
    }
}
