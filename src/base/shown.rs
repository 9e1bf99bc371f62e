//! Characters that do something instead of being seen.

/// Whether a character steers a terminal or turns the direction of text: control characters, line
/// ends of Unicode, and marks of direction.
pub fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{61c}')
}
