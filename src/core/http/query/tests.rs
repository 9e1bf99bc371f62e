use proptest::prelude::*;

use super::*;

#[test]
fn parameters_are_decoded() {
    let check = |query: &str, name: &str, expected: &[&str]| {
        let values: Vec<_> = query_values(query, name).collect();
        assert_eq!(values, expected, "{query}");
    };
    check("a=1&b=2&a=3", "a", &["1", "3"]);
    check("a=b+c%20d%2Bé", "a", &["b c d+é"]);
    check("%61=1&a", "a", &["1", ""]);
    check("a=%zz&a=%ff&a=x=y", "a", &["%zz", "\u{fffd}", "x=y"]);
    check("", "a", &[]);
    check("A=1&aa=2", "a", &[]);
}

#[test]
fn segments_of_paths_are_decoded() {
    let check = |segment: &str, expected: Option<&str>| {
        assert_eq!(decode_path(segment).as_deref(), expected, "{segment}");
    };
    check("room", Some("room"));
    check("a+b&c=d", Some("a+b&c=d"));
    check("a%20b%2Fc", Some("a b/c"));
    check("%ff", None);
    check("", Some(""));
}

#[test]
fn parameters_are_taken_out_and_the_rest_stays() {
    let check = |query: &str, left: Option<&str>| {
        assert_eq!(
            without(query, |name| name == "t").as_deref(),
            left,
            "{query}"
        );
    };
    check("a=1&t=2&b=%20+&t=3&t", Some("a=1&b=%20+"));
    check("%74=1&T=2", Some("T=2"));
    check("t=1", None);
    check("a=t&tt=1&&", Some("a=t&tt=1&&"));
    check("a=1;t=2;b&t=3;c=4&d;e", Some("a=1;b&d;e"));
    check("a;t=1&;", Some("a&;"));
    check("x=1&;t=2", Some("x=1&"));
}

#[test]
fn i13_what_some_server_reads_as_a_parameter_is_a_lookalike() {
    let check = |query: &str, expected: bool| {
        assert_eq!(holds_lookalike(query, "as_of"), expected, "{query}");
    };
    check("", false);
    check("as_of=1&b=2", false);
    check("%61s_of=1&as_of=2", false);
    check("as=1&of=2&as_of2=3&xas_of=1", false);
    check("a=as_of;x", false);
    for lookalike in [
        "AS_OF=1",
        "as_of[]=1",
        "as_of%5B0%5D=1",
        "as_of[a][b]",
        "+as_of=1",
        "as_of%20=1",
        "as.of=1",
        "as+of=1",
        "as_of%00x=1",
        "a=1;as_of=2",
        "as_of=1;x",
        ";AS_of",
    ] {
        check(lookalike, true);
        check(&format!("b=1&{lookalike}&c"), true);
    }
}

#[test]
fn i11_secrets_are_cut_out_of_what_is_logged() {
    let check = |text: &str, expected: &str| assert_eq!(redact_target(text, &[]), expected);
    check("/ws", "/ws");
    check("/token=x", "/token=x");
    check("/ws?", "/ws?");
    check("/ws?room=7&keyboard=us", "/ws?room=7&keyboard=us");
    check("/ws?access_token=abc", "/ws?access_token=***");
    check("/ws?a=1&Token=x&b=2&", "/ws?a=1&Token=***&b=2&");
    check(
        "/ws?api-key=x&apikey=y&API_KEY=z",
        "/ws?api-key=***&apikey=***&API_KEY=***",
    );
    check(
        "/ws?access%5Ftoken=abc&t%6Fken=d",
        "/ws?access%5Ftoken=***&t%6Fken=***",
    );
    check("/cb?code=1&state=2", "/cb?code=***&state=***");
    check(
        "/s?X-Amz-Signature=1&X-Amz-Date=2",
        "/s?X-Amz-Signature=***&X-Amz-Date=2",
    );
    check("/io?EIO=4&sid=abc", "/io?EIO=4&sid=***");
    check("/ws?t=eyJhbGciOi.eyJzdWIi.c2ln", "/ws?t=***");
    check("/ws?eyJhbGciOi.eyJzdWIi.c2ln", "/ws?***");
    check("/ws?token=a=b?c", "/ws?token=***");
    check("/ws?token=", "/ws?token=");
    check("/ws?a=1?token=x", "/ws?a=1?token=***");
    check("/ws?a;b=1;token=x;y&c=1", "/ws?a;b=1;token=***&c=1");
    let also = ["u".to_owned(), "a b".to_owned()];
    let shown = redact_target("/ws?a+b=1&%75=2&v=3", &also);
    assert_eq!(shown, "/ws?a+b=***&%75=***&v=3");
    for name in [
        "access_token",
        "token",
        "jwt",
        "key",
        "api_key",
        "apikey",
        "auth",
        "authorization",
        "password",
        "secret",
        "sig",
        "signature",
        "session",
        "ticket",
        "code",
    ] {
        check(&format!("/?{name}=v1"), &format!("/?{name}=***"));
    }
}

#[test]
fn i11_encoded_secrets_under_other_names_are_cut_out() {
    let check = |text: &str, expected: &str| assert_eq!(redact_target(text, &[]), expected);
    for (value, hides) in [
        ("eyJhbGciOi%2EeyJzdWIi%2Ec2ln", true),
        ("%65yJhbGciOi.eyJzdWIi.c2ln", true),
        ("Bearer%20eyJhbGciOi.eyJzdWIi.c2ln", true),
        ("abc%26access_token%3Ds3cret", true),
        ("https%3A%2F%2Fa.b%2F%3Ftoken%3Ds3cret", true),
        ("https%253A%252F%252Fa.b%252F%253Ftoken%253Ds3cret", true),
        ("%7B%22access_token%22%3A%20%22s3cret%22%7D", true),
        ("%7B%22a%22%3A%7B%22password%22:1", true),
        ("%2525252525252525", true),
        ("a%20b%26c%3Dd", false),
        ("keyJack.x", false),
        ("https%3A%2F%2Fa.b%2F%3Froom%3D7", false),
        ("100%", false),
        ("token", false),
    ] {
        let shown = if hides { "***" } else { value };
        check(
            &format!("/?data={value}&b=1"),
            &format!("/?data={shown}&b=1"),
        );
    }
}

#[test]
fn i11_tokens_in_paths_are_cut_out() {
    let check = |path: &str, expected: &str| {
        assert_eq!(redact_target(path, &[]), expected);
        // With a query behind it too.
        let (path, expected) = (format!("{path}?room=7"), format!("{expected}?room=7"));
        assert_eq!(redact_target(&path, &[]), expected);
    };
    check("/ws/eyJhbGciOi.eyJzdWIi.c2ln/room", "/ws/***/room");
    check("/eyJhbGciOi%2EeyJzdWIi%2Ec2ln", "/***");
    check("/%65yJhbGciOi.eyJzdWIi.c2ln", "/***");
    check("/a/Bearer%20eyJhbGciOi.eyJzdWIi.c2ln/", "/a/***/");
    check("/a/%2565yJhbGciOi.eyJzdWIi.c2ln", "/a/***");
    check("/a;token=s3cret/b", "/***/b");
    check("/a;jsessionid=s3cret", "/***");
    check("/a%3Bsession=s3cret", "/***");
    check("/go%3Faccess_token%3Ds3cret", "/***");
    check("/token=x", "/token=x");
    check("/keyJack.x/a;v=1/caf%C3%A9", "/keyJack.x/a;v=1/caf%C3%A9");
    check("*", "*");
    check("", "");
}

proptest! {
    #[test]
    fn i11_a_token_shows_nowhere_and_the_rest_stays(
        before in "(&?[a-d]{0,3}(=[0-9%+]{0,4})?){0,3}",
        after in "(&[a-d]{0,3}(=[0-9%+]{0,4})?){0,3}",
        token in "[!-%'-~]{1,20}",
    ) {
        let shown = redact_target(&format!("/p?{before}&token={token}{after}"), &[]).into_owned();
        prop_assert_eq!(shown, format!("/p?{before}&token=***{after}"));
    }
}
