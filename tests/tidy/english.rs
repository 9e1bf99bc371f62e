//! Comments in plain technical English. The measure is the share of comment lines with words that
//! mark the riddling style: people in place of components, and software that speaks.

use crate::{files, none};

/// Words of that style.
const WORDS: [&str; 6] = ["whoever", "nobody", "says", "told", "knows", "wants"];

/// Lines of a hundred that may hold such a word: they are English words all the same.
const PERCENT_MAX: f64 = 1.0;

/// How many comment lines a text has, and those among them with one of the words.
fn measure(text: &str) -> (usize, Vec<usize>) {
    let lines = text.lines().enumerate();
    let comments = lines.filter(|(_, line)| line.trim_start().starts_with("//"));
    let mut count = 0;
    let mut found = Vec::new();
    for (index, line) in comments {
        count += 1;
        let mut words = line.split(|letter: char| !letter.is_alphabetic());
        if words.any(|word| WORDS.contains(&word.to_lowercase().as_str())) {
            found.push(index + 1);
        }
    }
    (count, found)
}

#[test]
fn comments_are_plain_english() {
    // The least number of lines of comments, so that the measure finds them.
    for (folder, least) in [
        ("src", 3_000),
        ("tests", 1_000),
        ("benches", 100),
        ("fuzz", 50),
    ] {
        let (mut comments, mut found) = (0, Vec::new());
        for (path, text) in files(folder, ".rs") {
            let (count, lines) = measure(&text);
            comments += count;
            found.extend(lines.into_iter().map(|line| format!("{path}:{line}")));
        }
        assert!(
            comments > least,
            "only {comments} lines of comments in {folder}"
        );
        let share = found.len() as f64 * 100.0 / comments as f64;
        if share <= PERCENT_MAX {
            found.clear();
        }
        none(
            &format!("at most {PERCENT_MAX} % of comment lines in {folder} hold one of {WORDS:?}"),
            &found,
        );
    }
}

#[test]
fn words_are_counted_in_comments_only() {
    assert_eq!(
        measure("// It says so.\nlet says = 1;\n/// essays"),
        (2, vec![1])
    );
}
