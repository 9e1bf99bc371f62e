//! Events in the body of a request or of an answer: `TYPE`, or `TYPE length` with that many bytes
//! behind the line. The length is hexadecimal. Each line and each content ends with CRLF.

use crate::core::functions::grip::malformed::Malformed;

/// The type of bodies that are events.
pub const CONTENT_TYPE: &str = "application/websocket-events";

/// Most events of an answer (I8): each of them may be a frame.
const EVENTS_MAX: usize = 1_000;
/// Longest line: the longest type, and a length.
const LINE_MAX: usize = 32;
const CRLF: &[u8] = b"\r\n";

/// What a function has for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event<'b> {
    /// It accepts the session.
    Open,
    Text(&'b str),
    Binary(&'b [u8]),
    Ping(&'b [u8]),
    Pong(&'b [u8]),
    /// It closes the session, with this code and reason.
    Close(Option<(u16, &'b str)>),
    /// It ends the session without a close frame.
    Disconnect,
}

/// How a client ended its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientEnd {
    /// With a close frame, which had this code, if any.
    Closed(Option<u16>),
    /// Without one, or the gateway ended it.
    Lost,
}

/// Reads the body of an answer.
pub(super) fn read(mut body: &[u8]) -> Result<Vec<Event<'_>>, Malformed> {
    let mut events = Vec::new();
    while !body.is_empty() {
        if events.len() == EVENTS_MAX {
            return Err(Malformed);
        }
        let (line, rest) = line(body)?;
        body = rest;
        let (kind, content) = match line.split_once(' ') {
            None => (line, &[][..]),
            Some((kind, length)) => {
                let length = usize::from_str_radix(length, 16).map_err(|_| Malformed)?;
                let (content, rest) = body.split_at_checked(length).ok_or(Malformed)?;
                body = rest.strip_prefix(CRLF).ok_or(Malformed)?;
                (kind, content)
            }
        };
        events.push(event(kind, content)?);
    }
    Ok(events)
}

fn line(body: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let window = &body[..body.len().min(LINE_MAX)];
    let end = window.windows(2).position(|pair| pair == CRLF);
    let end = end.ok_or(Malformed)?;
    let line = std::str::from_utf8(&body[..end]).map_err(|_| Malformed)?;
    Ok((line, &body[end + CRLF.len()..]))
}

fn event<'b>(kind: &str, content: &'b [u8]) -> Result<Event<'b>, Malformed> {
    Ok(match kind {
        "OPEN" => Event::Open,
        "TEXT" => Event::Text(std::str::from_utf8(content).map_err(|_| Malformed)?),
        "BINARY" => Event::Binary(content),
        "PING" => Event::Ping(content),
        "PONG" => Event::Pong(content),
        "CLOSE" => Event::Close(close(content)?),
        "DISCONNECT" => Event::Disconnect,
        _ => return Err(Malformed),
    })
}

/// The code and the reason of `CLOSE`.
fn close(content: &[u8]) -> Result<Option<(u16, &str)>, Malformed> {
    let Some((code, reason)) = content.split_first_chunk() else {
        return Ok(None);
    };
    // RFC 6455, section 7.4: others do not stand in a frame.
    let code = u16::from_be_bytes(*code);
    // What libraries write that were given no code.
    if code == 0 {
        return Ok(None);
    }
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Malformed);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Malformed)?;
    Ok(Some((code, reason)))
}

/// Appends an event of this type; one without content has no length.
pub(super) fn append(body: &mut Vec<u8>, kind: &str, content: &[u8]) {
    body.extend_from_slice(kind.as_bytes());
    if !content.is_empty() {
        body.extend_from_slice(format!(" {:x}", content.len()).as_bytes());
        body.extend_from_slice(CRLF);
        body.extend_from_slice(content);
    }
    body.extend_from_slice(CRLF);
}

/// Appends the last event of a session.
pub(super) fn append_end(body: &mut Vec<u8>, end: ClientEnd) {
    match end {
        ClientEnd::Closed(code) => {
            let code = code.map(u16::to_be_bytes);
            append(body, "CLOSE", code.as_ref().map_or(&[], |code| code));
        }
        ClientEnd::Lost => append(body, "DISCONNECT", &[]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn events_are_read() {
        let body = b"OPEN\r\nTEXT 5\r\nhello\r\nBINARY A\r\n0123456789\r\nPING\r\nPONG 1\r\nx\r\n\
            CLOSE 5\r\n\x0f\xa0bye\r\nCLOSE\r\nCLOSE 2\r\n\0\0\r\nDISCONNECT\r\n";
        let expected = [
            Event::Open,
            Event::Text("hello"),
            Event::Binary(b"0123456789"),
            Event::Ping(b""),
            Event::Pong(b"x"),
            Event::Close(Some((4000, "bye"))),
            Event::Close(None),
            Event::Close(None),
            Event::Disconnect,
        ];
        assert_eq!(read(body), Ok(expected.to_vec()));
        assert_eq!(read(b""), Ok(Vec::new()));
        // Content holds whatever it likes.
        let text = "TEXT 8\r\na\r\nPING\n\r\n".as_bytes();
        assert_eq!(read(text), Ok(vec![Event::Text("a\r\nPING\n")]));
    }

    #[test]
    fn i8_what_is_no_event_is_refused() {
        for bad in [
            "OPEN",
            "OPEN\n",
            "HELLO\r\n",
            "TEXT 5\r\nhell\r\n",
            "TEXT 4\r\nhello\r\n",
            "TEXT g\r\nhello\r\n",
            "TEXT -1\r\nhello\r\n",
            "TEXT ffffffffffffffffff\r\nhello\r\n",
            "TEXT ffffffffffffffff\r\nhello\r\n",
            "TEXT 5\r\nhello",
            "CLOSE 2\r\n\x03\x00\r\n",
            "                                            OPEN\r\n",
        ] {
            assert_eq!(read(bad.as_bytes()), Err(Malformed), "{bad:?}");
        }
        assert_eq!(read(b"TEXT 1\r\n\xff\r\n"), Err(Malformed));
        assert_eq!(
            read(&b"PING\r\n".repeat(1000)).map(|all| all.len()),
            Ok(1000)
        );
        assert_eq!(read(&b"PING\r\n".repeat(1001)), Err(Malformed));
    }

    #[test]
    fn how_a_client_left_is_its_last_event() {
        for (end, expected) in [
            (
                ClientEnd::Closed(Some(1000)),
                &b"CLOSE 2\r\n\x03\xe8\r\n"[..],
            ),
            (ClientEnd::Closed(None), b"CLOSE\r\n"),
            (ClientEnd::Lost, b"DISCONNECT\r\n"),
        ] {
            let mut body = Vec::new();
            append_end(&mut body, end);
            assert_eq!(body, expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_appended_is_read(contents in prop::collection::vec(".*", 0..20)) {
            let mut body = Vec::new();
            contents.iter().for_each(|text| append(&mut body, "TEXT", text.as_bytes()));
            let expected: Vec<_> = contents.iter().map(|text| Event::Text(text)).collect();
            prop_assert_eq!(read(&body), Ok(expected));
        }

        #[test]
        fn i8_any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&body);
        }
    }
}
