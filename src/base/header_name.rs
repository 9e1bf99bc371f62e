//! Equivalence of header names. CGI, WSGI, PHP and many frameworks turn a header into a variable:
//! letters of either case become capitals, and everything that is neither letter nor digit becomes
//! `_`. So `X_User` and `X.User` reach an application as `X-User` does.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::HeaderName;

/// Whether both name the same variable of an application.
pub fn alike(one: &str, other: &str) -> bool {
    one.len() == other.len() && folded(one).eq(folded(other))
}

/// Whether `name` begins with `prefix`, compared as [`alike`] does.
pub fn begins_alike(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len() && folded(name).zip(folded(prefix)).all(|(a, b)| a == b)
}

/// Whether a name has only lower-case letters, digits and `-`. [`plain`] returns this form.
pub fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte == fold(byte))
}

/// The one form of all names that are alike.
pub fn plain(name: &str) -> Cow<'_, str> {
    if is_plain(name) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(folded(name).map(char::from).collect())
}

/// Removes every field with an equivalent name.
pub fn remove_alike(headers: &mut HeaderMap, name: &str) {
    remove_where(headers, |found| alike(found, name));
}

/// Removes every field whose name matches.
pub fn remove_where(headers: &mut HeaderMap, is_so: impl Fn(&str) -> bool) {
    let found = headers.keys().filter(|name| is_so(name.as_str()));
    for name in found.cloned().collect::<Vec<HeaderName>>() {
        headers.remove(name);
    }
}

fn folded(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(fold)
}

fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte.to_ascii_lowercase()
    } else {
        b'-'
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_cgi_makes_alike_are_alike() {
        for other in ["x-user", "X-User", "x_user", "X.User", "x~user", "x-uSER"] {
            assert!(alike(other, "x-user") && alike("X_USER", other), "{other}");
            assert_eq!(plain(other), "x-user");
        }
        for other in ["xuser", "x--user", "x-user-", "x-users", ""] {
            assert!(!alike(other, "x-user"), "{other}");
        }
        assert!(begins_alike("X_Forwarded_For", "x-forwarded-"));
        assert!(begins_alike("x-forwarded-", "x-forwarded-"));
        assert!(!begins_alike("x-forwarded", "x-forwarded-"));
        assert!(is_plain("x-user-2") && !is_plain("x_user") && !is_plain("X-User"));
    }

    #[test]
    fn all_fields_of_names_alike_are_removed() {
        let mut headers = HeaderMap::new();
        for name in ["x-user", "x_user", "x.user", "x-users", "x_user"] {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_static("1"));
        }
        remove_alike(&mut headers, "X_User");
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-users"]);
    }

    proptest! {
        #[test]
        fn names_are_alike_when_their_plain_forms_are_equal(
            one in "[a-bA-B._-]{0,4}", other in "[a-bA-B._-]{0,4}",
        ) {
            prop_assert_eq!(alike(&one, &other), plain(&one) == plain(&other));
            prop_assert!(is_plain(&plain(&one)));
            let both = one.clone() + &other;
            prop_assert!(begins_alike(&both, &one));
        }
    }
}
