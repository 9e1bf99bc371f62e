use super::*;

#[test]
fn backend_addresses_are_read_and_written_alike() {
    for text in [
        "127.0.0.1:9000",
        "[::1]:9000",
        "chat-1.internal:9000",
        "unix:/run/chat.sock",
    ] {
        let address: BackendAddr = text.parse().expect(text);
        assert_eq!(address.to_string(), text);
    }
    for text in [
        "",
        "chat",
        "chat:",
        "chat:0",
        ":9",
        "1.2.3:9000",
        "1.2.3.4:0",
        "http://a:1",
        "a b:1",
        "unix:",
        "unix:\0admin",
        "unix:/run/a\0b",
        "chat:70000",
    ] {
        assert!(text.parse::<BackendAddr>().is_err(), "{text}");
    }
}

#[test]
fn an_abstract_socket_is_no_address_to_listen_on() {
    for text in ["unix:", "unix:\0admin"] {
        assert!(text.parse::<ListenAddr>().is_err(), "{text:?}");
    }
    assert!("unix:/run/a.sock".parse::<ListenAddr>().is_ok());
}

#[test]
fn i12_own_addresses_show_in_backends_as_written() {
    let check = |own: &str, backend: &str, expected: bool| {
        let own = OwnAddresses::new(vec![own.parse().expect(own)]);
        let found = own.shows_in(&backend.parse().expect(backend));
        assert_eq!(found, expected, "{backend} at {own:?}");
    };
    check("127.0.0.1:9900", "127.0.0.1:9900", true);
    check("127.0.0.1:9900", "[::ffff:127.0.0.1]:9900", true);
    check("127.0.0.1:9900", "0.0.0.0:9900", true);
    check("127.0.0.1:9900", "localhost:9900", true);
    check("127.0.0.1:9900", "LOCALHOST.:9900", true);
    check("127.0.0.1:9900", "a.localhost:9900", true);
    check("127.0.0.1:9900", "127.0.0.2:9900", false);
    check("127.0.0.1:9900", "127.0.0.1:9901", false);
    check("127.0.0.1:9900", "chat.internal:9900", false);
    check("0.0.0.0:80", "127.0.0.2:80", true);
    check("[::]:80", "127.0.0.1:80", true);
    check("0.0.0.0:80", "10.0.0.1:80", false);
    check("10.0.0.1:80", "10.0.0.1:80", true);
    check("10.0.0.1:80", "0.0.0.0:80", false);
    check("10.0.0.1:80", "localhost:80", false);
    check("unix:/run/a.sock", "unix:/run/a.sock", true);
    check("unix:/run/a.sock", "unix:/run/b.sock", false);
}

#[test]
fn networks_see_through_mapped_addresses() {
    let mut networks = Networks::default();
    networks.add("10.1.2.3/8").expect("a network");
    networks.add("::1").expect("an address");
    let holds = |text: &str| networks.contains(text.parse().expect("an address"));
    assert!(holds("10.255.0.1") && holds("::ffff:10.0.0.1") && holds("::1"));
    assert!(!holds("11.0.0.1") && !holds("::2"));
    assert!(networks.add("10.0.0.0/33").is_err());
}

#[test]
fn a_network_is_the_same_however_it_is_written() {
    let check = |text: &str, expected: &str| {
        assert_eq!(network(text).expect(text).to_string(), expected, "{text}");
    };
    check("::ffff:192.0.2.7", "192.0.2.7/32");
    check("::ffff:192.0.2.7/120", "192.0.2.0/24");
    check("::ffff:c000:207", "192.0.2.7/32");
    check("::ffff:0:0/96", "0.0.0.0/0");
    check("::ffff:0:0/95", "::fffe:0:0/95");
    check("192.0.2.7/24", "192.0.2.0/24");
    check("2001:db8::1", "2001:db8::1/128");
    check("::/0", "::/0");
}
