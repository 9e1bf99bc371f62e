//! The file of ticket keys, `tls.ticket_keys = { file = "…" }`: a key on each line, 32 bytes in
//! base64, the oldest first. Empty lines and lines that begin with `#` do not count.

use crate::base::ticket_secret::{SECRETS_MAX, TicketSecret};

/// The text is no list of keys. No message repeats a line, which may be a key with a slip in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketKeysFault {
    /// A line is something else.
    #[error("line {0} is not 32 bytes in base64; `openssl rand -base64 32` makes a key")]
    Line(usize),
    /// There is none.
    #[error("it holds no key; `openssl rand -base64 32` makes one")]
    Empty,
    /// There are too many.
    #[error("it holds more than {SECRETS_MAX} keys")]
    TooMany,
    /// Two lines are the same.
    #[error("the key on line {0} is there twice")]
    Twice(usize),
}

/// Reads the keys in their order: at least one, at most [`SECRETS_MAX`], all different.
///
/// # Errors
/// The first line that is wrong.
pub fn read(text: &str) -> Result<Vec<TicketSecret>, TicketKeysFault> {
    let mut secrets = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let (line, number) = (line.trim(), place + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let secret = TicketSecret::from_base64(line).ok_or(TicketKeysFault::Line(number))?;
        if secrets.contains(&secret) {
            return Err(TicketKeysFault::Twice(number));
        }
        if secrets.len() == SECRETS_MAX {
            return Err(TicketKeysFault::TooMany);
        }
        secrets.push(secret);
    }
    match secrets.is_empty() {
        true => Err(TicketKeysFault::Empty),
        false => Ok(secrets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> String {
        TicketSecret::new([byte; 32]).to_base64().to_string()
    }

    #[test]
    fn keys_are_read_in_their_order() {
        let text = format!("# rotated monthly\n{}\n\n  {}\r\n", key(1), key(2));
        let expected = [[1; 32], [2; 32]].map(TicketSecret::new);
        assert_eq!(read(&text).expect("two keys"), expected);
    }

    #[test]
    fn faults_are_reported_with_their_line_and_without_its_text() {
        let check = |text: &str, fault| assert_eq!(read(text), Err(fault));
        check("", TicketKeysFault::Empty);
        check("# none\n", TicketKeysFault::Empty);
        check(&format!("{}\nhunter2", key(1)), TicketKeysFault::Line(2));
        check(&key(1)[..43], TicketKeysFault::Line(1));
        check(&format!("{}\n\n{0}", key(1)), TicketKeysFault::Twice(3));
        let many: Vec<_> = (0..=16).map(key).collect();
        check(&many.join("\n"), TicketKeysFault::TooMany);
        assert!(!TicketKeysFault::Line(2).to_string().contains("hunter2"));
    }
}
