use serde_json::json;

use super::*;

fn read_json(value: serde_json::Value) -> Result<Publication, Problem> {
    read_all(value).map(|(publication, _)| publication)
}

fn read_all(value: serde_json::Value) -> Result<Read, Problem> {
    read(serde_json::from_value(value).expect("a message"), 10)
}

#[test]
fn a_message_is_read() {
    let message = json!({
        "to": ["group:lobby", "principal:7"], "except": ["session:01ARZ3NDEKTSV4RRFFQ69G5FAV"],
        "text": "hi", "id": "m-1", "ttl": "30s", "side": "backend",
    });
    let publication = read_json(message).expect("a message");
    assert_eq!(publication.message, Message::Text("hi".into()));
    assert_eq!((publication.to.len(), publication.except.len()), (2, 1));
    assert_eq!(publication.side, Recipient::Backend);
    assert!(publication.expires.is_some() && publication.id.as_deref() == Some("m-1"));
}

#[test]
fn a_publisher_may_wait_for_other_nodes() {
    for (wait, expected) in [
        (None, None),
        (Some("0s"), Some(Duration::ZERO)),
        (Some("500ms"), Some(Duration::from_millis(500))),
        (Some("10s"), Some(WAIT_MAX)),
    ] {
        let message = json!({ "to": ["all"], "text": "x", "wait": wait });
        assert_eq!(read_all(message).expect("a message").1, expected);
    }
}

#[test]
fn a_content_type_makes_text_of_base64() {
    for (kind, text) in [
        (None, false),
        (Some("text/plain"), true),
        (Some("application/json; charset=utf-8"), true),
        (Some("image/png"), false),
    ] {
        let message = json!({ "to": ["all"], "base64": "aGk=", "content_type": kind });
        let message = read_json(message).expect("a message").message;
        assert_eq!(matches!(message, Message::Text(_)), text, "{kind:?}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (message, part) in [
        (json!({ "to": [], "text": "x" }), "to:"),
        (json!({ "to": ["user:7"], "text": "x" }), "to: `user:7`"),
        (
            json!({ "to": ["all"], "except": ["x"], "text": "x" }),
            "except: `x`",
        ),
        (json!({ "to": ["all"] }), "`text` or `base64`"),
        (
            json!({ "to": ["all"], "text": "x", "base64": "eA==" }),
            "`text` or `base64`",
        ),
        (json!({ "to": ["all"], "base64": "?" }), "base64:"),
        (
            json!({ "to": ["all"], "base64": "/w==", "content_type": "text/plain" }),
            "UTF-8",
        ),
        (
            json!({ "to": ["all"], "text": "12345678901" }),
            "message_bytes",
        ),
        (json!({ "to": ["all"], "text": "x", "id": "~x" }), "id:"),
        (json!({ "to": ["all"], "text": "x", "ttl": "soon" }), "ttl:"),
        (
            json!({ "to": ["all"], "text": "x", "wait": "soon" }),
            "wait:",
        ),
        (
            json!({ "to": ["all"], "text": "x", "wait": "11s" }),
            "wait:",
        ),
        (
            json!({ "to": ["all"], "text": "x", "ttl": "2 days" }),
            "ttl:",
        ),
        (
            json!({ "to": vec!["all"; TARGETS_MAX + 1], "text": "x" }),
            "at most 1000",
        ),
    ] {
        let problem = read_json(message.clone()).expect_err("a fault");
        assert!(
            problem.detail().contains(part),
            "{message}: {}",
            problem.detail()
        );
    }
}
