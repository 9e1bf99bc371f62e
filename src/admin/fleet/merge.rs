//! The scope of a question, and the answers of several gateways as one list.

use std::collections::BTreeMap;

use axum::http::{StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::fleet::totals::Totals;
use crate::control::fleet::Other;

/// Bytes of a cursor at most.
const CURSOR_MAX: usize = 16 * 1024;

/// A question with its scope taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// Whether it is for all gateways.
    pub(super) fleet: bool,
    path: String,
    /// Its other parameters, but for a cursor of the fleet.
    parameters: Vec<(String, String)>,
    /// Where the list of each gateway goes on; only those are asked then.
    cursors: Option<BTreeMap<String, String>>,
}

impl Scope {
    /// The scope of a request; `None` if it names none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn take(uri: &Uri) -> Result<Option<Self>, String> {
        let query = uri.query().unwrap_or_default();
        let all = form_urlencoded::parse(query.as_bytes()).into_owned();
        let (scopes, mut parameters): (Vec<_>, Vec<_>) = all.partition(|(key, _)| key == "scope");
        let fleet = match &*scopes {
            [] => return Ok(None),
            [(_, scope)] if scope == "fleet" => true,
            [(_, scope)] if scope == "node" => false,
            _ => return Err("query: `scope` is `node` or `fleet`".to_owned()),
        };
        let at = parameters.iter().position(|(key, _)| key == "cursor");
        let cursors = match at.filter(|_| fleet) {
            Some(at) => Some(read_cursor(&parameters.remove(at).1)?),
            None => None,
        };
        Ok(Some(Self {
            fleet,
            path: uri.path().to_owned(),
            parameters,
            cursors,
        }))
    }

    /// Whether the gateway is asked.
    pub(super) fn wants(&self, node: &str) -> bool {
        let cursors = self.cursors.as_ref();
        cursors.is_none_or(|cursors| cursors.contains_key(node))
    }

    /// What is asked for, and its parameters.
    pub(super) fn question(&self) -> (&str, &[(String, String)]) {
        (&self.path, &self.parameters)
    }

    /// Path and query for a gateway, without the scope.
    pub(super) fn target(&self, node: Option<&str>) -> String {
        let cursor = node.and_then(|node| self.cursors.as_ref()?.get(node));
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.parameters);
        if let Some(cursor) = cursor {
            query.append_pair("cursor", cursor);
        }
        let query = query.finish();
        match query.is_empty() {
            true => self.path.clone(),
            false => format!("{}?{query}", self.path),
        }
    }
}

/// Where the lists of the gateways go on, by name.
fn read_cursor(text: &str) -> Result<BTreeMap<String, String>, String> {
    let wrong = || "query: `cursor` is not `next` of a list of the fleet".to_owned();
    if text.len() > CURSOR_MAX {
        return Err(wrong());
    }
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
    serde_json::from_slice(&json).map_err(|_| wrong())
}

/// What a gateway sent.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Given {
    pub(in crate::admin) status: StatusCode,
    pub(in crate::admin) body: Bytes,
}

/// What came of asking a gateway.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    node: String,
    /// Where the admin API of another gateway is.
    admin: Option<String>,
    /// The items and the cursor for the next ones, or why there are none.
    items: Result<List, String>,
}

/// A gateway's list.
#[derive(Clone, Debug, Default)]
struct List {
    items: Vec<Value>,
    next: Option<String>,
    totals: Totals,
}

impl Answer {
    pub(super) fn new(node: String, given: Result<Given, String>) -> Self {
        let items = given.and_then(|given| items(&node, &given));
        let admin = None;
        Self { node, admin, items }
    }

    /// That of another gateway.
    pub(super) fn of(other: &Other, given: Result<Given, String>) -> Self {
        Self {
            admin: Some(other.admin.clone()),
            ..Self::new(other.node.clone(), given)
        }
    }
}

/// The items of an answer, each with the name of its gateway. An answer that is no list is one
/// item; there is none where the gateway does not have what was asked for.
fn items(node: &str, given: &Given) -> Result<List, String> {
    if given.status == StatusCode::NOT_FOUND {
        return Ok(List::default());
    }
    let mut body: Value = serde_json::from_slice(&given.body)
        .map_err(|_| format!("it answers {} and no JSON", given.status))?;
    if !given.status.is_success() {
        let detail = body["detail"].as_str().unwrap_or_default();
        return Err(format!("it answers {}: {detail}", given.status));
    }
    let next = body["next"].as_str().map(str::to_owned);
    let (items, totals) = match body.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => (items, Totals::read(&body)),
        _ => (vec![body], Totals::default()),
    };
    let items = items.into_iter().map(|mut item| {
        if let Some(fields) = item.as_object_mut() {
            fields.insert("node".to_owned(), node.into());
        }
        item
    });
    Ok(List {
        items: items.collect(),
        next,
        totals,
    })
}

/// A list of several gateways.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(in crate::admin) struct FleetPage {
    /// What they have, each with the name of its gateway as `node`: in the order that was asked
    /// for, events by time, others gateway by gateway.
    pub items: Vec<Value>,
    /// What to give as `cursor`, with `scope=fleet`, for the next page; null on the last.
    pub next: Option<String>,
    /// Some gateway did not answer, or the list of gateways may be old: there may be more.
    pub partial: bool,
    /// Who was asked.
    pub nodes: Vec<NodeAnswer>,
    /// Why the list of gateways may be old.
    pub fault: Option<String>,
    /// What lists have beside their items, of all gateways that answered.
    #[serde(flatten)]
    pub totals: Totals,
}

/// A gateway that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(in crate::admin) struct NodeAnswer {
    /// Its name.
    pub node: String,
    /// Where its admin API is, as it is registered; absent for the gateway that answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub admin: Option<String>,
    /// How many items it sent; null if it did not answer.
    pub items: Option<usize>,
    /// Why it did not answer.
    pub fault: Option<String>,
}

/// All answers as one list.
pub(super) fn merge(answers: Vec<Answer>) -> FleetPage {
    let (mut all, mut nodes, mut cursors) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut totals = Totals::default();
    for Answer { node, admin, items } in answers {
        let (count, fault) = match items {
            Ok(list) => {
                let count = list.items.len();
                all.extend(list.items);
                cursors.extend(list.next.map(|next| (node.clone(), next)));
                totals.add(list.totals);
                (Some(count), None)
            }
            Err(fault) => (None, Some(fault)),
        };
        nodes.push(NodeAnswer {
            node,
            admin,
            items: count,
            fault,
        });
    }
    let next = (!cursors.is_empty()).then(|| {
        let json = serde_json::to_vec(&cursors).expect("plain data serialises");
        URL_SAFE_NO_PAD.encode(json)
    });
    FleetPage {
        items: all,
        next,
        partial: nodes.iter().any(|node| node.fault.is_some()),
        nodes,
        fault: None,
        totals,
    }
}

#[cfg(test)]
mod tests;
