use proptest::prelude::*;

use super::*;

fn proxied(source: &str, destination: &str) -> Header {
    Header::Proxied {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
    }
}

/// A header of version 2 with its length filled in.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("a short body");
    let mut bytes = V2_START.to_vec();
    bytes.extend([command, family]);
    bytes.extend(len.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// Reads `bytes` as a careful reader does: only what surely belongs to the header.
fn read(bytes: &[u8]) -> Result<Option<(Header, usize)>, ParseError> {
    let mut have = 0;
    loop {
        match parse(&bytes[..have])? {
            Progress::Complete { header, len } => {
                assert_eq!(len, have, "read past the header's end");
                return Ok(Some((header, len)));
            }
            Progress::Incomplete { at_least } => {
                assert!((1..=V2_MAX).contains(&at_least), "{at_least}");
                have += at_least;
            }
        }
        if have > bytes.len() {
            return Ok(None);
        }
    }
}

#[test]
fn headers_carry_the_principal() {
    let check = |bytes: &[u8], header: Header| {
        let complete = Progress::Complete {
            header,
            len: bytes.len(),
        };
        assert_eq!(parse(bytes), Ok(complete), "{}", bytes.escape_ascii());
        let followed = [bytes, b"\r\nGET / HTTP/1.1\r\n"].concat();
        assert_eq!(parse(&followed), Ok(complete));
        assert_eq!(read(&followed), Ok(Some((header, bytes.len()))));
    };
    check(
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        proxied("255.255.255.255:65535", "255.255.255.255:65535"),
    );
    check(
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
        proxied("192.168.0.1:56324", "192.168.0.11:443"),
    );
    check(
        b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
          ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        proxied(
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
        ),
    );
    check(b"PROXY TCP6 :: ::1 0 1\r\n", proxied("[::]:0", "[::1]:1"));
    check(b"PROXY UNKNOWN\r\n", Header::Unknown);
    check(
        b"PROXY UNKNOWN ffff:f...f:ffff whatever \xc3\xa9\r\n",
        Header::Unknown,
    );

    let v4 = [10, 0, 0, 1, 10, 0, 0, 2, 0x04, 0xd2, 0x01, 0xbb];
    let mut v6 = [0; 36];
    v6[15] = 1;
    v6[31] = 2;
    v6[33] = 80;
    check(
        &v2(0x21, 0x11, &v4),
        proxied("10.0.0.1:1234", "10.0.0.2:443"),
    );
    check(&v2(0x21, 0x21, &v6), proxied("[::1]:80", "[::2]:0"));
    let with_tlv = [&v4[..], &[0x03, 0, 4, 1, 2, 3, 4, 0x04, 0, 1, 0]].concat();
    check(
        &v2(0x21, 0x11, &with_tlv),
        proxied("10.0.0.1:1234", "10.0.0.2:443"),
    );
    check(&v2(0x20, 0x00, &[]), Header::Local);
    check(&v2(0x20, 0x11, &v4), Header::Local);
    check(&v2(0x21, 0x00, &[1, 2, 3]), Header::Unknown);
    check(&v2(0x21, 0x12, &v4), Header::Unknown);
    check(&v2(0x21, 0x31, &[b'/'; 216]), Header::Unknown);
    check(
        &v2(0x21, 0x11, &[7; V2_MAX - 16]),
        proxied("7.7.7.7:1799", "7.7.7.7:1799"),
    );
}

#[test]
fn what_is_no_header_is_refused() {
    let check = |bytes: &[u8], error: ParseError| {
        assert_eq!(parse(bytes), Err(error), "{}", bytes.escape_ascii());
    };
    use ParseError as E;
    check(b"G", E::NotProxy);
    check(b"PROXX", E::NotProxy);
    check(b"\r\n\r\n\0\r\nQUIT\r", E::NotProxy);
    check(b"proxy TCP4 ", E::NotProxy);
    for line in [
        "",
        "TCP4",
        "TCP4 1.1.1.1 1.1.1.1 1",
        "TCP4 1.1.1.1 1.1.1.1 1 1 ",
        "TCP4 1.1.1.1 1.1.1.1 1 1 1",
        "TCP4  1.1.1.1 1.1.1.1 1 1",
        "TCP4 1.1.1.1 1.1.1.1 65536 1",
        "TCP4 1.1.1.1 1.1.1.1 +1 1",
        "TCP4 1.1.1.1 1.1.1.1 01 1",
        "TCP4 1.1.1.1 1.1.1.1 1 -1",
        "TCP4 01.1.1.1 1.1.1.1 1 1",
        "TCP4 ::1 ::1 1 1",
        "TCP6 1.1.1.1 1.1.1.1 1 1",
        "TCP6 ::1%eth0 ::1 1 1",
        "TCP5 1.1.1.1 1.1.1.1 1 1",
        "UDP4 1.1.1.1 1.1.1.1 1 1",
        "UNKNOWNS",
        "TCP4 1.1.1.1 1.1.1.1 1 1\n",
    ] {
        check(format!("PROXY {line}\r\n").as_bytes(), E::V1);
    }
    let endless = [V1_START, &[b'x'; 200]].concat();
    check(&endless, E::V1TooLong);
    let one_too_long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 92], b"\r\n"].concat();
    assert_eq!(one_too_long.len(), V1_MAX + 1);
    check(&one_too_long, E::V1TooLong);
    assert!(matches!(
        parse(&endless[..V1_MAX - 1]),
        Ok(Progress::Incomplete { .. })
    ));

    for command in [0x00, 0x10, 0x22, 0x31, 0xff] {
        check(&v2(command, 0x11, &[0; 12]), E::V2);
    }
    for family in [0x41, 0x13, 0xff] {
        check(&v2(0x21, family, &[0; 12]), E::V2);
    }
    check(&v2(0x21, 0x11, &[0; 11]), E::V2TooShort);
    check(&v2(0x21, 0x21, &[0; 35]), E::V2TooShort);
    check(&v2(0x21, 0x11, &[0; V2_MAX - 15]), E::V2TooLong);
}

#[test]
fn mixed_families_are_written_as_ipv6() {
    let header = proxied("10.0.0.1:1", "[::1]:2");
    let line = encode(ProxyVersion::V1, &header);
    assert_eq!(line, b"PROXY TCP6 ::ffff:10.0.0.1 ::1 1 2\r\n");
    let read = read(&encode(ProxyVersion::V2, &header)).expect("a header");
    let expected = proxied("[::ffff:10.0.0.1]:1", "[::1]:2");
    assert_eq!(read, Some((expected, 16 + 36)));
}

fn any_header() -> impl Strategy<Value = Header> {
    let four = any::<([u8; 4], u16, [u8; 4], u16)>().prop_map(|(a, p, b, q)| Header::Proxied {
        source: (a, p).into(),
        destination: (b, q).into(),
    });
    let six = any::<([u8; 16], u16, [u8; 16], u16)>().prop_map(|(a, p, b, q)| Header::Proxied {
        source: (a, p).into(),
        destination: (b, q).into(),
    });
    prop_oneof![four, six, Just(Header::Local), Just(Header::Unknown)]
}

proptest! {
    #[test]
    fn what_is_written_is_read_and_nothing_behind_it(
        header in any_header(),
        behind in any::<[u8; 9]>(),
    ) {
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let written = encode(version, &header);
            let expected = match (version, header) {
                (ProxyVersion::V1, Header::Local) => Header::Unknown,
                _ => header,
            };
            let followed = [&written[..], &behind].concat();
            prop_assert_eq!(read(&followed), Ok(Some((expected, written.len()))));
            // Split anywhere, it is incomplete, and what it asks for is never the client's.
            for end in 0..written.len() {
                let Ok(Progress::Incomplete { at_least }) = parse(&written[..end]) else {
                    panic!("{} of {}", end, written.escape_ascii());
                };
                prop_assert!(at_least >= 1 && end + at_least <= written.len());
            }
        }
    }

    /// Once refused, refused whatever follows; and nothing panics.
    #[test]
    fn an_error_is_final(
        start in prop_oneof![
            Just(V1_START),
            Just(V2_START),
            Just(b"PROXY TCP4 ".as_slice()),
            Just(b"".as_slice()),
        ],
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes = [start, &bytes].concat();
        let first = (0..=bytes.len()).find(|end| parse(&bytes[..*end]).is_err());
        if let Some(first) = first {
            for end in first..=bytes.len() {
                prop_assert!(parse(&bytes[..end]).is_err());
            }
        }
    }
}
