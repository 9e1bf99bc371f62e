//! Redis (6 and newer), or a server that speaks its protocol: each decision is one script, so that
//! it is one round trip and no other gateway comes between.

use std::time::Duration;

use bytes::BytesMut;

use crate::config::snapshot::State;
use crate::core::state::{Answer, Stored, Swap, Version};
use crate::io::redis::hello::hello;
use crate::io::redis::resp::{Found, Item, NOT_REDIS, command, scan};
use crate::io::service::fault::Fault;
use crate::io::service::wire::Wire;
use crate::io::state::link::{Answered, Asked, Protocol};

/// Sets a value (or deletes it, if the new one is empty) if it is still the expected one. Kept for
/// no time, it is only compared. Returns whether it was the expected one, and what is there.
const SWAP: &[u8] = b"local value = redis.call('GET', KEYS[1]) or '' \
    if value ~= ARGV[1] then return {0, value} end \
    if ARGV[3] == '0' then return {1, value} end \
    if ARGV[2] == '' then redis.call('DEL', KEYS[1]) \
    else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end \
    return {1, ARGV[2]}";
/// Counts one more in a period that begins with the first one. Returns the count, and the rest of
/// the period in milliseconds.
const COUNT: &[u8] = b"local count = redis.call('INCR', KEYS[1]) \
    local left = redis.call('PTTL', KEYS[1]) \
    if left < 0 then left = tonumber(ARGV[1]) redis.call('PEXPIRE', KEYS[1], left) end \
    return {count, left}";

/// The protocol, after the sign-in.
pub(super) struct Redis;

/// Connects and signs in. The caller bounds the time.
pub(super) async fn connect(settings: &State, process: &str) -> Result<(Wire, Redis), Fault> {
    let mut wire = Wire::connect(&settings.address, settings.connect_timeout).await?;
    if let Some(tls) = &settings.tls {
        wire = wire.secure(tls, &settings.address).await?;
    }
    let sign_in = settings.sign_in.as_ref();
    let sign_in = sign_in.map(|(user, password)| (user.as_str(), password));
    if hello(&mut wire, process, sign_in).await? {
        return Err(Fault::Unfit(
            "the server belongs to a cluster, and this needs one that stands alone",
        ));
    }
    Ok((wire, Redis))
}

impl Protocol for Redis {
    fn swap(&self, name: &str, swap: &Swap, out: &mut BytesMut) {
        let expected = match &swap.expected {
            Version::Bytes(bytes) => bytes,
            _ => &b""[..],
        };
        let new = swap.new.as_deref().unwrap_or_default();
        let kept = match swap.same {
            true => "0".to_owned(),
            false => millis(swap.kept),
        };
        let words = [
            b"EVAL",
            SWAP,
            b"1",
            name.as_bytes(),
            expected,
            new,
            kept.as_bytes(),
        ];
        command(out, &words);
    }

    fn count(&self, name: &str, period: Duration, out: &mut BytesMut) {
        let period = millis(period);
        let words = [b"EVAL", COUNT, b"1", name.as_bytes(), period.as_bytes()];
        command(out, &words);
    }

    fn lease(&self, name: &str, lease: Duration, out: &mut BytesMut) {
        let lease = millis(lease);
        command(out, &[b"EXISTS", name.as_bytes()]);
        command(
            out,
            &[b"SET", name.as_bytes(), b"1", b"PX", lease.as_bytes()],
        );
    }

    fn processes(&self, names: &[String], out: &mut BytesMut) {
        let names = names.iter().map(String::as_bytes);
        let words: Vec<_> = [&b"MGET"[..]].into_iter().chain(names).collect();
        command(out, &words);
    }

    fn ping(&self, out: &mut BytesMut) {
        command(out, &[b"PING"]);
    }

    fn read(&self, asked: &Asked, input: &[u8]) -> Result<Option<(Answered, usize)>, Fault> {
        let Some(Found { items, end, skip }) = scan(input)? else {
            return Ok(None);
        };
        if let Some(Item::Error(text)) = items.first() {
            return Err(Fault::refused(text));
        }
        if skip > 0 {
            return Err(NOT_REDIS);
        }
        let answered = match (asked, &items[..]) {
            (Asked::Swap(_), [Item::Array(2), Item::Int(done), Item::Bulk(value)]) => {
                let stored = stored(value);
                Answered::Swap(match done {
                    1 => Answer::Swapped(stored),
                    _ => Answer::Differs(stored),
                })
            }
            (Asked::Count(_), [Item::Array(2), Item::Int(count), Item::Int(left)]) => {
                let positive = |number: i64| u64::try_from(number).unwrap_or(0);
                Answered::Count(positive(*count), Duration::from_millis(positive(*left)))
            }
            (Asked::Lease, [Item::Int(there)]) => {
                let Some(set) = scan(&input[end..])? else {
                    return Ok(None);
                };
                return match set.items[..] {
                    [Item::Simple("OK")] => Ok(Some((Answered::Lease(*there == 1), end + set.end))),
                    [Item::Error(text)] => Err(Fault::refused(text)),
                    _ => Err(NOT_REDIS),
                };
            }
            (Asked::Processes(count), [Item::Array(size), values @ ..]) if size == count => {
                let alive = values.iter().map(|value| *value != Item::Null);
                Answered::Processes(alive.collect())
            }
            (Asked::Ping, [Item::Simple("PONG")]) => Answered::Ping,
            _ => return Err(NOT_REDIS),
        };
        Ok(Some((answered, end)))
    }
}

fn stored(value: &[u8]) -> Stored {
    match value.is_empty() {
        true => Stored::default(),
        false => Stored::of(value, Version::Bytes(value.into())),
    }
}

fn millis(time: Duration) -> String {
    time.as_millis().max(1).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::state::{KeyKind, StateKey};

    fn swap() -> Asked {
        Asked::Swap(Swap {
            key: StateKey::new(KeyKind::Sessions, &[]),
            expected: Version::Absent,
            new: None,
            same: true,
            kept: Duration::ZERO,
        })
    }

    #[test]
    fn answers_are_read_at_every_split() {
        let document = "sessile-1\n0000000000000001 3";
        let value = format!("*2\r\n:0\r\n${}\r\n{document}\r\n", document.len());
        let stored = stored(document.as_bytes());
        assert_eq!(stored.document.share(1), 3);
        let seconds = Duration::from_millis(1500);
        for (asked, text, expected) in [
            (
                swap(),
                value.as_str(),
                Answered::Swap(Answer::Differs(stored)),
            ),
            (
                swap(),
                "*2\r\n:1\r\n$0\r\n\r\n",
                Answered::Swap(Answer::Swapped(Stored::default())),
            ),
            (
                Asked::Count(seconds),
                "*2\r\n:7\r\n:1500\r\n",
                Answered::Count(7, seconds),
            ),
            (Asked::Lease, ":1\r\n+OK\r\n", Answered::Lease(true)),
            (Asked::Lease, ":0\r\n+OK\r\n", Answered::Lease(false)),
            (
                Asked::Processes(2),
                "*2\r\n$1\r\n1\r\n_\r\n",
                Answered::Processes(vec![true, false]),
            ),
            (Asked::Ping, "+PONG\r\n", Answered::Ping),
        ] {
            for end in 0..text.len() {
                let read = Redis
                    .read(&asked, &text.as_bytes()[..end])
                    .expect("no fault");
                assert_eq!(read, None, "{text:?} at {end}");
            }
            let read = Redis.read(&asked, format!("{text}+PONG\r\n").as_bytes());
            assert_eq!(read.expect("no fault"), Some((expected, text.len())));
        }
    }

    #[test]
    fn i12_nonsense_of_a_server_is_a_fault() {
        for (asked, text) in [
            (swap(), "+OK\r\n"),
            (swap(), "-OOM command not allowed\r\n"),
            (swap(), "*2\r\n:1\r\n:1\r\n"),
            (Asked::Count(Duration::ZERO), "*1\r\n:1\r\n"),
            (Asked::Lease, ":1\r\n-READONLY\r\n"),
            (Asked::Processes(2), "*1\r\n_\r\n"),
            (Asked::Ping, ":1\r\n"),
            (Asked::Ping, "HTTP/1.1 200 OK\r\n"),
        ] {
            assert!(Redis.read(&asked, text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
