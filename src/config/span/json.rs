//! JSON texts, read like TOML ones: their values, and the place of each.

use figment::value::{Dict, Tag, Value};
use jsonc_parser::ast;
use jsonc_parser::common::Ranged as _;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::config::bounds;
use crate::config::span::{
    At, Document, KeyPath, Spans, SyntaxFault, names_reference, names_secret,
};

/// JSON as RFC 8259 has it.
const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

impl Document {
    /// Parses a JSON text at `under` in the model. Returns its value if it is JSON.
    ///
    /// # Errors
    /// The first syntax error; the document has the text nevertheless, to show the place.
    pub fn parse_json(text: &str, under: &KeyPath) -> (Self, Result<Value, SyntaxFault>) {
        if let Err(fault) = check_bounds(text) {
            let mut document = Self::empty(text);
            document.secrets.push(0..text.len());
            return (document, Err(fault));
        }
        let mut document = Self::empty(text);
        let parsed = parse_to_ast(text, &CollectOptions::default(), &STRICT);
        let read = match parsed {
            Ok(parsed) => match parsed.value {
                Some(value) => {
                    let at = At {
                        path: under.clone(),
                        secret: under.is_secret(),
                    };
                    let range = value.range();
                    document.json(range.start..range.end, &value, &at)
                }
                None => Err(SyntaxFault {
                    span: 0..text.len(),
                    message: "this is empty; a document is a JSON object".to_owned(),
                }),
            },
            Err(error) => {
                let range = error.range();
                Err(SyntaxFault {
                    span: range.start..range.end,
                    message: format!("no JSON: {}", error.kind().to_string().to_lowercase()),
                })
            }
        };
        // If the structure is broken, the end of a secret is unknown.
        if read.is_err() && names_secret(text) {
            document.secrets.push(0..text.len());
        }
        document.sort_secrets();
        (document, read)
    }

    fn json(
        &mut self,
        key: std::ops::Range<usize>,
        value: &ast::Value<'_>,
        at: &At,
    ) -> Result<Value, SyntaxFault> {
        let range = value.range();
        let span = range.start..range.end;
        let is_table = matches!(value, ast::Value::Object(_));
        let spans = Spans {
            key,
            value: span.clone(),
            is_table,
        };
        self.spans.insert(at.path.clone(), spans);
        let fault = |message: &str| {
            Err(SyntaxFault {
                span: span.clone(),
                message: message.to_owned(),
            })
        };
        if at.path.is_too_long() {
            return fault(&bounds::keys_too_long());
        }
        let name = at.path.0.last().map_or("", String::as_str);
        if at.secret && !names_reference(name) && !is_table {
            self.secrets.push(span.clone());
        }
        match value {
            ast::Value::Object(object) => self.json_object(object, at),
            ast::Value::Array(array) => {
                let mut list = Vec::new();
                for (index, element) in array.elements.iter().enumerate() {
                    let inner = At {
                        path: at.path.join(index.to_string()),
                        secret: at.secret,
                    };
                    let range = element.range();
                    list.push(self.json(range.start..range.end, element, &inner)?);
                }
                Ok(Value::Array(Tag::Default, list))
            }
            ast::Value::StringLit(text) => Ok(Value::from(text.value.as_ref())),
            ast::Value::BooleanLit(truth) => Ok(Value::from(truth.value)),
            ast::Value::NumberLit(number) => number
                .value
                .parse::<i64>()
                .map(Value::from)
                .or_else(|_| number.value.parse::<f64>().map(Value::from))
                .or_else(|_| fault("this is not a number")),
            ast::Value::NullKeyword(_) => fault("null is no value; leave the key out"),
        }
    }

    fn json_object(&mut self, object: &ast::Object<'_>, at: &At) -> Result<Value, SyntaxFault> {
        let mut dict = Dict::new();
        for property in &object.properties {
            let name = property.name.as_str();
            let inner = At {
                path: at.path.join(name),
                secret: at.secret || at.path.makes_secret(name),
            };
            let range = property.name.range();
            let key = range.start..range.end;
            let read = self.json(key.clone(), &property.value, &inner)?;
            if dict.insert(name.to_owned(), read).is_some() {
                return Err(SyntaxFault {
                    span: key,
                    message: format!("`{name}` stands here twice"),
                });
            }
        }
        Ok(Value::Dict(Tag::Default, dict))
    }
}

/// Checks a JSON text before it is parsed: its length, its depth, the number of its values.
///
/// # Errors
/// The first bound that it breaks.
fn check_bounds(text: &str) -> Result<(), SyntaxFault> {
    if text.len() > bounds::DOCUMENT_BYTES_MAX {
        let message = format!(
            "this document has {} bytes; use at most {}",
            text.len(),
            bounds::DOCUMENT_BYTES_MAX
        );
        return Err(SyntaxFault {
            span: 0..0,
            message,
        });
    }
    let (mut depth, mut values) = (0_usize, 1_usize);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'[' | b'{' => (depth, values) = (depth + 1, values + 1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        let message = match (depth, values) {
            (bounds::DEPTH_MAX.., _) if depth > bounds::DEPTH_MAX => bounds::too_deep(),
            (_, bounds::DOCUMENT_VALUES_MAX..) => bounds::too_many(bounds::DOCUMENT_VALUES_MAX),
            _ => continue,
        };
        return Err(SyntaxFault {
            span: at..at + 1,
            message,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under() -> KeyPath {
        KeyPath(vec!["upstreams".to_owned(), "chat".to_owned()])
    }

    #[test]
    fn keys_and_values_have_their_places() {
        let text = "{\"policy\": \"maglev\",\n \"probe\": {\"interval\": [1.5, true]}}";
        let (document, value) = Document::parse_json(text, &under());
        let value = value.expect("JSON");
        let check = |path: &[&str], key: &str, value: &str| {
            let mut full = under();
            full.0.extend(path.iter().map(|step| (*step).to_owned()));
            let spans = document.spans(&full).expect("a place");
            assert_eq!(
                (&text[spans.key.clone()], &text[spans.value.clone()]),
                (key, value)
            );
        };
        check(&["policy"], "\"policy\"", "\"maglev\"");
        check(&["probe", "interval"], "\"interval\"", "[1.5, true]");
        check(&["probe", "interval", "1"], "true", "true");
        let dict = value.as_dict().expect("a table");
        assert_eq!(dict["policy"], Value::from("maglev"));
    }

    #[test]
    fn what_is_no_json_has_a_place() {
        let check = |text: &str, at: usize, expected: &str| {
            let (_, read) = Document::parse_json(text, &under());
            let fault = read.expect_err(text);
            assert!(fault.message.contains(expected), "{text}: {fault:?}");
            assert_eq!(fault.span.start, at, "{text}: {fault:?}");
        };
        check("", 0, "empty");
        check("{\"a\": 1,}", 7, "no JSON");
        check("{\"a\": 1, \"a\": 2}", 9, "twice");
        check("{\"a\": null}", 6, "null");
        check("{'a': 1}", 1, "no JSON");
        check("{\"a\": 1} x", 9, "no JSON");
    }

    #[test]
    fn i11_secrets_are_blotted_out_even_where_the_text_is_broken() {
        let at = KeyPath(vec!["authenticators".to_owned(), "a".to_owned()]);
        let text = "{\"secret\": \"hush-hush\", \"leeway\": 5}";
        let (document, read) = Document::parse_json(text, &at);
        assert!(read.is_ok());
        let hidden: Vec<_> = document
            .secrets
            .iter()
            .map(|one| &text[one.clone()])
            .collect();
        assert_eq!(hidden, ["\"hush-hush\""]);

        let text = "{\"secret\": \"hush-hush\", }";
        let (document, read) = Document::parse_json(text, &at);
        assert!(read.is_err());
        let covers = |range: &std::ops::Range<usize>| text[range.clone()].contains("hush-hush");
        assert!(document.secrets.iter().any(covers));
    }

    #[test]
    fn i12_documents_are_bounded_before_they_are_read() {
        let check = |text: &str, fault: Option<&str>| {
            let found = check_bounds(text).map_err(|fault| fault.message);
            match fault {
                Some(says) => assert!(found.expect_err(says).contains(says)),
                None => assert_eq!(found, Ok(()), "{text}"),
            }
        };
        check("{}", None);
        check(r#"{"a":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"[["}"#, None);
        check(&format!("{}{}", "[".repeat(24), "]".repeat(24)), None);
        check(
            &format!("{}{}", "[".repeat(25), "]".repeat(25)),
            Some("24 deep"),
        );
        check(&"[".repeat(1 << 20), Some("24 deep"));
        check(&"[]".repeat(70_000), Some("60000 values"));
        check(&",".repeat(60_000), Some("60000 values"));
        check(&" ".repeat((1 << 20) + 1), Some("1048577 bytes"));
    }
}
