//! A value in the store: who has how much, and which backend.
//!
//! ```text
//! sessile-1 10.0.0.1:9101
//! 1f3a5b7c9d0e2f4a 3
//! ```
//! The first line has the version of the form and the backend, if there is one; each further line
//! one gateway process and its share.

use std::fmt::Write as _;

use smallvec::SmallVec;

/// Longest value that is read.
pub const DOCUMENT_MAX: usize = 64 * 1024;
/// Processes in one value.
const SHARES_MAX: usize = 2048;
/// Longest id of a backend.
const BACKEND_MAX: usize = 1024;
const FORM: &str = "sessile-1";

/// A value in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The backend that a sticky key has.
    pub backend: Option<Box<str>>,
    /// What each gateway process has, by the process; never zero.
    shares: SmallVec<[(u64, u32); 2]>,
}

impl Document {
    /// Reads a value. `None` for anything that no gateway wrote.
    pub fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok();
        let mut lines = text.filter(|text| text.len() <= DOCUMENT_MAX)?.lines();
        let head = lines.next()?.strip_prefix(FORM)?;
        let backend = match head.strip_prefix(' ') {
            Some(name) => Some(name).filter(|name| is_backend(name))?.into(),
            None if head.is_empty() => None,
            None => return None,
        };
        let mut shares = SmallVec::new();
        for line in lines {
            let (process, share) = line.split_once(' ')?;
            let process = Some(process).filter(|process| process.len() == 16)?;
            let process = u64::from_str_radix(process, 16).ok()?;
            let share = share.parse().ok().filter(|share| *share > 0)?;
            let in_order = shares.last().is_none_or(|(last, _)| *last < process);
            if shares.len() == SHARES_MAX || !in_order {
                return None;
            }
            shares.push((process, share));
        }
        Some(Self {
            backend: backend.map(Into::into),
            shares,
        })
    }

    /// As it is stored.
    pub fn write(&self) -> Vec<u8> {
        let mut text = FORM.to_owned();
        if let Some(backend) = &self.backend {
            text.push(' ');
            text.push_str(backend);
        }
        for (process, share) in &self.shares {
            write!(text, "\n{process:016x} {share}").expect("text grows");
        }
        text.into_bytes()
    }

    /// The processes that have a share.
    pub fn processes(&self) -> impl Iterator<Item = u64> {
        self.shares.iter().map(|(process, _)| *process)
    }

    /// What one process has.
    pub fn share(&self, process: u64) -> u32 {
        let place = self.place(process);
        place.map_or(0, |place| self.shares[place].1)
    }

    /// Sets what one process has.
    pub fn set_share(&mut self, process: u64, share: u32) {
        match (self.place(process), share) {
            (Ok(place), 0) => drop(self.shares.remove(place)),
            (Ok(place), share) => self.shares[place].1 = share,
            (Err(_), 0) => {}
            (Err(place), share) if self.shares.len() < SHARES_MAX => {
                self.shares.insert(place, (process, share));
            }
            (Err(_), _) => {}
        }
    }

    /// Takes out the shares of processes that are not `alive`.
    pub fn retain(&mut self, mut alive: impl FnMut(u64) -> bool) {
        self.shares.retain(|(process, _)| alive(*process));
    }

    /// All shares together.
    pub fn total(&self) -> u64 {
        self.shares.iter().map(|(_, share)| u64::from(*share)).sum()
    }

    /// Whether there is no share.
    pub fn is_unshared(&self) -> bool {
        self.shares.is_empty()
    }

    fn place(&self, process: u64) -> Result<usize, usize> {
        self.shares.binary_search_by_key(&process, |(one, _)| *one)
    }
}

/// Whether this can be a backend in a value.
pub(super) fn is_backend(name: &str) -> bool {
    let length = 1..=BACKEND_MAX;
    length.contains(&name.len()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_has_one_form() {
        let mut document = Document::default();
        assert_eq!(document.write(), b"sessile-1");
        document.backend = Some("10.0.0.1:9101".into());
        document.set_share(0x1f, 3);
        document.set_share(2, 1);
        document.set_share(7, 0);
        let text = b"sessile-1 10.0.0.1:9101\n0000000000000002 1\n000000000000001f 3";
        assert_eq!(document.write(), text);
        assert_eq!((document.total(), document.share(0x1f)), (4, 3));
        assert_eq!(Document::read(text), Some(document));
    }

    #[test]
    fn i8_a_value_has_so_many_shares_at_most() {
        let mut document = Document::default();
        for process in 0..=SHARES_MAX as u64 {
            document.set_share(process, 1);
        }
        assert_eq!(document.total(), SHARES_MAX as u64);
        assert_eq!(Document::read(&document.write()), Some(document));
    }

    #[test]
    fn i12_what_no_gateway_wrote_is_no_value() {
        let long = [b"sessile-1 ".as_slice(), &[b'x'; DOCUMENT_MAX]].concat();
        let texts: [&[u8]; 10] = [
            b"",
            b"7",
            b"sessile-2",
            b"sessile-1 ",
            b"sessile-1 \x07",
            b"sessile-1\n1 3",
            b"sessile-1\n0000000000000002 0",
            b"sessile-1\n0000000000000002 1\n0000000000000002 1",
            b"\xff\xfe",
            &long,
        ];
        for text in texts {
            assert_eq!(Document::read(text), None, "{}", text.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            backend in prop::option::of("[a-z0-9.:]{1,40}"),
            shares in prop::collection::vec((any::<u64>(), 0_u32..9), 0..40),
        ) {
            let backend = backend.map(String::into_boxed_str);
            let mut document = Document { backend, ..Document::default() };
            for (process, share) in shares {
                document.set_share(process, share);
            }
            prop_assert_eq!(Document::read(&document.write()), Some(document));
        }

        #[test]
        fn reading_anything_does_not_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(document) = Document::read(&text) {
                prop_assert_eq!(Document::read(&document.write()), Some(document));
            }
        }
    }
}
