//! One record in one line: a JSON object, or `key=value` pairs for people (logfmt). Nothing that a
//! peer sent can begin a new line, forge a field, or steer a terminal.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::base::text::steers;
use crate::config::snapshot::LogFormat;

/// A line that grows field by field.
#[derive(Debug)]
pub(super) struct Line {
    format: LogFormat,
    text: String,
    /// The prefix of keys in text form: the open group.
    group: &'static str,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'v> {
    /// Unknown or absent: `null`, and omitted in the text form.
    None,
    Text(&'v str),
    Number(u64),
    /// In milliseconds, to the microsecond.
    Millis(Duration),
    Flag(bool),
}

impl<'v> From<Option<&'v str>> for Value<'v> {
    fn from(text: Option<&'v str>) -> Self {
        text.map_or(Value::None, Value::Text)
    }
}

impl Line {
    pub(super) fn new(format: LogFormat) -> Self {
        let mut text = String::with_capacity(768);
        if format == LogFormat::Json {
            text.push('{');
        }
        Self {
            format,
            text,
            group: "",
        }
    }

    pub(super) fn field(&mut self, key: &'static str, value: Value<'_>) {
        match self.format {
            LogFormat::Json => {
                self.json_key(key);
                match value {
                    Value::None => self.text.push_str("null"),
                    Value::Text(text) => self.json_string(text),
                    plain => self.plain(plain),
                }
            }
            LogFormat::Text => {
                if matches!(value, Value::None) {
                    return;
                }
                if !self.text.is_empty() {
                    self.text.push(' ');
                }
                if !self.group.is_empty() {
                    let group = self.group;
                    self.write(format_args!("{group}."));
                }
                self.write(format_args!("{key}="));
                match value {
                    Value::Text(text) => self.text_string(text),
                    plain => self.plain(plain),
                }
            }
        }
    }

    /// Fields that belong together: an object in JSON, `group.key=value` in text.
    pub(super) fn group(&mut self, key: &'static str, fill: impl FnOnce(&mut Self)) {
        if self.format == LogFormat::Json {
            self.json_key(key);
            self.text.push('{');
        }
        self.group = key;
        fill(self);
        self.group = "";
        if self.format == LogFormat::Json {
            self.text.push('}');
        }
    }

    /// The bytes, with the line's end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.format == LogFormat::Json {
            self.text.push('}');
        }
        self.text.push('\n');
        self.text.into_bytes()
    }

    fn json_key(&mut self, key: &str) {
        if !self.text.ends_with('{') {
            self.text.push(',');
        }
        self.write(format_args!("\"{key}\":"));
    }

    /// RFC 8259, section 7, and all other control characters (C1, DEL) escaped too.
    fn json_string(&mut self, text: &str) {
        self.text.push('"');
        for character in text.chars() {
            match character {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                // Control characters are all in the first plane: four digits are enough.
                hidden if steers(hidden) => {
                    self.write(format_args!("\\u{:04x}", u32::from(hidden)))
                }
                shown => self.text.push(shown),
            }
        }
        self.text.push('"');
    }

    /// Bare where that is not mistaken, else between quotes.
    fn text_string(&mut self, text: &str) {
        let bare = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '=');
        if !text.is_empty() && text.chars().all(bare) {
            self.text.push_str(text);
        } else {
            self.json_string(text);
        }
    }

    fn plain(&mut self, value: Value<'_>) {
        match value {
            Value::Number(number) => self.write(format_args!("{number}")),
            Value::Flag(flag) => self.write(format_args!("{flag}")),
            Value::Millis(time) => {
                let micros = time.as_micros();
                self.write(format_args!("{}.{:03}", micros / 1000, micros % 1000));
            }
            Value::None | Value::Text(_) => unreachable!("written by the caller"),
        }
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        self.text
            .write_fmt(text)
            .expect("a string takes everything");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(format: LogFormat, text: &str) -> String {
        let mut line = Line::new(format);
        line.field("a", Value::Text(text));
        line.field("b", Value::Flag(true));
        String::from_utf8(line.finish()).expect("UTF-8")
    }

    #[test]
    fn text_is_quoted_where_it_could_be_mistaken() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                line(LogFormat::Text, text),
                format!("a={expected} b=true\n")
            );
        };
        check("/ws/1?k&v", "/ws/1?k&v");
        check("", r#""""#);
        check("x b=false", r#""x b=false""#);
        check("k=v", r#""k=v""#);
        check("a\nb", r#""a\u000ab""#);
        check("\u{1b}[31m\u{9b}31m", r#""\u001b[31m\u009b31m""#);
        check("quo\"te\\", r#""quo\"te\\""#);
        check("\u{202e}evil", r#""\u202eevil""#);
        check("grün", "\"grün\"");
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_line_or_a_field(text in any::<String>()) {
            let json = line(LogFormat::Json, &text);
            let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            prop_assert_eq!(&value["a"], &serde_json::Value::String(text.clone()));
            prop_assert_eq!(&value["b"], &serde_json::Value::Bool(true));

            let logfmt = line(LogFormat::Text, &text);
            for form in [&json, &logfmt] {
                let body = form.strip_suffix('\n').expect("a line's end");
                prop_assert!(!body.chars().any(steers), "{body:?}");
            }
            let value = logfmt.strip_prefix("a=").and_then(|l| l.strip_suffix(" b=true\n"));
            let value = value.expect("both fields at their places");
            let quoted = value.starts_with('"');
            let bare = || serde_json::Value::from(value);
            let back = if quoted { serde_json::from_str(value).expect("a string") } else { bare() };
            prop_assert_eq!(back, serde_json::Value::String(text));
        }
    }
}
