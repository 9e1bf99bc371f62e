//! The order of a list of several gateways. Each gateway sends its own first ones; together they
//! are sorted again, and a list that was asked for in an order has as many items as one gateway
//! would send.

use std::cmp::Ordering;

use serde_json::Value;

use crate::admin::page::PAGE_MAX;
use crate::admin::sessions::{Number, Order, PAGE_DEFAULT, top};
use crate::core::session::best::Direction;
use crate::live::SortKey;

/// What sorts a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FleetOrder {
    by: Key,
    direction: Direction,
    /// Items at most; `None` where the gateways' pages go on.
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Key {
    /// A number of sessions.
    Session(Number),
    /// When an event happened.
    Time,
    /// When a certificate ends.
    DaysLeft,
    /// How bad a finding is.
    Severity,
}

impl FleetOrder {
    /// The order of a resource with these parameters; `None` where items stay gateway by gateway.
    pub(super) fn of(path: &str, parameters: &[(String, String)]) -> Option<Self> {
        let given = |name: &str| {
            let mut found = parameters.iter().filter(|(key, _)| key == name);
            found.next().map(|(_, value)| value.as_str())
        };
        let limit = |default: usize| {
            let asked = given("limit").and_then(|limit| limit.parse().ok());
            Some(asked.unwrap_or(default).clamp(1, PAGE_MAX))
        };
        let whole = |by, direction| Self {
            by,
            direction,
            limit: None,
        };
        let sessions = |text: &str, default| {
            // What is no order has been refused by each gateway.
            let order = Order::read(text).ok()?;
            Some(Self {
                by: Key::Session(order.by),
                direction: order.direction,
                limit: limit(default),
            })
        };
        match path {
            "/v1/sessions" => sessions(given("sort")?, PAGE_DEFAULT),
            "/v1/top" => {
                let by = match given("by") {
                    Some("messages") => "-message_rate",
                    _ => "-byte_rate",
                };
                sessions(by, top::LIMIT_DEFAULT)
            }
            "/v1/history" | "/v1/refusals" | "/v1/sessions/ended" => {
                Some(whole(Key::Time, Direction::Descending))
            }
            "/v1/certificates" => Some(whole(Key::DaysLeft, Direction::Ascending)),
            "/v1/findings" => Some(whole(Key::Severity, Direction::Ascending)),
            _ => None,
        }
    }

    /// Sorts the items of all gateways.
    pub(super) fn apply(self, items: &mut Vec<Value>) {
        let mut keyed: Vec<_> = items
            .drain(..)
            .map(|item| (self.by.value(&item), item))
            .collect();
        // Stable: equals stay in the order of the gateways.
        keyed.sort_by(|(one, _), (other, _)| self.compare(*one, *other));
        items.extend(keyed.into_iter().map(|(_, item)| item));
        if let Some(limit) = self.limit {
            items.truncate(limit);
        }
    }

    /// An item without a value comes last in both directions.
    fn compare(self, one: Option<f64>, other: Option<f64>) -> Ordering {
        match (one, other) {
            (Some(one), Some(other)) => match self.direction {
                Direction::Ascending => one.total_cmp(&other),
                Direction::Descending => other.total_cmp(&one),
            },
            (one, other) => other.is_some().cmp(&one.is_some()),
        }
    }
}

impl Key {
    /// The value of an item, as it is shown.
    fn value(self, item: &Value) -> Option<f64> {
        let number = |pointer: &str| item.pointer(pointer)?.as_f64();
        let sum = |pointers: &[&str]| Some(pointers.iter().filter_map(|one| number(one)).sum());
        let time = |pointer: &str| {
            let text = item.pointer(pointer)?.as_str()?;
            let at = humantime::parse_rfc3339(text).ok()?;
            let since = at.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
            Some(since.as_secs_f64())
        };
        let key = match self {
            Self::Time => return time("/time"),
            Self::DaysLeft => return Some(number("/days_left").unwrap_or_default()),
            Self::Severity => {
                let severity = item.pointer("/severity")?.as_str()?;
                let worst_first = ["critical", "warning", "notice"];
                let place = worst_first.iter().position(|one| *one == severity)?;
                return Some(place as f64);
            }
            Self::Session(Number::ByteRate) => return number("/rate/bytes_per_second"),
            Self::Session(Number::MessageRate) => return number("/rate/messages_per_second"),
            Self::Session(Number::Own(key)) => key,
        };
        match key {
            SortKey::Age => number("/age_seconds"),
            SortKey::Idle => number("/idle_seconds"),
            SortKey::IdleClient => number("/idle_client_seconds"),
            SortKey::IdleBackend => number("/idle_backend_seconds"),
            SortKey::Bytes => sum(&["/to_backend/bytes", "/to_client/bytes"]),
            SortKey::Messages => sum(&[
                "/to_backend/text",
                "/to_backend/binary",
                "/to_client/text",
                "/to_client/binary",
            ]),
            SortKey::RoundTrip => {
                let sides = ["/round_trip_client_ms", "/round_trip_backend_ms"];
                sides.into_iter().filter_map(number).max_by(f64::total_cmp)
            }
            SortKey::InFlight => sum(&[
                "/in_flight_to_client/held",
                "/in_flight_to_client/queued",
                "/in_flight_to_backend/held",
                "/in_flight_to_backend/queued",
            ]),
            SortKey::Expires => time("/expires"),
            SortKey::Moves => number("/resumes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The ids in the order that a resource with this query gets.
    fn sorted(path: &str, query: &str, items: &[Value]) -> Vec<u64> {
        let parameters = form_urlencoded::parse(query.as_bytes()).into_owned();
        let parameters: Vec<_> = parameters.collect();
        let mut items = items.to_vec();
        if let Some(order) = FleetOrder::of(path, &parameters) {
            order.apply(&mut items);
        }
        let ids = items.iter().map(|item| item["id"].as_u64());
        ids.map(|id| id.expect("an id")).collect()
    }

    #[test]
    fn sessions_of_all_gateways_are_in_one_order_and_bounded() {
        let session = |id: u64, bytes: u64, rate: f64, expires: Option<&str>| {
            json!({
                "id": id, "to_backend": { "bytes": bytes }, "to_client": { "bytes": 1 },
                "rate": { "bytes_per_second": rate }, "expires": expires,
            })
        };
        let items = [
            session(1, 900, 1.5, None),
            session(2, 10, 90.0, Some("2026-01-01T00:00:00Z")),
            session(3, 5_000, 80.0, Some("2025-01-01T00:00:00Z")),
        ];
        let path = "/v1/sessions";
        assert_eq!(sorted(path, "sort=-bytes", &items), [3, 1, 2]);
        assert_eq!(sorted(path, "sort=bytes&limit=2", &items), [2, 1]);
        assert_eq!(sorted(path, "sort=expires", &items), [3, 2, 1]);
        assert_eq!(sorted(path, "sort=-expires", &items), [2, 3, 1]);
        assert_eq!(sorted(path, "limit=1", &items), [1, 2, 3], "pages go on");
        assert_eq!(sorted("/v1/top", "", &items), [2, 3, 1]);
        assert_eq!(sorted("/v1/top", "limit=1", &items), [2]);
        assert_eq!(sorted("/v1/routes", "sort=-bytes", &items), [1, 2, 3]);
    }

    #[test]
    fn every_number_that_sorts_a_gateways_list_sorts_the_fleets() {
        let of = |n: u64| {
            json!({
                "id": n, "age_seconds": n, "idle_seconds": n, "idle_client_seconds": n,
                "idle_backend_seconds": n, "round_trip_client_ms": n, "resumes": n,
                "to_client": { "bytes": n, "text": n }, "in_flight_to_client": { "held": n },
                "rate": { "messages_per_second": n, "bytes_per_second": n },
                "expires": format!("202{n}-01-01T00:00:00Z"),
            })
        };
        for name in [
            "age",
            "idle",
            "idle_client",
            "idle_backend",
            "bytes",
            "messages",
            "message_rate",
            "byte_rate",
            "round_trip",
            "in_flight",
            "expires",
            "moves",
        ] {
            let items = [of(2), of(3), of(1)];
            let path = "/v1/sessions";
            assert_eq!(
                sorted(path, &format!("sort={name}"), &items),
                [1, 2, 3],
                "{name}"
            );
            assert_eq!(
                sorted(path, &format!("sort=-{name}"), &items),
                [3, 2, 1],
                "{name}"
            );
        }
    }

    #[test]
    fn events_are_newest_first_and_findings_worst_first() {
        let at = |id: u64, time: &str| json!({ "id": id, "time": time });
        let items = [
            at(1, "2026-01-01T00:00:02Z"),
            at(2, "2026-01-01T00:00:01Z"),
            at(3, "2026-01-01T00:00:03Z"),
        ];
        assert_eq!(sorted("/v1/history", "limit=2", &items), [3, 1, 2]);
        let of = |id: u64, severity: &str| json!({ "id": id, "severity": severity });
        let items = [of(1, "notice"), of(2, "critical"), of(3, "warning")];
        assert_eq!(sorted("/v1/findings", "", &items), [2, 3, 1]);
        let ends = |id: u64, days: Value| json!({ "id": id, "days_left": days });
        let items = [
            ends(1, json!(40)),
            ends(2, json!(3.5)),
            ends(3, Value::Null),
        ];
        assert_eq!(sorted("/v1/certificates", "", &items), [3, 2, 1]);
    }
}
