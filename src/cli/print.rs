//! How answers look in a terminal: columns, times, sizes. Nothing that a client sent reaches the
//! terminal as anything but visible characters.

use std::io::{self, Write};
use std::time::Duration;

use bytesize::ByteSize;

/// Columns as wide as their widest cell, two blanks between them; the last one is not filled up.
pub(super) fn columns(
    out: &mut dyn Write,
    head: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> io::Result<()> {
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    let cells = rows
        .into_iter()
        .map(|row| row.iter().map(|cell| visible(cell)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(cells).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// The text with a mark in the place of what would steer a terminal.
pub(super) fn visible(text: &str) -> String {
    let steers =
        |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect()
}

/// The two largest units: `3d 4h`, `12m 5s`, `7s`.
pub(super) fn time(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut left = whole;
    let parts = units.into_iter().map(|(length, unit)| {
        let count = left / length;
        left %= length;
        (count, unit)
    });
    let parts = parts
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0);
    let text = parts
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect::<Vec<_>>()
        .join(" ");
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// `312 B`, `1.5 MiB`.
pub(super) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units() {
        let check = |seconds: f64, expected: &str| assert_eq!(time(seconds), expected);
        check(0.4, "0s");
        check(59.9, "59s");
        check(60.0, "1m");
        check(3_661.0, "1h 1m");
        check(90_061.0, "1d 1h");
        check(86_405.0, "1d");
        check(f64::NAN, "0s");
    }

    #[test]
    fn columns_are_straight_and_cells_cannot_steer_the_terminal() {
        let mut out = Vec::new();
        let rows = [["a", "\u{1b}[31mred"], ["long", "é"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        columns(&mut out, &["ONE", "TWO"], rows).expect("a vector takes everything");
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(text, "ONE   TWO\na     \u{fffd}[31mred\nlong  é\n");
    }
}
