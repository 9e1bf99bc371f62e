//! RFC 8448, section 3: a simple 1-RTT handshake.

use super::*;

const CLIENT_SECRET: &str = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
const SERVER_SECRET: &str = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";
const CLIENT_KEY: &str = "17422dda596ed5d9acd890e3c63f5051";
const CLIENT_IV: &str = "5b78923dee08579033e523d9";
const SERVER_KEY: &str = "9f02283b6c9c07efc26bb9f2ac92e356";
const SERVER_IV: &str = "cf782b88dd83549aadf1e984";
/// Its 50 bytes of data are 0, 1, 2 and so on.
const CLIENT_DATA: &str = "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f\
    2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";
const SERVER_DATA: &str = "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36\
    e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d";
const CLIENT_CLOSE: &str = "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3";
const SERVER_CLOSE: &str = "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter(char::is_ascii_hexdigit).collect();
    let digit = |digit: &char| digit.to_digit(16).expect("a digit");
    let byte = |pair: &[char]| u8::try_from(digit(&pair[0]) << 4 | digit(&pair[1]));
    let bytes = digits.chunks(2).map(|pair| byte(pair).expect("two digits"));
    bytes.collect()
}

fn ends() -> (Connection, Connection) {
    let suite = Suite::Aes128Gcm;
    let (client, server) = (bytes(CLIENT_SECRET), bytes(SERVER_SECRET));
    let (client_key, client_iv) = (bytes(CLIENT_KEY), bytes(CLIENT_IV));
    let (server_key, server_iv) = (bytes(SERVER_KEY), bytes(SERVER_IV));
    let up = HalfKeys {
        key: &client_key,
        iv: &client_iv,
        sequence: 0,
        secret: Some(&client),
    };
    // The server's ticket had the number 0.
    let down = HalfKeys {
        key: &server_key,
        iv: &server_iv,
        sequence: 1,
        secret: Some(&server),
    };
    let end = |role, receive, send| {
        let established = Established {
            role,
            version: Version::V1_3,
            suite,
            receive,
            send,
        };
        Connection::new(established, Vec::new()).expect("keys of these secrets")
    };
    (end(Role::Client, down, up), end(Role::Server, up, down))
}

#[test]
fn the_records_of_rfc_8448_come_out_and_go_in() {
    let data: Vec<u8> = (0..50).collect();
    let (mut client, mut server) = ends();
    assert_eq!(sealed(&mut client, &data), bytes(CLIENT_DATA));
    assert_eq!(received(&mut server, &bytes(CLIENT_DATA)), data);
    assert_eq!(sealed(&mut server, &data), bytes(SERVER_DATA));
    assert_eq!(received(&mut client, &bytes(SERVER_DATA)), data);
    close(&mut client, &mut server, CLIENT_CLOSE);
    close(&mut server, &mut client, SERVER_CLOSE);
}

fn close(end: &mut Connection, other: &mut Connection, expected: &str) {
    let mut out = Vec::new();
    end.turn().expect("not frozen").close(&mut out);
    assert_eq!(out, bytes(expected));
    assert_eq!(end_after(other, &out), Some(Ok(())));
}

#[test]
fn keys_that_are_not_of_their_secret_are_refused() {
    let suite = Suite::Aes128Gcm;
    let (secret, key, iv) = (bytes(CLIENT_SECRET), bytes(CLIENT_KEY), bytes(CLIENT_IV));
    let half = |key, secret| HalfKeys {
        key,
        iv: &iv,
        sequence: 0,
        secret,
    };
    let new = |half| Keys::received(suite, Version::V1_3, half).map(drop);
    assert_eq!(new(half(&key, Some(&secret))), Ok(()));
    assert_eq!(new(half(&key, None)), Err(Unfit::NoSecret));
    assert_eq!(new(half(&key, Some(&secret[1..]))), Err(Unfit::Length));
    assert_eq!(new(half(&key[1..], Some(&secret))), Err(Unfit::Length));
    let other = bytes(SERVER_SECRET);
    assert_eq!(new(half(&key, Some(&other))), Err(Unfit::Mismatch));
    let mut swapped = key.clone();
    swapped.swap(0, 1);
    assert_eq!(new(half(&swapped, Some(&secret))), Err(Unfit::Mismatch));
}
