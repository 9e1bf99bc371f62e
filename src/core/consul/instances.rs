//! `/v1/health/service/<service>`: the instances of a service, as members of an upstream.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::consul_service::ConsulService;
use crate::config::dns_name::is_name;
use crate::core::consul::AnswerFault;

/// The greatest weight of a backend.
const WEIGHT_MAX: u32 = 1000;
/// Bytes of an id.
const ID_LEN_MAX: usize = 255;
/// Bytes of a zone.
const ZONE_LEN_MAX: usize = 63;
/// Bytes of a label that are kept.
const TEXT_LEN_MAX: usize = 128;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Service,
    #[serde(default)]
    checks: Option<Vec<Check>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    locality: Option<Locality>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Tags", default)]
    tags: Option<Vec<String>>,
    #[serde(rename = "Address", default)]
    address: String,
    #[serde(rename = "Port", default)]
    port: i64,
    #[serde(rename = "Meta", default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(rename = "Weights", default)]
    weights: Option<Weights>,
    #[serde(rename = "Locality", default)]
    locality: Option<Locality>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    #[serde(default)]
    passing: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Locality {
    #[serde(default)]
    zone: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(default)]
    status: String,
}

/// The members that an answer makes, by id, and how many instances of it cannot be one. Members are
/// the instances whose checks all pass and that have the tags of the service.
///
/// # Errors
/// When the answer is not as documented.
pub fn instances(
    body: &[u8],
    service: &ConsulService,
    max: usize,
) -> Result<(BTreeMap<String, Arc<str>>, usize), AnswerFault> {
    let entries: Vec<Entry> = serde_json::from_slice(body)?;
    let wanted = entries.iter().filter(|entry| {
        let passes = |check: &Check| check.status == "passing";
        let checks = entry.checks.iter().flatten();
        let tags = entry.service.tags.as_deref().unwrap_or_default();
        checks.into_iter().all(passes) && service.tags.iter().all(|tag| has(tags, tag))
    });
    let (mut members, mut left_out) = (BTreeMap::new(), 0);
    for entry in wanted {
        match (id(entry), document(entry)) {
            (Some(id), Some(document)) if !members.contains_key(&id) => {
                members.insert(id, document);
            }
            _ => left_out += 1,
        }
    }
    // The same ones on every gateway.
    while members.len() > max {
        members.pop_last();
        left_out += 1;
    }
    Ok((members, left_out))
}

fn has(tags: &[String], wanted: &str) -> bool {
    tags.iter().any(|tag| tag == wanted)
}

/// Ids of instances are distinct on one node only.
fn id(entry: &Entry) -> Option<String> {
    let id = format!("{}@{}", entry.service.id, entry.node.node);
    let graphic = id.bytes().all(|byte| byte.is_ascii_graphic());
    let whole = !entry.service.id.is_empty() && !entry.node.node.is_empty();
    (graphic && whole && id.len() <= ID_LEN_MAX).then_some(id)
}

fn document(entry: &Entry) -> Option<Arc<str>> {
    let Entry { node, service, .. } = entry;
    let mut document = json!({ "address": address(entry)?, "weight": weight(service) });
    let zones = [
        meta(service, "zone"),
        zone(service.locality.as_ref()),
        zone(node.locality.as_ref()),
        node.meta.as_ref().and_then(|meta| text(meta.get("zone")?)),
    ];
    let mut zones = zones.into_iter().flatten();
    if let Some(zone) = zones.find(|zone| is_zone(zone)) {
        document["zone"] = zone.into();
    }
    let version = meta(service, "version").or_else(|| tagged(service, "version"));
    let labels = [("node", text(&node.node)), ("version", version)];
    let labels = labels
        .into_iter()
        .filter_map(|(label, value)| Some((label.to_owned(), Value::from(value?))));
    document["labels"] = Value::Object(labels.collect());
    let state = meta(service, "state");
    if let Some(state @ ("draining" | "disabled")) = state.as_deref() {
        document["state"] = state.into();
    }
    Some(document.to_string().into())
}

/// The instance's own address, else its node's: an IP address or a host name, never a path.
fn address(entry: &Entry) -> Option<String> {
    let port = u16::try_from(entry.service.port).ok();
    let port = port.filter(|port| *port != 0)?;
    let host = match entry.service.address.as_str() {
        "" => entry.node.address.as_str(),
        own => own,
    };
    match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => None,
        Ok(ip) => Some(SocketAddr::new(ip, port).to_string()),
        Err(_) => is_name(host).then(|| format!("{}:{port}", host.to_ascii_lowercase())),
    }
}

/// From the instance's meta, else its tags, else the weight that Consul has for passing instances.
fn weight(service: &Service) -> u32 {
    let written = meta(service, "weight").and_then(|text| text.parse::<i64>().ok());
    let written = written.or_else(|| tagged(service, "weight")?.parse().ok());
    let passing = || service.weights.as_ref().map_or(1, |all| all.passing);
    let weight = written.unwrap_or_else(passing);
    u32::try_from(weight.clamp(1, WEIGHT_MAX.into())).unwrap_or(1)
}

fn meta(service: &Service, key: &str) -> Option<String> {
    text(service.meta.as_ref()?.get(key)?)
}

/// The value of a tag such as `version=1.4`.
fn tagged(service: &Service, key: &str) -> Option<String> {
    let mut tags = service.tags.iter().flatten();
    let value = tags.find_map(|tag| tag.strip_prefix(key)?.strip_prefix('='))?;
    text(value)
}

fn zone(locality: Option<&Locality>) -> Option<String> {
    text(&locality?.zone)
}

/// Zones have 1 to 63 visible ASCII characters.
fn is_zone(text: &str) -> bool {
    (1..=ZONE_LEN_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A text that may be shown: not empty, not long, without control characters.
fn text(text: &str) -> Option<String> {
    let shows = !text.is_empty() && !text.chars().any(char::is_control);
    (shows && text.len() <= TEXT_LEN_MAX).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
