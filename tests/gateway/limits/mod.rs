//! What one client may make the gateway take or hold.
mod attacks;
mod bounds;
mod edge;
mod flood;
mod metric_churn;
mod overload;
mod own_address;
mod quotas;
mod rates;

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;

use crate::support::raw::{UPGRADE, masked};
use crate::support::{Backend, Client, Gateway, Raw, config, eventually};

async fn gateway(backend: &Backend, route: &str) -> Gateway {
    Gateway::start(&config::echo(&[backend.address], "", route)).await
}

/// Code and reason of the close frame that is all that comes.
async fn close_of(raw: &mut Raw) -> (u16, String) {
    let bytes = raw.read_to_end().await;
    assert!(
        bytes.len() >= 4 && bytes[0] == 0x88,
        "{bytes:?} instead of a close frame"
    );
    assert_eq!(
        usize::from(bytes[1]),
        bytes.len() - 2,
        "more than a close frame: {bytes:?}"
    );
    let reason = String::from_utf8(bytes[4..].to_vec()).unwrap();
    (u16::from_be_bytes([bytes[2], bytes[3]]), reason)
}

#[tokio::test]
async fn a_message_over_the_limit_is_closed_with_1009() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "limits = { message_bytes = 1000 }").await;
    let mut client = Client::connect(gateway.address(), "/").await;
    client.echo(&"x".repeat(1000)).await;
    client.send("x".repeat(1001)).await;
    let (code, reason) = client.end().await.unwrap();
    assert_eq!(code, 1009);
    assert!(!reason.is_empty());
    let records = gateway.wait_for_records(1).await;
    assert_eq!(
        (records[0].ended_by.as_str(), records[0].close_code),
        ("gateway", Some(1009))
    );
    assert_eq!(backend.received(), 1000, "the backend saw the large one");
}

#[tokio::test]
async fn fragments_count_together_for_the_message_and_alone_for_the_frame() {
    let backend = Backend::echo().await;
    let limits = "limits = { message_bytes = 300, frame_bytes = 200 }";
    let gateway = gateway(&backend, limits).await;

    let mut raw = Raw::upgrade(gateway.address()).await;
    raw.write([masked(0x01, &[b'x'; 150]), masked(0x80, &[b'x'; 150])].concat())
        .await;
    assert_eq!(raw.read(4).await[..2], [0x81, 126], "300 bytes are allowed");
    raw.read(300).await;
    raw.write([masked(0x01, &[b'x'; 150]), masked(0x00, &[b'x'; 151])].concat())
        .await;
    assert_eq!(close_of(&mut raw).await.0, 1009);

    let mut raw = Raw::upgrade(gateway.address()).await;
    raw.write(masked(0x81, &[b'x'; 201])).await;
    assert_eq!(close_of(&mut raw).await.0, 1009);
}

#[tokio::test]
async fn a_length_of_exabytes_is_refused_from_its_header() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let mut raw = Raw::upgrade(gateway.address()).await;
    raw.write([
        0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
    ])
    .await;
    assert_eq!(close_of(&mut raw).await.0, 1009);
}

#[tokio::test]
async fn protocol_errors_in_headers_are_closed_with_1002() {
    let backend = Backend::echo().await;
    let gateway = gateway(&backend, "").await;
    let cases: [(&str, Vec<u8>); 10] = [
        ("a frame without a mask", vec![0x81, 0x01, b'x']),
        ("a reserved opcode", masked(0x83, b"x")),
        ("a reserved control opcode", masked(0x8b, b"x")),
        ("a fragmented ping", masked(0x09, b"x")),
        ("a ping of 126 bytes", masked(0x89, &[b'x'; 126])),
        ("a continuation of nothing", masked(0x80, b"x")),
        (
            "a message inside a message",
            [masked(0x01, b"x"), masked(0x81, b"x")].concat(),
        ),
        (
            "a length with its highest bit set",
            [&[0x82, 0xff, 0x80][..], &[0; 11]].concat(),
        ),
        (
            "five bytes with a length of 16 bits",
            [&[0x82, 0xfe, 0, 5][..], &[0; 9]].concat(),
        ),
        (
            "a length of 16 bits in 64",
            [&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff][..], &[0; 4]].concat(),
        ),
    ];
    for (what, bytes) in cases {
        let mut raw = Raw::upgrade(gateway.address()).await;
        raw.write(bytes).await;
        let (code, reason) = close_of(&mut raw).await;
        assert_eq!(code, 1002, "{what}");
        assert!(!reason.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn i8_a_head_over_the_limit_is_431() {
    let backend = Backend::echo().await;
    let limited = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
        limits = { header_bytes = 8192, headers_max = 20 }\n";
    let text = format!("{limited}\n{}", config::echo(&[backend.address], "", ""));
    let gateway = Gateway::start(&text).await;
    let long = format!("X-Long: {}\r\n\r\n", "x".repeat(9000));
    let many = format!("{}\r\n", "X-Many: x\r\n".repeat(30));
    for rest in [long, many] {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(UPGRADE.replacen("\r\n\r\n", &format!("\r\n{rest}"), 1))
            .await;
        assert_eq!(raw.status().await, Some(431));
    }
    let mut client = Client::connect(gateway.address(), "/").await;
    client.echo("others are well").await;
}

#[tokio::test]
async fn i8_a_head_that_never_ends_is_not_waited_for() {
    let backend = Backend::echo().await;
    let limited = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
        timeouts = { request_head = \"300ms\" }\n";
    let text = format!("{limited}\n{}", config::echo(&[backend.address], "", ""));
    let gateway = Gateway::start(&text).await;
    for begun in ["", "GET / HTTP/1.1\r\nHost: localhost\r\n"] {
        let mut raw = Raw::connect(gateway.address()).await;
        let start = Instant::now();
        raw.write(begun).await;
        let answer = raw.read_to_end().await;
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn i8_connections_over_the_limit_wait_or_go_but_hold_nothing() {
    let backend = Backend::echo().await;
    let limited = "[[listeners]]\nname = \"edge\"\nlisten = [\"127.0.0.1:0\"]\n\
        limits = { connections_max = 2 }\n";
    let text = format!("{limited}\n{}", config::echo(&[backend.address], "", ""));
    let gateway = Gateway::start(&text).await;
    let mut first = Client::connect(gateway.address(), "/").await;
    let mut second = Client::connect(gateway.address(), "/").await;
    let mut third = Raw::connect(gateway.address()).await;
    // It may be refused, or wait until there is room; it may not be served beside the two.
    third.write(UPGRADE).await;
    first.echo("lives").await;
    second.echo("lives").await;
    // Many more of them take neither memory nor descriptors of the gateway, whatever they send.
    let (memory, descriptors) = (gateway.memory_kib("VmRSS"), gateway.descriptors());
    let mut more = Vec::new();
    for _ in 0..200 {
        let mut raw = Raw::connect(gateway.address()).await;
        // It may be refused by the time.
        let head = format!("{UPGRADE}{}", "x".repeat(16 * 1024));
        raw.stream.write_all(head.as_bytes()).await.ok();
        more.push(raw);
    }
    first.echo("lives").await;
    second.echo("lives").await;
    let grown = gateway.memory_kib("VmRSS").saturating_sub(memory);
    assert!(grown < 1024, "the gateway grew by {grown} KiB");
    let opened = gateway.descriptors().saturating_sub(descriptors);
    assert!(opened <= 2, "{opened} descriptors were opened");
    assert_eq!(backend.accepted(), 2, "no backend hears of them");
    let mut answer = [0; 12];
    third.stream.try_read(&mut answer).ok();
    assert!(
        !answer.ends_with(b" 101"),
        "a third session beside two allowed"
    );
    drop(more);
    first.close().await;
    eventually("there is room again", async || {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write(UPGRADE).await;
        tokio::time::timeout(Duration::from_millis(500), raw.status()).await == Ok(Some(101))
    })
    .await;
    second.close().await;
}
