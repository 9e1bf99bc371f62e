use serde_json::json;

use super::*;

/// An event on its line, behind the time.
fn line(event: &Value) -> String {
    let event = serde_json::from_value(event.clone()).expect("an event");
    let mut out = Vec::new();
    show(&mut out, &event, (false, false)).expect("memory");
    let text = String::from_utf8(out).expect("UTF-8");
    text.trim_end()[24..].trim_start().to_owned()
}

#[test]
fn sessions_and_refusals_name_whose_they_are() {
    let event = |kind: &str, class: &str, more: Value| {
        let mut event = json!({
            "id": "1-1", "time": "2026-11-28T00:50:07.644Z", "class": class, "kind": kind,
            "text": "on b2", "route": "chat", "client": "192.0.2.1:9",
        });
        let fields = event.as_object_mut().expect("a table");
        fields.extend(more.as_object().expect("a table").clone());
        event
    };
    let id = "01M8FT3051CK863M90V7W37ZGT";
    let began = event(
        "session_began",
        "sessions",
        json!({ "session": id, "principal": "ann" }),
    );
    assert_eq!(
        line(&began),
        format!(
            "-         -             session_began           on b2; session {id}, principal ann, \
             route chat, client 192.0.2.1:9"
        )
    );
    let refused = event("refused", "refusals", json!({ "request_id": "r\u{1b}7" }));
    assert!(
        line(&refused).ends_with("; request r\u{fffd}7, route chat, client 192.0.2.1:9"),
        "{}",
        line(&refused)
    );
    // A change is told by its text.
    let order = event(
        "order",
        "changes",
        json!({ "operator": "alice", "session": id }),
    );
    assert_eq!(
        line(&order),
        "-         alice         order                   on b2"
    );
}

#[test]
fn the_head_stands_over_its_columns() {
    for (fleet, node) in [(false, None), (true, Some("edge-1"))] {
        let mut out = Vec::new();
        head(&mut out, fleet).expect("memory");
        let head = String::from_utf8(out).expect("UTF-8");
        let event = json!({
            "id": "1-1", "time": "2026-11-28T00:50:07.644Z", "class": "changes",
            "kind": "order", "text": "close", "operator": "alice", "revision": 7, "node": node,
        });
        let mut out = Vec::new();
        let event = serde_json::from_value(event).expect("an event");
        show(&mut out, &event, (false, false)).expect("memory");
        let line = String::from_utf8(out).expect("UTF-8");
        for (name, value) in [
            ("VERSION", "rev 7"),
            ("BY", "alice"),
            ("EVENT", "order"),
            ("DETAIL", "close"),
        ] {
            assert_eq!(head.find(name), line.find(value), "{head}{line}");
        }
    }
}
