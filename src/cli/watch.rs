//! `--watch`: an answer that is shown again every two seconds, until the process is stopped. In a
//! terminal it replaces the one before and is cut to the height of the screen.

use std::io::{self, IsTerminal as _, Write};
use std::thread;
use std::time::Duration;

use ratatui::crossterm::cursor::MoveTo;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{Clear, ClearType, size};

/// Between two answers.
const EVERY: Duration = Duration::from_secs(2);

/// Shows what `answer` writes, again and again. A gateway that does not answer for a while is no
/// reason to stop.
///
/// # Errors
/// When `out` cannot be written to.
pub(super) fn watch(
    out: &mut dyn Write,
    mut answer: impl FnMut(&mut dyn Write) -> anyhow::Result<u8>,
) -> anyhow::Result<u8> {
    let terminal = io::stdout().is_terminal();
    loop {
        let mut shown = Vec::new();
        if let Err(error) = answer(&mut shown) {
            writeln!(shown, "{error:#}")?;
        }
        if terminal {
            let rows = size().map_or(usize::MAX, |(_, rows)| usize::from(rows));
            shown = cut(shown, rows);
            out.flush()?;
            // Not through `out`, which lets no control sequence pass.
            execute!(io::stdout(), MoveTo(0, 0), Clear(ClearType::All))?;
        } else {
            shown.push(b'\n');
        }
        out.write_all(&shown)?;
        out.flush()?;
        thread::sleep(EVERY);
    }
}

/// The first lines, as many as fit with one that counts the others.
fn cut(shown: Vec<u8>, rows: usize) -> Vec<u8> {
    let lines: Vec<_> = shown.split_inclusive(|byte| *byte == b'\n').collect();
    // The cursor stands on a line of its own behind the last one.
    let room = rows.saturating_sub(1);
    if lines.len() <= room {
        return shown;
    }
    let kept = room.saturating_sub(1);
    let more = lines.len() - kept;
    let mut text = lines[..kept].concat();
    text.extend(format!("… and {more} more lines\n").into_bytes());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let check = |rows, expected: &str| {
            let text = cut(b"a\nb\nc\nd\n".to_vec(), rows);
            assert_eq!(String::from_utf8(text).expect("UTF-8"), expected);
        };
        check(5, "a\nb\nc\nd\n");
        check(4, "a\nb\n… and 2 more lines\n");
        check(1, "… and 4 more lines\n");
        check(0, "… and 4 more lines\n");
    }
}
