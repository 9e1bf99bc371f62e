//! Responses of backends that routes with `cache` keep in memory, for all workers together. What
//! may be kept, and for how long, is `core::http::freshness`'s.

mod flights;
mod stored;

use std::fmt;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, UnitWeighter, Weighter};

pub use flights::Flight;
use flights::Flights;
pub use stored::StoredResponse;

/// Bytes of memory until the configuration is in force.
const BYTES: u64 = 64 << 20;
/// Responses to one URI; more than are asked for at once push the oldest out.
const VARIANTS_MAX: usize = 8;
/// Entries that room is made for from the start.
const ENTRIES: usize = 256;
/// How long a URI whose response was not stored is not waited for, and how many are known.
const UNSTORABLE_FOR: Duration = Duration::from_secs(10);
const UNSTORABLE_MAX: usize = 4096;

/// Responses to one URI, the latest first.
type Variants = Arc<[Arc<StoredResponse>]>;

/// Counts what an entry takes.
#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<Box<str>, Variants> for Bytes {
    fn weight(&self, key: &Box<str>, variants: &Variants) -> u64 {
        let responses: usize = variants.iter().map(|one| one.bytes()).sum();
        (key.len() + responses + 128) as u64
    }
}

/// Responses in memory.
pub struct Responses {
    entries: Cache<Box<str>, Variants, Bytes, RandomState>,
    /// URIs whose responses were not stored lately, until when that counts.
    unstorable: Cache<Box<str>, Instant, UnitWeighter, RandomState>,
    /// Requests that others wait for.
    pub flights: Arc<Flights>,
}

impl Default for Responses {
    fn default() -> Self {
        let options = |items: usize, weight: u64| {
            // The bound is exact only of one shard.
            let mut options = OptionsBuilder::new();
            options
                .shards(1)
                .estimated_items_capacity(items)
                .weight_capacity(weight);
            options.build().expect("both capacities are set")
        };
        Self {
            entries: Cache::with_options(
                options(ENTRIES, BYTES),
                Bytes,
                RandomState::new(),
                DefaultLifecycle::default(),
            ),
            unstorable: Cache::with_options(
                options(UNSTORABLE_MAX, UNSTORABLE_MAX as u64),
                UnitWeighter,
                RandomState::new(),
                DefaultLifecycle::default(),
            ),
            flights: Arc::default(),
        }
    }
}

impl fmt::Debug for Responses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responses")
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl Responses {
    /// Changes how much memory they may take; what is too much goes.
    pub fn resize(&self, bytes: u64) {
        if self.entries.capacity() != bytes {
            self.entries.set_capacity(bytes);
        }
    }

    /// Responses to a URI.
    pub fn find(&self, uri: &str) -> Option<Variants> {
        self.entries.get(uri)
    }

    /// Stores a response, in place of one that answers the same requests.
    pub fn store(&self, uri: &str, response: StoredResponse) {
        let known = self.entries.get(uri);
        let others = known.iter().flat_map(|known| known.iter());
        let others = others
            .filter(|one| !one.answers_the_same_as(&response))
            .cloned();
        let others: Vec<_> = others.take(VARIANTS_MAX - 1).collect();
        let all = std::iter::once(Arc::new(response)).chain(others);
        self.entries.insert(uri.into(), all.collect());
        self.unstorable.remove(uri);
    }

    /// A response to this URI was not stored, and the next ones may be neither.
    pub fn not_stored(&self, uri: &str, now: Instant) {
        self.unstorable.insert(uri.into(), now + UNSTORABLE_FOR);
    }

    /// Whether waiting for the response to another request is probably in vain.
    pub fn is_unstorable(&self, uri: &str, now: Instant) -> bool {
        self.unstorable.get(uri).is_some_and(|until| now < until)
    }

    /// Drops the responses to a URI. Returns whether there were some.
    pub fn forget(&self, uri: &str) -> bool {
        self.entries.remove(uri).is_some()
    }

    /// Drops all responses.
    pub fn forget_all(&self) {
        self.entries.clear();
    }

    /// URIs with responses.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    /// Bytes that they may take.
    pub fn bytes_max(&self) -> u64 {
        self.entries.capacity()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::base::clock;

    fn response(language: &str, body: usize) -> StoredResponse {
        let mut asked = HeaderMap::new();
        asked.insert("accept-language", language.parse().expect("a value"));
        let mut fields = HeaderMap::new();
        fields.insert("vary", "accept-language".parse().expect("a value"));
        let now = clock::wall();
        StoredResponse::new(
            "all".into(),
            &asked,
            (StatusCode::OK, fields),
            vec![0; body].into(),
            (now, now),
        )
        .expect("it is stored")
    }

    #[test]
    fn a_new_response_takes_the_place_of_one_for_the_same_requests() {
        let responses = Responses::default();
        for (language, count) in [("de", 1), ("en", 2), ("de", 2)] {
            responses.store("a", response(language, 1));
            assert_eq!(responses.find("a").expect("some").len(), count);
        }
        for number in 0..20 {
            responses.store("a", response(&format!("x-{number}"), 1));
        }
        assert_eq!(responses.find("a").expect("some").len(), VARIANTS_MAX);
        assert!(responses.forget("a") && !responses.forget("a") && responses.is_empty());
    }

    #[test]
    fn i8_memory_is_bounded() {
        let responses = Responses::default();
        responses.resize(100_000);
        for number in 0..1_000 {
            responses.store(&format!("/{number}"), response("de", 1_000));
            assert!(responses.bytes() <= 100_000);
        }
        assert!(responses.len() > 20, "{}", responses.len());
        responses.store("/huge", response("de", 200_000));
        assert!(responses.find("/huge").is_none() && responses.bytes() <= 100_000);
        responses.resize(10_000);
        assert!(responses.bytes() <= 10_000);
        responses.forget_all();
        assert!(responses.is_empty());
    }

    #[test]
    fn a_uri_that_was_not_stored_is_known_for_a_while() {
        let (responses, now) = (Responses::default(), clock::now());
        responses.not_stored("a", now);
        assert!(responses.is_unstorable("a", now) && !responses.is_unstorable("b", now));
        assert!(!responses.is_unstorable("a", now + UNSTORABLE_FOR));
        responses.store("a", response("de", 1));
        assert!(!responses.is_unstorable("a", now));
    }
}
