//! The body of an answer that the gateway gives itself: problem details (RFC 9457).

use http::StatusCode;
use serde::Serialize;

/// The content type of what `problem` makes.
pub const CONTENT_TYPE: &str = "application/problem+json";

#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
}

/// Problem details as JSON. The type is left out, which means `about:blank`; so are `detail` and
/// `request_id` where they are empty. Nothing in it may be secret: strangers read it.
pub fn problem(status: StatusCode, title: &str, detail: &str, request_id: &str) -> String {
    let problem = Problem {
        title,
        status: status.as_u16(),
        detail,
        request_id,
    };
    serde_json::to_string(&problem).expect("text and a number serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_json_whatever_the_texts_hold() {
        let check = |detail: &str, id: &str, expected: &str| {
            assert_eq!(
                problem(StatusCode::BAD_GATEWAY, "no backend", detail, id),
                expected
            );
        };
        check("", "", r#"{"title":"no backend","status":502}"#);
        check(
            "a \"quote\"\n",
            "01A",
            r#"{"title":"no backend","status":502,"detail":"a \"quote\"\n","request_id":"01A"}"#,
        );
    }
}
