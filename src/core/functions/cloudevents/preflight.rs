//! Whether a function takes events of a gateway ("abuse protection" of CloudEvents' web hooks,
//! section 4).

use http::{HeaderMap, HeaderName, HeaderValue};

const ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const ALLOWED: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const VERSION: HeaderName = HeaderName::from_static("ce-awpsversion");

/// The fields of the question, an `OPTIONS`. `origin` is a checked name.
pub fn preflight(origin: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert(VERSION, HeaderValue::from_static("1.0"));
    fields.insert(
        ORIGIN,
        HeaderValue::from_str(origin).expect("a checked name"),
    );
    fields
}

/// Whether the answer allows events of `origin`, or of all.
pub fn is_allowed(answered: &HeaderMap, origin: &str) -> bool {
    let lists = answered.get_all(ALLOWED).into_iter();
    let lists = lists.filter_map(|list| list.to_str().ok());
    let mut names = lists.flat_map(|list| list.split(',')).map(str::trim);
    names.any(|name| name == "*" || name.eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_names_the_origin_or_all() {
        let answer = |lists: &[&'static str]| {
            let mut fields = HeaderMap::new();
            for list in lists {
                fields.append(ALLOWED, HeaderValue::from_static(list));
            }
            is_allowed(&fields, "gateway.example.com")
        };
        assert!(answer(&["*"]));
        assert!(answer(&["a.example", "b.example, Gateway.example.com"]));
        assert!(!answer(&[]));
        assert!(!answer(&["example.com", "xgateway.example.com"]));
        assert_eq!(preflight("edge")["webhook-request-origin"], "edge");
    }
}
