//! Errors as one line of text.

use std::error::Error;

/// The text of an error, and of its causes.
pub fn chain(error: &dyn Error) -> String {
    with_causes(error.to_string(), error)
}

/// `text`, and the texts of the causes of `error`. A text that is part of those before it is left
/// out: some libraries repeat the cause in the error.
pub fn with_causes(mut text: String, error: &dyn Error) -> String {
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Fault {
        text: &'static str,
        source: io::Error,
    }

    #[test]
    fn causes_follow_an_error_unless_it_names_them() {
        let check = |text, expected: &str| {
            let source = io::Error::other("refused");
            assert_eq!(chain(&Fault { text, source }), expected);
        };
        check("not reached", "not reached: refused");
        check("not reached, refused by it", "not reached, refused by it");
        assert_eq!(chain(&io::Error::other("alone")), "alone");
    }
}
