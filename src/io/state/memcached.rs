//! Memcached (1.6 and newer), by its meta commands. A value is changed by compare and swap, and
//! read back in the same round trip, so that a refused swap can be tried again at once.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Buf, BytesMut};

use crate::config::snapshot::State;
use crate::core::state::{Answer, Merge, Stored, Swap, Version};
use crate::io::service::fault::Fault;
use crate::io::service::wire::Wire;
use crate::io::state::link::{Answered, Asked, Protocol};

const NOT_MEMCACHED: Fault = Fault::Protocol("the meta commands of memcached 1.6");
/// Longest line of an answer.
const LINE_MAX: usize = 2048;
/// Largest value that is read: memcached's own bound.
const VALUE_MAX: usize = 1024 * 1024;

/// The protocol, after the sign-in.
pub(super) struct Memcached;

/// Connects and signs in. The caller bounds the time.
pub(super) async fn connect(settings: &State) -> Result<(Wire, Memcached), Fault> {
    let mut wire = Wire::connect(&settings.address, settings.connect_timeout).await?;
    if let Some(tls) = &settings.tls {
        wire = wire.secure(tls, &settings.address).await?;
    }
    if let Some((user, password)) = &settings.sign_in {
        let both = format!("{user} {}", password.reveal());
        let set = format!("set auth 0 0 {}\r\n{both}\r\n", both.len());
        wire.send(set.as_bytes()).await?;
        let answer = answer(&mut wire).await?;
        if answer != "STORED" {
            return Err(Fault::refused(&answer));
        }
    }
    wire.send(b"mn\r\n").await?;
    match answer(&mut wire).await?.as_str() {
        "MN" => Ok((wire, Memcached)),
        "ERROR" => Err(Fault::Unfit("the server is older than memcached 1.6")),
        other => Err(Fault::refused(other)),
    }
}

/// One line of the server.
async fn answer(wire: &mut Wire) -> Result<String, Fault> {
    loop {
        if let Some((line, end)) = line(&wire.input)? {
            let line = line.to_owned();
            wire.input.advance(end);
            return Ok(line);
        }
        wire.read_more().await?;
    }
}

impl Protocol for Memcached {
    fn swap(&self, name: &str, swap: &Swap, out: &mut BytesMut) {
        if !swap.same {
            let number = match swap.expected {
                Version::Number(number) => Some(number),
                _ => None,
            };
            match (&swap.new, number) {
                (Some(new), Some(number)) => set(out, name, new, swap.kept, &format!("C{number}")),
                // Adds it, if there is none.
                (Some(new), None) => set(out, name, new, swap.kept, "ME"),
                (None, Some(number)) => write(out, format_args!("md {name} C{number}\r\n")),
                (None, None) => {}
            }
        }
        write(out, format_args!("mg {name} v c\r\n"));
    }

    fn merges(&self) -> bool {
        false
    }

    fn merge(&self, _name: &str, _merge: &Merge, _out: &mut BytesMut) {
        unreachable!("memcached cannot merge, and the ledger is told so");
    }

    fn count(&self, name: &str, period: Duration, out: &mut BytesMut) {
        let period = seconds(period);
        write(out, format_args!("ma {name} N{period} J1 D1 v t\r\n"));
    }

    fn lease(&self, name: &str, lease: Duration, out: &mut BytesMut) {
        write(out, format_args!("mg {name} s\r\n"));
        set(out, name, b"1", lease, "MS");
    }

    fn leave(&self, name: &str, out: &mut BytesMut) {
        write(out, format_args!("md {name}\r\n"));
    }

    fn processes(&self, names: &[String], out: &mut BytesMut) {
        for name in names {
            write(out, format_args!("mg {name} s\r\n"));
        }
    }

    fn ping(&self, out: &mut BytesMut) {
        write(out, format_args!("mn\r\n"));
    }

    fn read(&self, asked: &Asked, input: &[u8]) -> Result<Option<(Answered, usize)>, Fault> {
        let mut reader = Reader { input, at: 0 };
        let answered = match asked {
            Asked::Swap(swap) => reader.swap(swap)?.map(Answered::Swap),
            Asked::Count(period) => reader.count(*period)?,
            Asked::Merge(_) => return Err(NOT_MEMCACHED),
            Asked::Leave => reader.done()?.map(|_| Answered::Left),
            Asked::Lease => {
                let there = reader.hit()?;
                let set = reader.done()?;
                match (there, set) {
                    (Some(there), Some(true)) => Some(Answered::Lease(there)),
                    (_, Some(false)) => return Err(NOT_MEMCACHED),
                    _ => None,
                }
            }
            Asked::Processes(count) => {
                let alive = (0..*count)
                    .map(|_| reader.hit())
                    .collect::<Result<_, _>>()?;
                let alive: Option<Vec<bool>> = alive;
                alive.map(Answered::Processes)
            }
            Asked::Ping => match reader.line()? {
                Some("MN") => Some(Answered::Ping),
                Some(_) => return Err(NOT_MEMCACHED),
                None => None,
            },
        };
        Ok(answered.map(|answered| (answered, reader.at)))
    }
}

/// Walks over what has come.
struct Reader<'i> {
    input: &'i [u8],
    at: usize,
}

/// A value and its flags.
type Flagged<'i> = (&'i [u8], &'i str);

impl<'i> Reader<'i> {
    /// The next line, unless it is a refusal.
    fn line(&mut self) -> Result<Option<&'i str>, Fault> {
        let Some((line, length)) = line(&self.input[self.at..])? else {
            return Ok(None);
        };
        let is = |word: &str| line.starts_with(word);
        if is("SERVER_ERROR") || is("CLIENT_ERROR") || is("ERROR") {
            return Err(Fault::refused(line));
        }
        self.at += length;
        Ok(Some(line))
    }

    /// Whether there is something.
    fn hit(&mut self) -> Result<Option<bool>, Fault> {
        let Some(line) = self.line()? else {
            return Ok(None);
        };
        match line.split(' ').next() {
            Some("HD") => Ok(Some(true)),
            Some("EN") => Ok(Some(false)),
            _ => Err(NOT_MEMCACHED),
        }
    }

    /// Whether a change was made.
    fn done(&mut self) -> Result<Option<bool>, Fault> {
        let Some(line) = self.line()? else {
            return Ok(None);
        };
        match line.split(' ').next() {
            Some("HD") => Ok(Some(true)),
            Some("NS" | "EX" | "NF") => Ok(Some(false)),
            _ => Err(NOT_MEMCACHED),
        }
    }

    /// A value and its flags.
    fn value(&mut self) -> Result<Option<Option<Flagged<'i>>>, Fault> {
        let Some(line) = self.line()? else {
            return Ok(None);
        };
        if line == "EN" {
            return Ok(Some(None));
        }
        let value = line.strip_prefix("VA ").ok_or(NOT_MEMCACHED)?;
        let (size, flags) = value.split_once(' ').unwrap_or((value, ""));
        let size = size.parse().ok().filter(|size| *size <= VALUE_MAX);
        let size: usize = size.ok_or(NOT_MEMCACHED)?;
        let Some(bytes) = self.input.get(self.at..self.at + size + 2) else {
            return Ok(None);
        };
        self.at += bytes.len();
        let bytes = bytes.strip_suffix(b"\r\n").ok_or(NOT_MEMCACHED)?;
        Ok(Some(Some((bytes, flags))))
    }

    fn swap(&mut self, swap: &Swap) -> Result<Option<Answer>, Fault> {
        let done = match swap.same || (swap.new.is_none() && swap.expected == Version::Absent) {
            true => None,
            false => match self.done()? {
                Some(done) => Some(done),
                None => return Ok(None),
            },
        };
        let Some(value) = self.value()? else {
            return Ok(None);
        };
        let stored = match value {
            None => Stored::default(),
            Some((value, flags)) => {
                let number = flag(flags, 'c').ok_or(NOT_MEMCACHED)?;
                Stored::of(value, Version::Number(number))
            }
        };
        let swapped = done.unwrap_or(stored.version == swap.expected);
        Ok(Some(match swapped {
            true => Answer::Swapped(stored),
            false => Answer::Differs(stored),
        }))
    }

    fn count(&mut self, period: Duration) -> Result<Option<Answered>, Fault> {
        // Something else wrote a text there, which harms no other key.
        if let Some((text, length)) = line(&self.input[self.at..])?
            && text.starts_with("CLIENT_ERROR")
            && text.contains("non-numeric")
        {
            self.at += length;
            return Ok(Some(Answered::Unusable(text.to_owned())));
        }
        let Some(value) = self.value()? else {
            return Ok(None);
        };
        let (value, flags) = value.ok_or(NOT_MEMCACHED)?;
        let count = std::str::from_utf8(value).ok();
        let count = count.and_then(|count| count.trim().parse().ok());
        let left = flag(flags, 't').map_or(period, Duration::from_secs);
        Ok(Some(Answered::Count(
            count.ok_or(NOT_MEMCACHED)?,
            left.min(period),
        )))
    }
}

/// The number of a flag.
fn flag(flags: &str, name: char) -> Option<u64> {
    let mut flags = flags.split(' ');
    flags.find_map(|flag| flag.strip_prefix(name))?.parse().ok()
}

/// The first line, and its length with its end.
fn line(input: &[u8]) -> Result<Option<(&str, usize)>, Fault> {
    let searched = &input[..input.len().min(LINE_MAX)];
    let Some(end) = memchr::memchr(b'\n', searched) else {
        return match input.len() < LINE_MAX {
            true => Ok(None),
            false => Err(NOT_MEMCACHED),
        };
    };
    let line = input[..end].strip_suffix(b"\r").ok_or(NOT_MEMCACHED)?;
    let line = std::str::from_utf8(line).map_err(|_| NOT_MEMCACHED)?;
    Ok(Some((line, end + 1)))
}

fn set(out: &mut BytesMut, name: &str, value: &[u8], kept: Duration, more: &str) {
    let (size, kept) = (value.len(), seconds(kept));
    write(out, format_args!("ms {name} {size} T{kept} {more}\r\n"));
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write(out: &mut BytesMut, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a buffer grows");
}

/// Whole seconds, rounded up: zero would be for ever. No more than memcached takes for a length.
fn seconds(time: Duration) -> u64 {
    time.as_secs_f64().ceil().clamp(1.0, 2_592_000.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::state::{KeyKind, StateKey};

    fn swap(expected: Version, new: Option<&[u8]>) -> Swap {
        Swap {
            key: StateKey::new(KeyKind::Sessions, &[]),
            same: expected == Version::Absent && new.is_none(),
            expected,
            new: new.map(<[u8]>::to_vec),
            kept: Duration::from_millis(1500),
        }
    }

    #[track_caller]
    fn check(asked: &Asked, text: &str, expected: &Answered) {
        for end in 0..text.len() {
            let read = Memcached.read(asked, &text.as_bytes()[..end]);
            assert_eq!(read.expect("no fault"), None, "{text:?} at {end}");
        }
        let read = Memcached.read(asked, format!("{text}MN\r\n").as_bytes());
        assert_eq!(
            read.expect("no fault"),
            Some((expected.clone(), text.len()))
        );
    }

    #[test]
    fn answers_are_read_at_every_split() {
        let value = "sessile-1\n0000000000000001 3";
        let read = format!("VA {} c7\r\n{value}\r\n", value.len());
        let stored = Stored::of(value.as_bytes(), Version::Number(7));
        let set = Asked::Swap(swap(Version::Number(6), Some(value.as_bytes())));
        let swapped = Answered::Swap(Answer::Swapped(stored.clone()));
        let differs = Answered::Swap(Answer::Differs(stored));
        check(&set, &format!("HD\r\n{read}"), &swapped);
        check(&set, &format!("EX\r\n{read}"), &differs);
        check(&set, &format!("NS\r\n{read}"), &differs);
        let gone = Answered::Swap(Answer::Differs(Stored::default()));
        check(&set, "NF\r\nEN\r\n", &gone);
        let look = Asked::Swap(swap(Version::Absent, None));
        check(
            &look,
            "EN\r\n",
            &Answered::Swap(Answer::Swapped(Stored::default())),
        );
        check(&look, &read, &differs);
        let minute = Duration::from_secs(60);
        let counted = Answered::Count(12, Duration::from_secs(59));
        check(&Asked::Count(minute), "VA 2 t59\r\n12\r\n", &counted);
        let text = "CLIENT_ERROR cannot increment or decrement non-numeric value";
        let unusable = Answered::Unusable(text.to_owned());
        check(&Asked::Count(minute), &format!("{text}\r\n"), &unusable);
        check(&Asked::Leave, "HD\r\n", &Answered::Left);
        check(&Asked::Leave, "NF\r\n", &Answered::Left);
        check(&Asked::Lease, "EN\r\nHD\r\n", &Answered::Lease(false));
        check(&Asked::Lease, "HD s1\r\nHD\r\n", &Answered::Lease(true));
        let alive = Answered::Processes(vec![true, false]);
        check(&Asked::Processes(2), "HD s1\r\nEN\r\n", &alive);
    }

    #[test]
    fn i12_nonsense_of_a_server_is_a_fault() {
        let look = Asked::Swap(swap(Version::Absent, None));
        for text in [
            "VA x c7\r\n",
            "VA 99999999 c7\r\n",
            "VA 1\r\n1\r\n",
            "VA 1 c7\r\n123",
            "HTTP/1.1 200 OK\r\n",
            "SERVER_ERROR out of memory\r\n",
            "\n",
        ] {
            assert!(Memcached.read(&look, text.as_bytes()).is_err(), "{text:?}");
        }
        let endless = "x".repeat(LINE_MAX);
        assert!(Memcached.read(&Asked::Ping, endless.as_bytes()).is_err());
    }

    #[test]
    fn times_are_whole_seconds_and_never_for_ever() {
        for (time, expected) in [(0.0, 1), (0.2, 1), (1.0, 1), (1.5, 2), (1e9, 2_592_000)] {
            assert_eq!(seconds(Duration::from_secs_f64(time)), expected);
        }
    }
}
