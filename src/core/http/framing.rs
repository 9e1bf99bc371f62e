//! Message framing of a backend's answer (RFC 9112, section 6.3). The framing fields are validated
//! strictly and then generated again: the client gets them for the body that the gateway decoded,
//! never those of the backend. An answer with ambiguous framing is refused.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

/// The longest body that is accepted: many programs count in 63 bits.
pub const LENGTH_MAX: u64 = i64::MAX as u64;

/// Digits of `LENGTH_MAX`.
const LENGTH_DIGITS_MAX: usize = 19;

/// Why an answer's end cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingFault {
    /// Not digits alone, or more than `LENGTH_MAX`.
    #[error("its `content-length` is not a number that the gateway accepts")]
    Length,
    /// Several, and not all equal.
    #[error("its `content-length` has two values")]
    LengthsDiffer,
    /// Something else than `chunked`, or `chunked` twice.
    #[error("its `transfer-encoding` is not `chunked` alone")]
    TransferEncoding,
    /// Some readers use the length, others the chunks.
    #[error("it has both `content-length` and `transfer-encoding`")]
    LengthAndChunked,
    /// HTTP/1.0 has no chunks.
    #[error("it has `transfer-encoding` in HTTP/1.0")]
    ChunkedInHttp10,
}

/// Properties of an answer besides its fields.
#[derive(Clone, Copy, Debug)]
pub struct AnswerLine<'r> {
    /// Of the request.
    pub method: &'r Method,
    /// Of the answer.
    pub status: StatusCode,
    /// The backend's.
    pub version: Version,
}

/// Judges the fields that frame an answer and takes them off `headers`. Only the length that an
/// answer without a body announces stays (to a HEAD request, or of a 304), as one number; the
/// length of a body is for the server's side to write. Returns whether the backend's connection
/// may carry another request: not if the answer announced a body that it must not have.
///
/// # Errors
/// When the fields contradict one another, or cannot be read.
pub fn settle_answer(line: AnswerLine<'_>, headers: &mut HeaderMap) -> Result<bool, FramingFault> {
    let length = length(headers)?;
    let chunked = is_chunked(headers)?;
    if chunked && length.is_some() {
        return Err(FramingFault::LengthAndChunked);
    }
    if chunked && line.version == Version::HTTP_10 {
        return Err(FramingFault::ChunkedInHttp10);
    }
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    let announces = *line.method == Method::HEAD || line.status == StatusCode::NOT_MODIFIED;
    let bodiless = line.status == StatusCode::NO_CONTENT || line.status.is_informational();
    if let (true, false, Some(length)) = (announces, bodiless, length) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(!bodiless || (!chunked && length.is_none_or(|length| length == 0)))
}

/// The one length that all lines and list items agree on. Equal ones may be one (RFC 9110, section
/// 8.6): some backends write theirs twice.
fn length(headers: &HeaderMap) -> Result<Option<u64>, FramingFault> {
    let lines = headers.get_all(CONTENT_LENGTH).into_iter();
    let items = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut length = None;
    for item in items {
        let number = number(item.trim_ascii()).ok_or(FramingFault::Length)?;
        if length.replace(number).is_some_and(|other| other != number) {
            return Err(FramingFault::LengthsDiffer);
        }
    }
    Ok(length)
}

fn number(digits: &[u8]) -> Option<u64> {
    let plain = digits.len() <= LENGTH_DIGITS_MAX && digits.iter().all(u8::is_ascii_digit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| plain)?;
    digits.parse().ok().filter(|number| *number <= LENGTH_MAX)
}

fn is_chunked(headers: &HeaderMap) -> Result<bool, FramingFault> {
    let mut lines = headers.get_all(TRANSFER_ENCODING).into_iter();
    let Some(line) = lines.next() else {
        return Ok(false);
    };
    let coding = line.as_bytes().trim_ascii();
    if lines.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
        return Err(FramingFault::TransferEncoding);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use FramingFault as F;

    type Lines<'a> = &'a [(&'static str, &'a str)];

    fn headers(lines: Lines<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_str(value).expect("a value");
            headers.append(*name, value);
        }
        headers
    }

    fn settle(
        method: &Method,
        status: u16,
        version: Version,
        lines: Lines<'_>,
    ) -> (Result<bool, F>, Option<String>) {
        let status = StatusCode::from_u16(status).expect("a status");
        let mut headers = headers(lines);
        let line = AnswerLine {
            method,
            status,
            version,
        };
        let settled = settle_answer(line, &mut headers);
        assert!(settled.is_err() || !headers.contains_key(TRANSFER_ENCODING));
        let length = headers.get(CONTENT_LENGTH);
        let length = length.map(|length| length.to_str().expect("text").to_owned());
        (settled, length)
    }

    #[test]
    fn what_two_readers_cut_in_two_ways_is_refused() {
        let check = |lines: Lines<'_>, fault: F| {
            for (method, status) in [
                (Method::GET, 200),
                (Method::HEAD, 200),
                (Method::GET, 204),
                (Method::GET, 304),
            ] {
                let (settled, _) = settle(&method, status, Version::HTTP_11, lines);
                assert_eq!(settled, Err(fault), "{method} {status} {lines:?}");
            }
        };
        check(
            &[("content-length", "4"), ("transfer-encoding", "chunked")],
            F::LengthAndChunked,
        );
        check(
            &[("content-length", "0"), ("transfer-encoding", "chunked")],
            F::LengthAndChunked,
        );
        check(&[("content-length", "4, 5")], F::LengthsDiffer);
        check(
            &[("content-length", "4"), ("content-length", "5")],
            F::LengthsDiffer,
        );
        for bad in ["", "+4", "-1", "0x4", "4,", "4 4", "9223372036854775808"] {
            check(&[("content-length", bad)], F::Length);
        }
        for bad in [
            "gzip, chunked",
            "chunked, chunked",
            "identity",
            "xchunked",
            "",
        ] {
            check(&[("transfer-encoding", bad)], F::TransferEncoding);
        }
        check(
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            F::TransferEncoding,
        );
        let (settled, _) = settle(
            &Method::GET,
            200,
            Version::HTTP_10,
            &[("transfer-encoding", "chunked")],
        );
        assert_eq!(settled, Err(F::ChunkedInHttp10));
    }

    #[test]
    fn framing_is_made_anew_and_announced_lengths_stay() {
        let check = |method: Method, status, lines: Lines<'_>, reusable, length: Option<&str>| {
            let (settled, kept) = settle(&method, status, Version::HTTP_11, lines);
            assert_eq!(
                (settled, kept.as_deref()),
                (Ok(reusable), length),
                "{method} {status} {lines:?}"
            );
        };
        let twice: Lines<'_> = &[("content-length", "10, 10"), ("content-length", "010")];
        check(Method::GET, 200, twice, true, None);
        check(Method::HEAD, 200, twice, true, Some("10"));
        check(Method::GET, 304, twice, true, Some("10"));
        let chunked: Lines<'_> = &[("transfer-encoding", "Chunked")];
        check(Method::GET, 200, chunked, true, None);
        check(Method::HEAD, 200, chunked, true, None);
        let most: Lines<'_> = &[("content-length", "9223372036854775807")];
        check(Method::HEAD, 200, most, true, Some("9223372036854775807"));
        // Fields that a 204 must not have are removed, and bytes after it are not read.
        check(Method::GET, 204, &[], true, None);
        check(Method::GET, 204, &[("content-length", "0")], true, None);
        check(Method::GET, 204, &[("content-length", "5")], false, None);
        check(Method::GET, 204, chunked, false, None);
        check(Method::HEAD, 204, &[("content-length", "5")], false, None);
    }
}
