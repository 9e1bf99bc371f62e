//! How answers look in a terminal: columns, times, sizes. Nothing that a client sent reaches the
//! terminal as anything but visible characters.

use std::io::{self, Write};
use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value;

use crate::base::text::{escape_json, steers};
use crate::cli::paint::painted;

/// Columns as wide as their widest cell, two blanks between them; the last one is not filled up.
pub(super) fn columns(
    out: &mut dyn Write,
    head: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> io::Result<()> {
    fitted(out, head, rows, &[], None)
}

/// Narrower than this no column is cut.
const COLUMN_MIN: usize = 8;

/// The same, cut to this width: the widest columns first, but those in `whole` never.
pub(super) fn fitted(
    out: &mut dyn Write,
    head: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
    whole: &[usize],
    most: Option<usize>,
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
    let mut widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    if let Some(most) = most {
        narrow(&mut widths, whole, most);
    }
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{:width$}  ", cut(cell, *width)));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Narrows the widest columns until all fit, as far as that is possible.
fn narrow(widths: &mut [usize], whole: &[usize], most: usize) {
    let total =
        |widths: &[usize]| widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
    while total(widths) > most {
        let wide = widths.iter_mut().enumerate();
        let wide = wide.filter(|(place, width)| !whole.contains(place) && **width > COLUMN_MIN);
        let Some((_, widest)) = wide.max_by_key(|(_, width)| **width) else {
            return;
        };
        *widest -= 1;
    }
}

/// The text, or its beginning and an ellipsis.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain(['…']).collect()
}

/// Replaces control characters of terminals with a visible mark.
pub(super) fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect()
}

/// How JSON is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// On many lines, for people.
    Pretty,
    /// On one line.
    Line,
}

/// JSON in which what would steer a terminal is escaped: it stays the same value.
pub(super) fn json(out: &mut dyn Write, value: &Value, form: Form) -> io::Result<()> {
    let text = match form {
        Form::Pretty => format!("{value:#}"),
        Form::Line => value.to_string(),
    };
    let escaped = escape_json(&text);
    writeln!(out, "{escaped}")
}

/// A writer to a terminal that passes lines but no control sequences, since output may contain text
/// of clients, of documents in etcd, or of a server at a wrong address. It may add colours itself.
pub(super) struct Visible<'w> {
    out: &'w mut dyn Write,
    /// The first bytes of an incomplete character.
    begun: Vec<u8>,
    /// The beginning of a line, if lines get colours.
    line: Option<String>,
}

impl<'w> Visible<'w> {
    pub(super) fn new(out: &'w mut dyn Write) -> Self {
        Self {
            out,
            begun: Vec::new(),
            line: None,
        }
    }

    /// With colours.
    pub(super) fn painted(out: &'w mut dyn Write) -> Self {
        Self {
            line: Some(String::new()),
            ..Self::new(out)
        }
    }
}

impl Write for Visible<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.begun) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.begun.len(),
        };
        let text: String = String::from_utf8_lossy(&self.begun[..whole])
            .chars()
            .map(|c| match c {
                '\n' | '\t' => c,
                c if steers(c) => '\u{fffd}',
                c => c,
            })
            .collect();
        self.begun.drain(..whole);
        let Some(line) = &mut self.line else {
            self.out.write_all(text.as_bytes())?;
            return Ok(bytes.len());
        };
        line.push_str(&text);
        while let Some(end) = line.find('\n') {
            let whole: String = line.drain(..=end).collect();
            writeln!(self.out, "{}", painted(&whole[..end]))?;
        }
        Ok(bytes.len())
    }

    /// A line that has no end yet, such as a question, gets no colours.
    fn flush(&mut self) -> io::Result<()> {
        if let Some(line) = &mut self.line {
            self.out.write_all(line.as_bytes())?;
            line.clear();
        }
        self.out.flush()
    }
}

/// `1 session`, `2 sessions`.
pub(super) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
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
mod tests;
