use super::*;

fn path(steps: &str) -> KeyPath {
    KeyPath(steps.split(' ').map(str::to_owned).collect())
}

#[test]
fn paths_are_shown_as_an_operator_would_say_them() {
    let check = |steps: &str, shown: &str| assert_eq!(path(steps).to_string(), shown);
    check("routes 2 timeouts idle", "routes[2].timeouts.idle");
    check("routes 0 headers x.y", "routes[0].headers.\"x.y\"");
    check("routes 0 headers ", "routes[0].headers.\"\"");
    check("upstreams chat", "upstreams.chat");
}

#[test]
fn i11_secrets_are_known_by_their_keys() {
    let check = |steps: &str, secret: bool| assert_eq!(path(steps).is_secret(), secret, "{steps}");
    check("admin token", true);
    check("admin tokn", true);
    check("admin Token value", true);
    check("admin token file", false);
    check("admin listen", false);
    check("routes 0 request_headers set Authorization", true);
    check("routes 0 headers x-api-key prefix", true);
    check("upstreams token-service backends 0", false);
    check("listeners 0 tls certificates 0 key", false);
}

#[test]
fn keys_and_values_have_their_places() {
    let text = "[[routes]]\nname = \"a\"\ntls.certificates = [{ cert = 1 }]\n";
    let (document, faults) = Document::parse(text);
    assert_eq!(faults, []);
    let check = |steps: &str, key: &str, value: &str| {
        let spans = document.spans(&path(steps)).expect(steps);
        assert_eq!(
            (&text[spans.key.clone()], &text[spans.value.clone()]),
            (key, value)
        );
    };
    check("routes 0", "[[routes]]", "[[routes]]");
    check("routes 0 name", "name", "\"a\"");
    check(
        "routes 0 tls certificates",
        "certificates",
        "[{ cert = 1 }]",
    );
    check("routes 0 tls certificates 0 cert", "cert", "1");
}

#[test]
fn a_lone_value_is_toml_or_text() {
    let check = |text: &str, value: Value| assert_eq!(lone_value(text), value, "{text}");
    check("5", Value::from(5_i64));
    check("true", Value::from(true));
    check("\"5\"", Value::from("5"));
    check("127.0.0.1:9900", Value::from("127.0.0.1:9900"));
    check("", Value::from(""));
    check("[\"a\"]", Value::from(vec!["a"]));
    check("5\nother = 6", Value::from("5\nother = 6"));
    check("\"a", Value::from("\"a"));
}
