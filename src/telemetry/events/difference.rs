//! The difference of two versions of a document, as lines for people. Callers mask secrets first.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Lines of one document.
const LINES_MAX: usize = 100;
/// Documents that one event shows, and bytes of their differences.
const DOCUMENTS_MAX: usize = 50;
const BYTES_MAX: usize = 16 * 1024;
/// Bytes of a path and of a value in a line.
const PART_MAX: usize = 200;
/// What names an element of a list.
const NAMES: [&str; 4] = ["name", "address", "id", "kid"];

/// What changed in one document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DocumentChange {
    /// Its key below the prefix of the source, such as `routes/chat`; of a file, its path.
    pub key: Box<str>,
    /// `added`, `changed` or `removed`.
    pub change: Box<str>,
    /// The differences in canonical form: `- path = old` and `+ path = new`, secrets masked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<Box<str>>,
    /// Whether lines are missing, since there are too many.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

impl DocumentChange {
    /// Bytes that it takes, roughly.
    pub(super) fn heap(&self) -> usize {
        let lines = self
            .lines
            .iter()
            .map(|line| line.len() + size_of::<Box<str>>());
        size_of::<Self>() + self.key.len() + self.change.len() + lines.sum::<usize>()
    }
}

/// What changed in a document; `None` if nothing did. The work is linear in the two versions, but
/// for sorting keys.
pub fn difference(
    key: &str,
    before: Option<&Value>,
    after: Option<&Value>,
) -> Option<DocumentChange> {
    let change = match (before, after) {
        (None, None) => return None,
        (None, Some(_)) => "added",
        (Some(_), None) => "removed",
        (Some(before), Some(after)) if before == after => return None,
        (Some(_), Some(_)) => "changed",
    };
    let mut compared = Compared::default();
    compared.run(before, after);
    Some(DocumentChange {
        key: clip(key).into(),
        change: change.into(),
        lines: compared.lines,
        more: compared.more,
    })
}

/// What changed in several documents, and how many more changed than are shown.
pub fn differences(
    documents: impl Iterator<Item = (String, Option<Value>, Option<Value>)>,
) -> (Vec<DocumentChange>, u64) {
    let (mut shown, mut more, mut bytes) = (Vec::new(), 0, 0);
    for (key, before, after) in documents {
        if shown.len() == DOCUMENTS_MAX || bytes > BYTES_MAX {
            more += 1;
        } else if let Some(change) = difference(&key, before.as_ref(), after.as_ref()) {
            bytes += change.heap();
            shown.push(change);
        }
    }
    (shown, more)
}

#[derive(Default)]
struct Compared {
    lines: Vec<Box<str>>,
    more: bool,
}

/// A place in both versions.
type Pair<'v> = (Cow<'v, str>, Option<&'v Value>, Option<&'v Value>);

impl Compared {
    fn run(&mut self, before: Option<&Value>, after: Option<&Value>) {
        let mut left: Vec<Pair<'_>> = vec![(Cow::default(), before, after)];
        while let Some((path, before, after)) = left.pop() {
            if self.lines.len() >= LINES_MAX {
                self.more = true;
                return;
            }
            match parts(before, after) {
                Some(mut parts) => {
                    // The first of them is on top of the stack.
                    parts.reverse();
                    let inner = parts.into_iter().map(|(name, before, after)| {
                        (Cow::from(joined(&path, &name)), before, after)
                    });
                    left.extend(inner);
                }
                None => {
                    self.line('-', &path, before);
                    self.line('+', &path, after);
                }
            }
        }
    }

    fn line(&mut self, sign: char, path: &str, value: Option<&Value>) {
        let value = match value {
            None => return,
            // Only a part of a long text is shown, so the whole is not written out.
            Some(Value::String(text)) => Value::from(clip(text)).to_string(),
            Some(value) => value.to_string(),
        };
        let line = match path {
            "" => format!("{sign} {}", clip(&value)),
            path => format!("{sign} {path} = {}", clip(&value)),
        };
        self.lines.push(line.into());
    }
}

/// The parts that differ, sorted by name; `None` if these are no two tables and no two lists.
fn parts<'v>(before: Option<&'v Value>, after: Option<&'v Value>) -> Option<Vec<Pair<'v>>> {
    let both = [before, after];
    let places = !both.into_iter().flatten().all(has_names);
    let [before, after] = both.map(|one| match one {
        Some(value) => named(value, places),
        None => Some(BTreeMap::new()),
    });
    let (before, after) = (before?, after?);
    if before.is_empty() && after.is_empty() {
        return None;
    }
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let pairs = names.into_iter().map(|name| {
        let (before, after) = (before.get(name), after.get(name));
        (name.clone(), before.copied(), after.copied())
    });
    Some(pairs.filter(|(_, before, after)| before != after).collect())
}

/// Whether the elements of a list have names, all different.
fn has_names(value: &Value) -> bool {
    let Value::Array(list) = value else {
        return true;
    };
    let names: Option<BTreeSet<_>> = list.iter().map(name).collect();
    names.is_some_and(|names| names.len() == list.len())
}

/// The parts of a table or list by name. Elements of a list are named by what identifies them, or
/// else by their `places`.
fn named(value: &Value, places: bool) -> Option<BTreeMap<Cow<'_, str>, &Value>> {
    match value {
        Value::Object(table) => {
            let parts = table.iter().map(|(key, value)| (Cow::from(key), value));
            Some(parts.collect())
        }
        Value::Array(list) => {
            let parts = list.iter().enumerate().map(|(place, one)| {
                let name = name(one).filter(|_| !places);
                let name = name.unwrap_or_else(|| format!("{place:04}"));
                (Cow::from(format!("[{name}]")), one)
            });
            Some(parts.collect())
        }
        _ => None,
    }
}

fn name(element: &Value) -> Option<String> {
    match element {
        Value::Object(table) => {
            let text = NAMES.iter().find_map(|name| table.get(*name)?.as_str())?;
            Some(clip(text).to_owned())
        }
        Value::Array(_) | Value::Null => None,
        plain => Some(clip(plain.to_string().trim_matches('"')).to_owned()),
    }
}

fn joined(path: &str, name: &str) -> String {
    let joined = match (path, name.starts_with('[')) {
        ("", _) => name.to_owned(),
        (path, true) => format!("{path}{name}"),
        (path, false) => format!("{path}.{name}"),
    };
    clip(&joined).to_owned()
}

fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(PART_MAX)]
}

#[cfg(test)]
mod tests;
