//! Redis (6 and newer), or a server that speaks its protocol: each decision is one script, so that
//! it is one round trip and no other gateway comes between.

use std::time::Duration;

use bytes::BytesMut;

use crate::config::snapshot::State;
use crate::core::state::{Answer, Merge, Stored, Swap, Version};
use crate::io::redis::hello::hello;
use crate::io::redis::resp::{Found, Item, NOT_REDIS, command, scan};
use crate::io::service::fault::Fault;
use crate::io::service::wire::Wire;
use crate::io::state::link::{Answered, Asked, Protocol};

/// Sets a value (or deletes it, if the new one is empty) if it is still the expected one. Kept for
/// no time, it is only compared. What is too long was written by no gateway. Returns whether it was
/// the expected one, and what is there.
const SWAP: &[u8] = b"local value = redis.call('GET', KEYS[1]) or '' \
    if #value > 65536 then redis.call('DEL', KEYS[1]) value = '' end \
    if value ~= ARGV[1] then return {0, value} end \
    if ARGV[3] == '0' then return {1, value} end \
    if ARGV[2] == '' then redis.call('DEL', KEYS[1]) \
    else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end \
    return {1, ARGV[2]}";
/// Takes the shares of dead processes out of a value, sets the share of one process, and grants as
/// many of the sessions that it asks for as there is room for. What no gateway wrote is replaced.
/// Returns how many it granted, and what is there now.
const MERGE: &[u8] = b"local value = redis.call('GET', KEYS[1]) or '' \
    if #value > 65536 then redis.call('DEL', KEYS[1]) value = '' end \
    local me, own, asked = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]) \
    local form, others, total, last = {'sessile-1'}, {}, 0, '' \
    for line, id, share in string.gmatch(value, '(\\n(%x+) (%d+))') do \
        local number = tonumber(share) \
        if #id ~= 16 or id <= last or id ~= string.lower(id) or share:sub(1, 1) == '0' \
            or number > 4294967295 or #form > 2000 then form = {} break end \
        form[#form + 1], last = line, id \
        if id ~= me and not string.find(ARGV[7], id, 1, true) then \
            others[#others + 1], total = {id, line}, total + number end \
    end \
    if table.concat(form) ~= value then others, total = {}, 0 end \
    local granted = math.max(0, math.min(asked, tonumber(ARGV[4]) - total - own)) \
    local mine = own + granted \
    local new, placed = {'sessile-1'}, mine == 0 \
    for _, other in ipairs(others) do \
        if not placed and other[1] > me then \
            new[#new + 1], placed = '\\n' .. me .. ' ' .. mine, true end \
        new[#new + 1] = other[2] \
    end \
    if not placed then new[#new + 1] = '\\n' .. me .. ' ' .. mine end \
    local text = #new > 1 and table.concat(new) or '' \
    if text == '' then if value ~= '' then redis.call('DEL', KEYS[1]) end \
    elseif text ~= value or ARGV[5] == '1' then \
        redis.call('SET', KEYS[1], text, 'PX', ARGV[6]) end \
    return {granted, text}";
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

    fn merges(&self) -> bool {
        true
    }

    fn merge(&self, name: &str, merge: &Merge, out: &mut BytesMut) {
        let dead: Vec<_> = merge.dead.iter().map(|one| format!("{one:016x}")).collect();
        // Numbers of a script are exact up to 2^53.
        let max = u32::try_from(merge.max).unwrap_or(u32::MAX);
        let words = [
            format!("{:016x}", merge.process),
            merge.own.to_string(),
            merge.asked.to_string(),
            max.to_string(),
            u8::from(merge.renews).to_string(),
            millis(merge.kept),
            dead.join(" "),
        ];
        let before = [&b"EVAL"[..], MERGE, b"1", name.as_bytes()].into_iter();
        let words: Vec<_> = before.chain(words.iter().map(String::as_bytes)).collect();
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

    fn leave(&self, name: &str, out: &mut BytesMut) {
        command(out, &[b"DEL", name.as_bytes()]);
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
            let single = matches!(asked, Asked::Swap(_) | Asked::Merge(_) | Asked::Count(_));
            if single && is_of_one_key(text) {
                return Ok(Some((Answered::Unusable((*text).to_owned()), end)));
            }
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
            (Asked::Merge(_), [Item::Array(2), Item::Int(granted), Item::Bulk(value)]) => {
                let granted = u32::try_from(*granted).map_err(|_| NOT_REDIS)?;
                Answered::Swap(Answer::Merged(granted, stored(value)))
            }
            (Asked::Leave, [Item::Int(_)]) => Answered::Left,
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

/// Whether an error is about the value of one key, which something else wrote: it has another type,
/// is no number, or is as large as a number can be. Older servers put it behind words of their own.
fn is_of_one_key(text: &str) -> bool {
    let signs = ["WRONGTYPE", "not an integer", "would overflow"];
    signs.iter().any(|sign| text.contains(sign))
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

    const NO_NUMBER: &str = "ERR value is not an integer or out of range script: 2f, on @user:1.";

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
        let merge = Asked::Merge(StateKey::new(KeyKind::Sessions, &[]));
        for (asked, text, expected) in [
            (
                swap(),
                value.as_str(),
                Answered::Swap(Answer::Differs(stored.clone())),
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
            (
                merge.clone(),
                value.as_str(),
                Answered::Swap(Answer::Merged(0, stored.clone())),
            ),
            (
                merge,
                "*2\r\n:0\r\n$0\r\n\r\n",
                Answered::Swap(Answer::Merged(0, Stored::default())),
            ),
            (
                Asked::Count(seconds),
                &format!("-{NO_NUMBER}\r\n"),
                Answered::Unusable(NO_NUMBER.to_owned()),
            ),
            (
                swap(),
                "-WRONGTYPE Operation\r\n",
                Answered::Unusable("WRONGTYPE Operation".to_owned()),
            ),
            (Asked::Leave, ":1\r\n", Answered::Left),
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
