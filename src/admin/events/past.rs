//! Events of the past, the newest first: the history of changes, ended sessions, refusals.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;

use crate::admin::Gateway;
use crate::admin::events::query::{EndedQuery, HistoryQuery, RefusalQuery, cursor};
use crate::admin::extract::Parameters;
use crate::admin::page::PAGE_MAX;
use crate::admin::problem::Problem;
use crate::base::clock;
use crate::telemetry::events::{Class, Event, EventView, Events, Filter};

/// The default `limit`.
const PAGE_DEFAULT: usize = 100;

/// Events, the newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EventPage {
    /// The newest first.
    pub items: Vec<EventView>,
    /// What to give as `cursor` for the next page; null on the last.
    pub next: Option<String>,
    /// How far the memory reaches back, by class.
    pub memory: BTreeMap<String, MemoryView>,
}

/// Refusals, the newest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RefusalPage {
    /// The newest first.
    pub items: Vec<EventView>,
    /// What to give as `cursor` for the next page; null on the last.
    pub next: Option<String>,
    /// All refusals in memory that match, by reason; only on the first page.
    #[serde(default)]
    pub counts: BTreeMap<String, u64>,
    /// How far the memory reaches back, by class.
    pub memory: BTreeMap<String, MemoryView>,
}

/// What is in memory of one class of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryView {
    /// Events in memory.
    pub events: usize,
    /// The time of the oldest; RFC 3339, null if there is none.
    pub oldest: Option<String>,
    /// Older events that were evicted.
    pub evicted: u64,
    /// Events that came too fast and were dropped.
    pub dropped: u64,
}

pub(in crate::admin) async fn history(
    State(gateway): State<Arc<Gateway>>,
    Parameters(query): Parameters<HistoryQuery>,
) -> Result<Json<EventPage>, Problem> {
    let asked = (query.limit, query.cursor.as_deref());
    page(gateway.live.events(), &query.filter()?, asked).await
}

pub(in crate::admin) async fn ended(
    State(gateway): State<Arc<Gateway>>,
    Parameters(query): Parameters<EndedQuery>,
) -> Result<Json<EventPage>, Problem> {
    let asked = (query.limit, query.cursor.as_deref());
    page(gateway.live.events(), &query.filter()?, asked).await
}

pub(in crate::admin) async fn refusals(
    State(gateway): State<Arc<Gateway>>,
    Parameters(query): Parameters<RefusalQuery>,
) -> Result<Json<RefusalPage>, Problem> {
    let events = gateway.live.events();
    let filter = query.filter()?;
    let asked = (query.limit, query.cursor.as_deref());
    let Json(EventPage {
        items,
        next,
        memory,
    }) = page(events, &filter, asked).await?;
    let counts = match query.cursor {
        None => counts(events, &filter).await,
        Some(_) => BTreeMap::new(),
    };
    Ok(Json(RefusalPage {
        items,
        next,
        counts,
        memory,
    }))
}

async fn page(
    events: &Events,
    filter: &Filter,
    (limit, after): (Option<usize>, Option<&str>),
) -> Result<Json<EventPage>, Problem> {
    let limit = limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let mut items = Vec::new();
    let mut next = Some(events.before(cursor(after)?));
    while let Some(before) = next.filter(|_| items.len() < limit) {
        let page = events.read_back(before, filter, limit - items.len());
        items.extend(page.events.iter().map(|event| event.view()));
        next = page.next;
        // Others have their turn between two slices.
        yield_now().await;
    }
    let next = next.and_then(|before| before.id);
    Ok(Json(EventPage {
        items,
        next: next.map(|id| id.to_string()),
        memory: memory(events, filter),
    }))
}

async fn counts(events: &Events, filter: &Filter) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let mut next = Some(events.before(None));
    while let Some(before) = next {
        let page = events.read_back(before, filter, usize::MAX);
        let reasons = page.events.iter().map(|event| reason(event));
        for reason in reasons {
            *counts.entry(reason).or_default() += 1;
        }
        next = page.next;
        yield_now().await;
    }
    counts
}

fn reason(event: &Event) -> String {
    event
        .fields()
        .reason
        .as_deref()
        .unwrap_or_default()
        .to_owned()
}

fn memory(events: &Events, filter: &Filter) -> BTreeMap<String, MemoryView> {
    let wanted = Class::ALL.into_iter().filter(|class| filter.wants(*class));
    let views = wanted.map(|class| {
        let fill = events.fill(class);
        let view = MemoryView {
            events: fill.events,
            oldest: fill.oldest.map(clock::rfc3339),
            evicted: fill.evicted,
            dropped: events.dropped(class),
        };
        (class.as_str().to_owned(), view)
    });
    views.collect()
}
