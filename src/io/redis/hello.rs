//! The sign-in: RESP3, user and password, the connection's name.

use bytes::{Buf, BytesMut};

use crate::base::secret::Secret;
use crate::io::redis::resp::{Found, Item, NOT_REDIS, command, scan};
use crate::io::service::fault::Fault;
use crate::io::service::wire::Wire;

/// Signs in on a connection that is new. Returns whether its server belongs to a cluster.
///
/// # Errors
/// When the server refuses, or does not speak RESP3.
pub(in crate::io) async fn hello(
    wire: &mut Wire,
    node: &str,
    sign_in: Option<(&str, &Secret)>,
) -> Result<bool, Fault> {
    let plain = |letter: char| match letter.is_ascii_graphic() {
        true => letter,
        false => '-',
    };
    let name = format!("sessile-{node}");
    let name: String = name.chars().map(plain).collect();
    let mut words = vec![b"HELLO", &b"3"[..]];
    if let Some((user, password)) = sign_in {
        words.extend([b"AUTH", user.as_bytes(), password.reveal().as_bytes()]);
    }
    words.extend([b"SETNAME", name.as_bytes()]);
    let mut hello = BytesMut::new();
    command(&mut hello, &words);
    wire.send(&hello).await?;
    loop {
        if let Some(answer) = scan(&wire.input)? {
            match answer.items.first() {
                Some(Item::Map(_)) => {}
                Some(Item::Error(text)) if is_old(text) => {
                    return Err(Fault::Unfit(
                        "the server does not speak RESP3: it is older than Redis 6",
                    ));
                }
                Some(Item::Error(text)) => return Err(Fault::refused(text)),
                _ => return Err(NOT_REDIS),
            }
            let (end, is_cluster) = (answer.end, is_cluster(&answer));
            wire.input.advance(end);
            return Ok(is_cluster);
        }
        wire.read_more().await?;
    }
}

fn is_old(error: &str) -> bool {
    error.starts_with("NOPROTO") || error.starts_with("ERR unknown command")
}

/// Whether the pairs of a greeting hold `mode: cluster`.
fn is_cluster(answer: &Found<'_>) -> bool {
    let mut pairs = answer.items.windows(2);
    pairs.any(|pair| *pair == [Item::Bulk(b"mode"), Item::Bulk(b"cluster")])
}
