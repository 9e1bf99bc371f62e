use super::*;

#[test]
fn forms_are_known_by_how_they_begin() {
    let check = |bytes: &[u8], expected: Option<Form>| {
        assert_eq!(
            Form::of(bytes),
            expected,
            "{}",
            String::from_utf8_lossy(bytes)
        );
    };
    let pem = |label: &str, more: &str| format!("# a\r\n-----BEGIN {label}-----\r\n{more}AAAA");
    check(b" \r\n", Some(Form::Empty));
    check(b"\xff\xfe-\0-\0", Some(Form::Utf16));
    check(
        b"\xef\xbb\xbf-----BEGIN CERTIFICATE-----",
        Some(Form::ByteOrderMark),
    );
    check(b"\xfe\xed\xfe\xed\0\0\0\x02", Some(Form::JavaKeyStore));
    check(pem("RSA PRIVATE KEY", "").as_bytes(), Some(Form::PemKey));
    let encrypted = pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n");
    check(encrypted.as_bytes(), Some(Form::PemEncryptedKey));
    let behind = format!(
        "{}\n{}",
        pem("EC PARAMETERS", ""),
        pem("EC PRIVATE KEY", "")
    );
    check(behind.as_bytes(), Some(Form::PemKey));
    check(
        pem("OPENSSH PRIVATE KEY", "").as_bytes(),
        Some(Form::PemOpenSsh),
    );
    check(pem("SOMETHING", "").as_bytes(), None);
    check(b"hello", None);
    check(
        b"\x30\x84\xff\xff\xff\xff\x02\x01\x03\x30",
        Some(Form::Pkcs12),
    );
    check(b"\x30", None);
    check(b"\x30\x84\xff", None);
}

#[test]
fn a_shell_reads_the_path_that_is_meant() {
    let check = |path: &str, expected: &str| assert_eq!(quoted(path), expected);
    check("tls/edge-1.key", "tls/edge-1.key");
    check("my key", "'my key'");
    check("a'; rm -r b", r"'a'\''; rm -r b'");
    check("a\n$(b)", "'a?$(b)'");
    check("", "''");
    let out = |path: &str| output(Path::new(path), "crt");
    assert_eq!(out("tls/edge.der"), "tls/edge.crt");
    assert_eq!(out("tls/edge.crt"), "tls/edge.pem.crt");
}
