//! Colours in a terminal. The colour of a word depends on the word alone, not on its author; no
//! other part of a text gets a control sequence.

use std::env;
use std::io::{self, IsTerminal as _};

/// What is wrong.
const RED: &[&str] = &[
    "CRIT",
    "REFUSED",
    "DEAD",
    "OVER",
    "unhealthy",
    "ejected",
    "refused",
    "expired",
];
/// What deserves a look.
const YELLOW: &[&str] = &[
    "WARN", "SKEW", "OLDER", "draining", "disabled", "paused", "waiting", "stopping", "leaving",
];
/// What is as it should be.
const GREEN: &[&str] = &["healthy", "ready"];
/// What is less important.
const DIM: &[&str] = &["note"];

/// Whether standard output takes colours: a terminal does, unless `NO_COLOR` is set
/// (<https://no-color.org>) or it is a dumb one.
pub(super) fn wanted() -> bool {
    let set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

/// A line with colours. JSON gets none: it may be copied.
pub(super) fn painted(line: &str) -> String {
    if line.trim_start().starts_with(['{', '}', '[', ']', '"']) {
        return line.to_owned();
    }
    if is_head(line) {
        return wrapped(line, "1");
    }
    let mut text = String::with_capacity(line.len());
    for word in line.split_inclusive([' ', '(']) {
        let bare = word.trim_end_matches([' ', '(', ')', ',', ':', ';', '.']);
        let has = |words: &[&str]| words.contains(&bare);
        let code = match () {
            () if has(RED) => "31",
            () if has(YELLOW) => "33",
            () if has(GREEN) => "32",
            () if has(DIM) => "2",
            () => "",
        };
        match code {
            "" => text.push_str(word),
            code => {
                text.push_str(&wrapped(bare, code));
                text.push_str(&word[bare.len()..]);
            }
        }
    }
    text
}

fn wrapped(text: &str, code: &str) -> String {
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Whether this is the first line of a table: two words at least, in capitals.
fn is_head(line: &str) -> bool {
    let capitals = |word: &str| word.chars().all(|c| c.is_ascii_uppercase() || c == '-');
    let mut words = line.split_whitespace();
    let first = words.next();
    let others = words.clone().next().is_some();
    let severity = |word: &str| RED.contains(&word) || YELLOW.contains(&word);
    others && first.is_some_and(|word| capitals(word) && !severity(word)) && words.all(capitals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_the_colour_of_what_they_say() {
        let check = |line: &str, expected: &str| {
            let shown = painted(line).replace('\u{1b}', "^");
            assert_eq!(shown, expected);
        };
        check(
            "CRIT  upstream chat: 0 of 1",
            "^[31mCRIT^[0m  upstream chat: 0 of 1",
        );
        check(
            "b1 is unhealthy: refused",
            "b1 is ^[31munhealthy^[0m: ^[31mrefused^[0m",
        );
        check(
            "chat  b1  healthy  active",
            "chat  b1  ^[32mhealthy^[0m  active",
        );
        check("ID  ROUTE  BACKEND", "^[1mID  ROUTE  BACKEND^[0m");
        check("WARN  A", "^[33mWARN^[0m  A");
        check("unhealthyish", "unhealthyish");
        check(
            "  \"health\": \"unhealthy\",",
            "  \"health\": \"unhealthy\",",
        );
        check("{\"health\":\"unhealthy\"}", "{\"health\":\"unhealthy\"}");
        check("", "");
    }
}
