use std::time::SystemTime;

use super::route::close_code_label;
use super::*;
use crate::base::session_id::SessionId;
use crate::base::traffic::Traffic;
use crate::core::session::record::{Cause, EndedBy, Ending, Facts, Record};
use crate::core::session::request::{RequestFacts, RequestTexts};
use crate::core::session::resume::Moves;

fn record(by: EndedBy, cause: Cause, close_code: Option<u16>) -> Record {
    Record {
        facts: Arc::new(Facts {
            id: SessionId::new(1, 2),
            listener: "edge".into(),
            route: "chat".into(),
            upstream: "chat-servers".into(),
            backend: "a".into(),
            principal: Some("alice".into()),
            right: None,
            request: RequestFacts::new(
                RequestTexts {
                    client: "192.0.2.1",
                    host: "chat.example.com",
                    target: "/ws",
                    foreign_id: Some("req-1"),
                    subprotocol: None,
                },
                SystemTime::UNIX_EPOCH,
                Duration::from_millis(3),
            ),
            order: None,
            details: Arc::default(),
        }),
        duration: Duration::from_secs(70),
        to_backend: Traffic::default(),
        to_client: Traffic::default(),
        published: Default::default(),
        moves: Moves::default(),
        ending: Ending {
            by,
            cause,
            close_code,
            clean: false,
        },
    }
}

/// The value of the series with this name and all of these labels.
fn value(metrics: &Metrics, name: &str, labels: &[&str]) -> Option<f64> {
    let text = metrics.render(Exposition::Text);
    let line = text.lines().find(|line| {
        let series = line.rsplit_once(' ').map_or("", |(series, _)| series);
        let (found, rest) = series.split_once('{').unwrap_or((series, ""));
        found == name && labels.iter().all(|label| rest.contains(label))
    })?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[test]
fn a_session_is_counted_from_its_beginning_to_its_end() {
    let metrics = Metrics::new();
    let route = RouteMetrics::new(&metrics, "chat", "chat-servers");
    assert_eq!(
        value(&metrics, "sessile_sessions", &[]),
        None,
        "no series before a session"
    );

    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    route.began(SessionId::new(1, 1), "a", Duration::from_millis(3), at);
    route.began(SessionId::new(1, 2), "b", Duration::from_millis(300), at);
    let delta = Traffic {
        bytes: 100,
        text: 3,
        ping: 1,
        ..Traffic::default()
    };
    route.traffic(Direction::ToBackend, &delta);
    route.traffic(Direction::ToBackend, &delta);
    route.ended(&record(EndedBy::Gateway, Cause::TooBig, Some(1009)));

    let labels = ["route=\"chat\"", "upstream=\"chat-servers\""];
    assert_eq!(value(&metrics, "sessile_sessions", &labels), Some(1.0));
    assert_eq!(
        value(&metrics, "sessile_sessions_total", &labels),
        Some(2.0)
    );
    let text = ["to_backend", "kind=\"text\""];
    assert_eq!(value(&metrics, "sessile_messages_total", &text), Some(6.0));
    assert_eq!(
        value(&metrics, "sessile_session_bytes_total", &["to_backend"]),
        Some(200.0)
    );
    assert_eq!(
        value(&metrics, "sessile_session_bytes_total", &["to_client"]),
        Some(0.0)
    );
    let why = ["by=\"gateway\"", "cause=\"too_big\""];
    assert_eq!(
        value(&metrics, "sessile_sessions_ended_total", &why),
        Some(1.0)
    );
    let code = ["by=\"gateway\"", "code=\"1009\""];
    assert_eq!(
        value(&metrics, "sessile_close_codes_total", &code),
        Some(1.0)
    );
    let quick = ["le=\"0.005\""];
    assert_eq!(
        value(&metrics, "sessile_handshake_seconds_bucket", &quick),
        Some(1.0)
    );
    assert_eq!(
        value(&metrics, "sessile_session_seconds_sum", &labels),
        Some(70.0)
    );
}

#[test]
fn sets_of_the_same_names_count_together_and_gateways_apart() {
    let (one, other) = (Metrics::new(), Metrics::new());
    for _ in 0..2 {
        RouteMetrics::new(&one, "chat", "chat-servers").refused("no_backend");
    }
    let labels = ["reason=\"no_backend\"", "route=\"chat\""];
    assert_eq!(value(&one, "sessile_refusals_total", &labels), Some(2.0));
    assert_eq!(value(&other, "sessile_refusals_total", &[]), None);
}

#[test]
fn labels_stay_few_whatever_peers_send() {
    let check = |code: Option<u16>, label: &str| assert_eq!(close_code_label(code), label);
    check(None, "none");
    check(Some(1000), "1000");
    check(Some(1014), "1014");
    check(Some(1015), "other");
    check(Some(3000), "3000");
    check(Some(3001), "3xxx");
    check(Some(4321), "4xxx");
    check(Some(0), "other");
    check(Some(u16::MAX), "other");
    let mut labels: Vec<_> = (0..=u16::MAX)
        .map(|code| close_code_label(Some(code)))
        .collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), 21, "{labels:?}");

    let metrics = Metrics::new();
    let route = RouteMetrics::new(&metrics, "", "");
    for status in [200, 204, 404, 999] {
        route.http(status, Duration::from_millis(1));
    }
    assert_eq!(
        value(&metrics, "sessile_http_requests_total", &["status=\"2xx\""]),
        Some(2.0)
    );
    assert_eq!(
        value(
            &metrics,
            "sessile_http_requests_total",
            &["status=\"other\""]
        ),
        Some(1.0)
    );
    assert_eq!(
        value(&metrics, "sessile_http_response_seconds_count", &[]),
        Some(4.0)
    );
}

#[test]
fn listeners_and_the_node_are_counted() {
    let metrics = Metrics::new();
    let listener = ListenerMetrics::new(&metrics, &"edge".into());
    listener.accepted();
    listener.accepted();
    listener.closed();
    listener.accept_error("too_many_files");
    let edge = ["listener=\"edge\""];
    assert_eq!(
        value(&metrics, "sessile_accepted_connections_total", &edge),
        Some(2.0)
    );
    assert_eq!(value(&metrics, "sessile_connections", &edge), Some(1.0));
    let kind = ["kind=\"too_many_files\""];
    assert_eq!(
        value(&metrics, "sessile_accept_errors_total", &kind),
        Some(1.0)
    );

    let node = NodeMetrics::new(&metrics, 1);
    node.swapped(2);
    node.ejected("chat-servers");
    assert_eq!(value(&metrics, "sessile_table_generation", &[]), Some(2.0));
    assert_eq!(value(&metrics, "sessile_table_swaps_total", &[]), Some(1.0));
    assert_eq!(
        value(&metrics, "sessile_ejections_total", &["chat-servers"]),
        Some(1.0)
    );
}

#[test]
fn each_backend_has_a_histogram_until_there_are_too_many() {
    let metrics = Metrics::new();
    let route = RouteMetrics::new(&metrics, "chat", "chat-servers");
    let began = |backend: &str| {
        let at = SystemTime::UNIX_EPOCH;
        route.began(SessionId::new(1, 1), backend, Duration::from_millis(30), at);
    };
    let name = "sessile_backend_handshake_seconds_count";
    for place in 0..table::BACKENDS_TIMED_MAX + 5 {
        began(&format!("b{place}"));
    }
    began("b7");
    let count = |labels: &[&str]| value(&metrics, name, labels);
    assert_eq!(count(&["backend=\"b7\""]), Some(2.0));
    assert_eq!(count(&["backend=\"\"", "chat-servers"]), Some(5.0));
    assert_eq!(count(&["backend=\"b1003\""]), None);
}

#[test]
fn openmetrics_shows_the_last_session_of_each_bucket() {
    let metrics = Metrics::new();
    let route = RouteMetrics::new(&metrics, "chat", "chat-servers");
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_007);
    let [first, second, slow] = [1, 2, 3].map(|random| SessionId::new(1, random));
    for (session, millis) in [(first, 3), (second, 4), (slow, 300)] {
        route.began(session, "a", Duration::from_millis(millis), at);
    }
    route.ended(&record(EndedBy::Gateway, Cause::TooBig, Some(1009)));
    let text = metrics.render(Exposition::OpenMetrics);
    let labels = "route=\"chat\",upstream=\"chat-servers\"";
    let bucket = |name: &str, bound: &str, more: &str| {
        let line = format!("{name}_bucket{{{labels},le=\"{bound}\"}} {more}\n");
        assert!(text.contains(&line), "{line}{text}");
    };
    let handshake = "sessile_handshake_seconds";
    bucket(handshake, "0.0025", "0");
    let exemplar =
        |session, value| format!("# {{session_id=\"{session}\"}} {value} 1700000000.007");
    bucket(
        handshake,
        "0.005",
        &format!("2 {}", exemplar(second, 0.004)),
    );
    bucket(handshake, "0.01", "2");
    bucket(handshake, "0.5", &format!("3 {}", exemplar(slow, 0.3)));
    let ended = SessionId::new(1, 2);
    let lived = format!("1 # {{session_id=\"{ended}\"}} 70 70.003");
    bucket("sessile_session_seconds", "300.0", &lived);
    for line in [
        "# TYPE sessile_messages counter\n",
        "# TYPE sessile_sessions gauge\n",
        // `sessile_sessions` is a gauge.
        "# TYPE sessile_sessions_total unknown\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    assert!(!text.contains("\n\n"), "{text}");
    let plain = metrics.render(Exposition::Text);
    assert!(!plain.contains("session_id"), "{plain}");
}
