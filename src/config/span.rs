//! A TOML text as values, and the place of every key and value in it. `model` interprets the
//! values; this file has only their places, and marks those that must not be shown.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use figment::value::{Dict, Tag, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::base::secret::names_user;
use crate::base::work;
use crate::config::bounds;

mod json;

/// The path of a value: `routes[2].timeouts.idle`. A position in a list is its index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyPath(pub Vec<String>);

impl KeyPath {
    /// This path and one more step.
    #[must_use]
    pub fn join(&self, step: impl Into<String>) -> Self {
        work::steps(self.0.len() + 1);
        let mut steps = self.0.clone();
        steps.push(step.into());
        Self(steps)
    }

    /// The parent path; none for the root.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    /// Whether its keys have more bytes than they may.
    fn is_too_long(&self) -> bool {
        self.0.iter().map(String::len).sum::<usize>() > bounds::KEY_PATH_BYTES_MAX
    }

    /// Whether `self` is `other` or an ancestor of it.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// Whether the value at this path is, or is part of, something that must not be shown (I11).
    /// The name of a file or of a variable that holds a secret may be.
    pub fn is_secret(&self) -> bool {
        let reference = self.0.last().is_some_and(|step| names_reference(step));
        let mut above = Self::default();
        !reference
            && self.0.iter().any(|step| {
                let secret = above.makes_secret(step);
                above.0.push(step.clone());
                secret
            })
    }

    /// Whether the key `step` under this path marks what it holds as secret.
    fn makes_secret(&self, step: &str) -> bool {
        let named = matches!(self.0.as_slice(), [table] if names_freely(table));
        !named && (names_secret(step) || nearly_names_secret(step))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            let number = !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
            let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if number && index > 0 {
                write!(f, "[{step}]")?;
                continue;
            }
            if index > 0 {
                f.write_str(".")?;
            }
            if !step.is_empty() && step.chars().all(bare) {
                f.write_str(step)?;
            } else {
                write!(f, "{step:?}")?;
            }
        }
        Ok(())
    }
}

/// Words that mark a value as secret, anywhere in its key.
const SECRET_WORDS: [&str; 8] = [
    "token",
    "secret",
    "password",
    "passphrase",
    "credential",
    "authorization",
    "api-key",
    "api_key",
];

/// Whether a key holds a word that marks a secret.
pub fn names_secret(key: &str) -> bool {
    let holds = |word: &&str| {
        let mut windows = key.as_bytes().windows(word.len());
        windows.any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
    };
    SECRET_WORDS.iter().any(holds)
}

/// Whether the keys of this top table are names that an operator gives: an upstream may be named
/// after the tokens that it serves.
pub fn names_freely(table: &str) -> bool {
    matches!(
        table,
        "authenticators" | "functions" | "revocations" | "upstreams"
    )
}

/// Whether a key holds the location of a secret, which is not secret itself.
pub fn names_reference(key: &str) -> bool {
    matches!(key, "file" | "env" | "expires")
}

/// Whether a key was probably meant to be one of a secret: a mistyped `tokn` holds one too.
fn nearly_names_secret(key: &str) -> bool {
    let length = key.len();
    let near = |word: &&&str| length.abs_diff(word.len()) <= 2;
    let key = key.to_ascii_lowercase();
    let mut words = SECRET_WORDS.iter().filter(near);
    words.any(|word| strsim::osa_distance(&key, word) <= 2)
}

/// The places of a key and its value, in bytes of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans {
    /// The key; of an element of a list, the element.
    pub key: Range<usize>,
    /// The value; of a table with a header of its own, the header.
    pub value: Range<usize>,
    /// Whether the value is a table, to which other layers may add.
    pub is_table: bool,
}

/// Text that is not TOML at `span`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxFault {
    /// Bytes of the text.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
}

/// A TOML text, read.
#[derive(Debug)]
pub struct Document {
    /// Its values, as the layers are merged from.
    pub values: Dict,
    text: String,
    /// Where each line ends but the last.
    line_ends: Vec<usize>,
    spans: HashMap<KeyPath, Spans>,
    /// What must be blotted out when a line is shown, in the order of the text, none touching
    /// another.
    secrets: Vec<Range<usize>>,
}

impl Document {
    /// Reads what can be read; the faults are all that is no TOML.
    pub fn parse(text: &str) -> (Self, Vec<SyntaxFault>) {
        if text.len() > bounds::FILE_BYTES_MAX {
            let (bytes, max) = (text.len(), bounds::FILE_BYTES_MAX);
            let message = format!("this text has {bytes} bytes; use at most {max}");
            let span = 0..0;
            return (Self::empty(""), vec![SyntaxFault { span, message }]);
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut document = Self::empty(text);
        let mut faults: Vec<_> = errors
            .iter()
            .take(bounds::DIAGNOSTICS_MAX)
            .map(|error| SyntaxFault {
                span: error.span().unwrap_or(0..0),
                message: error
                    .message()
                    .to_lowercase()
                    .replacen(", expected", "; expected", 1),
            })
            .collect();
        let root = At {
            path: KeyPath::default(),
            secret: false,
        };
        document.values = document.table(table.get_ref(), &root, &mut faults);
        if document.spans.len() >= bounds::FILE_VALUES_MAX {
            let message = bounds::too_many(bounds::FILE_VALUES_MAX);
            let span = 0..0;
            faults.push(SyntaxFault { span, message });
        }
        if !faults.is_empty() {
            document.secrets.extend(secrets_by_eye(text));
        }
        document.sort_secrets();
        (document, faults)
    }

    fn empty(text: &str) -> Self {
        Self {
            values: Dict::new(),
            text: text.to_owned(),
            line_ends: memchr::memchr_iter(b'\n', text.as_bytes()).collect(),
            spans: HashMap::new(),
            secrets: Vec::new(),
        }
    }

    /// The text as it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line around a byte of the text, without the white space around it.
    pub fn line(&self, at: usize) -> &str {
        let (_, range) = self.line_range(at);
        self.text.get(range).unwrap_or_default().trim()
    }

    /// The place of the value at `path`, if it is in this text.
    pub fn spans(&self, path: &KeyPath) -> Option<&Spans> {
        self.spans.get(path)
    }

    /// Whether the byte at this place of the text must not be shown.
    pub fn is_secret(&self, at: usize) -> bool {
        let next = self.secrets.partition_point(|range| range.end <= at);
        self.secrets
            .get(next)
            .is_some_and(|range| range.contains(&at))
    }

    /// The number of the line, from 0, that holds the byte at this place, and its bytes.
    pub fn line_range(&self, at: usize) -> (usize, Range<usize>) {
        let number = self.line_ends.partition_point(|end| *end < at);
        let before = number
            .checked_sub(1)
            .and_then(|before| self.line_ends.get(before));
        let end = self
            .line_ends
            .get(number)
            .copied()
            .unwrap_or(self.text.len());
        (number, before.map_or(0, |end| end + 1)..end)
    }

    fn sort_secrets(&mut self) {
        self.secrets.sort_by_key(|range| range.start);
        self.secrets.dedup_by(|next, kept| {
            let touches = next.start <= kept.end;
            if touches {
                kept.end = kept.end.max(next.end);
            }
            touches
        });
    }

    fn table(&mut self, table: &DeTable<'_>, at: &At, faults: &mut Vec<SyntaxFault>) -> Dict {
        let mut dict = Dict::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let inner = At {
                path: at.path.join(name),
                secret: at.secret || at.path.makes_secret(name),
            };
            let read = self.value(key.span(), value, &inner, faults);
            dict.insert(name.to_owned(), read);
        }
        dict
    }

    fn value(
        &mut self,
        key: Range<usize>,
        value: &Spanned<DeValue<'_>>,
        at: &At,
        faults: &mut Vec<SyntaxFault>,
    ) -> Value {
        let span = value.span();
        let spans = Spans {
            key,
            value: span.clone(),
            is_table: value.get_ref().is_table(),
        };
        if self.spans.len() >= bounds::FILE_VALUES_MAX {
            return Value::from("");
        }
        let depth = at.path.0.len();
        if depth > bounds::DEPTH_MAX || at.path.is_too_long() {
            let message = match depth > bounds::DEPTH_MAX {
                true => bounds::too_deep(),
                false => bounds::keys_too_long(),
            };
            if faults.len() < bounds::DIAGNOSTICS_MAX {
                faults.push(SyntaxFault { span, message });
            }
            return Value::from("");
        }
        self.spans.insert(at.path.clone(), spans);
        match value.get_ref() {
            DeValue::Table(table) => Value::Dict(Tag::Default, self.table(table, at, faults)),
            DeValue::Array(array) => {
                let mut list = Vec::new();
                for (index, element) in array.iter().enumerate() {
                    let inner = At {
                        path: at.path.join(index.to_string()),
                        secret: at.secret,
                    };
                    list.push(self.value(element.span(), element, &inner, faults));
                }
                Value::Array(Tag::Default, list)
            }
            leaf => {
                let name = at.path.0.last().map_or("", String::as_str);
                let user = leaf.as_str().is_some_and(names_user);
                if user || (at.secret && !names_reference(name)) {
                    self.secrets.push(span.clone());
                }
                scalar(leaf).unwrap_or_else(|message| {
                    faults.push(SyntaxFault { span, message });
                    Value::from("")
                })
            }
        }
    }
}

/// A node in the text's tree, and whether its value must not be shown.
struct At {
    path: KeyPath,
    secret: bool,
}

/// The value that `text` is in TOML; text that is no TOML value is itself. So a variable or a flag
/// holds `127.0.0.1:9900` without quotes, and `["a", "b"]` or `{ file = "x" }` too.
pub fn lone_value(text: &str) -> Value {
    let (document, faults) = Document::parse(&format!("value = {text}"));
    match document.values.get("value") {
        Some(value) if faults.is_empty() && document.values.len() == 1 => value.clone(),
        _ => Value::from(text),
    }
}

fn scalar(value: &DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(truth) => Value::from(*truth),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::from)
            .map_err(|_| "this number is too large".to_owned())?,
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .map(Value::from)
            .map_err(|_| "this is not a number".to_owned())?,
        // No key holds a date, so that it only has to be refused under its own text.
        other => Value::from(
            other
                .as_datetime()
                .map(ToString::to_string)
                .unwrap_or_default(),
        ),
    })
}

/// Secrets in a text whose structure is broken: everything after a `=` that follows a secret's
/// word, up to the end of the line or of the long string that begins there. Text covered by the
/// first word of a line is not searched again.
fn secrets_by_eye(text: &str) -> Vec<Range<usize>> {
    let lower = text.to_ascii_lowercase();
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut line_start = 0;
    while line_start < text.len() {
        let line_end = text[line_start..]
            .find('\n')
            .map_or(text.len(), |at| line_start + at);
        work::steps(line_end - line_start + 1);
        let line = &lower[line_start..line_end];
        let words = SECRET_WORDS.iter().filter_map(|word| line.find(word));
        let value = words
            .min()
            .and_then(|word| Some(word + line[word..].find('=')? + 1));
        let mut end = line_end;
        if let Some(value) = value.map(|value| line_start + value) {
            let mut long = ["\"\"\"", "'''"].iter().filter_map(|mark| {
                let inside = text[value..line_end].find(mark)? + value + 3;
                Some((inside, *mark))
            });
            if let Some((inside, mark)) = long.next() {
                let close = text[inside..].find(mark);
                end = close.map_or(text.len(), |at| inside + at + 3).max(line_end);
                work::steps(end - inside);
            }
            found.push(value..end);
        }
        // What follows on the last line of a long string is looked at as a line of its own.
        line_start = if end > line_end { end } else { line_end + 1 };
    }
    found
}

#[cfg(test)]
mod tests;
