//! The file that a path of a request names, below a directory: decoded, and only what a site has to
//! show.

use crate::base::path::decode;

/// A place below the directory that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath {
    /// Relative, decoded, without `.` and `..`; empty for the directory itself.
    pub name: String,
    /// It ends with a slash: a directory is meant.
    pub slash: bool,
}

impl FilePath {
    /// The file of this path, which is in canonical form. None if no file is served under it: one
    /// whose name, or a folder of which, begins with a dot, except `.well-known`.
    pub fn of(path: &str) -> Option<Self> {
        let mut name = String::with_capacity(path.len());
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            let segment = decoded(segment)?;
            let hidden = segment.starts_with('.');
            let known = name.is_empty() && segment == ".well-known";
            if (hidden && !known) || segment.contains(['/', '\\', '\0']) {
                return None;
            }
            if !name.is_empty() {
                name.push('/');
            }
            name.push_str(&segment);
        }
        Some(Self {
            slash: path.ends_with('/'),
            name,
        })
    }

    /// Whether this is the name of a file that can be served: relative, without hidden segments.
    pub fn is_name(name: &str) -> bool {
        !name.is_empty()
            && name.split('/').all(|segment| {
                !segment.is_empty() && !segment.starts_with('.') && !segment.contains(['\\', '\0'])
            })
    }

    /// This file of the directory.
    pub fn inside(&self, file: &str) -> String {
        match &*self.name {
            "" => file.to_owned(),
            directory => format!("{directory}/{file}"),
        }
    }
}

/// The text of a segment; none if an escape is cut off, or if it is not UTF-8.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            bytes.push(decode(after)?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Option<(&str, bool)>) {
        let found = FilePath::of(path);
        let found = found.as_ref().map(|one| (&*one.name, one.slash));
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn paths_name_files_below_the_directory() {
        check("/", Some(("", true)));
        check("/index.html", Some(("index.html", false)));
        check("/a/b/", Some(("a/b", true)));
        check("/a//b", Some(("a/b", false)));
        check("/gr%C3%BC%C3%9Fe%20x.txt", Some(("grüße x.txt", false)));
        check(
            "/.well-known/security.txt",
            Some((".well-known/security.txt", false)),
        );
    }

    #[test]
    fn i12_nothing_leads_out_and_nothing_hidden_is_served() {
        for path in [
            "/..",
            "/../a",
            "/a/../b",
            "/%2e%2e/a",
            "/a/..%2fb",
            "/a%2F..%2Fb",
            "/a%5cb",
            "/a\\b",
            "/.git/config",
            "/a/.env",
            "/.env",
            "/a/.well-known/x",
            "/.",
            "/a%00b",
            "/%ff",
            "/%4",
            "/%zz",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn a_file_is_named_inside_its_directory() {
        let inside = |path| FilePath::of(path).expect("a path").inside("index.html");
        assert_eq!(inside("/"), "index.html");
        assert_eq!(inside("/a/b"), "a/b/index.html");
        for (name, expected) in [
            ("a", true),
            ("a/b.c", true),
            ("", false),
            ("/a", false),
            ("a/", false),
            ("../a", false),
            ("a/.b", false),
            ("a\\b", false),
        ] {
            assert_eq!(FilePath::is_name(name), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn i12_a_name_has_no_segment_that_climbs(path in "/[a./%25eEfF0-9\\\\]{0,24}") {
            if let Some(found) = FilePath::of(&path) {
                prop_assert!(!found.name.starts_with('/') && !found.name.contains("//"));
                let climbs = |segment: &str| segment.starts_with('.') && segment != ".well-known";
                prop_assert!(!found.name.split('/').any(climbs), "{}", found.name);
            }
        }
    }
}
