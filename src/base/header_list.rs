//! Header fields whose value is a comma list (RFC 9110 section 5.6.1), possibly spread over several
//! lines of the same name. Quoted commas are not supported: no field that the gateway reads as a
//! list may contain one.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The items of every line of `name` in order, trimmed, without empty ones; an item that is not
/// UTF-8 is left out.
pub fn items<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl DoubleEndedIterator<Item = &'h str> {
    headers.get_all(name).into_iter().flat_map(line_items)
}

/// The items of one line alone.
pub fn line_items(line: &HeaderValue) -> impl DoubleEndedIterator<Item = &str> {
    line.as_bytes()
        .split(|byte| *byte == b',')
        .filter_map(|item| std::str::from_utf8(item.trim_ascii()).ok())
        .filter(|item| !item.is_empty())
}

/// Whether `token` is one of the items, ignoring case.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    items(headers, name).any(|item| item.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use http::header::CONNECTION;

    use super::*;

    #[test]
    fn lines_are_one_list_and_empty_items_do_not_count() {
        let mut headers = HeaderMap::new();
        for line in [&b" a ,,b"[..], b"", b"\xff, C\t"] {
            let value = HeaderValue::from_bytes(line).expect("a value");
            headers.append(CONNECTION, value);
        }
        assert!(items(&headers, &CONNECTION).eq(["a", "b", "C"]));
        assert!(items(&headers, &CONNECTION).rev().eq(["C", "b", "a"]));
        assert!(has_token(&headers, &CONNECTION, "c") && !has_token(&headers, &CONNECTION, "d"));
    }
}
