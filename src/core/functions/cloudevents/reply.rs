//! What the answer of an event handler means.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::base::group::GroupName;
use crate::base::message::Message;

/// Longest name of a user, which stands in a field of all further events.
const USER_MAX: usize = 1 << 10;
/// Groups that an answer may add.
const GROUPS_MAX: usize = 64;

/// A session may begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectAnswer {
    /// The user for all further events.
    pub user: Option<String>,
    /// Groups that the session joins.
    pub groups: Vec<GroupName>,
    /// The subprotocol.
    pub subprotocol: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ConnectBody {
    user_id: Option<String>,
    groups: Option<Vec<String>>,
    subprotocol: Option<String>,
}

/// Reads the answer to `connect` with a status of 200 to 299. Names that no group can have are
/// skipped.
///
/// # Errors
/// When the body is none.
pub fn connect_answer(body: &[u8]) -> Result<ConnectAnswer, serde_json::Error> {
    if body.is_empty() {
        return Ok(ConnectAnswer::default());
    }
    let object: Map<String, Value> = serde_json::from_slice(body)?;
    let body: ConnectBody = serde_json::from_value(Value::Object(object))?;
    if body
        .user_id
        .as_ref()
        .is_some_and(|user| user.len() > USER_MAX)
    {
        return Err(serde::de::Error::custom("`userId` is longer than 1 KiB"));
    }
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let groups = body.groups.unwrap_or_default();
    let groups = groups.iter().filter_map(|name| GroupName::parse(name).ok());
    Ok(ConnectAnswer {
        user: some(body.user_id),
        groups: groups.take(GROUPS_MAX).collect(),
        subprotocol: some(body.subprotocol),
    })
}

/// What the client gets of the answer to a message: nothing of a 204 or an empty body, text if the
/// answer is declared as text or JSON and is UTF-8, else bytes.
pub fn message_answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Message> {
    if status == StatusCode::NO_CONTENT || body.is_empty() {
        return None;
    }
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    let is_text = ["text/plain", "application/json"]
        .iter()
        .any(|known| kind.trim() == *known);
    Some(match std::str::from_utf8(body) {
        Ok(text) if is_text => Message::Text(text.into()),
        _ => Message::Binary(body.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_connect_are_read() {
        assert_eq!(
            connect_answer(b"").expect("nothing"),
            ConnectAnswer::default()
        );
        let body =
            r#"{"userId": "u", "groups": ["a", "", "b"], "roles": ["x"], "subprotocol": null}"#;
        let answer = connect_answer(body.as_bytes()).expect("an answer");
        assert_eq!(answer.user.as_deref(), Some("u"));
        let names: Vec<_> = answer.groups.iter().map(GroupName::as_str).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(answer.subprotocol, None);
        let long = format!(r#"{{"userId": "{}"}}"#, "x".repeat(USER_MAX + 1));
        assert!(connect_answer(long.as_bytes()).is_err(), "too long");
        for broken in ["x", "[]", r#"{"userId": 1}"#, r#"{"groups": "a"}"#] {
            assert!(connect_answer(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn i8_groups_of_an_answer_are_bounded() {
        let many: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
        let body = serde_json::json!({ "groups": many }).to_string();
        let answer = connect_answer(body.as_bytes()).expect("an answer");
        assert_eq!(answer.groups.len(), GROUPS_MAX);
    }

    #[track_caller]
    fn check(kind: &str, body: &[u8], message: Option<Message>) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().expect("a value"));
        assert_eq!(
            message_answer(StatusCode::OK, &headers, body),
            message,
            "{kind}"
        );
    }

    #[test]
    fn the_type_of_an_answer_is_that_of_its_frame() {
        let text = || Some(Message::Text("hi".into()));
        check("text/plain; charset=utf-8", b"hi", text());
        check("application/json", b"hi", text());
        check(
            "application/octet-stream",
            b"hi",
            Some(Message::Binary(b"hi"[..].into())),
        );
        check(
            "text/plain",
            &[0xFF],
            Some(Message::Binary([0xFF][..].into())),
        );
        check("text/plain", b"", None);
        let none = message_answer(StatusCode::NO_CONTENT, &HeaderMap::new(), b"x");
        assert_eq!(none, None);
    }
}
