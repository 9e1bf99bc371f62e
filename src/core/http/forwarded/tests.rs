use proptest::prelude::*;

use super::*;
use crate::core::http::headers::tests::headers;

static LISTED: UntrustedHeaders = UntrustedHeaders {
    remove: Vec::new(),
    keep: Vec::new(),
};

fn hop(peer: &str, trusted: bool) -> Forwarding<'static> {
    Forwarding {
        peer: Some(peer.parse().expect("an address")),
        trusted,
        scheme: "https",
        tls: true,
        untrusted: &LISTED,
        host: "chat.example.com",
        request_id: "ours",
        session: None,
        rfc7239: false,
    }
}

fn check(before: &[(&str, &str)], hop: &Forwarding<'_>, after: &[(&str, &str)]) {
    let mut passed = headers(before);
    forward(&mut passed, hop);
    assert_eq!(passed, headers(after), "{before:?} {hop:?}");
}

#[test]
fn forwarded_fields_of_untrusted_peers_are_replaced() {
    check(
        &[
            ("x-forwarded-for", "10.0.0.1, 127.0.0.1"),
            ("x-forwarded-for", "::1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "admin.internal"),
            ("x-forwarded-prefix", "/admin"),
            ("forwarded", "for=127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("x-request-id", "theirs"),
            ("sessile-subject", "root"),
            ("sessile-session", "x"),
            ("accept", "*/*"),
        ],
        &hop("192.0.2.7", false),
        &[
            ("accept", "*/*"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "chat.example.com"),
            ("x-request-id", "ours"),
        ],
    );
}

#[test]
fn names_that_cgi_makes_alike_are_alike() {
    check(
        &[
            ("x_forwarded_for", "10.0.0.1"),
            ("x-forwarded_host", "admin.internal"),
            ("x_real_ip", "10.0.0.1"),
            ("x_request_id", "theirs"),
            ("sessile_subject", "root"),
            ("sessil", "1"),
            ("xforwarded-for", "1"),
        ],
        &hop("192.0.2.7", false),
        &[
            ("sessil", "1"),
            ("xforwarded-for", "1"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "chat.example.com"),
            ("x-request-id", "ours"),
        ],
    );
}

#[test]
fn forwarded_fields_of_trusted_peers_are_kept_and_extended() {
    check(
        &[
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-for", "10.0.0.9"),
            ("x-forwarded-proto", "wss"),
            ("x-forwarded-host", "public.example.com"),
            ("x-real-ip", "198.51.100.1"),
            ("x-request-id", "theirs"),
            ("sessile-subject", "root"),
        ],
        &hop("::ffff:10.0.0.1", true),
        &[
            ("x-forwarded-for", "198.51.100.1, 10.0.0.9, 10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "public.example.com"),
            ("x-real-ip", "198.51.100.1"),
            ("x-request-id", "theirs"),
        ],
    );
}

#[test]
fn forwarded_is_written_on_request() {
    let quoted = Forwarding {
        peer: Some("2001:db8::1".parse().expect("an address")),
        host: "a\"b:8443",
        rfc7239: true,
        session: Some(SessionId::new(0, 0)),
        ..hop("::1", true)
    };
    check(
        &[("forwarded", "for=198.51.100.1")],
        &quoted,
        &[
            (
                "forwarded",
                r#"for=198.51.100.1, for="[2001:db8::1]";proto=https;host="a\"b:8443""#,
            ),
            ("x-forwarded-for", "198.51.100.1, 2001:db8::1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a\"b:8443"),
            ("x-request-id", "ours"),
            ("sessile-session", "00000000000000000000000000"),
        ],
    );
    let local = Forwarding {
        peer: None,
        host: "",
        rfc7239: true,
        ..hop("::1", false)
    };
    check(
        &[],
        &local,
        &[
            ("forwarded", "for=unknown;proto=https"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "ours"),
        ],
    );
}

#[test]
fn request_ids_that_could_harm_a_log_are_not_taken_over() {
    let check = |lines: &[&str], expected: Option<&str>| {
        let lines: Vec<_> = lines.iter().map(|id| ("x-request-id", *id)).collect();
        assert_eq!(request_id(&headers(&lines)), expected, "{lines:?}");
    };
    check(&["abc-1"], Some("abc-1"));
    check(&[], None);
    check(&[""], None);
    check(&["a b"], None);
    check(&["a", "b"], None);
    check(&["é"], None);
    check(&["x".repeat(128).as_str()], Some("x".repeat(128).as_str()));
    check(&["x".repeat(129).as_str()], None);
}

fn private() -> Networks {
    let mut networks = Networks::default();
    networks.add("10.0.0.0/8").expect("a network");
    networks.add("fd00::/8").expect("a network");
    networks
}

#[test]
fn the_client_is_the_rightmost_untrusted_address() {
    let check = |lists: &[&str], peer: &str, expected: &str| {
        let lines: Vec<_> = lists
            .iter()
            .map(|list| ("x-forwarded-for", *list))
            .collect();
        let peer = peer.parse().expect("an address");
        let client = client(&headers(&lines), peer, &private(), false).expect("no `forwarded`");
        assert_eq!(client.address.to_string(), expected, "{lists:?}");
    };
    check(&["1.1.1.1"], "192.0.2.7", "192.0.2.7");
    check(&[], "10.0.0.1", "10.0.0.1");
    check(&["1.1.1.1"], "10.0.0.1", "1.1.1.1");
    check(&["1.1.1.1"], "::ffff:10.0.0.1", "1.1.1.1");
    check(&["6.6.6.6, 1.1.1.1"], "10.0.0.1", "1.1.1.1");
    check(&["6.6.6.6, 1.1.1.1, 10.0.0.2"], "10.0.0.1", "1.1.1.1");
    check(
        &["6.6.6.6", "1.1.1.1", "fd00::2, 10.0.0.2"],
        "10.0.0.1",
        "1.1.1.1",
    );
    check(&["10.0.0.3, 10.0.0.2"], "10.0.0.1", "10.0.0.3");
    check(&["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.1", "10.0.0.2");
    check(&["garbage"], "10.0.0.1", "10.0.0.1");
    check(&["1.1.1.1:4711"], "10.0.0.1", "1.1.1.1");
    check(&["[2001:db8::1]:443"], "10.0.0.1", "2001:db8::1");
    check(&["[2001:db8::1]"], "10.0.0.1", "2001:db8::1");
    check(&["2001:db8::1"], "10.0.0.1", "2001:db8::1");
    check(&["::ffff:1.1.1.1"], "10.0.0.1", "1.1.1.1");
}

proptest! {
    /// Whatever a client writes in front, the gateway behind a trusted hop sees the same address.
    #[test]
    fn what_a_client_writes_cannot_change_its_address(
        lies in "[ -~]{0,40}",
        client in any::<[u8; 4]>(),
    ) {
        let client = IpAddr::from(client);
        prop_assume!(!private().contains(client));
        let mut headers = HeaderMap::new();
        headers.append(&X_FORWARDED_FOR, lies.parse().expect("visible ASCII"));
        // The hop in front of us trusts no other hop here, so it would replace; one that appends
        // is the harder case.
        append_to_list(&mut headers, &X_FORWARDED_FOR, &[client.to_string()]);
        let peer = "10.0.0.1".parse().expect("an address");
        let seen = super::client(&headers, peer, &private(), false).expect("no `forwarded`");
        prop_assert_eq!(seen.address, client);
    }

    /// The same in `Forwarded`, where a text can also be refused; quotes must not help.
    #[test]
    fn what_a_client_writes_into_forwarded_cannot_change_its_address(
        lies in "([ -~]|[\"\\\\,;=]|for=|10\\.0\\.0\\.9){0,12}",
        client in any::<[u8; 4]>(),
        quoted in any::<bool>(),
    ) {
        let client = IpAddr::from(client);
        prop_assume!(!private().contains(client));
        let own = if quoted { format!("for=\"{client}:80\"") } else { format!("for={client}") };
        let mut headers = HeaderMap::new();
        let line = format!("{lies}, {own};proto=https").parse().expect("visible ASCII");
        headers.append(FORWARDED, line);
        let peer = "10.0.0.1".parse().expect("an address");
        if let Ok(seen) = super::client(&headers, peer, &private(), false) {
            prop_assert_eq!(seen, ClientView { address: client, secure: true });
        }
    }
}

#[test]
fn a_trusted_peer_reports_the_scheme_of_its_client() {
    let check = |lines: &[(&str, &str)], peer: &str, tls: bool, expected: (&str, bool)| {
        let peer = peer.parse().expect("an address");
        let client = client(&headers(lines), peer, &private(), tls).expect("well-formed");
        let found = (client.address.to_string(), client.secure);
        assert_eq!(found, (expected.0.to_owned(), expected.1), "{lines:?}");
    };
    let proto = |value| ("x-forwarded-proto", value);
    check(&[proto("https")], "10.0.0.1", false, ("10.0.0.1", true));
    check(&[proto("http")], "10.0.0.1", true, ("10.0.0.1", false));
    check(&[proto("wss")], "10.0.0.1", false, ("10.0.0.1", true));
    check(&[proto("gopher")], "10.0.0.1", true, ("10.0.0.1", true));
    check(&[proto("https")], "192.0.2.7", false, ("192.0.2.7", false));
    let addresses = ("x-forwarded-for", "6.6.6.6, 1.1.1.1, 10.0.0.2");
    check(
        &[addresses, proto("https")],
        "10.0.0.1",
        false,
        ("1.1.1.1", true),
    );
    check(
        &[addresses, proto("https, http, https")],
        "10.0.0.1",
        true,
        ("1.1.1.1", false),
    );
    let forwarded = |value| ("forwarded", value);
    check(
        &[forwarded("for=203.0.113.7;proto=https")],
        "10.0.0.1",
        false,
        ("203.0.113.7", true),
    );
    check(
        &[forwarded("for=6.6.6.6, for=203.0.113.7, for=10.0.0.2")],
        "10.0.0.1",
        true,
        ("203.0.113.7", true),
    );
    // The older field goes first: a proxy that writes it may pass a stranger's newer one on.
    check(
        &[("x-forwarded-for", "1.1.1.1"), forwarded("for=10.0.0.9")],
        "10.0.0.1",
        false,
        ("1.1.1.1", false),
    );
    let broken = headers(&[forwarded("for=\"1.1.1.1")]);
    let peer = "10.0.0.1".parse().expect("an address");
    assert_eq!(
        client(&broken, peer, &private(), false),
        Err(MalformedForwarded)
    );
}

#[test]
fn both_fields_name_the_trusted_hops() {
    let both = Forwarding {
        rfc7239: true,
        tls: false,
        ..hop("10.0.0.1", true)
    };
    check(
        &[
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a"),
            ("x-request-id", "theirs"),
            ("forwarded", "for=6.6.6.6"),
        ],
        &both,
        &[
            ("x-forwarded-for", "198.51.100.1, 10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a"),
            ("x-request-id", "theirs"),
            (
                "forwarded",
                "for=198.51.100.1;proto=https, for=10.0.0.1;proto=http;host=\"chat.example.com\"",
            ),
        ],
    );
}

#[test]
fn untrusted_peers_cannot_send_headers_that_backends_trust() {
    let lines = [
        ("x-client-ip", "10.0.0.1"),
        ("true_client_ip", "10.0.0.1"),
        ("cf-connecting-ip", "10.0.0.1"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-ssl-client-verify", "SUCCESS"),
        ("x-http-method-override", "DELETE"),
        ("accept", "*/*"),
    ];
    let left = |trusted| {
        let mut passed = headers(&lines);
        forward(&mut passed, &hop("192.0.2.7", trusted));
        lines
            .iter()
            .filter(|(name, _)| passed.contains_key(*name))
            .count()
    };
    assert_eq!((left(false), left(true)), (1, lines.len()));
}
