//! Lines of a stream that comes in parts of any length.

/// Bytes of a line: an EndpointSlice has at most 1,000 endpoints.
const LINE_BYTES_MAX: usize = 8 << 20;

/// What has come and is no whole line yet.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

/// A line is longer than any that is documented.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an event of the watch is longer than {LINE_BYTES_MAX} bytes")]
pub(super) struct TooLong;

impl Lines {
    /// Takes a part; returns the lines that it completes, without empty ones.
    pub(super) fn take(&mut self, part: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut lines = Vec::new();
        let mut rest = part;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let mut line = std::mem::take(&mut self.0);
            line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            if !line.iter().all(u8::is_ascii_whitespace) {
                lines.push(line);
            }
        }
        if self.0.len() + rest.len() > LINE_BYTES_MAX {
            return Err(TooLong);
        }
        self.0.extend_from_slice(rest);
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let text = b"{\"a\":1}\n\n{\"b\":2}\r\n{\"c\"";
        for cut in 0..text.len() {
            let mut lines = Lines::default();
            let mut all = lines.take(&text[..cut]).expect("short lines");
            all.extend(lines.take(&text[cut..]).expect("short lines"));
            assert_eq!(all, [b"{\"a\":1}".to_vec(), b"{\"b\":2}\r".to_vec()]);
            assert_eq!(lines.take(b":3}\n"), Ok(vec![b"{\"c\":3}".to_vec()]));
        }
    }

    #[test]
    fn i12_a_line_without_an_end_is_refused() {
        let mut lines = Lines::default();
        let part = vec![b' '; LINE_BYTES_MAX / 2];
        assert_eq!(lines.take(&part), Ok(vec![]));
        assert_eq!(lines.take(&part), Ok(vec![]));
        assert_eq!(lines.take(b" "), Err(TooLong));
    }
}
