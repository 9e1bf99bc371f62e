//! A fault of the configuration for people: what is wrong, where, and the remedy, with the line
//! shown. `sessile check`, start, reload and the admin API all show these.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::base::text::steers;
use crate::base::work;
use crate::config::span::{Document, KeyPath};

/// One thing that is wrong, or suspicious, in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops the configuration from taking effect.
    pub severity: Severity,
    /// What was being read.
    pub source: Source,
    /// Where in it, if it has lines and the fault has one.
    pub location: Option<Location>,
    /// The key that is meant; the root where no key is.
    pub key: KeyPath,
    /// What is wrong; one line.
    pub message: String,
    /// What would be right; one line.
    pub help: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It takes effect, and is probably not what was meant.
    Warning,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, under the name that the operator gave.
    File(PathBuf),
    /// A variable of the environment, by name.
    Variable(String),
    /// A `--set` flag, by its key.
    Flag(String),
    /// A document of another source, by its whole key.
    Document(String),
}

/// Bytes of a line that are shown before a fault, and from it on.
const SHOWN_BEFORE: usize = 400;
const SHOWN_BEHIND: usize = 400;

/// A location in a text, and its line, with secrets blotted out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    text: String,
    /// Bytes of `text` to underline.
    span: Range<usize>,
}

impl Location {
    /// The location of a byte range of a document; it is cut to its first line.
    pub fn new(document: &Document, span: Range<usize>) -> Self {
        let text = document.text();
        let floor = |at: usize| {
            (0..=at.min(text.len()))
                .rev()
                .find(|at| text.is_char_boundary(*at))
        };
        let start = floor(span.start).unwrap_or(0);
        let (line, whole) = document.line_range(start);
        let (line_start, line_end) = (whole.start, whole.end);
        let end = floor(span.end).unwrap_or(0).clamp(start, line_end);
        // A long line is cut to the text around the fault.
        let from = floor(start.saturating_sub(SHOWN_BEFORE))
            .unwrap_or(0)
            .max(line_start);
        let to = floor(start.saturating_add(SHOWN_BEHIND))
            .unwrap_or(0)
            .clamp(start, line_end);
        let end = end.min(to);

        work::steps(start - line_start + (to - from));
        // Blotted out letter by letter, so that columns stay true.
        let mut shown = String::new();
        let mut shown_span = 0..0;
        if from > line_start {
            shown.push('…');
        }
        for (offset, letter) in text[from..to].char_indices() {
            let at = from + offset;
            if at == start {
                shown_span.start = shown.len();
            }
            shown.push(if document.is_secret(at) { '*' } else { letter });
            if at < end {
                shown_span.end = shown.len();
            }
        }
        if start == to {
            shown_span.start = shown.len();
        }
        shown_span.end = shown_span.end.max(shown_span.start);
        if to < line_end {
            shown.push('…');
        }
        Self {
            line: line + 1,
            column: text[line_start..start].chars().count() + 1,
            text: shown,
            span: shown_span,
        }
    }
}

impl Diagnostic {
    /// Its location, for sorting; faults without one come first.
    pub fn line_and_column(&self) -> (usize, usize) {
        let location = self.location.as_ref();
        location.map_or((0, 0), |location| (location.line, location.column))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(key) => write!(f, "flag --set {key}"),
            Self::Document(key) => f.write_str(key),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let path = printable(&self.source.to_string());
        let message = printable(&self.message);
        let mut group = match &self.location {
            Some(location) => level.primary_title(message).element(
                Snippet::source(location.text.as_str())
                    .line_start(location.line)
                    .path(path)
                    .annotation(AnnotationKind::Primary.span(location.span.clone())),
            ),
            None => level.primary_title(message).element(Origin::path(path)),
        };
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(printable(help)));
        }
        f.write_str(&Renderer::plain().render(&[group]))
    }
}

/// What steers a terminal must not reach one.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect()
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Diagnostic", 8)?;
        object.serialize_field("severity", &self.severity)?;
        object.serialize_field("file", &self.source.to_string())?;
        object.serialize_field(
            "line",
            &self.location.as_ref().map(|location| location.line),
        )?;
        object.serialize_field(
            "column",
            &self.location.as_ref().map(|location| location.column),
        )?;
        object.serialize_field("key", &self.key.to_string())?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("help", &self.help)?;
        object.serialize_field("rendered", &self.to_string())?;
        object.end()
    }
}

/// Names that one is compared with, which takes time in proportion to the product of their lengths.
const COMPARED_MAX: usize = 1_000;
const COMPARED_BYTES_MAX: usize = 128;

/// The name among `known` that `given` was probably meant to be.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if given.len() > COMPARED_BYTES_MAX {
        return None;
    }
    known
        .into_iter()
        .take(COMPARED_MAX)
        .filter(|name| name.len() <= COMPARED_BYTES_MAX)
        .inspect(|_| work::steps(1))
        .map(|name| (strsim::osa_distance(given, name), name))
        // A third of the letters may be wrong, and one of a very short name.
        .filter(|(distance, name)| *distance <= (name.chars().count() / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

/// `did you mean …`, or the list of what there is.
pub fn suggestion<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    work::steps(known.len());
    match nearest(given, known.iter().copied()) {
        Some(name) => Some(format!("did you mean `{name}`?")),
        None if known.is_empty() => None,
        None => Some(format!("there is {}", listed(&known, "and"))),
    }
}

/// `a`, `b` and `c`, at most ten of them; `last` stands before the last.
pub fn listed(names: &[&str], last: &str) -> String {
    let word = last;
    const SHOWN_MAX: usize = 10;
    let quoted: Vec<_> = names
        .iter()
        .take(SHOWN_MAX)
        .map(|name| format!("`{name}`"))
        .collect();
    match quoted.split_last() {
        _ if names.len() > SHOWN_MAX => {
            format!("{} and {} more", quoted.join(", "), names.len() - SHOWN_MAX)
        }
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} {word} {last}", before.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
