use super::*;

#[test]
fn clients_are_found_by_address_and_network_in_any_spelling() {
    let check = |client: &str, network: &str, expected: bool| {
        let network: IpNet = network.parse().expect(network);
        let found = address(client).is_some_and(|client| network.contains(&client));
        assert_eq!(found, expected, "{client} in {network}");
    };
    check("192.0.2.7:1234", "192.0.2.7/32", true);
    check("192.0.2.7", "192.0.2.0/24", true);
    check("[::ffff:192.0.2.7]:1", "192.0.2.0/24", true);
    check("[2001:db8::1]:443", "2001:db8::/32", true);
    check("192.0.3.7:1", "192.0.2.0/24", false);
    check("unix", "0.0.0.0/0", false);
}

#[test]
fn what_is_measured_is_asked_for_only_where_it_matters() {
    let none = MoreFilters::default();
    assert!(none.takes_measured(|| panic!("no filter needs it")));
    let is = || Measured {
        age: Duration::from_secs(10),
        idle: Duration::from_secs(5),
        messages: 7,
        bytes: 70,
        lost: 0,
    };
    let check = |change: fn(&mut MoreFilters), expected: bool| {
        let mut filters = MoreFilters::default();
        change(&mut filters);
        assert_eq!(filters.takes_measured(is), expected, "{filters:?}");
    };
    check(|one| one.age_min = Some(Duration::from_secs(10)), true);
    check(|one| one.age_min = Some(Duration::from_secs(11)), false);
    check(|one| one.idle_min = Some(Duration::from_secs(6)), false);
    check(|one| one.messages_min = Some(7), true);
    check(|one| one.messages_min = Some(8), false);
    check(|one| one.bytes_min = Some(71), false);
    check(|one| one.lost = true, false);
}

#[test]
fn i11_the_log_shows_the_filters_and_no_key() {
    let mut query = SessionQuery::default();
    assert_eq!(query.to_string(), "all");
    query.route = Some("chat".to_owned());
    query.more = Some(Box::new(MoreFilters {
        key: Some(KeyFilter {
            any: vec![b"secret".to_vec()],
            fingerprint: None,
        }),
        messages_min: Some(7),
        ..MoreFilters::default()
    }));
    assert_eq!(query.to_string(), "route=chat key=… min_messages=7");
    assert!(!format!("{query:?}").contains("115, 101"), "{query:?}");
}

#[test]
fn a_key_is_found_by_its_bytes_or_its_fingerprint() {
    let filters = |any: &[&[u8]], fingerprint| MoreFilters {
        key: Some(KeyFilter {
            any: any.iter().map(|one| one.to_vec()).collect(),
            fingerprint,
        }),
        ..MoreFilters::default()
    };
    for filters in [
        filters(&[b"0x", b"ann"], None),
        filters(&[], Some(fingerprint(b"ann"))),
    ] {
        assert!(filters.takes_key(Some(b"ann")));
        assert!(!filters.takes_key(Some(b"bob")) && !filters.takes_key(None));
    }
    assert!(MoreFilters::default().takes_key(None));
}
