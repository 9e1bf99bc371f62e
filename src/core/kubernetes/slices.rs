//! The EndpointSlices of one Service, by a list and the events of a watch since.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::dns_name::is_name;
use crate::core::kubernetes::listed::{AnswerFault, Change, Happened, Listed, WatchEvent, token};
use crate::core::kubernetes::objects::{AddressType, Endpoint, ListMeta, Slice, SliceList};

/// Slices of one Service.
const SLICES_MAX: usize = 256;
/// Bytes of an id.
const ID_LEN_MAX: usize = 255;
/// Bytes of a zone.
const ZONE_LEN_MAX: usize = 63;
/// Bytes of a label.
const TEXT_LEN_MAX: usize = 128;

/// The slices of a Service at one version.
#[derive(Clone, Default)]
pub struct Slices {
    version: String,
    slices: BTreeMap<String, Slice>,
}

impl std::fmt::Debug for Slices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.slices.keys().collect();
        f.debug_tuple("Slices")
            .field(&self.version)
            .field(&names)
            .finish()
    }
}

impl Slices {
    fn put(&mut self, slice: Slice) -> Result<(), AnswerFault> {
        let name = slice.metadata.name.clone();
        let name = name.ok_or(AnswerFault::Form("an object without a name"))?;
        self.slices.insert(name, slice);
        match self.slices.len() > SLICES_MAX {
            true => Err(AnswerFault::TooMany(SLICES_MAX)),
            false => Ok(()),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// Whether a slice has this port.
    pub fn has_port(&self, port: &str) -> bool {
        self.slices
            .values()
            .any(|slice| number(slice, port).is_some())
    }

    /// The members at a port, by id, `max` at most, and how many endpoints cannot be one. A pod
    /// that is terminating drains; one that is not ready is no member. None if no pod is ready:
    /// that is no state to follow.
    pub fn members(&self, port: &str, max: usize) -> (BTreeMap<String, Arc<str>>, usize) {
        let mut slices: Vec<_> = self.slices.values().collect();
        slices.sort_by_key(|slice| slice.address_type);
        let (mut members, mut left_out, mut ready) = (BTreeMap::new(), 0, 0);
        for slice in slices {
            let Some(number) = number(slice, port) else {
                continue;
            };
            for endpoint in slice.endpoints.iter().flatten() {
                let Some(state) = state(endpoint) else {
                    continue;
                };
                let address = address(endpoint, slice.address_type, number);
                let Some((id, address)) = address.and_then(|to| Some((id(endpoint, &to)?, to)))
                else {
                    left_out += 1;
                    continue;
                };
                // A pod with addresses of both families is one member.
                members.entry(id).or_insert_with(|| {
                    ready += usize::from(state == "active");
                    document(endpoint, &address, state)
                });
            }
        }
        if ready == 0 {
            members.clear();
        }
        while members.len() > max {
            members.pop_last();
            left_out += 1;
        }
        (members, left_out)
    }
}

impl Listed for Slices {
    fn version(&self) -> &str {
        &self.version
    }

    fn page(&mut self, body: &[u8]) -> Result<Option<String>, AnswerFault> {
        let list: SliceList = serde_json::from_slice(body)?;
        let ListMeta {
            resource_version,
            next,
        } = list.metadata;
        self.version = token(resource_version)?.ok_or(AnswerFault::Form("no resourceVersion"))?;
        for slice in list.items.into_iter().flatten() {
            self.put(slice)?;
        }
        token(next)
    }

    fn event(&mut self, line: &[u8]) -> Result<Happened, AnswerFault> {
        let (version, change) = match WatchEvent::read(line)? {
            WatchEvent::Object { version, change } => (version, change),
            WatchEvent::Over(happened) => return Ok(happened),
        };
        let happened = match change {
            Change::Put(object) => {
                self.put(serde_json::from_value(object)?)?;
                Happened::Changed
            }
            Change::Delete(object) => {
                let name = object.pointer("/metadata/name");
                let name = name.and_then(Value::as_str).unwrap_or_default();
                self.slices.remove(name);
                Happened::Changed
            }
            Change::Nothing => Happened::Bookmark,
        };
        self.version = version;
        Ok(happened)
    }
}

/// The number of a port that slices have under a name.
fn number(slice: &Slice, port: &str) -> Option<u16> {
    let mut ports = slice.ports.iter().flatten();
    let found = ports.find(|one| one.name() == port && one.is_tcp())?;
    u16::try_from(found.port?).ok().filter(|port| *port != 0)
}

/// The state of an endpoint; `None` for one that is no member.
fn state(endpoint: &Endpoint) -> Option<&'static str> {
    let conditions = endpoint.conditions.unwrap_or_default();
    match (conditions.ready, conditions.terminating) {
        (_, Some(true)) => Some("draining"),
        (Some(false), _) => None,
        _ => Some("active"),
    }
}

/// The first address: all of an endpoint are alike.
fn address(endpoint: &Endpoint, kind: AddressType, port: u16) -> Option<String> {
    let host = endpoint.addresses.first()?;
    if kind == AddressType::Name {
        return is_name(host).then(|| format!("{}:{port}", host.to_ascii_lowercase()));
    }
    let ip: IpAddr = host.parse().ok()?;
    let fits = ip.is_ipv4() == (kind == AddressType::V4) && !ip.is_unspecified();
    fits.then(|| SocketAddr::new(ip, port).to_string())
}

/// The pod's name, so that one of a StatefulSet keeps its keys; else the address.
fn id(endpoint: &Endpoint, address: &str) -> Option<String> {
    let target = endpoint.target_ref.as_ref();
    let pod = target.filter(|target| target.kind.as_deref() == Some("Pod"));
    let id = pod.and_then(|pod| pod.name.as_deref()).unwrap_or(address);
    let graphic = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic());
    (graphic && id.len() <= ID_LEN_MAX).then(|| id.to_owned())
}

fn document(endpoint: &Endpoint, address: &str, state: &str) -> Arc<str> {
    let mut document = json!({ "address": address, "state": state });
    if let Some(zone) = text(endpoint.zone.as_deref()).filter(|zone| is_zone(zone)) {
        document["zone"] = zone.into();
    }
    if let Some(node) = text(endpoint.node_name.as_deref()) {
        document["labels"] = json!({ "node": node });
    }
    document.to_string().into()
}

/// Zones have 1 to 63 visible ASCII characters.
fn is_zone(text: &str) -> bool {
    (1..=ZONE_LEN_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn text(text: Option<&str>) -> Option<&str> {
    let shows = |text: &&str| !text.is_empty() && !text.chars().any(char::is_control);
    text.filter(shows).filter(|text| text.len() <= TEXT_LEN_MAX)
}

#[cfg(test)]
mod tests;
