use super::*;

#[test]
fn headers_of_every_length_form_are_read() {
    let check = |bytes: &[u8], payload: u64, len: usize, masked: bool| {
        let header = FrameHeader::parse(bytes).expect("complete");
        assert_eq!(
            (header.payload, header.len, header.mask.is_some()),
            (payload, len, masked)
        );
        for shorter in 0..len {
            assert_eq!(
                FrameHeader::parse(&bytes[..shorter]),
                None,
                "{shorter} of {bytes:?}"
            );
        }
    };
    check(&[0x81, 0x05], 5, 2, false);
    check(&[0x81, 0x85, 1, 2, 3, 4], 5, 6, true);
    check(&[0x82, 126, 1, 0], 256, 4, false);
    check(&[0x82, 254, 1, 0, 9, 9, 9, 9], 256, 8, true);
    check(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536, 10, false);
    check(
        &[0x82, 255, 0, 0, 0, 0, 0, 1, 0, 0, 9, 9, 9, 9],
        65_536,
        14,
        true,
    );
}

#[test]
fn only_the_shortest_form_of_a_length_is_the_shortest() {
    let check = |bytes: &[u8], shortest: bool| {
        let header = FrameHeader::parse(bytes).expect("complete");
        assert_eq!(header.shortest, shortest, "{bytes:02x?}");
    };
    check(&[0x82, 0], true);
    check(&[0x82, 125], true);
    check(&[0x82, 126, 0, 0], false);
    check(&[0x82, 126, 0, 125], false);
    check(&[0x82, 126, 0, 126], true);
    check(&[0x82, 126, 255, 255], true);
    check(&[0x82, 127, 0, 0, 0, 0, 0, 0, 0, 8], false);
    check(&[0x82, 127, 0, 0, 0, 0, 0, 0, 255, 255], false);
    check(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], true);
    check(&[0x82, 127, 255, 0, 0, 0, 0, 0, 0, 0], true);
}

#[test]
fn a_message_is_one_frame_whose_length_is_in_the_shortest_form() {
    for length in [0, 125, 126, 65_535, 65_536] {
        for mask in [None, Some([7, 1, 9, 3])] {
            let payload = vec![b'x'; length];
            let frame = data_frame(Opcode::Binary, &payload, mask);
            let header = FrameHeader::parse(&frame).expect("complete");
            assert!(header.fin && header.shortest, "{length}");
            assert_eq!(header.opcode, Some(Opcode::Binary));
            assert_eq!((header.payload, header.mask), (length as u64, mask));
            let key = mask.unwrap_or_default();
            let plain = frame[header.len..].iter().zip(key.iter().cycle());
            assert!(plain.map(|(byte, key)| byte ^ key).eq(payload));
        }
    }
}

#[test]
fn bits_and_opcodes_are_read() {
    let header = FrameHeader::parse(&[0x41, 0]).expect("complete");
    assert_eq!(
        (header.fin, header.reserved, header.opcode),
        (false, 4, Some(Opcode::Text))
    );
    let unknown = FrameHeader::parse(&[0x83, 0]).expect("complete");
    assert_eq!(unknown.opcode, None);
}

#[test]
fn a_close_frame_is_answered_with_its_own_code_if_that_may_be_sent() {
    let check = |code: Option<u16>, answer: &[u8]| {
        assert_eq!(answer_to_close(code, None)[2..], *answer, "{code:?}");
    };
    check(None, &[]);
    check(Some(1000), &[0x03, 0xE8]);
    check(Some(4001), &[0x0F, 0xA1]);
    for bad in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        check(Some(bad), b"\x03\xEAclose code not allowed");
    }
}

#[test]
fn control_frames_carry_what_they_are_given() {
    assert_eq!(
        close_frame(1001, "bye", None),
        [0x88, 5, 0x03, 0xE9, b'b', b'y', b'e']
    );
    let masked = control_frame(Opcode::Ping, b"ab", Some([1, 2, 3, 4]));
    assert_eq!(masked, [0x89, 0x82, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2]);
    let long = close_frame(1001, &"ä".repeat(100), None);
    let header = FrameHeader::parse(&long).expect("complete");
    assert_eq!(
        header.payload, 124,
        "123 bytes of reason would split a character"
    );
    assert!(std::str::from_utf8(&long[4..]).is_ok());
}
