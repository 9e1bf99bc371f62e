//! The index with which a blocking query waits for a change (Consul's "Blocking Queries").

/// What an answer did to the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// Something has been written since.
    On,
    /// Nothing has: the time of the query ran out.
    Not,
    /// Its index was smaller than the one before: the servers were restored, or the newest key
    /// below the prefix was deleted. The next query does not wait.
    Back,
}

/// The index of one query; 0 before the first answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u64);

impl Cursor {
    /// The index to wait at; `None`: the query is to be answered at once.
    pub const fn index(self) -> Option<u64> {
        match self.0 {
            0 => None,
            index => Some(index),
        }
    }

    /// Whether an answer with this index is older than the one before.
    pub const fn is_behind(self, index: u64) -> bool {
        index < self.0
    }

    /// Takes the index of an answer. One of 0, which is a fault of old versions, would not wait, so
    /// it counts as 1.
    pub fn answered(&mut self, index: u64) -> Moved {
        let (before, index) = (self.0, index.max(1));
        if index < before {
            self.0 = 0;
            return Moved::Back;
        }
        self.0 = index;
        match index == before {
            true => Moved::Not,
            false => Moved::On,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_goes_on_starts_anew_when_it_goes_back_and_always_waits() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.index(), None);
        for (answer, moved, then) in [
            (7, Moved::On, Some(7)),
            (7, Moved::Not, Some(7)),
            (9, Moved::On, Some(9)),
            (3, Moved::Back, None),
            (3, Moved::On, Some(3)),
            (0, Moved::Back, None),
            (0, Moved::On, Some(1)),
            (0, Moved::Not, Some(1)),
            (u64::MAX, Moved::On, Some(u64::MAX)),
        ] {
            assert_eq!((cursor.answered(answer), cursor.index()), (moved, then));
        }
        assert!(cursor.is_behind(5) && !cursor.is_behind(u64::MAX));
    }
}
