//! What a rule does with a request: its filters and its backend, as parts of a route.

use serde_json::{Value, json};

use crate::config::kubernetes_service::is_label;
use crate::core::kubernetes::gateway::grants::Grants;
use crate::core::kubernetes::gateway::matches::Conditions;
use crate::core::kubernetes::gateway::names;
use crate::core::kubernetes::gateway::objects::{
    BackendRef, Filter, HeaderFilter, PathModifier, RedirectFilter, Rule,
};
use crate::core::kubernetes::gateway::report::Fault;

/// An upstream without backends, for rules whose backend may not be used.
pub(super) const NOWHERE: &str = "httproute.nowhere";

/// Where a rule leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To a Service: the name of the upstream, and how it names the Service.
    Service(String, String),
    /// Its backend may not be used.
    Nowhere(Fault),
    /// It redirects.
    Redirect,
}

impl Target {
    /// The upstream of a Service.
    pub(super) fn service(&self) -> Option<&str> {
        match self {
            Self::Service(upstream, _) => Some(upstream),
            Self::Nowhere(_) | Self::Redirect => None,
        }
    }
}

/// Where a rule leads.
pub(super) fn target(rule: &Rule, namespace: &str, grants: &Grants) -> Result<Target, Fault> {
    let filters = rule.filters.iter().flatten();
    let redirects = filters
        .clone()
        .any(|filter| filter.kind == "RequestRedirect");
    let refs = rule.backend_refs.iter().flatten();
    let mut used = refs.filter(|one| one.weight != Some(0));
    match (redirects, used.next(), used.next()) {
        (true, None, _) => Ok(Target::Redirect),
        (true, Some(_), _) => Err(Fault::unsupported("a redirect has no backendRefs")),
        (false, None, _) => {
            let message = "a rule needs a backendRef of a weight, or a RequestRedirect";
            Err(Fault::unsupported(message))
        }
        (false, Some(_), Some(_)) => Err(Fault::unsupported(
            "several backendRefs of a rule are not supported; name one Service, or give all others \
             the weight 0",
        )),
        (false, Some(one), None) => backend(one, namespace, grants),
    }
}

fn backend(one: &BackendRef, own: &str, grants: &Grants) -> Result<Target, Fault> {
    if one.filters.as_ref().is_some_and(|list| !list.is_empty()) {
        let message = "filters of a backendRef are not supported; give them to the rule";
        return Err(Fault::unsupported(message));
    }
    let nowhere = |reason, message: String| Ok(Target::Nowhere(Fault::new(reason, message)));
    let (group, kind) = (one.group.as_deref(), one.kind.as_deref());
    if !matches!((group, kind), (None | Some(""), None | Some("Service"))) {
        let kind = kind.unwrap_or_default();
        return nowhere("InvalidKind", format!("{kind} is no Service"));
    }
    let Some(port) = one.port.filter(|port| *port != 0) else {
        let message = format!("the port of Service {} is missing", one.name);
        return Err(Fault::unsupported(message));
    };
    let namespace = one.namespace.as_deref().unwrap_or(own);
    if !is_label(namespace) || !is_label(&one.name) {
        return Err(Fault::unsupported("a backendRef names no Service"));
    }
    if !grants.permit(own, namespace, &one.name) {
        let message = format!(
            "no ReferenceGrant in {namespace} permits HTTPRoutes of {own} to refer to Service {}",
            one.name
        );
        return nowhere("RefNotPermitted", message);
    }
    let upstream = names::upstream(namespace, &one.name, port);
    let service = format!("{namespace}/{}:{port}", one.name);
    Ok(Target::Service(upstream, service))
}

/// The conditions of a match with what the filters make of its requests: one route, or two where a
/// prefix is replaced, since a path that ends with it has no slash behind it.
pub(super) fn applied(
    filters: Option<&[Filter]>,
    conditions: &Conditions,
) -> Result<Vec<(Conditions, Value)>, Fault> {
    let whole = with_filters(filters, conditions)?;
    let mut routes = vec![(conditions.clone(), whole)];
    if conditions.prefix && !conditions.path.is_empty() && replaces_prefix(filters) {
        let exact = Conditions {
            prefix: false,
            ..conditions.clone()
        };
        let value = with_filters(filters, &exact)?;
        routes.push((exact, value));
    }
    Ok(routes)
}

fn replaces_prefix(filters: Option<&[Filter]>) -> bool {
    filters.into_iter().flatten().any(|filter| {
        let redirect = filter.request_redirect.as_ref();
        let redirect = redirect.and_then(|one| one.path.as_ref());
        let rewrite = filter
            .url_rewrite
            .as_ref()
            .and_then(|one| one.path.as_ref());
        let modifier = redirect.or(rewrite);
        modifier.is_some_and(|path| path.kind == "ReplacePrefixMatch")
    })
}

fn with_filters(filters: Option<&[Filter]>, conditions: &Conditions) -> Result<Value, Fault> {
    let mut route = json!({});
    conditions.write(&mut route);
    let once = |route: &mut Value, key: &str, value: Value| match route.get(key) {
        Some(_) => Err(Fault::unsupported(
            "a filter of one type stands there twice",
        )),
        None => {
            route[key] = value;
            Ok(())
        }
    };
    for filter in filters.into_iter().flatten() {
        let empty = || Fault::unsupported(format!("filter {} has nothing to do", filter.kind));
        match filter.kind.as_str() {
            "RequestHeaderModifier" => {
                let one = filter.request_header_modifier.as_ref();
                once(
                    &mut route,
                    "request_headers",
                    headers(one.ok_or_else(empty)?)?,
                )?;
            }
            "RequestRedirect" => {
                let one = filter.request_redirect.as_ref().ok_or_else(empty)?;
                once(&mut route, "redirect", redirect(one, conditions)?)?;
            }
            "URLRewrite" => {
                let one = filter.url_rewrite.as_ref().ok_or_else(empty)?;
                let mut rewrite = json!({});
                if let Some(host) = &one.hostname {
                    rewrite["host"] = host.as_str().into();
                }
                if let Some(modifier) = &one.path {
                    rewrite["path"] = path(modifier, conditions)?.into();
                }
                once(&mut route, "rewrite", rewrite)?;
            }
            other => {
                let message = format!("filter {other} is not supported");
                return Err(Fault::unsupported(message));
            }
        }
    }
    Ok(route)
}

fn headers(filter: &HeaderFilter) -> Result<Value, Fault> {
    let mut edits = json!({});
    for (key, written) in [("set", &filter.set), ("add", &filter.add)] {
        let mut map = serde_json::Map::new();
        for one in written.iter().flatten() {
            let name = one.name.to_ascii_lowercase();
            if map.insert(name, one.value.as_str().into()).is_some() {
                let message = format!("header {} stands in `{key}` twice", one.name);
                return Err(Fault::unsupported(message));
            }
        }
        edits[key] = Value::Object(map);
    }
    edits["remove"] = json!(filter.remove.as_deref().unwrap_or_default());
    Ok(edits)
}

fn redirect(filter: &RedirectFilter, conditions: &Conditions) -> Result<Value, Fault> {
    let mut redirect = json!({ "status": filter.status_code.unwrap_or(302) });
    if let Some(scheme) = &filter.scheme {
        redirect["scheme"] = scheme.as_str().into();
    }
    match (&filter.hostname, filter.port) {
        (Some(host), Some(port)) => redirect["host"] = format!("{host}:{port}").into(),
        (Some(host), None) => redirect["host"] = host.as_str().into(),
        (None, Some(_)) => {
            let message = "a redirect with a port needs a hostname";
            return Err(Fault::unsupported(message));
        }
        (None, None) => {}
    }
    if let Some(modifier) = &filter.path {
        redirect["path"] = path(modifier, conditions)?.into();
    }
    Ok(redirect)
}

/// The new path.
fn path(modifier: &PathModifier, conditions: &Conditions) -> Result<String, Fault> {
    let (full, prefix) = (&modifier.replace_full_path, &modifier.replace_prefix_match);
    let written = match modifier.kind.as_str() {
        "ReplaceFullPath" => full.as_deref(),
        "ReplacePrefixMatch" => prefix.as_deref(),
        _ => None,
    };
    let written = written.filter(|text| !text.contains(['{', '}']));
    let Some(text) = written else {
        let message = format!("path modifier {} cannot be expressed", modifier.kind);
        return Err(Fault::unsupported(message));
    };
    if modifier.kind == "ReplaceFullPath" {
        return Ok(text.to_owned());
    }
    let text = text.trim_end_matches('/');
    Ok(match conditions.prefix {
        true => format!("{text}/{{*rest}}"),
        false if text.is_empty() => "/".to_owned(),
        false => text.to_owned(),
    })
}
