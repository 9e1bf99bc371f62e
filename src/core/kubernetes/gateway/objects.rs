//! The kinds of the Gateway API that are followed, and their specs as far as they can be expressed.
//! A field that is not known is a fault: it would be ignored silently otherwise.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The group of the Gateway API.
pub(super) const GROUP: &str = "gateway.networking.k8s.io";

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `GatewayClass`
    Class,
    /// `Gateway`
    Gateway,
    /// `HTTPRoute`
    Route,
    /// `ReferenceGrant`
    Grant,
    /// `SessilePolicy`, of Sessile itself.
    Policy,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Class,
        Self::Gateway,
        Self::Route,
        Self::Grant,
        Self::Policy,
    ];

    /// Group and version.
    pub const fn group_version(self) -> &'static str {
        match self {
            Self::Class | Self::Gateway | Self::Route => "gateway.networking.k8s.io/v1",
            Self::Grant => "gateway.networking.k8s.io/v1beta1",
            Self::Policy => "sessile.dev/v1alpha1",
        }
    }

    /// How URLs name it.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Class => "gatewayclasses",
            Self::Gateway => "gateways",
            Self::Route => "httproutes",
            Self::Grant => "referencegrants",
            Self::Policy => "sessilepolicies",
        }
    }
}

/// What a route is attached to.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ParentRef {
    pub(super) group: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) section_name: Option<String>,
    pub(super) port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RouteSpec {
    #[serde(default, rename = "parentRefs")]
    pub(super) _parents: Value,
    pub(super) hostnames: Option<Vec<String>>,
    pub(super) rules: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rule {
    #[serde(default, rename = "name")]
    pub(super) _name: Value,
    pub(super) matches: Option<Vec<RouteMatch>>,
    pub(super) filters: Option<Vec<Filter>>,
    pub(super) backend_refs: Option<Vec<BackendRef>>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RouteMatch {
    pub(super) path: Option<PathMatch>,
    pub(super) headers: Option<Vec<ValueMatch>>,
    pub(super) query_params: Option<Vec<ValueMatch>>,
    pub(super) method: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PathMatch {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) value: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ValueMatch {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filter {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) request_header_modifier: Option<HeaderFilter>,
    pub(super) request_redirect: Option<RedirectFilter>,
    pub(super) url_rewrite: Option<RewriteFilter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HeaderFilter {
    pub(super) set: Option<Vec<HeaderValue>>,
    pub(super) add: Option<Vec<HeaderValue>>,
    pub(super) remove: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderValue {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RedirectFilter {
    pub(super) scheme: Option<String>,
    pub(super) hostname: Option<String>,
    pub(super) path: Option<PathModifier>,
    pub(super) port: Option<u16>,
    pub(super) status_code: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RewriteFilter {
    pub(super) hostname: Option<String>,
    pub(super) path: Option<PathModifier>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PathModifier {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) replace_full_path: Option<String>,
    pub(super) replace_prefix_match: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BackendRef {
    pub(super) group: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) port: Option<u16>,
    pub(super) weight: Option<u32>,
    pub(super) filters: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GatewaySpec {
    pub(super) gateway_class_name: String,
    pub(super) listeners: Option<Vec<Value>>,
    pub(super) addresses: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListenerSpec {
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) protocol: String,
    pub(super) hostname: Option<String>,
    pub(super) allowed_routes: Option<AllowedRoutes>,
    pub(super) tls: Option<ListenerTls>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListenerTls {
    pub(super) mode: Option<String>,
    pub(super) certificate_refs: Option<Vec<Value>>,
    #[serde(default, rename = "options")]
    pub(super) _options: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AllowedRoutes {
    pub(super) namespaces: Option<AllowedNamespaces>,
    pub(super) kinds: Option<Vec<AllowedKind>>,
}

#[derive(Deserialize)]
pub(super) struct AllowedNamespaces {
    pub(super) from: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct AllowedKind {
    pub(super) group: Option<String>,
    pub(super) kind: String,
}

#[derive(Deserialize)]
pub(super) struct GrantSpec {
    pub(super) from: Vec<GrantFrom>,
    pub(super) to: Vec<GrantTo>,
}

#[derive(Deserialize)]
pub(super) struct GrantFrom {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) namespace: String,
}

#[derive(Deserialize)]
pub(super) struct GrantTo {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PolicySpec {
    pub(super) target_ref: TargetRef,
    #[serde(default)]
    pub(super) route: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetRef {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) name: String,
}
