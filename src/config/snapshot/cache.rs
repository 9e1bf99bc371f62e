//! `cache` of a route, as checked.

/// `cache` of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheRules {
    /// Longest body that is kept. Default 1 MiB.
    pub object_bytes: usize,
}
