//! The answer to a refused request: sent, logged, counted and recorded in one place.

use http::HeaderValue;

use crate::core::http::forwarded::X_REQUEST_ID;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::received::Received;
use crate::proxy::stages::answer::{AfterSwitch, Answer};

/// Answers a refused request.
pub(crate) fn refuse(received: &Received, refusal: &Refusal) -> Answer {
    let id = &*received.request_id;
    let mut answer = match received.take_acceptance() {
        Some(acceptance) => {
            let (response, close_frame) = acceptance.refuse(refusal);
            Answer {
                response,
                then: Some(AfterSwitch::CloseFrame(close_frame)),
            }
        }
        None => refusal.answer(id).into(),
    };
    // An id that the user can quote.
    if let Ok(id) = HeaderValue::from_str(id) {
        answer.response.headers_mut().insert(&X_REQUEST_ID, id);
    }
    let (route, upstream) = received.route().unzip();
    let error = refusal as &dyn std::error::Error;
    let source = error.source().map(tracing::field::display);
    if refusal.status().is_server_error() {
        let (route, upstream) = (route.as_deref(), upstream.as_deref());
        tracing::warn!(request = id, reason = refusal.reason(), %error, source, route, upstream, "request failed");
    } else {
        tracing::debug!(request = id, reason = refusal.reason(), %error, "request refused");
    }
    let worker = &received.connection.worker;
    let metrics = match (&route, &upstream) {
        (Some(route), Some(upstream)) => worker.route_metrics(route, upstream),
        _ => worker.no_route_metrics(),
    };
    metrics.refused(refusal.reason());
    let mut report = received.report(route, upstream, None);
    report.status = answer.response.status().as_u16();
    report.refusal = Some(refusal.reason());
    report.authenticator = refusal.authenticator().cloned();
    report.detail = refusal.detail();
    report.finish();
    answer
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::proxy::tests::{Fixture, get, head, routed, websocket};
    use crate::telemetry::events::Kind;

    const ROUTES: &str = r#"
        [upstreams.chat]
        backends = ["127.0.0.1:9101"]
        [[routes]]
        name = "chat"
        upstream = "chat"
        reject_with = "close"
    "#;

    #[test]
    fn i6_a_refused_request_leaves_one_record_and_is_counted() {
        let fixture = Fixture::new(ROUTES);
        let head = head(get("/a?b=1"));
        let received = fixture.receive(&head);
        routed(&received, head);
        let answer = refuse(&received, &Refusal::TimedOut);
        assert_eq!(answer.response.status(), StatusCode::GATEWAY_TIMEOUT);
        assert!(answer.then.is_none());
        drop((answer, received));
        assert!(fixture.metrics().contains("timed_out"), "counted");
        let events = fixture.events();
        assert_eq!(events.len(), 1, "{events:?}");
        let refused = &events[0].fields;
        assert_eq!(events[0].kind, Kind::Refused);
        assert_eq!(refused.reason.as_deref(), Some("timed_out"));
        assert_eq!(refused.target.as_deref(), Some("/a?b=1"));
        let records = fixture.records();
        assert_eq!(records.len(), 1, "{records:?}");
        let record = &records[0];
        assert_eq!(record["refusal"], "timed_out");
        assert_eq!(
            (&record["route"], &record["status"]),
            (&"chat".into(), &504.into())
        );
        assert_eq!(record["target"], "/a?b=1");
    }

    #[test]
    fn a_websocket_is_accepted_and_closed_where_the_route_asks_for_that() {
        let fixture = Fixture::new(ROUTES);
        let head = head(websocket("/"));
        let received = fixture.receive(&head);
        routed(&received, head);
        let answer = refuse(&received, &Refusal::Address);
        assert_eq!(answer.response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert!(matches!(answer.then, Some(AfterSwitch::CloseFrame(_))));
        let fields = answer.response.headers();
        assert_eq!(
            fields["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn i6_a_request_that_is_dropped_on_its_way_leaves_its_record() {
        let fixture = Fixture::new(ROUTES);
        let head = head(get("/"));
        let received = fixture.receive(&head);
        received.connection.ended.set(Some("client_gone"));
        routed(&received, head);
        drop(received);
        let records = fixture.records();
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(records[0]["refusal"], "client_gone");
        assert_eq!(records[0]["status"], 499);
        assert_eq!(records[0]["route"], "chat");
    }
}
