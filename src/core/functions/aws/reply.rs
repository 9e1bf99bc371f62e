//! What the answer of a function means.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::base::message::Message;

/// What a function answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// A status of HTTP, 200 to 599.
    pub status: u16,
    /// Fields for the handshake.
    pub headers: HeaderMap,
    /// What a client may get; `None` if that is nothing.
    pub body: Option<Message>,
}

/// No reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No route takes the message.
    NoRoute,
    /// The function failed, or its answer has no meaning.
    Failed,
    /// It did not answer in time.
    TimedOut,
}

/// The answer of a proxy integration.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProxyAnswer {
    status_code: u16,
    #[serde(default)]
    headers: Option<Map<String, Value>>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// Reads an answer with a status of 200 to 299. If it is an object with `statusCode`, it has the
/// form of a Lambda proxy integration. Else it is the body itself: text if it is UTF-8.
///
/// # Errors
/// When it has that form and breaks it.
pub fn reply(status: u16, body: &[u8]) -> Result<Reply, Fault> {
    let answer = serde_json::from_slice::<Map<String, Value>>(body);
    let answer = answer.ok().filter(|all| all.contains_key("statusCode"));
    let Some(answer) = answer else {
        // Lambda's answer `null` is that of a function without one.
        let nothing = body.is_empty() || body == b"null";
        let text = || match std::str::from_utf8(body) {
            Ok(text) => Message::Text(text.into()),
            Err(_) => Message::Binary(body.to_vec().into()),
        };
        return Ok(Reply {
            status,
            headers: HeaderMap::new(),
            body: (!nothing).then(text),
        });
    };
    let answer: ProxyAnswer =
        serde_json::from_value(Value::Object(answer)).map_err(|_| Fault::Failed)?;
    if !(200..600).contains(&answer.status_code) {
        return Err(Fault::Failed);
    }
    let body = answer.body.filter(|body| !body.is_empty());
    let body = match (body, answer.is_base64_encoded) {
        (Some(text), true) => {
            let bytes = STANDARD.decode(text).map_err(|_| Fault::Failed)?;
            Some(Message::Binary(bytes.into()))
        }
        (Some(text), false) => Some(Message::Text(text.into())),
        (None, _) => None,
    };
    Ok(Reply {
        status: answer.status_code,
        headers: headers(answer.headers.as_ref()),
        body,
    })
}

/// Fields that mean something in an answer.
const FIELDS: [HeaderName; 2] = [
    SEC_WEBSOCKET_PROTOCOL,
    HeaderName::from_static("sessile-groups"),
];

/// The fields that mean something; others are dropped.
fn headers(fields: Option<&Map<String, Value>>) -> HeaderMap {
    let (names, mut headers) = (FIELDS, HeaderMap::new());
    for (name, value) in fields.into_iter().flatten() {
        let known = names
            .iter()
            .find(|one| name.eq_ignore_ascii_case(one.as_str()));
        let value = value
            .as_str()
            .and_then(|text| HeaderValue::from_str(text).ok());
        if let Some((name, value)) = known.zip(value) {
            headers.insert(name, value);
        }
    }
    headers
}

/// The message that a client gets instead of a reply.
pub fn fault(fault: Fault, connection: &str, request: &str) -> Message {
    let message = match fault {
        Fault::NoRoute => "Forbidden",
        Fault::Failed => "Internal server error",
        Fault::TimedOut => "Endpoint request timed out",
    };
    let json = json!({
        "message": message,
        "connectionId": connection,
        "requestId": request,
    });
    Message::Text(json.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<Message> {
        Some(Message::Text(text.into()))
    }

    #[track_caller]
    fn check(answer: &str, status: u16, body: Option<Message>) {
        let reply = reply(200, answer.as_bytes()).expect("a reply");
        assert_eq!((reply.status, reply.body), (status, body), "{answer}");
    }

    #[test]
    fn answers_of_proxy_integrations_are_read() {
        check(r#"{"statusCode": 200}"#, 200, None);
        check(r#"{"statusCode": 403, "body": ""}"#, 403, None);
        check(
            r#"{"statusCode": 200, "body": "hi", "other": 1}"#,
            200,
            text("hi"),
        );
        let bytes = Some(Message::Binary(vec![0, 255].into()));
        check(
            r#"{"statusCode": 200, "body": "AP8=", "isBase64Encoded": true}"#,
            200,
            bytes,
        );
        let fields = r#"{"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "b", "Sessile-Groups": "a", "X-N": "7", "bad name": "x"}}"#;
        let reply = reply(200, fields.as_bytes()).expect("a reply");
        assert_eq!(reply.headers["sec-websocket-protocol"], "b");
        assert_eq!(reply.headers["sessile-groups"], "a");
        assert_eq!(reply.headers.len(), 2);
    }

    #[test]
    fn other_answers_are_the_body() {
        check("", 200, None);
        check("null", 200, None);
        check("hello", 200, text("hello"));
        check(r#"{"hello": 1}"#, 200, text(r#"{"hello": 1}"#));
        check("[1]", 200, text("[1]"));
        let bytes = reply(204, &[0xFF]).expect("a reply");
        assert_eq!(bytes.body, Some(Message::Binary(vec![0xFF].into())));
        assert_eq!(bytes.status, 204);
    }

    #[test]
    fn answers_that_break_the_form_are_failures() {
        for answer in [
            r#"{"statusCode": "200"}"#,
            r#"{"statusCode": 99}"#,
            r#"{"statusCode": 101}"#,
            r#"{"statusCode": 600}"#,
            r#"{"statusCode": -1}"#,
            r#"{"statusCode": 200, "body": {}}"#,
            r#"{"statusCode": 200, "body": "?", "isBase64Encoded": true}"#,
        ] {
            assert_eq!(
                reply(200, answer.as_bytes()),
                Err(Fault::Failed),
                "{answer}"
            );
        }
    }

    /// A map of fields has a bound of its own, beyond which it panics.
    #[test]
    fn i12_fields_without_number_are_dropped() {
        let fields: Map<_, _> = (0..30_000)
            .map(|number| (format!("x-{number}"), "x".into()))
            .collect();
        let answer = json!({ "statusCode": 200, "headers": fields }).to_string();
        let reply = reply(200, answer.as_bytes()).expect("a reply");
        assert!(reply.headers.is_empty());
    }

    #[test]
    fn i12_depth_costs_no_stack() {
        let deep = format!("{{\"statusCode\": 200, \"x\": {}", "[".repeat(100_000));
        let read = reply(200, deep.as_bytes()).expect("no JSON is a body");
        assert!(read.body.is_some());
    }

    #[test]
    fn faults_have_the_texts_of_aws() {
        let shown = |one| fault(one, "c", "r");
        let forbidden = r#"{"message":"Forbidden","connectionId":"c","requestId":"r"}"#;
        let keys: Value = serde_json::from_str(forbidden).expect("JSON");
        let Message::Text(text) = shown(Fault::NoRoute) else {
            panic!("text");
        };
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), keys);
        assert_ne!(shown(Fault::Failed), shown(Fault::TimedOut));
    }
}
