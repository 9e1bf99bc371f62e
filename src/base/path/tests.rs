use proptest::prelude::*;

use super::*;

fn read(raw: &str) -> Result<String, PathFault> {
    CanonicalPath::read(raw).map(|path| path.as_str().to_owned())
}

#[test]
fn i13_equivalent_spellings_have_one_form() {
    let check = |raw: &str, expected: &str| assert_eq!(read(raw).as_deref(), Ok(expected), "{raw}");
    check("/", "/");
    check("/ws/7", "/ws/7");
    check("/ws/", "/ws/");
    check("/%61dmin", "/admin");
    check("/v1%2e0/secret", "/v1.0/secret");
    check("/a%5fb/x", "/a_b/x");
    check("/%7Eroot/x", "/~root/x");
    check("/%7eroot/x", "/~root/x");
    check("//admin/x", "/admin/x");
    check("/a///b//", "/a/b/");
    check("/caf%c3%a9/x", "/caf%C3%A9/x");
    check("/café/x", "/caf%C3%A9/x");
    // Reserved characters stay as they came: some backends tell the two apart.
    check("/a:b", "/a:b");
    check("/a%3ab", "/a%3Ab");
    check("/a%2bb+c", "/a%2Bb+c");
    check("/a{b}|c^[d]", "/a%7Bb%7D%7Cc%5E%5Bd%5D");
    // Doubly encoded is data.
    check("/a%252fb", "/a%252fb");
    check("/%25%32%66", "/%252f");
    check("/.well-known/a.b/...", "/.well-known/a.b/...");
    check("/a/..c", "/a/..c");
}

#[test]
fn i13_what_servers_read_differently_is_refused() {
    let check = |raw: &str, fault| assert_eq!(read(raw), Err(fault), "{raw}");
    for raw in [
        "/.",
        "/..",
        "/a/../b",
        "/a/./b",
        "/a/..",
        "/%2e",
        "/a/%2E%2e/b",
        "/a/.%2e",
        "/a/..%2fb",
        "/a%2f..",
        "/a\\..\\b",
        "/a/..%5Cb",
        "/a/..;/b",
        "/a/..;x=1/b",
        "/a/.%3bx/b",
        "/a/.;/",
    ] {
        check(raw, PathFault::DotSegment);
    }
    for raw in ["/100%", "/%zz", "/a%2", "/%", "/%u0061", "/% 1", "/%+1"] {
        check(raw, PathFault::Percent);
    }
    for raw in [
        "/%c0%af",
        "/%E9",
        "/%ed%a0%80",
        "/%f5%80%80%80",
        "/%c3a",
        "/%80/%c3%a9",
    ] {
        check(raw, PathFault::NotUtf8);
    }
    for raw in ["/a%00", "/a%0d%0ab", "/%7f", "/a\u{1}"] {
        check(raw, PathFault::Control);
    }
    for raw in ["/a b", "/a\"b", "/<a>", "/a`", "/a#b", "/a?b"] {
        check(raw, PathFault::Character);
    }
    check("*", PathFault::NotAbsolute);
    check("", PathFault::NotAbsolute);
}

#[test]
fn ambiguous_spellings_pass_only_if_a_rule_allows_them() {
    let none = PathRules::default();
    let slash = PathRules {
        encoded_slash: true,
        ..none
    };
    let semicolon = PathRules {
        semicolon: true,
        ..none
    };
    let check = |raw: &str, fault: PathFault, rules: PathRules, forwarded: &str| {
        let path = CanonicalPath::read(raw).expect(raw);
        assert_eq!(path.allowed(none), Err(fault), "{raw}");
        assert_eq!(path.allowed(rules), Ok(()), "{raw}");
        assert_eq!(path.forwarded(rules), forwarded, "{raw}");
    };
    check("/a%2fb", PathFault::EncodedSlash, slash, "/a%2Fb");
    check("/a\\b", PathFault::EncodedSlash, slash, "/a%5Cb");
    check("/%5cb", PathFault::EncodedSlash, slash, "/%5Cb");
    check("/a;b=1/x", PathFault::Semicolon, semicolon, "/a;b=1/x");
    check("/a%3bx", PathFault::Semicolon, semicolon, "/a%3Bx");
    let empty = PathRules {
        empty_segments: true,
        ..none
    };
    let path = CanonicalPath::read("//img/http://a").expect("a path");
    assert_eq!(path.forwarded(none), "/img/http:/a");
    assert_eq!(path.forwarded(empty), "//img/http://a");
}

#[test]
fn keys_are_decoded_as_far_as_they_stay_one_segment() {
    let check = |path: &str, key: &str| assert_eq!(path_key(path), key, "{path}");
    check("/a", "/a");
    check("/a%3Ab%21%20%C3%A9", "/a:b! é");
    check("/a%2Fb%5Cc%252F", "/a%2Fb%5Cc%252F");
    let mut written = String::new();
    encode_key("/a:b! é%2F", &mut written);
    assert_eq!(written, "/a:b!%20%C3%A9%2F");
    assert_eq!(*decoded("a%2Fb%20%C3%A9"), *"a/b é".as_bytes());
}

#[test]
fn lookalikes_fold_to_one_text() {
    let check = |key: &str, folded: &str| assert_eq!(fold(key), folded, "{key}");
    check("/admin/x", "/admin/x");
    check("/Admin/X/", "/admin/x");
    check("/admin./x ", "/admin/x");
    check("/CAFÉ", "/café");
    check("/", "");
    check("/.../a", "/.../a");
}

#[test]
fn a_prefix_ends_with_a_segment() {
    let check = |prefix: &str, path: &str, left: Option<&str>| {
        assert_eq!(strip_prefix(prefix, path), left, "{prefix} {path}");
    };
    check("/api", "/api/v1", Some("/v1"));
    check("/api/", "/api", Some("/"));
    check("/api", "/apis", None);
    check("/a:b", "/a%3Ab/x", Some("/x"));
    check("/", "/x", Some("/x"));
    check("/api", "//api//v1", Some("//v1"));
}

/// Bytes in which everything that the reader decides about is likely.
fn spelling() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9._~-]{1,3}",
        2 => Just("/".to_owned()),
        2 => any::<u8>().prop_map(|byte| format!("%{byte:02x}")),
        2 => any::<u8>().prop_map(|byte| format!("%{byte:02X}")),
        1 => Just("é".to_owned()),
        1 => "[!$&'()*+,=:@;\\\\{}|^%]",
        1 => Just("%c3%A9".to_owned()),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// The obvious reading: decodes every byte, and keeps apart what keeps its meaning.
fn twin(raw: &str) -> Vec<Vec<u8>> {
    let mut segments = vec![Vec::new()];
    let mut bytes = raw.bytes().skip(1);
    while let Some(byte) = bytes.next() {
        let last = segments.last_mut().expect("there is one");
        match byte {
            b'/' => segments.push(Vec::new()),
            b'%' => {
                let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                last.push(u8::from_str_radix(&digits, 16).expect("checked before"));
            }
            byte => last.push(byte),
        }
    }
    let end = segments.len() - 1;
    let mut place = 0..;
    segments.retain(|segment| !segment.is_empty() || place.next() == Some(end));
    segments
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn i13_the_form_is_idempotent_and_means_what_was_sent(raw in spelling()) {
        let Ok(path) = CanonicalPath::read(&raw) else { return Ok(()) };
        let text = path.as_str();
        let again = read(text);
        prop_assert_eq!(again.as_deref(), Ok(text));
        prop_assert!(!text.contains("//") && text.is_ascii());
        let last_empty = raw.ends_with('/');
        let mut meant = twin(&raw);
        meant.retain(|segment| !segment.is_empty());
        let mut of_twin: Vec<_> = twin(text);
        of_twin.retain(|segment| !segment.is_empty());
        prop_assert_eq!(of_twin, meant);
        prop_assert_eq!(text.ends_with('/'), last_empty);
        // Another case of the digits is the same path.
        let other: String = raw.split('%').enumerate().map(|(place, part)| {
            match part.split_at_checked(2) {
                Some((digits, rest)) if place > 0 => format!("%{}{rest}", digits.to_uppercase()),
                _ if place > 0 => format!("%{part}"),
                _ => part.to_owned(),
            }
        }).collect();
        let other = read(&other);
        prop_assert_eq!(other.as_deref(), Ok(text));
        let written = path_key_written(text);
        prop_assert_eq!(path_key(text), path_key(&written));
    }
}

fn path_key_written(text: &str) -> String {
    let mut out = String::new();
    encode_key(&path_key(text), &mut out);
    out
}
