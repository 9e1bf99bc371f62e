//! Asks the operator before something that cannot simply be taken back.

use std::io::{self, BufRead as _, IsTerminal as _, Write};

/// There is no terminal for the question.
#[derive(Debug, thiserror::Error)]
#[error("{question} There is no terminal to ask at; {words}")]
pub(super) struct Unasked {
    /// The question.
    question: String,
    /// What to add to the command line instead.
    words: &'static str,
}

/// Asks at the terminal. Answers whether the operator agreed.
///
/// # Errors
/// Where standard input is no terminal: then `words` name what has to be added to the command.
pub(super) fn agreed(
    question: &str,
    words: &'static str,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        let question = question.to_owned();
        return Err(Unasked { question, words }.into());
    }
    write!(out, "\n{question} [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
