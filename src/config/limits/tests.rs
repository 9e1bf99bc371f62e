use proptest::prelude::*;

use super::*;

#[test]
fn rates_are_read_and_written_alike() {
    for text in ["1/s", "20/s", "600/m", "1000/h"] {
        assert_eq!(text.parse::<Rate>().expect(text).to_string(), text);
    }
    for text in [
        "",
        "20",
        "0/s",
        "-1/s",
        "1/d",
        "1.5/s",
        "s",
        "/s",
        "5000000000/s",
    ] {
        assert!(text.parse::<Rate>().is_err(), "{text}");
    }
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts
        .iter()
        .map(|text| text.parse().expect("a network"))
        .collect()
}

#[test]
fn the_longest_network_decides() {
    let rules = AddressRules::new(
        nets(&["10.0.0.0/8", "2001:db8::/32", "10.6.6.6/32"]),
        nets(&["10.6.0.0/16", "2001:db8:bad::/48", "10.7.0.0/16"]),
    );
    let check = |address: &str, expected: bool| {
        let address = address.parse().expect("an address");
        assert_eq!(rules.admits(address), expected, "{address}");
    };
    check("10.1.1.1", true);
    check("10.6.1.1", false);
    check("10.6.6.6", true);
    check("::ffff:10.6.6.6", true);
    check("::ffff:10.7.6.6", false);
    check("2001:db8:1::1", true);
    check("2001:db8:bad::1", false);
    check("192.0.2.1", false);
    let denied = AddressRules::new(Vec::new(), nets(&["192.0.2.0/24"]));
    assert!(denied.admits("10.1.1.1".parse().expect("an address")));
    assert!(!denied.admits("192.0.2.9".parse().expect("an address")));
    let both = AddressRules::new(nets(&["192.0.2.0/24"]), nets(&["192.0.2.0/24"]));
    assert!(!both.admits("192.0.2.9".parse().expect("an address")));
}

#[test]
fn an_address_counts_for_its_owners_network() {
    let check = |address: &str, expected: &str| {
        let network = PrefixLengths::default().network(address.parse().expect("an address"));
        assert_eq!(network.to_string(), expected);
    };
    check("192.0.2.1", "192.0.2.1/32");
    check("::ffff:192.0.2.1", "192.0.2.1/32");
    check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64");
}

fn networks() -> impl Strategy<Value = Vec<IpNet>> {
    let network = (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(mut octets, length)| {
        // Few first octets, so that networks meet.
        octets[0] &= 3;
        IpNet::new(IpAddr::from(octets), length)
            .expect("a length")
            .trunc()
    });
    prop::collection::vec(network, 0..12)
}

proptest! {
    /// The obvious twin looks at every network there is.
    #[test]
    fn lists_decide_as_a_scan_of_all_networks_does(
        allow in networks(),
        deny in networks(),
        mut octets in any::<[u8; 4]>(),
    ) {
        octets[0] &= 3;
        let address = IpAddr::from(octets);
        let rules = AddressRules::new(allow.clone(), deny.clone());
        let longest = |list: &[IpNet]| {
            let held = list.iter().filter(|network| network.contains(&address));
            held.map(IpNet::prefix_len).max()
        };
        let expected = match (longest(&allow), longest(&deny)) {
            (None, None) => allow.is_empty(),
            (allowed, denied) => allowed > denied,
        };
        prop_assert_eq!(rules.admits(address), expected);
    }
}
