//! Paged lists.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The requested part of a list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    /// Items at most; 1 to 1000.
    pub(super) limit: Option<usize>,
    /// `next` of the page before.
    pub(super) cursor: Option<String>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// In the order of their names or ids.
    pub items: Vec<T>,
    /// What to give as `cursor` for the next page; null on the last.
    pub next: Option<String>,
}

/// Most items on one page.
pub(super) const PAGE_MAX: usize = 1000;

impl<T> Page<T> {
    /// The first `limit` items after `cursor`; `items` are sorted.
    pub(super) fn of(
        items: impl Iterator<Item = T>,
        paging: &Paging,
        name: impl Fn(&T) -> &str,
    ) -> Self {
        let limit = paging.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        let behind = |item: &T| {
            let cursor = paging.cursor.as_deref();
            cursor.is_none_or(|cursor| name(item) > cursor)
        };
        let mut items: Vec<_> = items.filter(behind).take(limit + 1).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items
            .last()
            .filter(|_| more)
            .map(|item| name(item).to_owned());
        Self { items, next }
    }
}
