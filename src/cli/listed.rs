//! Lists of one gateway or, with `--fleet`, of all that follow the same etcd.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::admin::events::MemoryView;
use crate::admin::sessions::RateView;
use crate::cli::print::visible;

/// A list of one gateway or of several, with what some lists have beside their items.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listed<T> {
    pub(super) items: Vec<Located<T>>,
    /// Where the next page begins; `None` on the last.
    #[serde(default)]
    pub(super) next: Option<String>,
    /// How many sessions match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) matched: Option<usize>,
    /// The rate of all sessions that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rate: Option<RateView>,
    /// Refusals by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) counts: BTreeMap<String, u64>,
    /// How far the memory reaches back, by class; of one gateway.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) memory: BTreeMap<String, MemoryView>,
    /// Workers that did not answer in time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) unanswered: Vec<usize>,
    /// Whether a gateway did not answer; `None` in a list of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) partial: Option<bool>,
    /// The gateways that were asked; empty in a list of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) nodes: Vec<NodeAnswer>,
    /// Why the list of gateways may be old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fault: Option<String>,
}

/// A gateway that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NodeAnswer {
    pub(super) node: String,
    /// Where its admin API is; `None` for the gateway that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) admin: Option<String>,
    /// How many items it sent.
    #[serde(default)]
    pub(super) items: Option<usize>,
    /// Why it did not answer.
    pub(super) fault: Option<String>,
}

/// An item, with its gateway in a list of several.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Located<T> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<String>,
    #[serde(flatten)]
    pub(super) item: T,
}

impl<T> Listed<T> {
    /// Whether it is of several gateways.
    pub(super) fn is_of_fleet(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// Whether a gateway did not answer.
    pub(super) fn is_partial(&self) -> bool {
        self.fault.is_some() || self.nodes.iter().any(|node| node.fault.is_some())
    }

    /// With the next page behind it.
    pub(super) fn and(mut self, page: Self) -> Self {
        self.items.extend(page.items);
        self.next = page.next;
        self.unanswered.extend(page.unanswered);
        self.unanswered.sort_unstable();
        self.unanswered.dedup();
        (self.matched, self.rate) = (page.matched, page.rate);
        // Only the gateways that have more are asked for a page.
        for node in page.nodes {
            let known = self.nodes.iter_mut().find(|one| one.node == node.node);
            if let Some(known) = known {
                known.items = Some(known.items.unwrap_or(0) + node.items.unwrap_or(0));
                known.fault = known.fault.take().or(node.fault);
            }
        }
        self.partial = self.partial.map(|_| self.is_partial());
        self
    }

    /// Without the items behind this number.
    pub(super) fn shorten(&mut self, limit: usize) {
        if self.items.len() > limit {
            self.items.truncate(limit);
            self.matched = self.matched.or(Some(limit + 1));
        }
    }

    /// Names the gateways that did not answer, a line for each that begins with `level`.
    pub(super) fn missing(&self, level: &str, out: &mut dyn Write) -> io::Result<()> {
        for NodeAnswer { node, fault, .. } in &self.nodes {
            if let Some(fault) = fault {
                let (node, fault) = (visible(node), visible(fault));
                writeln!(out, "{level}{node} does not answer: {fault}")?;
            }
        }
        match &self.fault {
            Some(fault) => writeln!(out, "{level}{}", visible(fault)),
            None => Ok(()),
        }
    }

    /// How far the gateway's memory reaches back, for an answer that is empty.
    pub(super) fn reach(&self) -> String {
        let oldest = self.memory.values().filter_map(|one| one.oldest.as_deref());
        let oldest = oldest
            .max()
            .map(|oldest| format!("; the memory begins at {oldest}"));
        oldest.unwrap_or_default()
    }

    /// The head of a table of it: with a column of gateways in a list of several.
    pub(super) fn head<'h>(&self, head: &[&'h str]) -> Vec<&'h str> {
        let gateway = self.is_of_fleet().then_some("GATEWAY");
        gateway.into_iter().chain(head.iter().copied()).collect()
    }

    /// The rows of such a table.
    pub(super) fn rows(&self, row: impl Fn(&T) -> Vec<String>) -> Vec<Vec<String>> {
        let fleet = self.is_of_fleet();
        let rows = self.items.iter().map(|Located { node, item }| {
            let node = fleet.then(|| node.clone().unwrap_or_else(|| "-".to_owned()));
            node.into_iter().chain(row(item)).collect()
        });
        rows.collect()
    }
}

/// A target in the scope that was asked for.
pub(super) fn scoped(target: &str, fleet: bool) -> String {
    match (fleet, target.contains('?')) {
        (false, _) => target.to_owned(),
        (true, true) => format!("{target}&scope=fleet"),
        (true, false) => format!("{target}?scope=fleet"),
    }
}
