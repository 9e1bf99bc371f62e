//! Whether a request is for a page that a person goes to, as opposed to a script, a picture or a
//! call of an API. A page that routes by itself (a single-page application) is the answer to
//! navigations alone: for a missing script it would be a lie that is hard to find.

use http::header::ACCEPT;
use http::{HeaderMap, Method};

/// Whether this is a navigation. Browsers report it (Fetch Metadata); of older ones `Accept` tells.
pub fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return false;
    }
    if let Some(mode) = headers.get("sec-fetch-mode") {
        return mode.as_bytes() == b"navigate";
    }
    let lines = headers.get_all(ACCEPT).iter();
    let types = lines.filter_map(|line| line.to_str().ok());
    types.flat_map(|line| line.split(',')).any(|one| {
        let name = one.split(';').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("text/html")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_person_who_goes_to_a_page_navigates() {
        let check = |method: Method, fields: &[(&'static str, &str)], expected| {
            let pairs = fields.iter();
            let headers = pairs
                .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("one")))
                .collect();
            assert_eq!(is_navigation(&method, &headers), expected, "{fields:?}");
        };
        let page = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
        check(Method::GET, &[page], true);
        check(Method::HEAD, &[("accept", "*/*, Text/HTML;q=0.1")], true);
        check(Method::GET, &[("accept", "*/*")], false);
        check(Method::GET, &[("accept", "application/json")], false);
        check(Method::GET, &[], false);
        check(Method::POST, &[page], false);
        check(Method::GET, &[("sec-fetch-mode", "navigate")], true);
        check(Method::GET, &[page, ("sec-fetch-mode", "no-cors")], false);
    }
}
