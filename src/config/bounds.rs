//! How large what operators and sources write may be: files, documents of etcd and of the admin
//! API alike. The bounds are looked at before anything is built, and without recursion, so that no
//! text ends the process or holds the control plane.

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
    fn texts_are_clipped_at_letters() {
        assert_eq!(clipped("äöü".to_owned(), 3), "äö…");
        assert_eq!(clipped("äöü".to_owned(), 6), "äöü");
        assert_eq!(clipped(String::new(), 0), "");
    }
}
