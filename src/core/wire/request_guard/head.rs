//! The lines of a head: the parts of RFC 9112 and RFC 9110 on framing and host, applied strictly.
//! hyper checks the rest of a head.

use crate::base::host;

use super::fault::Smuggling;
use super::lines::{LINE_KEPT, Line, is_foreign, is_graphic};
use super::phase::Phase;

/// Digits of `Content-Length`: the most that always fit 64 bits.
const LENGTH_DIGITS_MAX: usize = 19;
/// Digits of a chunk's size: the most that fit 64 bits.
const CHUNK_DIGITS_MAX: usize = 16;
/// The largest length of a body or a chunk: a program that counts in 63 bits reads anything larger
/// as negative, or as no length at all.
const LENGTH_MAX: u64 = i64::MAX as u64;
/// Schemes of a target in absolute form.
const SCHEMES: [&[u8]; 4] = [b"http://", b"https://", b"ws://", b"wss://"];

/// The state of a request's head so far.
#[derive(Debug)]
pub(super) struct Head {
    http_11: bool,
    /// Host and port of the target, where it names them.
    authority: Option<Box<[u8]>>,
    host: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Head {
    pub(super) const fn new() -> Self {
        Self {
            http_11: false,
            authority: None,
            host: false,
            length: None,
            chunked: false,
        }
    }

    /// Takes the request line.
    pub(super) fn begin(line: &Line<'_>) -> Result<Self, Smuggling> {
        let malformed = Smuggling::RequestLine;
        let (method, rest) = line.split(b' ').ok_or(malformed)?;
        let (target, version) = rest
            .len()
            .checked_sub(b" HTTP/1.1".len())
            .map(|end| rest.split_at(end))
            .ok_or(malformed)?;
        let http_11 = version == b" HTTP/1.1";
        let known = http_11 || version == b" HTTP/1.0";
        let one_word = target.iter().all(is_graphic) && line.gap_is_graphic();
        if !known || !is_token(method) || !one_word {
            return Err(malformed);
        }
        if target.iter().any(is_foreign) || !line.gap_is_plain() {
            return Err(Smuggling::Target);
        }
        let authority = authority(method, target).ok_or(malformed)?;
        // It must lie in the line's start, which is kept whole.
        let end = |authority: &[u8]| method.len() + b" https://".len() + authority.len();
        if authority.is_some_and(|authority| end(authority) >= LINE_KEPT) {
            return Err(malformed);
        }
        if !authority.is_none_or(is_host) {
            return Err(Smuggling::Host);
        }
        Ok(Self {
            http_11,
            authority: authority.map(Into::into),
            ..Self::new()
        })
    }

    /// Takes a header line.
    pub(super) fn field(&mut self, line: &Line<'_>) -> Result<(), Smuggling> {
        let (name, value) = field(line)?;
        match name {
            Name::Other => {}
            Name::Host => {
                if std::mem::replace(&mut self.host, true) {
                    return Err(Smuggling::RepeatedHost);
                }
                let host = value.filter(|host| is_host(host)).ok_or(Smuggling::Host)?;
                let target = self.authority.as_deref().unwrap_or(host);
                if !target.eq_ignore_ascii_case(host) {
                    return Err(Smuggling::HostMismatch);
                }
            }
            Name::ContentLength => {
                if self.length.is_some() {
                    return Err(Smuggling::RepeatedLength);
                }
                self.length = Some(value.and_then(decimal).ok_or(Smuggling::Length)?);
            }
            Name::TransferEncoding => {
                let chunked = value.is_some_and(|value| value.eq_ignore_ascii_case(b"chunked"));
                if self.chunked || !chunked {
                    return Err(Smuggling::TransferEncoding);
                }
                self.chunked = true;
            }
        }
        Ok(())
    }

    /// What follows the head.
    pub(super) const fn body(&self) -> Result<Phase, Smuggling> {
        if self.http_11 && !self.host {
            return Err(Smuggling::NoHost);
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Smuggling::LengthAndChunked),
            (true, None) if !self.http_11 => Err(Smuggling::ChunkedInHttp10),
            (true, None) => Ok(Phase::ChunkSize),
            (false, None | Some(0)) => Ok(Phase::RequestLine),
            (false, Some(length)) => Ok(Phase::Body(length)),
        }
    }
}

/// A trailer may be any field that does not affect the framing of the message.
pub(super) fn trailer(line: &Line<'_>) -> Result<(), Smuggling> {
    match field(line)? {
        (Name::Other, _) => Ok(()),
        _ => Err(Smuggling::Trailer),
    }
}

/// The number of a chunk's size line; an extension may follow it.
pub(super) fn chunk_size(line: &Line<'_>) -> Result<u64, Smuggling> {
    let text = line.text();
    let digits = text
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (digits, extension) = text.split_at(digits);
    let ends = extension.is_empty() || trim(extension).starts_with(b";");
    if !(1..=CHUNK_DIGITS_MAX).contains(&digits.len()) || !ends {
        return Err(Smuggling::ChunkSize);
    }
    let digits = std::str::from_utf8(digits).expect("hexadecimal digits are ASCII");
    let size = u64::from_str_radix(digits, 16).expect("sixteen digits fit");
    (size <= LENGTH_MAX)
        .then_some(size)
        .ok_or(Smuggling::ChunkSize)
}

/// Names of fields for framing and host.
enum Name {
    Host,
    ContentLength,
    TransferEncoding,
    Other,
}

/// Name and value of a header line; the value is `None` where it was not kept whole.
fn field<'a>(line: &Line<'a>) -> Result<(Name, Option<&'a [u8]>), Smuggling> {
    if line.text().starts_with(b" ") || line.text().starts_with(b"\t") {
        return Err(Smuggling::Folded);
    }
    let (name, value) = line.split(b':').ok_or(Smuggling::FieldName)?;
    if name.ends_with(b" ") || name.ends_with(b"\t") {
        return Err(Smuggling::SpaceBeforeColon);
    }
    if !is_token(name) {
        return Err(Smuggling::FieldName);
    }
    let name = match name.len() {
        4 if name.eq_ignore_ascii_case(b"host") => Name::Host,
        14 if name.eq_ignore_ascii_case(b"content-length") => Name::ContentLength,
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => Name::TransferEncoding,
        _ => Name::Other,
    };
    Ok((name, line.is_whole().then(|| trim(value))))
}

/// Host and port in a target of absolute or authority form, nothing in one of origin or asterisk
/// form; `None` for a target of no form at all.
fn authority<'a>(method: &[u8], target: &'a [u8]) -> Option<Option<&'a [u8]>> {
    if target.starts_with(b"/") || target == b"*" {
        return Some(None);
    }
    let rest = SCHEMES.iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let authority = match rest {
        Some(rest) => rest
            .split(|byte| matches!(byte, b'/' | b'?' | b'#'))
            .next()?,
        None if method == b"CONNECT" => target,
        None => return None,
    };
    (!authority.is_empty()).then_some(Some(authority))
}

/// A host, maybe none, maybe with a port. What a backend could read as another host is none: user
/// names, percent-encoding, lists.
fn is_host(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| host::canonical(text).is_some())
}

fn decimal(text: &[u8]) -> Option<u64> {
    let fits = (1..=LENGTH_DIGITS_MAX).contains(&text.len());
    let number = (fits && text.iter().all(u8::is_ascii_digit)).then(|| {
        let digit = |number: u64, digit: &u8| number * 10 + u64::from(digit - b'0');
        text.iter().fold(0, digit)
    });
    number.filter(|number| *number <= LENGTH_MAX)
}

/// Takes off spaces and tabs, the only white space of RFC 9110.
fn trim(text: &[u8]) -> &[u8] {
    let solid = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = text.iter().position(solid).unwrap_or(text.len());
    let end = text.iter().rposition(solid).map_or(start, |last| last + 1);
    &text[start..end]
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| TOKEN[usize::from(*byte)])
}

static TOKEN: [bool; 256] = {
    let marks = b"!#$%&'*+-.^_`|~";
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut mark = 0;
    while mark < marks.len() {
        table[marks[mark] as usize] = true;
        mark += 1;
    }
    table
};
