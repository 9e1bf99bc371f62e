//! The part of YAML in which tools write kubeconfig files: mappings and lists by indentation, plain
//! and quoted text. Everything else is refused with its line. JSON, which is YAML too, is read
//! whole.

use serde_json::{Map, Value};

/// Mappings and lists inside one another.
const DEPTH_MAX: usize = 16;
/// Lines of a text.
const LINES_MAX: usize = 100_000;

/// A text that is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct YamlError {
    /// Where, from 1.
    pub line: usize,
    /// What is wrong.
    pub fault: &'static str,
}

struct Line {
    number: usize,
    indent: usize,
    text: String,
}

struct Reader {
    lines: Vec<Line>,
    at: usize,
}

/// Reads a text. Every scalar is a string, apart from `null` and what is empty.
///
/// # Errors
/// Where it is something that tools do not write.
pub fn read(text: &str) -> Result<Value, YamlError> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| YamlError {
            line: error.line(),
            fault: "this is no JSON",
        });
    }
    let mut reader = Reader {
        lines: lines(text)?,
        at: 0,
    };
    let Some(first) = reader.lines.first() else {
        return Ok(Value::Null);
    };
    let value = reader.block(first.indent, 0)?;
    match reader.lines.get(reader.at) {
        Some(line) => Err(line.fault("this is indented less than what it belongs to")),
        None => Ok(value),
    }
}

/// Lines that hold something.
fn lines(text: &str) -> Result<Vec<Line>, YamlError> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let fault = |fault| YamlError {
            line: number,
            fault,
        };
        if number > LINES_MAX {
            return Err(fault("there are too many lines"));
        }
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        if text.trim().is_empty() || text.starts_with('#') || text.trim_end() == "---" {
            continue;
        }
        if text.starts_with('\t') {
            return Err(fault("indent with spaces"));
        }
        lines.push(Line {
            number,
            indent,
            text: text.trim_end().to_owned(),
        });
    }
    Ok(lines)
}

impl Line {
    fn fault(&self, fault: &'static str) -> YamlError {
        YamlError {
            line: self.number,
            fault,
        }
    }

    fn is_item(&self) -> bool {
        self.text == "-" || self.text.starts_with("- ")
    }
}

impl Reader {
    /// What stands at this indentation from here on.
    fn block(&mut self, indent: usize, depth: usize) -> Result<Value, YamlError> {
        let line = &self.lines[self.at];
        if depth > DEPTH_MAX {
            return Err(line.fault("this is nested too deep"));
        }
        match line.is_item() {
            true => self.list(indent, depth),
            false => self.mapping(indent, depth),
        }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Value, YamlError> {
        let mut items = Vec::new();
        while let Some(line) = self.lines.get_mut(self.at) {
            if line.indent != indent || !line.is_item() {
                break;
            }
            let rest = line.text[1..].trim_start().to_owned();
            if rest.is_empty() {
                self.at += 1;
                items.push(self.nested(indent, depth, false)?);
                continue;
            }
            if key(&rest).is_some() {
                // The first entry of a mapping stands behind the dash.
                line.indent += line.text.len() - rest.len();
                line.text = rest;
                let inner = line.indent;
                items.push(self.block(inner, depth + 1)?);
                continue;
            }
            items.push(scalar(&rest).map_err(|fault| line.fault(fault))?);
            self.at += 1;
        }
        Ok(Value::Array(items))
    }

    fn mapping(&mut self, indent: usize, depth: usize) -> Result<Value, YamlError> {
        let mut entries = Map::new();
        while let Some(line) = self.lines.get(self.at) {
            if line.indent != indent || line.is_item() {
                break;
            }
            let Some((name, rest)) = key(&line.text) else {
                return Err(line.fault("write `key: value`"));
            };
            let name = scalar(name).map_err(|fault| line.fault(fault))?;
            let name = name.as_str().unwrap_or_default().to_owned();
            if entries.contains_key(&name) {
                return Err(line.fault("this key stands here twice"));
            }
            let value = match rest {
                "" => {
                    self.at += 1;
                    self.nested(indent, depth, true)?
                }
                rest => {
                    let value = scalar(rest).map_err(|fault| line.fault(fault))?;
                    self.at += 1;
                    value
                }
            };
            entries.insert(name, value);
        }
        Ok(Value::Object(entries))
    }

    /// What belongs to a key or a dash without a value on its line. The list of a key may stand at
    /// the key's own indentation.
    fn nested(&mut self, indent: usize, depth: usize, key: bool) -> Result<Value, YamlError> {
        let Some(next) = self.lines.get(self.at) else {
            return Ok(Value::Null);
        };
        match next.indent > indent || (key && next.indent == indent && next.is_item()) {
            true => self.block(next.indent, depth + 1),
            false => Ok(Value::Null),
        }
    }
}

/// Key and value of a line; the value is empty if it stands on the lines below.
fn key(text: &str) -> Option<(&str, &str)> {
    let end = match text.chars().next()? {
        quote @ ('"' | '\'') => 2 + text[1..].find(quote)?,
        _ => 0,
    };
    let colon = end + text[end..].find(':')?;
    let rest = &text[colon + 1..];
    let split = rest.is_empty() || rest.starts_with(' ');
    let value = rest.trim();
    let value = if value.starts_with('#') { "" } else { value };
    let name = text[..colon].trim_end();
    (split && !name.is_empty()).then_some((name, value))
}

fn scalar(text: &str) -> Result<Value, &'static str> {
    match text.as_bytes().first().copied().unwrap_or_default() {
        b'"' => {
            let text = uncommented(text, '"');
            serde_json::from_str(text).map_err(|_| "this text in quotes is not read")
        }
        b'\'' => {
            let inner = uncommented(text, '\'').strip_prefix('\'');
            let inner = inner.and_then(|text| text.strip_suffix('\''));
            let inner = inner.ok_or("this text in quotes is not read")?;
            Ok(inner.replace("''", "'").into())
        }
        b'{' | b'[' if matches!(text, "{}" | "[]") => Ok(match text {
            "{}" => Value::Object(Map::new()),
            _ => Value::Array(Vec::new()),
        }),
        b'|' | b'>' | b'&' | b'*' | b'!' | b'{' | b'[' | b'%' | b'@' | b'`' => {
            Err("this form of YAML is not read; write JSON instead")
        }
        _ => Ok(
            match text.split(" #").next().unwrap_or_default().trim_end() {
                "null" | "~" => Value::Null,
                text => text.into(),
            },
        ),
    }
}

/// A quoted text without the comment behind it.
fn uncommented(text: &str, quote: char) -> &str {
    let end = text.rfind(quote).unwrap_or(0);
    let comment = text[end + 1..].trim_start();
    match comment.is_empty() || comment.starts_with('#') {
        true => &text[..=end],
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_tools_write_is_read() {
        let text = "---\n# by kubectl\napiVersion: v1\nclusters:\n- cluster:\n    \
                    certificate-authority-data: LS0t==\n    server: https://10.0.0.1:6443 # here\n  \
                    name: \"a:b\"\n-   name: 'it''s'\n    empty: {}\ncurrent-context: 'x y'\nnothing:\n\
                    users:\n  - name: one\n    list:\n      - a\n      -\n        b: c\n\"quoted: key\": v\n";
        let expected = json!({
            "apiVersion": "v1",
            "clusters": [
                { "cluster": { "certificate-authority-data": "LS0t==",
                               "server": "https://10.0.0.1:6443" }, "name": "a:b" },
                { "name": "it's", "empty": {} },
            ],
            "current-context": "x y",
            "nothing": null,
            "users": [{ "name": "one", "list": ["a", { "b": "c" }] }],
            "quoted: key": "v",
        });
        assert_eq!(read(text), Ok(expected));
        assert_eq!(read("{\"a\": [1]}"), Ok(json!({ "a": [1] })));
        assert_eq!(read("\n# nothing\n"), Ok(Value::Null));
    }

    #[test]
    fn other_forms_are_refused_with_their_line() {
        let deep: String = (0..40)
            .map(|depth| format!("{}a:\n", " ".repeat(depth)))
            .collect();
        for (text, line) in [
            ("a: 1\nb: |\n  text", 2),
            ("a: &anchor x", 1),
            ("a: {b: c}", 1),
            ("a: [1]", 1),
            ("a:\n\tb: c", 2),
            ("a: 1\na: 2", 2),
            ("a: 1\n  b: 2", 2),
            ("  a: 1\nb: 2", 2),
            ("just text", 1),
            (":", 1),
            ("a: \"open", 1),
            ("a: !!binary x", 1),
            ("{", 1),
            (&deep, 18),
        ] {
            assert_eq!(
                read(text).map_err(|fault| fault.line),
                Err(line),
                "{text:.20}"
            );
        }
    }

    proptest! {
        #[test]
        fn i12_no_text_does_harm(text in "[-a:'\"# {}\\[\\]\n|&]{0,80}") {
            let _ = read(&text);
        }
    }
}
