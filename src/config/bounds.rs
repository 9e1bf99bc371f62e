//! How large what operators and sources write may be: files, documents of etcd and of the admin
//! API alike. The bounds are looked at before anything is built, and without recursion, so that no
//! text ends the process or holds the control plane.

use crate::config::span::SyntaxFault;

/// Bytes of a configuration file.
pub const FILE_BYTES_MAX: usize = 16 << 20;
/// Bytes of a document.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Values of a configuration file, tables and lists included.
pub const FILE_VALUES_MAX: usize = 500_000;
/// Values of a document.
pub const DOCUMENT_VALUES_MAX: usize = 60_000;
/// Tables and lists inside one another.
pub const DEPTH_MAX: usize = 24;
/// Bytes of all keys on the way to a value. Each value remembers its way.
pub const KEY_PATH_BYTES_MAX: usize = 1024;
/// Diagnostics of one reading; how many more there are is counted.
pub const DIAGNOSTICS_MAX: usize = 200;
/// Bytes of a diagnostic's message that are shown.
pub const MESSAGE_BYTES_MAX: usize = 1000;

/// Looks at a JSON text from outside: its length, how deep it nests, how many values it has.
///
/// # Errors
/// The first bound that it breaks.
pub fn check_json(text: &str) -> Result<(), SyntaxFault> {
    if text.len() > DOCUMENT_BYTES_MAX {
        let message = format!(
            "this document has {} bytes; use at most {DOCUMENT_BYTES_MAX}",
            text.len()
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
            (DEPTH_MAX.., _) if depth > DEPTH_MAX => too_deep(),
            (_, DOCUMENT_VALUES_MAX..) => too_many(DOCUMENT_VALUES_MAX),
            _ => continue,
        };
        return Err(SyntaxFault {
            span: at..at + 1,
            message,
        });
    }
    Ok(())
}

/// What is wrong with a value that lies too deep.
pub fn too_deep() -> String {
    format!("this is nested more than {DEPTH_MAX} deep")
}

/// What is wrong with a text that has too many values.
pub fn too_many(max: usize) -> String {
    format!("there are more than {max} values")
}

/// The fault of a value with too long keys.
pub fn keys_too_long() -> String {
    format!("the keys down to this value have more than {KEY_PATH_BYTES_MAX} bytes")
}

/// The part of a text that fits into `max` bytes, with a mark where something is left out.
pub fn clipped(text: String, max: usize) -> String {
    match text.char_indices().map(|(at, _)| at).find(|at| *at >= max) {
        Some(end) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i12_documents_are_bounded_before_they_are_read() {
        let check = |text: &str, fault: Option<&str>| {
            let found = check_json(text).map_err(|fault| fault.message);
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

    #[test]
    fn texts_are_clipped_at_letters() {
        assert_eq!(clipped("äöü".to_owned(), 3), "äö…");
        assert_eq!(clipped("äöü".to_owned(), 6), "äöü");
        assert_eq!(clipped(String::new(), 0), "");
    }
}
