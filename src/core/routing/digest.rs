//! Digests of configuration: equal on all gateways of one version whose routes and upstreams are
//! equal.

use std::fmt::{self, Write};
use std::sync::Arc;

use serde::{Serialize, Serializer};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Bytes of most routes and upstreams as text.
const TEXT: usize = 4096;

/// XXH3-128 of a table's routes, upstreams and authenticators, each sorted by name. No `Secret` is
/// in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(u128);

impl Digest {
    /// Separate digests, so that a change does not render unchanged parts again.
    pub(super) fn of(lists: [&mut dyn ExactSizeIterator<Item = u128>; 3]) -> Self {
        let mut hasher = Xxh3::new();
        for digests in lists {
            hasher.update(&(digests.len() as u64).to_le_bytes());
            digests.for_each(|one| hasher.update(&one.to_le_bytes()));
        }
        Self(hasher.digest128())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whether two configurations are equal; usually they are the same allocation.
pub(super) fn same_config<T: PartialEq>(one: &Arc<T>, other: &Arc<T>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// XXH3-128 of one configuration's rendering. `Debug` is that: it names every field, so that none
/// can be forgotten, quotes all text, and shows no secret. The collections in it are sorted or in
/// the operator's order.
pub(super) fn digest_of(config: &impl fmt::Debug) -> u128 {
    // As a whole: `Debug` writes thousands of small pieces, each of which would cost a hasher more
    // than its bytes do.
    let mut text = String::with_capacity(TEXT);
    write!(text, "{config:?}").expect("writing to a text does not fail");
    xxh3_128(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lists: [&[u128]; 3]) -> Digest {
        let [mut one, mut two, mut three] = lists.map(|list| list.iter().copied());
        Digest::of([&mut one, &mut two, &mut three])
    }

    #[test]
    fn i2_a_digest_is_the_same_on_every_gateway() {
        let digest = of([&[1, 1 << 64], &[2], &[]]);
        assert_eq!(digest.to_string(), "0f8c51fad968ddb16505bfa0e85cfaf4");
        assert_eq!(of([&[3], &[], &[]]).to_string().len(), 32);
    }

    #[test]
    fn a_digest_depends_on_every_bit_and_on_the_list_that_a_part_is_in() {
        let base = of([&[1, 2], &[], &[]]);
        assert_ne!(base, of([&[1], &[2], &[]]));
        assert_ne!(base, of([&[1, 2 | 1 << 127], &[], &[]]));
        assert_ne!(base, of([&[1 | 1 << 64, 2], &[], &[]]));
    }
}
