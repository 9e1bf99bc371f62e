//! The objects of the API, as far as they concern the gateway (`discovery.k8s.io/v1`, `v1`).

use serde::Deserialize;
use serde_json::Value;

/// Letters of a message that are kept.
const MESSAGE_MAX: usize = 200;

/// What a list says of itself.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMeta {
    pub(super) resource_version: Option<String>,
    #[serde(rename = "continue")]
    pub(super) next: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct SliceList {
    pub(super) metadata: ListMeta,
    pub(super) items: Option<Vec<Slice>>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Meta {
    pub(super) name: Option<String>,
}

/// An EndpointSlice.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Slice {
    pub(super) metadata: Meta,
    pub(super) address_type: AddressType,
    pub(super) endpoints: Option<Vec<Endpoint>>,
    pub(super) ports: Option<Vec<Port>>,
}

/// The kinds of addresses, those first that are preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum AddressType {
    #[serde(rename = "IPv4")]
    V4,
    #[serde(rename = "IPv6")]
    V6,
    #[serde(rename = "FQDN")]
    Name,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Endpoint {
    pub(super) addresses: Vec<String>,
    #[serde(default)]
    pub(super) conditions: Option<Conditions>,
    pub(super) target_ref: Option<TargetRef>,
    pub(super) node_name: Option<String>,
    pub(super) zone: Option<String>,
}

/// Unknown conditions count as documented: ready if nothing is said, not terminating.
#[derive(Clone, Copy, Default, Deserialize)]
pub(super) struct Conditions {
    pub(super) ready: Option<bool>,
    pub(super) terminating: Option<bool>,
}

#[derive(Clone, Deserialize)]
pub(super) struct TargetRef {
    pub(super) kind: Option<String>,
    pub(super) name: Option<String>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Port {
    pub(super) name: Option<String>,
    pub(super) port: Option<i64>,
    pub(super) protocol: Option<String>,
}

impl Port {
    /// Its name; of a Service with one port it may be empty.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Whether TCP leads there, which is so if nothing is said.
    pub(super) fn is_tcp(&self) -> bool {
        self.protocol.as_deref().is_none_or(|name| name == "TCP")
    }
}

/// A Service.
#[derive(Deserialize)]
pub(super) struct Service {
    pub(super) spec: ServiceSpec,
}

#[derive(Deserialize)]
pub(super) struct ServiceSpec {
    pub(super) ports: Option<Vec<Port>>,
}

/// An event of a watch.
#[derive(Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) object: Value,
}

/// A Status, which says why something is refused.
#[derive(Default, Deserialize)]
pub(super) struct Status {
    #[serde(default)]
    pub(super) code: Option<u16>,
    #[serde(default)]
    pub(super) message: Option<String>,
}

impl Status {
    /// Why, in a few words without control characters.
    pub(super) fn text(&self) -> String {
        let text = self.message.as_deref().unwrap_or_default();
        let letters = text.chars().filter(|letter| !letter.is_control());
        letters.take(MESSAGE_MAX).collect()
    }
}

/// Why a request was refused, by the body of the answer.
pub fn failure(body: &[u8]) -> String {
    serde_json::from_slice::<Status>(body)
        .unwrap_or_default()
        .text()
}
