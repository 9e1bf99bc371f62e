//! Text of strangers on its way to a terminal or a log, and bytes as text.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character does something instead of being seen: control characters, line ends of
/// Unicode, marks that turn the direction of writing, and invisible ones.
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{061c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
        )
}

/// Two hexadecimal digits for each byte, in lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes everything");
            text
        })
}

/// JSON with each terminal control character escaped. Such characters occur only in strings, except
/// for the line ends and indents of the JSON itself, which stay.
pub fn escape_json(json: &str) -> Cow<'_, str> {
    let hidden = |c: char| c == '\x7f' || (!c.is_ascii() && steers(c));
    if !json.contains(hidden) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 64);
    for character in json.chars() {
        // They are all in the first plane: four digits are enough.
        match hidden(character) {
            true => write!(escaped, "\\u{:04x}", u32::from(character))
                .expect("a String takes everything"),
            false => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_two_digits_each() {
        assert_eq!(hex(&[0, 0x0f, 0xff]), "000fff");
        assert_eq!(hex(&[]), "");
    }

    #[test]
    fn escaped_json_is_the_same_json_and_steers_nothing() {
        let text = "é\u{9b}2J\u{202e}abc\u{7f}\u{feff}\u{1b}[31m\n\u{2028}\u{61c}";
        let value = serde_json::json!({ "a": [text], text: 1 });
        for json in [value.to_string(), format!("{value:#}")] {
            let escaped = escape_json(&json);
            let steering = escaped.chars().find(|c| *c != '\n' && steers(*c));
            assert_eq!(steering, None, "{escaped:?}");
            let read: serde_json::Value = serde_json::from_str(&escaped).expect("JSON");
            assert_eq!(read, value);
        }
        assert!(matches!(escape_json("{\n}"), Cow::Borrowed(_)));
    }
}
